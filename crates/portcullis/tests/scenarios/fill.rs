//! `${upstream.orders}` and the like: what only the runner knows is filled into texts. Names that
//! the runner does not know are left alone: they belong to the gateway's own environment.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use portcullis_config::{Map, MapEntry, Node, Value};

/// First parts of names that only the runner has.
const OURS: [&str; 7] = ["upstream", "issuer", "port", "taken", "long", "listener", "saved"];

#[derive(Debug, Default)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.to_owned(), value.into());
    }

    pub fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let value = after.split_once('}').and_then(|(name, _)| self.0.get(name));
            match (value, after.split_once('}')) {
                (Some(value), Some((_, end))) => {
                    out.push_str(value);
                    rest = end;
                }
                _ => {
                    out.push_str("${");
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        out
    }

    /// Every text below a node.
    pub fn node(&self, node: &Node) -> Node {
        let mut filled = node.clone();
        filled.value = match &node.value {
            Value::Text(text) => Value::Text(self.text(text)),
            Value::List(items) => Value::List(items.iter().map(|item| self.node(item)).collect()),
            Value::Map(map) => {
                let mut filled = Map::new();
                for entry in map {
                    let (key, value) = (self.text(&entry.key), self.node(&entry.value));
                    filled.set(MapEntry { key, value, key_span: entry.key_span });
                }
                Value::Map(filled)
            }
            other => other.clone(),
        };
        filled
    }
}

/// An error for a name that only the runner could know, and does not.
pub fn check_filled(text: &str) -> Result<()> {
    for part in text.split("${").skip(1) {
        let Some((name, _)) = part.split_once('}') else { continue };
        if name.split_once('.').is_some_and(|(first, _)| OURS.contains(&first)) {
            bail!("${{{name}}} is not known here");
        }
    }
    Ok(())
}

/// The names behind `prefix.` in a text: which ports it wants.
pub fn names_of<'t>(text: &'t str, prefix: &str) -> Vec<&'t str> {
    let inside = |part: &'t str| part.split_once('}').map(|(name, _)| name);
    let named = |name: &'t str| name.strip_prefix(prefix)?.strip_prefix('.');
    text.split("${").skip(1).filter_map(inside).filter_map(named).collect()
}

/// `\r`, `\n`, `\t`, `\\` and `\xHH` become their bytes.
pub fn unescape(text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        let length = match after.chars().next() {
            Some('r') => push(&mut out, b'\r', 1),
            Some('n') => push(&mut out, b'\n', 1),
            Some('t') => push(&mut out, b'\t', 1),
            Some('\\') => push(&mut out, b'\\', 1),
            Some('x') => {
                let digits = after.get(1..3).unwrap_or_default();
                push(&mut out, u8::from_str_radix(digits, 16)?, 3)
            }
            other => bail!("unknown escape: \\{other:?}"),
        };
        rest = after.get(length..).unwrap_or_default();
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

fn push(out: &mut Vec<u8>, byte: u8, length: usize) -> usize {
    out.push(byte);
    length
}
