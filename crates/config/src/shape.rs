//! Shapes that blocks share: named things in their order, one or many, a thing or `off`, and a
//! value that remembers its place.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::json;

use crate::decode::{Decode, all};
use crate::diagnostic::Diagnostics;
use crate::node::{Node, Style, Value};
use crate::schema::Definitions;
use crate::source::Span;
use crate::text::clip;

/// A value with its place, for complaints that only later steps can make.
#[derive(Clone)]
pub struct Spanned<T> {
    pub value: T,
    pub span: Span,
    pub(crate) masked: Option<Arc<str>>,
    pub(crate) style: Style,
}

impl<T> Spanned<T> {
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span, masked: None, style: Style::Plain }
    }

    /// Whether it was filled in from the environment, so that it may be a secret.
    pub fn is_filled_in(&self) -> bool {
        self.masked.is_some()
    }
}

impl<T: fmt::Display> Spanned<T> {
    /// For messages: short, with `${NAME}` in place of a value from the environment.
    pub fn shown(&self) -> String {
        match &self.masked {
            Some(written) => clip(written),
            None => clip(&self.value.to_string()),
        }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Equal values, wherever they stand.
impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.masked {
            Some(written) => f.write_str(written),
            None => self.value.fmt(f),
        }
    }
}

impl<T: Decode> Decode for Spanned<T> {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let value = T::decode(node, out)?;
        Some(Self { value, span: node.span, masked: node.masked().cloned(), style: node.style })
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        T::schema(definitions)
    }
}

/// A list, or one value in place of a list of one.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Deref for OneOrMany<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> IntoIterator for OneOrMany<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a OneOrMany<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: Decode> Decode for OneOrMany<T> {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        match node.as_list() {
            Some(items) => Some(Self(all(items, out))),
            None => T::decode(node, out).map(|one| Self(vec![one])),
        }
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        let one = T::schema(definitions);
        json!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// A thing, or `off`. Where a block has a default for every key, `on` is the empty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrOff<T> {
    On(T),
    Off,
}

impl<T> OrOff<T> {
    /// The thing, unless it is off.
    pub fn on(&self) -> Option<&T> {
        match self {
            Self::On(value) => Some(value),
            Self::Off => None,
        }
    }

    pub fn into_on(self) -> Option<T> {
        match self {
            Self::On(value) => Some(value),
            Self::Off => None,
        }
    }

    pub fn is_off(&self) -> bool {
        matches!(self, Self::Off)
    }
}

impl<T: Decode> Decode for OrOff<T> {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        if node.is_off() {
            return Some(Self::Off);
        }
        let switched_on = node.is_on().then(T::switched_on).flatten();
        switched_on.or_else(|| T::decode(node, out)).map(Self::On)
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        let off = definitions.or_variable(match T::switched_on() {
            Some(_) => json!({ "enum": ["on", "off", true, false] }),
            None => json!({ "enum": ["off", false] }),
        });
        json!({ "anyOf": [off, T::schema(definitions)] })
    }
}

/// Longest name, in bytes.
const NAME_LENGTH: usize = 64;

/// Things by name, in the order of the file. A name has 1 to 64 of `A-Z a-z 0-9 _ -`.
#[derive(Clone, Debug)]
pub struct Named<T> {
    entries: Vec<NamedEntry<T>>,
    /// Names of what could not be understood; there are complaints about them.
    broken: Vec<String>,
    /// Places in `entries`, sorted by name: thousands of routes look up thousands of names.
    sorted: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct NamedEntry<T> {
    pub name: String,
    /// Of the name.
    pub span: Span,
    pub value: T,
}

impl<T> Named<T> {
    fn of(entries: Vec<NamedEntry<T>>, broken: Vec<String>) -> Self {
        let name = |place: &usize| entries.get(*place).map(|entry| entry.name.as_str());
        let mut sorted: Vec<usize> = (0..entries.len()).collect();
        sorted.sort_by(|one, two| name(one).cmp(&name(two)));
        Self { entries, broken, sorted }
    }

    pub fn entry(&self, name: &str) -> Option<&NamedEntry<T>> {
        let there = |place: &usize| self.entries.get(*place);
        let found = self.sorted.binary_search_by(|place| {
            there(place).map_or(std::cmp::Ordering::Less, |entry| entry.name.as_str().cmp(name))
        });
        found.ok().and_then(|found| self.sorted.get(found)).and_then(there)
    }

    pub fn get(&self, name: &str) -> Option<&T> {
        self.entry(name).map(|entry| &entry.value)
    }

    /// Names of what is there and could not be understood.
    pub fn broken(&self) -> &[String] {
        &self.broken
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    pub fn iter(&self) -> std::slice::Iter<'_, NamedEntry<T>> {
        self.entries.iter()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self::of(Vec::new(), Vec::new())
    }
}

impl<T> IntoIterator for Named<T> {
    type Item = NamedEntry<T>;
    type IntoIter = std::vec::IntoIter<NamedEntry<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Named<T> {
    type Item = &'a NamedEntry<T>;
    type IntoIter = std::slice::Iter<'a, NamedEntry<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}

fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    !text.is_empty() && text.len() <= NAME_LENGTH && text.chars().all(fits)
}

impl<T: Decode> Decode for Named<T> {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let Some(map) = node.as_map() else {
            let hint = match &node.value {
                Value::List(_) => "write `name: …` in place of `- …`",
                _ => "none at all is written {}",
            };
            node.expected_hint("a map from names", Some(hint.to_owned()), out);
            return None;
        };
        let (mut entries, mut broken) = (Vec::with_capacity(map.len()), Vec::new());
        for entry in map {
            if !is_name(&entry.key) {
                let message = format!("`{}` cannot be a name", clip(&entry.key));
                out.error(entry.key_span, message)
                    .hint("a name has 1 to 64 letters, digits, `_` and `-`");
            }
            let name = entry.key.clone();
            match T::decode(&entry.value, out).filter(|_| is_name(&name)) {
                Some(value) => entries.push(NamedEntry { name, span: entry.key_span, value }),
                None => broken.push(name),
            }
        }
        Some(Self::of(entries, broken))
    }

    fn stand_in() -> Option<Self> {
        Some(Self::default())
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        json!({
            "type": "object",
            "propertyNames": { "pattern": format!("^[A-Za-z0-9_-]{{1,{NAME_LENGTH}}}$") },
            "additionalProperties": T::schema(definitions),
        })
    }
}
