//! Says where a JSON value is not as expected: the expected value is a part of it (or all of it),
//! and `*` in a text stands for anything.

use serde_json::Value;

use crate::kit::script::wild;

/// How much of a value must be named.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Objects may have more members than expected.
    Part,
    Whole,
}

/// `None` when `got` is as expected, else where it is not and how.
pub fn difference(want: &Value, got: &Value, extent: Extent) -> Option<String> {
    compare("", want, got, extent)
}

fn compare(at: &str, want: &Value, got: &Value, extent: Extent) -> Option<String> {
    let differs = || {
        let place = if at.is_empty() { "the body" } else { at };
        Some(format!("{place}: expected {want}, got {got}"))
    };
    match (want, got) {
        (Value::String(want), _) if want == "*" && !got.is_null() => None,
        (Value::String(want), Value::String(got)) if wild(want, got) => None,
        (Value::Number(one), Value::Number(two)) if same_number(one, two) => None,
        (Value::Object(want), Value::Object(got)) => {
            for (name, want) in want {
                let Some(got) = got.get(name) else {
                    return Some(format!("{at}/{name}: expected {want}, got nothing"));
                };
                if let Some(difference) = compare(&format!("{at}/{name}"), want, got, extent) {
                    return Some(difference);
                }
            }
            let surplus = got.keys().find(|name| !want.contains_key(*name));
            surplus
                .filter(|_| extent == Extent::Whole)
                .map(|name| format!("{at}/{name}: not expected at all"))
        }
        (Value::Array(want), Value::Array(got)) if want.len() == got.len() => {
            let mut pairs = want.iter().zip(got).enumerate();
            pairs.find_map(|(index, (want, got))| {
                compare(&format!("{at}/{index}"), want, got, extent)
            })
        }
        (want, got) if want == got => None,
        _ => differs(),
    }
}

fn same_number(one: &serde_json::Number, two: &serde_json::Number) -> bool {
    if one == two {
        return true;
    }
    let whole = one.is_f64() || two.is_f64();
    whole && one.as_f64().zip(two.as_f64()).is_some_and(|(one, two)| one == two)
}
