//! Several files become one: lists of the same name are joined in the order of the files, maps take
//! each other's keys, and whatever else is said twice is a mistake. Nothing is laid over anything, so
//! that it does not matter which file comes first, but for the order of lists.

use std::collections::HashMap;

use crate::diagnostic::Diagnostics;
use crate::node::{Map, MapEntry, Node, Value};
use crate::source::{Sources, Span};
use crate::text::clip;

/// One node of the nodes of all files; `None` when there are none. An empty file says nothing.
pub fn merge(mut files: Vec<Node>, sources: &Sources, out: &mut Diagnostics) -> Option<Node> {
    if files.len() > 1 {
        let filled = |node: &Node| !matches!(node.value, Value::Null);
        let first = files.iter().position(filled).unwrap_or(0);
        files.swap(0, first);
        let rest = files.split_off(1);
        files.extend(rest.into_iter().filter(filled));
    }
    if files.len() < 2 {
        return files.pop();
    }
    let span = files.first()?.span;
    let (mut blocks, mut places) = (Vec::<Vec<MapEntry>>::new(), HashMap::new());
    for file in files {
        let Value::Map(map) = file.value else {
            file.expected("keys with values", out);
            continue;
        };
        for entry in map.into_entries() {
            let place = *places.entry(entry.key.clone()).or_insert(blocks.len());
            match blocks.get_mut(place) {
                Some(block) => block.push(entry),
                None => blocks.push(vec![entry]),
            }
        }
    }
    let mut twice = Twice { sources, out };
    let entries = blocks.into_iter().filter_map(|block| twice.join(block)).collect();
    Some(Node::new(Value::Map(Map::of(entries)), span))
}

/// Joins what stands under one key in several files, and complains about what cannot be joined.
struct Twice<'a> {
    sources: &'a Sources,
    out: &'a mut Diagnostics,
}

impl Twice<'_> {
    fn join(&mut self, block: Vec<MapEntry>) -> Option<MapEntry> {
        let lists = block.iter().all(|entry| matches!(entry.value.value, Value::List(_)));
        let maps = block.iter().all(|entry| matches!(entry.value.value, Value::Map(_)));
        let mut block = block.into_iter();
        let mut first = block.next()?;
        for entry in block {
            match (&mut first.value.value, entry.value.value) {
                (Value::List(items), Value::List(more)) if lists => items.extend(more),
                (Value::Map(map), Value::Map(more)) if maps => map.append(more),
                _ => self.complain(&entry.key, entry.key_span, first.key_span),
            }
        }
        if let Value::Map(map) = &mut first.value.value {
            let mut known = HashMap::new();
            map.retain(|entry| match known.get(&entry.key) {
                None => known.insert(entry.key.clone(), entry.key_span).is_none(),
                Some(first) => {
                    self.complain(&entry.key, entry.key_span, *first);
                    false
                }
            });
        }
        Some(first)
    }

    fn complain(&mut self, key: &str, span: Span, first: Span) {
        let first = self.sources.position(first);
        self.out
            .error(span, format!("`{}` stands in two files", clip(key)))
            .hint(format!("the other is at {first}; keep it in one of them"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::parse;

    fn merged(files: &[(&str, &str)]) -> (Option<String>, String) {
        let (mut sources, mut out) = (Sources::new(), Diagnostics::new());
        let nothing = |_: &str| None;
        let mut nodes = Vec::new();
        for (name, text) in files {
            let text = (*text).to_owned();
            nodes.extend(parse(&mut sources, (*name).into(), text, &nothing, &mut out));
        }
        let node = merge(nodes, &sources, &mut out);
        (node.map(|node| node.to_json().to_string()), out.render(&sources, false))
    }

    #[test]
    fn lists_are_joined_in_order_and_maps_take_each_others_keys() {
        let files = [
            ("a", "# nothing yet"),
            ("b", "list: [1]\nmap: { x: 1 }\nflag: on"),
            ("c", "map: { y: [2] }\nlist: [2, 3]"),
            ("d", ""),
            ("e", "other: 1\nmap: { z: {} }"),
        ];
        let (node, said) = merged(&files);
        assert_eq!(said, "");
        let whole = r#"{"list":[1,2,3],"map":{"x":1,"y":[2],"z":{}},"flag":"on","other":1}"#;
        assert_eq!(node.unwrap(), whole);
    }

    #[test]
    fn what_is_said_twice_names_both_places() {
        let (node, said) = merged(&[
            ("one.yaml", "map:\n  x: { deep: 1 }\nflag: on\nkind: [1]"),
            ("two.yaml", "map:\n  y: 1\n  x: { other: 2 }\nflag: on\nkind: { a: 1 }"),
        ]);
        assert_eq!(node.unwrap(), r#"{"map":{"x":{"deep":1},"y":1},"flag":"on","kind":[1]}"#);
        for part in [
            "`x` stands in two files\n --> two.yaml:3:3",
            "the other is at one.yaml:2:3; keep it in one of them",
            "`flag` stands in two files\n --> two.yaml:4:1",
            "the other is at one.yaml:3:1; keep it in one of them",
            "`kind` stands in two files\n --> two.yaml:5:1",
        ] {
            assert!(said.contains(part), "{part:?} in\n{said}");
        }
    }

    #[test]
    fn one_file_is_left_as_it_is_and_no_map_is_a_mistake_among_several() {
        assert_eq!(merged(&[("a", "[1]")]), (Some("[1]".to_owned()), String::new()));
        assert_eq!(merged(&[("a", ""), ("b", "")]).0.unwrap(), "null");
        assert_eq!(merged(&[]).0, None);
        let (node, said) = merged(&[("a", "x: 1"), ("b", "[1]")]);
        assert_eq!(node.unwrap(), r#"{"x":1}"#);
        assert!(said.contains("expected keys with values, found a list\n --> b:1:1"), "{said}");
    }
}
