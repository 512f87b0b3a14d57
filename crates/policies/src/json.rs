//! JSON text to the values that schemas are held against, in one pass and strictly: what two readers
//! could understand differently is refused, by the same rules as where a mapping reads
//! (`core/mapping/parse.rs`), which fuzzing holds this to.

use std::fmt;

use portcullis_core::mapping::{self, ParseError};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};

/// How deep a text may nest.
const DEPTH: usize = 64;

/// Reads exactly one value; or says what is wrong and where. Refuses repeated keys, bytes that are not
/// UTF-8, trailing bytes, and nesting deeper than 64.
pub fn parse(bytes: &[u8]) -> Result<Value, ParseError> {
    // What is refused here is refused there, and that says better why.
    read(bytes).map_err(|error| match mapping::Value::parse(bytes) {
        Err(better) => better,
        Ok(_) => located(bytes, &error),
    })
}

fn located(bytes: &[u8], error: &serde_json::Error) -> ParseError {
    let (line, column) = (error.line(), error.column());
    let before = bytes.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1));
    let offset = before.map(<[u8]>::len).sum::<usize>() + column.saturating_sub(1);
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default().to_owned();
    ParseError { offset, line, column, pointer: String::new(), message }
}

fn read(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { left: DEPTH }.deserialize(&mut reader)?;
    reader.end().map(|()| value)
}

/// Both readers take a text or neither does. Only numbers beyond a double part them: a mapping keeps
/// their text, a schema has to compare them.
pub fn agree(text: &[u8]) {
    let (here, there) = (read(text), mapping::Value::parse(text));
    let is_large = here.as_ref().is_err_and(|it| it.to_string().contains("out of range"));
    assert!(is_large || here.is_ok() == there.is_ok(), "{here:?} {there:?}");
}

/// Reads a value in which lists and objects may nest so many levels more.
#[derive(Clone, Copy)]
struct Strict {
    left: usize,
}

impl Strict {
    fn below<E: Error>(self) -> Result<Self, E> {
        let left = self.left.checked_sub(1);
        let left = left.ok_or_else(|| E::custom(format!("nesting deeper than {DEPTH}")))?;
        Ok(Self { left })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(below)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut members = Map::new();
        while let Some(key) = object.next_key::<String>()? {
            match members.entry(key) {
                Entry::Vacant(place) => drop(place.insert(object.next_value_seed(below)?)),
                Entry::Occupied(place) => {
                    let shown: String = place.key().chars().take(40).collect();
                    return Err(A::Error::custom(format!("the key {shown:?} stands twice")));
                }
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for text in [
            &br#"{"a":1,"a":2}"#[..],
            br#"{"a":{"b":1,"b":2}}"#,
            br#"{"a":1,"\u0061":2}"#,
            b"\"\xff\"",
            br#""\ud800""#,
            b"[1] 2",
            b"[1,]",
            b"NaN",
            b"01",
            b"// a\n1",
            b"\xef\xbb\xbf1",
            b"",
        ] {
            assert!(parse(text).is_err(), "{}", String::from_utf8_lossy(text));
            agree(text);
        }
        let twice = parse(b"{\n \"a\": 1, \"a\": 2}").unwrap_err();
        assert_eq!(twice.to_string(), "the key \"a\" stands twice at line 2, column 10");
        assert_eq!(twice.pointer, "/a");
        let large = parse(b"[1,\n 1e400]").unwrap_err();
        assert_eq!((&*large.message, large.line), ("number out of range", 2));
        assert!((4..11).contains(&large.offset), "{large:?}");
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
        assert!(parse(&nested(64)).is_ok());
        assert!(parse(&nested(65)).unwrap_err().message.contains("deeper than 64"));
        for depth in [1, 64, 65, 500, 100_000] {
            agree(&nested(depth));
        }
    }

    #[test]
    fn values_are_what_serde_reads() {
        for text in [
            r#"{"b":[1,-1,1.5,1e3,-0,18446744073709551615,12345678901234567890123],"a":{"x":null,"y":true,"z":"\u00e9\n"}}"#,
            "0.1",
            "\"x\"",
        ] {
            let plain: Value = serde_json::from_str(text).unwrap();
            assert_eq!(parse(text.as_bytes()).unwrap(), plain);
            agree(text.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn both_readers_agree(text in r#"[\[\]{}:,"ab\\u0169de+.\- \n]{0,24}"#) {
            agree(text.as_bytes());
        }
    }
}
