//! From nodes to values: the trait, and the values that every block is made of.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::json;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::node::{Node, Value};
use crate::scalar::number;
use crate::schema::Definitions;
use crate::suggest::did_you_mean;

/// What can be read from a node, and describes itself for editors.
pub trait Decode: Sized {
    /// The value, or `None` after saying why not. Goes on after the first mistake, so that all of
    /// them are told: a value may come with complaints about its parts.
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self>;

    /// The value of a key that is left out and has no default. `None`: the key is required.
    fn missing() -> Option<Self> {
        None
    }

    /// What stands in for a value after a complaint about it, so that the mistakes of what refers
    /// to it are told as well. A configuration with complaints never runs.
    fn stand_in() -> Option<Self> {
        Self::missing()
    }

    /// What `on` says where `off` may stand as well. `None`: it says nothing.
    fn switched_on() -> Option<Self> {
        None
    }

    /// A JSON Schema (2020-12) of what [`Decode::decode`] takes.
    fn schema(definitions: &mut Definitions) -> serde_json::Value;
}

impl Node {
    /// Complains "expected this, found that". `None` when a complaint was made already, about a
    /// variable that is not set.
    pub fn expected<'o>(&self, what: &str, out: &'o mut Diagnostics) -> Option<&'o mut Diagnostic> {
        if self.is_unset() {
            return None;
        }
        let complaint = out.error(self.span, format!("expected {what}, found {}", self.found()));
        if matches!(self.value, Value::Null) {
            complaint.hint("give it a value, or remove the key");
        }
        Some(complaint)
    }

    /// Like [`Node::expected`], with a hint. A hint must not hold the value when it came from the
    /// environment, so it is made from the text in the file only.
    pub(crate) fn expected_hint(&self, what: &str, hint: Option<String>, out: &mut Diagnostics) {
        if let (Some(complaint), Some(hint)) = (self.expected(what, out), hint) {
            complaint.hint(hint);
        }
    }

    /// Text, or a number as it was written; also when some of it came from the environment.
    pub(crate) fn scalar_text(&self) -> Option<&str> {
        match &self.value {
            _ if self.is_unset() => None,
            Value::Text(text) => Some(text),
            Value::Number(number) => Some(number.as_text()),
            _ => None,
        }
    }
}

impl Decode for bool {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        match (&node.value, node.as_text()) {
            (Value::Bool(value), _) => return Some(*value),
            (_, Some("on")) => return Some(true),
            (_, Some("off")) => return Some(false),
            (_, Some(text)) if node.is_from_environment() => match text {
                "true" => return Some(true),
                "false" => return Some(false),
                _ => {}
            },
            _ => {}
        }
        node.expected_hint("`on` or `off`", None, out);
        None
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        definitions.or_variable(json!({ "enum": ["on", "off", true, false] }))
    }
}

impl Decode for String {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        if let Some(text) = node.scalar_text() {
            return Some(text.to_owned());
        }
        let hint = match &node.value {
            Value::Bool(value) => Some(format!("in quotes it is text: \"{value}\"")),
            Value::Map(_) | Value::List(_) => {
                Some("a text that begins with `{` or `[`, or holds `: `, wants quotes".to_owned())
            }
            _ => None,
        };
        node.expected_hint("text", hint, out);
        None
    }

    fn schema(_: &mut Definitions) -> serde_json::Value {
        json!({ "type": ["string", "number"] })
    }
}

/// A text that no log, message or debug print shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for where it is needed.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Decode for Secret {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        String::decode(node, out).map(Secret)
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        String::schema(definitions)
    }
}

/// A whole number from `least` to `most`.
pub(crate) fn whole(node: &Node, least: u64, most: u64, out: &mut Diagnostics) -> Option<u64> {
    let read = match &node.value {
        Value::Number(number) => number.as_u64(),
        Value::Text(text) if node.is_from_environment() => {
            number(text.trim()).and_then(|number| number.as_u64())
        }
        _ => None,
    };
    if let Some(value) = read.filter(|value| (least..=most).contains(value)) {
        return Some(value);
    }
    let what = match most {
        u64::MAX => format!("a whole number from {least}"),
        _ => format!("a whole number from {least} to {most}"),
    };
    let hint = match &node.value {
        Value::Text(text) if !node.is_from_environment() => {
            let digits: String = text.chars().filter(|c| !matches!(c, '_' | ',' | ' ')).collect();
            number(&digits).and_then(|number| number.as_u64()).map(|value| format!("write {value}"))
        }
        _ => None,
    };
    node.expected_hint(&what, hint, out);
    None
}

