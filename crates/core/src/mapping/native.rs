//! The functions that look inside values: ours, because jaq's know jaq's own value type, read
//! lax JSON to any depth, or take time by the square.

use jaq_core::native::{Fun, bome, run, unary, v};
use jaq_core::{RunPtr, data::JustLut};

use super::arithmetic::{Outcome, join};
use super::budget::{STEP, charge};
use super::number;
use super::value::{Data, Error, Text, Value};

/// The data that natives see besides the value: none.
pub(super) type Plain = JustLut<Value>;

/// A program, or a call in one, as jaq runs it.
pub(super) type Compiled = jaq_core::compile::Filter<jaq_core::Native<Plain>>;

/// A function by name, count of arguments, and what it does.
pub(super) fn native(name: &'static str, arguments: usize, act: RunPtr<Plain>) -> Fun<Plain> {
    run::<Plain>((name, v(arguments), act))
}

pub(super) fn functions() -> impl Iterator<Item = Fun<Plain>> {
    let table = [
        native("fromjson", 0, |cv| bome(from_json(&cv.1))),
        native("tojson", 0, |cv| bome(Ok(to_json(&cv.1)))),
        native("tonumber", 0, |cv| bome(to_number(cv.1))),
        native("toboolean", 0, |cv| bome(to_boolean(cv.1))),
        native("length", 0, |cv| bome(length(&cv.1))),
        native("join", 1, |cv| unary(cv, |value, separator| join_items(&value, &separator))),
        native("from_entries", 0, |cv| bome(from_entries(&cv.1))),
        native("contains", 1, |cv| {
            unary(cv, |value, part| contains(&value, &part).map(Value::from))
        }),
        native("has", 1, |cv| unary(cv, |value, index| has(&value, &index))),
        native("indices", 1, |cv| unary(cv, |value, part| indices(&value, &part))),
        native("bsearch", 1, |cv| unary(cv, |value, item| bsearch(&value, &item))),
    ];
    table.into_iter().chain(super::order::functions()).chain(super::pattern::functions())
}

pub(super) fn text(value: &Value) -> Result<&str, Error> {
    value.as_str().ok_or_else(|| Error::typ(value.clone(), "string"))
}

pub(super) fn from_json(value: &Value) -> Outcome {
    let text = text(value)?;
    // A parsed text takes more memory than its bytes.
    charge(STEP + text.len().saturating_mul(16))?;
    Value::parse_str(text).map_err(|error| Error::str(format_args!("the text is no JSON: {error}")))
}

pub(super) fn to_json(value: &Value) -> Value {
    let mut out = Vec::new();
    super::write::value(value, &mut out);
    Value::made(String::from_utf8_lossy(&out).into_owned())
}

pub(super) fn to_number(value: Value) -> Outcome {
    match &value.0 {
        Data::Number(_) => Ok(value),
        Data::Text(text) => {
            charge(STEP + text.len())?;
            let number = number::convert(text).map(|number| Value(Data::Number(number)));
            number.ok_or_else(|| Error::typ(value, "number"))
        }
        _ => Err(Error::typ(value, "number")),
    }
}

pub(super) fn to_boolean(value: Value) -> Outcome {
    match &value.0 {
        Data::Bool(_) => Ok(value),
        Data::Text(text) if &**text == "true" => Ok(Value::boolean(true)),
        Data::Text(text) if &**text == "false" => Ok(Value::boolean(false)),
        _ => Err(Error::typ(value, "boolean")),
    }
}

pub(super) fn length(value: &Value) -> Outcome {
    Ok(match &value.0 {
        Data::Null => Value::from(0_usize),
        Data::Bool(_) => return Err(Error::typ(value.clone(), "something with a length")),
        Data::Number(number) => Value(Data::Number(number::absolute(number))),
        Data::Text(text) => {
            charge(text.len())?;
            Value::from(text.chars().count())
        }
        Data::Array(array) => Value::from(array.items.len()),
        Data::Object(object) => Value::from(object.members.len()),
    })
}

/// One string of the items: strings as they are, null as nothing, numbers and booleans as JSON.
pub(super) fn join_items(value: &Value, separator: &Value) -> Outcome {
    let Data::Array(array) = &value.0 else {
        return Err(Error::typ(value.clone(), "array"));
    };
    let separator = text(separator)?;
    let mut out = Text::default();
    for (index, item) in array.items.iter().enumerate() {
        charge(STEP)?;
        if index > 0 {
            out = join(out, separator)?;
        }
        out = match &item.0 {
            Data::Null => out,
            Data::Text(text) => join(out, text)?,
            Data::Bool(_) | Data::Number(_) => join(out, &item.to_string())?,
            Data::Array(_) | Data::Object(_) => {
                return Err(Error::typ(item.clone(), "a piece of a string"));
            }
        };
    }
    Ok(Value(Data::Text(out)))
}

