//! Defaults are written as YAML text, so that a reader of the code, the schema and the reference
//! sees what a user would write; the same decoder reads them.

use std::path::PathBuf;

use crate::diagnostic::Diagnostics;
use crate::node::{Map, Node, Value};
use crate::read::parse;
use crate::scalar::plain;
use crate::source::{Sources, Span};

/// The node of a default. Its text is the program's own; what most defaults are needs no parser.
pub(crate) fn default_node(text: &str) -> Node {
    let nowhere = Span::default();
    let simple = |c: char| c.is_ascii_alphanumeric() || "_./%:-".contains(c);
    let ends_simply = text.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '%');
    match text {
        "{}" => return Node::new(Value::Map(Map::new()), nowhere),
        "[]" => return Node::new(Value::List(Vec::new()), nowhere),
        _ if ends_simply && text.chars().all(simple) => return Node::new(plain(text), nowhere),
        _ => {}
    }
    let (mut sources, mut out) = (Sources::new(), Diagnostics::new());
    let no_environment = |_: &str| None;
    let node = parse(&mut sources, PathBuf::new(), text.to_owned(), &no_environment, &mut out);
    let mut node = node.unwrap_or_else(|| Node::new(Value::Null, nowhere));
    displace(&mut node);
    node
}

/// A default stands in no file.
fn displace(node: &mut Node) {
    node.span = Span::default();
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(displace),
        Value::Map(map) => map.iter_mut().for_each(|entry| {
            entry.key_span = Span::default();
            displace(&mut entry.value);
        }),
        _ => {}
    }
}
