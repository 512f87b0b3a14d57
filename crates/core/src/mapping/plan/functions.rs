//! The functions of one value that a plan calls directly, by their names in jq; and those of jaq's
//! library that are known to give exactly one value.

use jaq_core::ValT as _;

use crate::mapping::arithmetic::Outcome;
use crate::mapping::budget::{STEP, charge};
use crate::mapping::value::{Data, Error, Text, Value};
use crate::mapping::{native, number, order};

pub(super) type Unary = fn(Value) -> Outcome;
pub(super) type Binary = fn(Value, Value) -> Outcome;

/// `name` without arguments.
pub(super) fn unary(name: &str) -> Option<Unary> {
    Some(match name {
        "not" => |value| Ok(Value::boolean(!value.as_bool())),
        "type" => |value| Ok(Value::text(value.kind())),
        "tostring" => |value| Ok(value.into_string()),
        "tojson" => |value| Ok(native::to_json(&value)),
        "fromjson" => |value| native::from_json(&value),
        "tonumber" => native::to_number,
        "toboolean" => native::to_boolean,
        "length" => |value| native::length(&value),
        "keys_unsorted" => keys_unsorted,
        "keys" => keys,
        "to_entries" => to_entries,
        "from_entries" => |value| native::from_entries(&value),
        "ascii_downcase" => |value| Ok(Value::made(native::text(&value)?.to_ascii_lowercase())),
        "ascii_upcase" => |value| Ok(Value::made(native::text(&value)?.to_ascii_uppercase())),
        _ => return None,
    })
}

/// `name` with one argument: what it is asked of comes first.
pub(super) fn binary(name: &str) -> Option<Binary> {
    Some(match name {
        "has" => |value, index| native::has(&value, &index),
        "contains" => |value, part| native::contains(&value, &part).map(Value::boolean),
        "join" => |value, separator| native::join_items(&value, &separator),
        "indices" => |value, part| native::indices(&value, &part),
        "index" => |value, part| native::indices(&value, &part)?.index(&Value::from(0_isize)),
        "rindex" => |value, part| native::indices(&value, &part)?.index(&Value::from(-1_isize)),
        "startswith" => |value, part| {
            let starts = native::text(&value)?.starts_with(native::text(&part)?);
            charge(STEP).map(|()| Value::boolean(starts))
        },
        "endswith" => |value, part| {
            let ends = native::text(&value)?.ends_with(native::text(&part)?);
            charge(STEP).map(|()| Value::boolean(ends))
        },
        "split" => |value, separator| {
            native::text(&value).and(native::text(&separator))?;
            value / separator
        },
        _ => return None,
    })
}

/// Whether jaq's own function gives exactly one value, or fails.
pub(super) fn gives_one(name: &str, arguments: usize) -> bool {
    match arguments {
        0 => matches!(
            name,
            "now"
                | "todate"
                | "fromdate"
                | "floor"
                | "ceil"
                | "round"
                | "fabs"
                | "sqrt"
                | "abs"
                | "trim"
                | "ltrim"
                | "rtrim"
                | "reverse"
                | "flatten"
                | "utf8bytelength"
                | "explode"
                | "implode"
                | "transpose"
                | "infinite"
                | "nan"
                | "isnan"
                | "@base64"
                | "@base64d"
                | "@uri"
                | "@html"
                | "@text"
                | "@json"
                | "@sh"
                | "@csv"
                | "@tsv"
                | "ascii"
                | "toarray"
        ),
        1 => matches!(
            name,
            "test"
                | "ltrimstr"
                | "rtrimstr"
                | "trimstr"
                | "inside"
                | "flatten"
                | "strftime"
                | "bsearch"
        ),
        _ => name == "test",
    }
}

/// Names or places, each with its value.
fn pairs(value: Value) -> impl Iterator<Item = Result<(Value, Value), Error>> {
    value.key_values()
}

fn keys_unsorted(value: Value) -> Outcome {
    pairs(value).map(|pair| pair.map(|(key, _)| key)).collect()
}

fn keys(value: Value) -> Outcome {
    order::sort(&keys_unsorted(value)?)
}

fn to_entries(value: Value) -> Outcome {
    let entry = |pair: Result<(Value, Value), Error>| {
        let (key, value) = pair?;
        charge(2 * STEP)?;
        Ok(Value::object([("key", key), ("value", value)]))
    };
    Value::from_items(pairs(value).map(entry).collect::<Result<_, Error>>()?).checked()
}

/// A text of the program; each use is paid for.
pub(super) fn text(text: &str) -> Result<Text, Error> {
    charge(text.len())?;
    Ok(Text::from(text))
}

impl super::Literal {
    pub(super) fn value(&self) -> Outcome {
        Ok(match self {
            Self::Null => Value::NULL,
            Self::Boolean(value) => Value::boolean(*value),
            Self::Integer(number) => Value::from(*number),
            Self::Number(text) => {
                charge(text.len())?;
                Value(Data::Number(number::literal(text)))
            }
            Self::Text(literal) => Value(Data::Text(text(literal)?)),
        })
    }
}