/// An object of `{key, value}` pairs; `k` and `name`, and `v`, are read as well, and a key that is
/// no string is named by its JSON.
pub(super) fn from_entries(value: &Value) -> Outcome {
    let entries = match &value.0 {
        Data::Array(array) => &array.items,
        _ => return Err(Error::typ(value.clone(), "array of entries")),
    };
    charge(entries.len() * STEP)?;
    let member = |entry: &Value, names: &[&str]| {
        names.iter().find_map(|name| entry.get(name).filter(|found| *found != Value::NULL))
    };
    let members = entries.iter().map(|entry| {
        if !matches!(entry.0, Data::Object(_)) {
            return Err(Error::typ(entry.clone(), "an entry with key and value"));
        }
        let key = member(entry, &["key", "k", "name", "Name", "K", "Key"]).unwrap_or_default();
        let key = match key.0 {
            Data::Text(key) => key,
            _ => Text::from(key.to_string()),
        };
        Ok((key, member(entry, &["value", "v", "Value", "V"]).or_else(|| entry.get("value"))))
    });
    let members = members.map(|pair| pair.map(|(key, value)| (key, value.unwrap_or_default())));
    Value::from_members(members.collect::<Result<_, _>>()?).checked()
}

/// Whether `part` is a part of `value`: a substring, items that are each contained in some item,
/// members that are each contained in the member of that name, or the same scalar.
pub(super) fn contains(value: &Value, part: &Value) -> Result<bool, Error> {
    charge(STEP)?;
    match (&value.0, &part.0) {
        (Data::Text(value), Data::Text(part)) => {
            charge(value.len() + part.len())?;
            Ok(value.contains(&**part))
        }
        (Data::Array(value), Data::Array(part)) => all(part.items.iter(), |part| {
            let mut items = value.items.iter();
            items.try_fold(false, |found, item| Ok(found || contains(item, part)?))
        }),
        (Data::Object(value), Data::Object(part)) => all(part.members.iter(), |(name, part)| {
            value.members.get(name).map_or(Ok(false), |item| contains(item, part))
        }),
        _ => Ok(value == part),
    }
}

fn all<T>(
    mut items: impl Iterator<Item = T>,
    holds: impl Fn(T) -> Result<bool, Error>,
) -> Result<bool, Error> {
    items.try_fold(true, |held, item| Ok(held && holds(item)?))
}

pub(super) fn has(value: &Value, index: &Value) -> Outcome {
    match (&value.0, &index.0) {
        (Data::Object(_), Data::Text(_)) | (Data::Array(_), Data::Number(_)) => {
            Ok(Value::boolean(value.find(index)?.is_some()))
        }
        _ => Err(Error::index(value.clone(), index.clone())),
    }
}

/// Where `part` begins: in characters of a string, as a run of items, or as an item; also where
/// finds overlap.
pub(super) fn indices(value: &Value, part: &Value) -> Outcome {
    charge(STEP)?;
    match (&value.0, &part.0) {
        (Data::Null, _) => Ok(Value::NULL),
        (Data::Text(text), Data::Text(part)) => {
            charge(text.len())?;
            let found = text.char_indices().enumerate().filter(|(_, (at, _))| {
                !part.is_empty()
                    && super::budget::spend(part.len())
                    && text.get(*at..).is_some_and(|rest| rest.starts_with(&**part))
            });
            Ok(found.map(|(index, _)| Value::from(index)).collect())
        }
        (Data::Array(_), Data::Array(part)) if part.items.is_empty() => Ok(Value::array([])),
        (Data::Array(array), Data::Array(part)) => {
            let windows = array.items.windows(part.items.len()).enumerate();
            let found = windows.filter(|(_, window)| {
                super::budget::spend(window.len() * STEP) && *window == part.items.as_slice()
            });
            Ok(found.map(|(index, _)| Value::from(index)).collect())
        }
        (Data::Array(array), _) => {
            let found = array.items.iter().enumerate().filter(|(_, item)| *item == part);
            Ok(found.map(|(index, _)| Value::from(index)).collect())
        }
        _ => Err(Error::index(value.clone(), part.clone())),
    }
}

/// Where the item stands in a sorted array, or -1 less the place where it would.
fn bsearch(value: &Value, item: &Value) -> Outcome {
    let Data::Array(array) = &value.0 else {
        return Err(Error::typ(value.clone(), "array"));
    };
    Ok(match array.items.binary_search(item) {
        Ok(at) => Value::from(at),
        Err(at) => Value::from(-1 - isize::try_from(at).unwrap_or(isize::MAX)),
    })
}