pub(crate) fn whole_schema(
    least: u64,
    most: u64,
    definitions: &mut Definitions,
) -> serde_json::Value {
    let schema = match most {
        u64::MAX => json!({ "type": "integer", "minimum": least }),
        _ => json!({ "type": "integer", "minimum": least, "maximum": most }),
    };
    definitions.or_variable(schema)
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl Decode for $type {
            fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
                let most = u64::try_from(<$type>::MAX).unwrap_or(u64::MAX);
                whole(node, 0, most, out).and_then(|value| <$type>::try_from(value).ok())
            }

            fn schema(definitions: &mut Definitions) -> serde_json::Value {
                whole_schema(0, u64::try_from(<$type>::MAX).unwrap_or(u64::MAX), definitions)
            }
        }
    )*};
}

whole_numbers!(u8, u16, u32, u64, usize);

/// Optional: a key that is left out is `None`. Nothing written *is* `None`: to say "not this" a
/// language uses `off` ([`crate::OrOff`]).
impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        T::decode(node, out).map(Some)
    }

    fn missing() -> Option<Self> {
        Some(None)
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        T::schema(definitions)
    }
}

impl<T: Decode> Decode for Box<T> {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        T::decode(node, out).map(Box::new)
    }

    fn missing() -> Option<Self> {
        T::missing().map(Box::new)
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        T::schema(definitions)
    }
}

/// A list. One value alone is none, so that a list looks the same everywhere.
impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        if let Some(items) = node.as_list() {
            return Some(all(items, out));
        }
        let hint = match (&node.value, node.is_from_environment()) {
            (Value::Map(_), _) => Some("begin each item with `- `".to_owned()),
            (Value::Null, _) | (_, true) => None,
            _ => Some(format!("write [{}]", node.shown())),
        };
        node.expected_hint("a list", hint, out);
        None
    }

    fn stand_in() -> Option<Self> {
        Some(Self::new())
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        json!({ "type": "array", "items": T::schema(definitions) })
    }
}

/// Every item that can be understood; about the others there are complaints.
pub(crate) fn all<T: Decode>(items: &[Node], out: &mut Diagnostics) -> Vec<T> {
    items.iter().filter_map(|item| T::decode(item, out)).collect()
}

/// As it was written; what it is relative to is for its user to say.
impl Decode for PathBuf {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        match node.scalar_text() {
            Some(text) if !text.is_empty() => Some(text.into()),
            _ => {
                node.expected_hint("the path of a file", None, out);
                None
            }
        }
    }

    fn schema(_: &mut Definitions) -> serde_json::Value {
        json!({ "type": ["string", "number"], "minLength": 1 })
    }
}

impl Decode for SocketAddr {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        if let Some(address) = node.scalar_text().and_then(|text| text.parse().ok()) {
            return Some(address);
        }
        let file_text = node.scalar_text().filter(|_| !node.is_from_environment());
        let is_port = |port: &str| port.parse::<u16>().is_ok();
        let hint = file_text.and_then(|text| match text.rsplit_once(':') {
            None if is_port(text) => Some(format!("write 127.0.0.1:{text} or 0.0.0.0:{text}")),
            None if text.parse::<std::net::IpAddr>().is_ok() => Some("add a port".to_owned()),
            Some(("", port)) if is_port(port) => {
                Some(format!("write 127.0.0.1:{port} or 0.0.0.0:{port}"))
            }
            Some(("localhost", port)) if is_port(port) => Some(format!("write 127.0.0.1:{port}")),
            Some(("*", port)) if is_port(port) => Some(format!("write 0.0.0.0:{port}")),
            _ => None,
        });
        let what = "an IP address and a port, such as 127.0.0.1:8080";
        node.expected_hint(what, hint, out);
        None
    }

    fn schema(_: &mut Definitions) -> serde_json::Value {
        json!({ "type": "string" })
    }
}

/// Raw: for blocks that another room decodes.
impl Decode for Node {
    fn decode(node: &Node, _: &mut Diagnostics) -> Option<Self> {
        Some(node.clone())
    }

    fn schema(_: &mut Definitions) -> serde_json::Value {
        json!({})
    }
}

/// One of several words: its place among them. YAML's `false` and `true` are taken for `off` and
/// `on`.
pub fn choice(node: &Node, words: &[&str], out: &mut Diagnostics) -> Option<usize> {
    let text = match &node.value {
        Value::Bool(true) => Some("on"),
        Value::Bool(false) => Some("off"),
        _ => node.scalar_text(),
    };
    if let Some(place) = text.and_then(|text| words.iter().position(|word| *word == text)) {
        return Some(place);
    }
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    let what = match quoted.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => quoted.join(""),
    };
    let written = text.filter(|_| !node.is_from_environment());
    let hint = written.and_then(|text| did_you_mean(text, words.iter().copied()));
    node.expected_hint(&what, hint.filter(|hint| !hint.starts_with("known")), out);
    None
}
