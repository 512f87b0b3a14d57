//! The values of a file together with where they stand: what everything is decoded from.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use crate::scalar::Number;
use crate::source::Span;
use crate::text::clip;

/// A value and its place. At most 64 levels deep.
#[derive(Clone)]
pub struct Node {
    pub value: Value,
    pub span: Span,
    pub(crate) origin: Origin,
    pub(crate) style: Style,
}

/// Numbers keep their text; maps keep their order.
#[derive(Clone, Debug)]
pub enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

/// Where a scalar's value came from.
#[derive(Clone)]
pub(crate) enum Origin {
    File,
    /// Holds what is shown in place of the value: the text with `${NAME}` left in.
    Environment(Arc<str>),
    /// A variable is not set, which was said: nobody complains about this node again.
    Unset(Arc<str>),
}

/// How a scalar was written: needed to find a place inside its value again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Style {
    Plain,
    SingleQuoted,
    DoubleQuoted,
    /// `|` and `>`.
    Block,
}

impl Node {
    /// A node that did not come from a file's text, or stands for several.
    pub fn new(value: Value, span: Span) -> Self {
        Self { value, span, origin: Origin::File, style: Style::Plain }
    }

    /// A key of a map; `None` also when this is no map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key)
    }

    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// `off`, or `false`, which YAML 1.1 made of it.
    pub fn is_off(&self) -> bool {
        match &self.value {
            Value::Bool(on) => !on,
            Value::Text(text) => text == "off",
            _ => false,
        }
    }

    /// `on`, or `true`, which YAML 1.1 made of it.
    pub fn is_on(&self) -> bool {
        match &self.value {
            Value::Bool(on) => *on,
            Value::Text(text) => text == "on",
            _ => false,
        }
    }

    /// True when some of a scalar came from the environment: its value is then a secret, and may be
    /// read as a number or a truth value although it is text.
    pub fn is_from_environment(&self) -> bool {
        !matches!(self.origin, Origin::File)
    }

    pub(crate) fn is_unset(&self) -> bool {
        matches!(self.origin, Origin::Unset(_))
    }

    /// What stands for a value from the environment in messages.
    pub(crate) fn masked(&self) -> Option<&Arc<str>> {
        match &self.origin {
            Origin::File => None,
            Origin::Environment(written) | Origin::Unset(written) => Some(written),
        }
    }

    /// For messages: short, on one line, with `${NAME}` in place of a value from the environment.
    pub fn shown(&self) -> String {
        if let Some(written) = self.masked() {
            return clip(written);
        }
        match &self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(number) => clip(number.as_text()),
            Value::Text(text) => clip(text),
            Value::List(items) if items.is_empty() => "[]".to_owned(),
            Value::List(_) => "[…]".to_owned(),
            Value::Map(map) if map.is_empty() => "{}".to_owned(),
            Value::Map(_) => "{…}".to_owned(),
        }
    }

    /// For "expected this, found that".
    pub(crate) fn found(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Text(text) if text.is_empty() && self.masked().is_none() => {
                "an empty text".to_owned()
            }
            _ => format!("`{}`", self.shown()),
        }
    }

    /// The plain value. Holds values from the environment as they are: not for messages.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(number) => number.to_json(),
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(map) => {
                let members = map.iter().map(|entry| (entry.key.clone(), entry.value.to_json()));
                serde_json::Value::Object(members.collect())
            }
        }
    }

    /// A number for the value alone: equal for nodes that are the [`Node::same`]. Stable within a
    /// process, not between versions.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match &self.value {
            Value::Null => 0_u8.hash(&mut hasher),
            Value::Bool(value) => (1_u8, value).hash(&mut hasher),
            Value::Number(number) => (2_u8, number).hash(&mut hasher),
            Value::Text(text) => (3_u8, text).hash(&mut hasher),
            Value::List(items) => {
                (4_u8, items.len()).hash(&mut hasher);
                items.iter().for_each(|item| item.fingerprint().hash(&mut hasher));
            }
            Value::Map(map) => {
                // Summed: the order of keys means nothing.
                let sum = map.iter().fold(0_u64, |sum, entry| {
                    let mut pair = DefaultHasher::new();
                    (&entry.key, entry.value.fingerprint()).hash(&mut pair);
                    sum.wrapping_add(pair.finish())
                });
                (5_u8, map.len(), sum).hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    /// Equal values, wherever they stand and in whatever order their keys are.
    pub fn same(&self, other: &Node) -> bool {
        match (&self.value, &other.value) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(one), Value::Bool(two)) => one == two,
            (Value::Number(one), Value::Number(two)) => one == two,
            (Value::Text(one), Value::Text(two)) => one == two,
            (Value::List(one), Value::List(two)) => {
                one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.same(two))
            }
            (Value::Map(one), Value::Map(two)) => {
                let index: HashMap<_, _> =
                    two.iter().map(|entry| (entry.key.as_str(), &entry.value)).collect();
                let twin = |entry: &MapEntry| {
                    index.get(entry.key.as_str()).is_some_and(|two| entry.value.same(two))
                };
                one.len() == two.len() && one.iter().all(twin)
            }
            _ => false,
        }
    }

    /// `own` laid over `inherited`, key by key and one level deep: a map over a map keeps the
    /// inherited keys that it does not name, in their order, then come its new ones. Whatever a key
    /// holds replaces what was inherited for it. Anything else than two maps: `own`.
    pub fn overlay(inherited: &Node, own: &Node) -> Node {
        let (Value::Map(base), Value::Map(top)) = (&inherited.value, &own.value) else {
            return own.clone();
        };
        let mut changes: HashMap<&str, &MapEntry> =
            top.iter().map(|entry| (entry.key.as_str(), entry)).collect();
        let kept = base.iter().map(|entry| changes.remove(entry.key.as_str()).unwrap_or(entry));
        let mut entries: Vec<MapEntry> = kept.cloned().collect();
        let added = top.iter().filter(|entry| changes.contains_key(entry.key.as_str()));
        entries.extend(added.cloned());
        Node { value: Value::Map(Map { entries }), ..own.clone() }
    }
}

