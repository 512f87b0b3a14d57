//! The keys of one block. Every mistake in it is told: unknown keys, missing ones, and each value
//! that does not fit.

use crate::decode::Decode;
use crate::defaults::default_node;
use crate::diagnostic::Diagnostics;
use crate::node::{Map, Node, Value};
use crate::source::Span;
use crate::suggest::{did_you_mean, nearest};
use crate::text::clip;

/// A map whose keys are taken one by one. For decoders that [`crate::settings!`] cannot write.
pub struct Fields<'n, 'o> {
    map: &'n Map,
    /// Where complaints about the block as a whole go: its first key, or its braces.
    span: Span,
    out: &'o mut Diagnostics,
    /// Keys that an unknown one was probably meant to be.
    meant: Vec<&'static str>,
}

impl<'n, 'o> Fields<'n, 'o> {
    /// Complains about what is not a map, and about every key that is not known.
    pub fn of(node: &'n Node, known: &[&'static str], out: &'o mut Diagnostics) -> Option<Self> {
        let Some(map) = node.as_map() else {
            let hint = match &node.value {
                Value::Null if known.is_empty() => Some("no keys at all are written {}".to_owned()),
                Value::Null => Some(format!("its keys: {}", known.join(", "))),
                Value::List(_) => Some("write `key: value` in place of `- …`".to_owned()),
                _ => None,
            };
            node.expected_hint("keys with values", hint, out);
            return None;
        };
        let mut meant = Vec::new();
        for entry in map {
            if known.contains(&entry.key.as_str()) {
                continue;
            }
            let free: Vec<&str> =
                known.iter().copied().filter(|key| map.get(key).is_none()).collect();
            let complaint =
                out.error(entry.key_span, format!("unknown key `{}`", clip(&entry.key)));
            if let Some(hint) = did_you_mean(&entry.key, free.iter().copied()) {
                complaint.hint(hint);
            }
            let near = nearest(&entry.key, &free);
            meant.extend(known.iter().copied().find(|key| Some(*key) == near));
        }
        let first = map.iter().next().map(|entry| entry.key_span);
        let span = match first {
            // Braces begin before their first key; a block begins with it.
            Some(first) if first.start == node.span.start => first,
            _ => node.span,
        };
        Some(Self { map, span, out, meant })
    }

    /// A required key, or an optional one when its type has a value for "left out".
    pub fn take<T: Decode>(&mut self, key: &'static str) -> Option<T> {
        if let Some(node) = self.map.get(key) {
            return T::decode(node, self.out).or_else(T::stand_in);
        }
        let missing = T::missing();
        if missing.is_some() {
            return missing;
        }
        if !self.meant.contains(&key) {
            self.out.error(self.span, format!("missing key `{key}`"));
        }
        T::stand_in()
    }

    /// A key with a default, which is YAML text.
    pub fn take_or<T: Decode>(&mut self, key: &'static str, default: &str) -> Option<T> {
        let written = self.map.get(key).and_then(|node| T::decode(node, self.out));
        written.or_else(|| T::decode(&default_node(default), self.out))
    }

    /// The value of a key as it was written.
    pub fn raw(&self, key: &str) -> Option<&'n Node> {
        self.map.get(key)
    }

    /// Where complaints about the block as a whole go.
    pub fn span(&self) -> Span {
        self.span
    }

    /// For complaints of the decoder's own.
    pub fn out(&mut self) -> &mut Diagnostics {
        self.out
    }
}
