//! Values to JSON text: compact, members in their order, everything outside ASCII as it is.

use std::io::Write as _;

use super::budget;
use super::number;
use super::plain::plain;
use super::value::{Data, Value};

/// How many characters of a string a message shows.
const SHOWN: usize = 40;

impl Value {
    /// Appends the value's JSON text (RFC 8259).
    pub fn write(&self, out: &mut Vec<u8>) {
        value(self, out);
    }

    /// The value's JSON text.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        value(self, &mut out);
        out
    }
}

/// Inside a run, text costs what it is long; a spent budget cuts it off, and the run fails anyway.
pub(super) fn value(value: &Value, out: &mut Vec<u8>) {
    let start = out.len();
    match &value.0 {
        Data::Null => out.extend_from_slice(b"null"),
        Data::Bool(true) => out.extend_from_slice(b"true"),
        Data::Bool(false) => out.extend_from_slice(b"false"),
        Data::Number(number) => number::write(number, out),
        Data::Text(text) => string(text, out),
        Data::Array(array) => {
            out.push(b'[');
            for (index, item) in array.items.iter().enumerate() {
                if !budget::spend(2) {
                    break;
                }
                separate(index, out);
                self::value(item, out);
            }
            out.push(b']');
            return;
        }
        Data::Object(object) => {
            out.push(b'{');
            for (index, (name, item)) in object.members.iter().enumerate() {
                if !budget::spend(name.len() + 4) {
                    break;
                }
                separate(index, out);
                string(name, out);
                out.push(b':');
                self::value(item, out);
            }
            out.push(b'}');
            return;
        }
    }
    budget::spend(out.len() - start);
}

fn separate(index: usize, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest.split_at_checked(plain(rest)).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            _ => {
                // Writing to memory cannot fail.
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
        rest = after;
    }
    out.push(b'"');
}

/// What a message shows of a value.
pub(super) fn short(value: &Value) -> String {
    let scalar = |value: &Value| {
        let mut out = Vec::new();
        self::value(value, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    };
    let cut = |text: &str| text.chars().take(SHOWN).collect::<String>();
    match &value.0 {
        Data::Array(_) | Data::Object(_) => kind(value).to_owned(),
        Data::Text(text) if text.chars().nth(SHOWN).is_some() => {
            scalar(&Value::string(format!("{}...", cut(text))))
        }
        _ => cut(&scalar(value)),
    }
}

/// What a message shows of a value that may be a secret.
pub(super) fn kind(value: &Value) -> &'static str {
    match &value.0 {
        Data::Null => "null",
        Data::Bool(_) => "a boolean",
        Data::Number(_) => "a number",
        Data::Text(_) => "a string",
        Data::Array(_) => "an array",
        Data::Object(_) => "an object",
    }
}

/// Why a value cannot be a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    TooLarge,
    NotFinite,
}

/// Whether the text stays within `limit` bytes and every number is one that JSON has. Looks at no
/// more than `limit` bytes' worth of it: a value that shares its parts can be small in memory and
/// endless on the wire.
pub(super) fn fits(value: &Value, limit: usize) -> Result<(), Unfit> {
    fn walk(value: &Value, left: &mut usize) -> Result<(), Unfit> {
        let mut take = |bytes: usize| {
            *left = left.checked_sub(bytes).ok_or(Unfit::TooLarge)?;
            Ok(())
        };
        match &value.0 {
            Data::Null | Data::Bool(_) => take(4),
            Data::Number(number) if !number::is_finite(number) => Err(Unfit::NotFinite),
            Data::Number(jaq_json::Num::Dec(text)) => take(text.len()),
            Data::Number(_) => take(1),
            Data::Text(text) => take(2 + text.len()),
            Data::Array(array) => {
                take(2 + array.items.len())?;
                array.items.iter().try_for_each(|item| walk(item, left))
            }
            Data::Object(object) => {
                take(2)?;
                object.members.iter().try_for_each(|(name, item)| {
                    *left = left.checked_sub(name.len() + 4).ok_or(Unfit::TooLarge)?;
                    walk(item, left)
                })
            }
        }
    }
    walk(value, &mut { limit })
}