/// Like [`Node::shown`], but whole: a value from the environment is masked here too.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.masked() {
            Some(written) => f.write_str(written),
            None => self.value.fmt(f),
        }
    }
}

/// Keys and values in the order of the file; no key twice.
#[derive(Clone, Debug, Default)]
pub struct Map {
    entries: Vec<MapEntry>,
}

#[derive(Clone, Debug)]
pub struct MapEntry {
    pub key: String,
    pub key_span: Span,
    pub value: Node,
}

impl Map {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub fn entry(&self, key: &str) -> Option<&MapEntry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Replaces the value of a key that is there, else adds it as the last.
    pub fn set(&mut self, entry: MapEntry) {
        match self.entries.iter_mut().find(|there| there.key == entry.key) {
            Some(there) => *there = entry,
            None => self.entries.push(entry),
        }
    }

    /// For who knows that the keys differ.
    pub(crate) fn of(entries: Vec<MapEntry>) -> Self {
        Self { entries }
    }

    pub(crate) fn into_entries(self) -> Vec<MapEntry> {
        self.entries
    }

    /// For who looks at keys that are there twice afterwards.
    pub(crate) fn append(&mut self, mut more: Map) {
        self.entries.append(&mut more.entries);
    }

    pub(crate) fn retain(&mut self, stays: impl FnMut(&MapEntry) -> bool) {
        self.entries.retain(stays);
    }

    pub fn iter(&self) -> std::slice::Iter<'_, MapEntry> {
        self.entries.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> std::slice::IterMut<'_, MapEntry> {
        self.entries.iter_mut()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = &'a MapEntry;
    type IntoIter = std::slice::Iter<'a, MapEntry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
