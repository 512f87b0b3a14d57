//! Nodes: what YAML means, overlay, equality, and places inside of texts.

use portcullis_config::{Diagnostics, Node, Sources, Span, Value, parse};
use serde_json::json;

fn read(text: &str) -> (Node, Sources) {
    let (mut sources, mut out) = (Sources::new(), Diagnostics::new());
    let none = |_: &str| None;
    let node = parse(&mut sources, "a.yaml".into(), text.to_owned(), &none, &mut out);
    let node = node.filter(|_| out.is_empty());
    assert!(node.is_some(), "{}", out.render(&sources, false));
    (node.unwrap_or_else(|| Node::new(Value::Null, Span::default())), sources)
}

fn json_of(text: &str) -> serde_json::Value {
    read(text).0.to_json()
}

#[test]
fn yaml_1_2_is_read_with_the_core_schema() {
    assert_eq!(
        json_of(
            "a: off\nb: on\nc: yes\nd: false\ne: 012\nf: 0o17\ng: 1e3\nh: ~\ni: '1'\nj: 12:30\n"
        ),
        json!({ "a": "off", "b": "on", "c": "yes", "d": false, "e": 12, "f": 15, "g": 1000.0,
                "h": null, "i": "1", "j": "12:30" })
    );
    assert_eq!(
        json_of(
            "- |\n  a\n   b\n- >\n  a\n  b\n- \"a\\tb\"\n- 'it''s'\n- a\n  b\n- - c\n- {d: [e]}\n"
        ),
        json!(["a\n b\n", "a b\n", "a\tb", "it's", "a b", ["c"], { "d": ["e"] }])
    );
    assert_eq!(
        json_of("200: x\ntrue: y\nnull: z\n"),
        json!({ "200": "x", "true": "y", "null": "z" })
    );
    assert!(read("a: false").0.get("a").unwrap().is_off());
    assert!(read("a: off").0.get("a").unwrap().is_off());
    assert!(!read("a: on").0.get("a").unwrap().is_off());
}

#[test]
fn an_alias_stands_for_a_whole_value() {
    assert_eq!(
        json_of("a: &x { k: [1, 2] }\nb: *x\nc: &y text\nd: [*y, *x]\n"),
        json!({ "a": { "k": [1, 2] }, "b": { "k": [1, 2] }, "c": "text",
                "d": ["text", { "k": [1, 2] }] })
    );
}

#[test]
fn spans_cover_what_was_written() {
    let text = "a: &x { k: [1, 2] }   # c\nb:\n  - one  # first\n  - \"two\"\nc: &y\n  d: e\n\nf: &z |\n  g\n";
    let (node, sources) = read(text);
    let of = |node: &Node| &text[node.span.start as usize..node.span.end as usize];
    assert_eq!(of(node.get("a").unwrap()), "{ k: [1, 2] }");
    let list = node.get("b").unwrap();
    assert_eq!(of(list), "- one  # first\n  - \"two\"");
    assert_eq!(of(&list.as_list().unwrap()[0]), "one");
    assert_eq!(of(node.get("c").unwrap()), "d: e");
    assert_eq!(of(&node), text.trim_end());
    let key = node.as_map().unwrap().entry("c").unwrap().key_span;
    assert_eq!(sources.position(key).to_string(), "a.yaml:5:1");
}

#[test]
fn an_overlay_goes_key_by_key_and_one_level_deep() {
    for (inherited, own, result) in [
        ("{a: 1, b: 2}", "{b: 3, c: 4}", json!({ "a": 1, "b": 3, "c": 4 })),
        ("{a: {x: 1, y: 2}}", "{a: {x: 3}}", json!({ "a": { "x": 3 } })),
        ("{a: [1, 2]}", "{a: [3]}", json!({ "a": [3] })),
        ("{a: 1}", "{a: off}", json!({ "a": "off" })),
        ("{a: 1}", "off", json!("off")),
        ("off", "{a: 1}", json!({ "a": 1 })),
        ("{a: 1}", "{}", json!({ "a": 1 })),
        ("[1]", "[2]", json!([2])),
    ] {
        let laid = Node::overlay(&read(inherited).0, &read(own).0);
        assert_eq!(laid.to_json(), result);
        let order = |value: &serde_json::Value| value.to_string();
        assert_eq!(order(&laid.to_json()), order(&result), "inherited keys come first");
    }
}

#[test]
fn the_same_values_have_the_same_fingerprint_wherever_they_stand() {
    let same = |one: &str, two: &str| {
        let (one, two) = (read(one).0, read(two).0);
        assert_eq!(one.same(&two), one.fingerprint() == two.fingerprint());
        assert_eq!(one.same(&two), two.same(&one));
        one.same(&two)
    };
    assert!(same("{a: 1, b: [x, y]}", "# moved\nb:\n- x\n- 'y'\na: 1\n"));
    assert!(!same("{a: 1}", "{a: 2}"));
    assert!(!same("{a: 1}", "{a: 1, b: 1}"));
    assert!(!same("{a: 1, b: 2}", "{a: 2, b: 1}"));
    assert!(!same("[a, b]", "[b, a]"));
    assert!(!same("['1']", "[1]"));
    assert!(!same("[[a], b]", "[[a, b]]"));
    assert!(!same("a: off", "a: false"));
    assert!(!same("{}", "[]"));
}

#[test]
fn what_is_shown_is_short() {
    let shown = |text: &str| read(text).0.shown();
    assert_eq!(shown("{a: 1}"), "{…}");
    assert_eq!(shown("[]"), "[]");
    assert_eq!(shown("1.10"), "1.10");
    assert_eq!(shown("|\n  a\n  b\n"), "a b");
    assert_eq!(shown(&"x".repeat(100)), format!("{}…", "x".repeat(60)));
}

/// The character that `inside` finds for each character of the value of key `k`.
fn found(text: &str) -> (String, String) {
    let (node, sources) = read(text);
    let node = node.get("k").unwrap_or(&node);
    let value = node.as_text().unwrap_or_default();
    let at = |(offset, _): (usize, char)| {
        let span = sources.inside(node, offset);
        assert_ne!(span, node.span, "{text:?} at {offset}");
        match &sources.text(span.source)[span.start as usize..span.end as usize] {
            "" => "\n".to_owned(),
            character => character.to_owned(),
        }
    };
    (value.to_owned(), value.char_indices().map(at).collect())
}

#[test]
fn a_place_inside_a_text_is_found_in_the_file() {
    for text in [
        "k: abc def\n",
        "k: 'abc def'\n",
        "k: \"abc def\"\n",
        "k: |\n  {\n    a: .b,\n\n    c: \"größe\"\n  }\n",
        "k: |-\n      deep\n        er\nl: 1\n",
        "k: |+\n  ab\n\n\nl: 1\n",
        "k: |2\n    two more\n  none\n",
        "k: |\n  'quoted' first\n  b\n",
        "k: |\r\n  a\r\n\r\n  b\r\n",
        "k: &name abc\n",
        "k: |\n  no line break at the end",
        "j: 日本\nk: |\n  多 a\n  b 本\n",
    ] {
        let (value, found) = found(text);
        assert_eq!(found.trim_end_matches('\n'), value.trim_end_matches('\n'), "{text:?}");
    }
}

#[test]
fn escapes_and_folds_are_walked_over() {
    let (value, found) = found("k: \"a\\\"b\\u00e4c\\x41d\\ne\"\n");
    assert_eq!((value.as_str(), found.as_str()), ("a\"bäcAd\ne", "a\\b\\c\\d\\e"));
    let (value, found) = self::found("k: 'it''s'\n");
    assert_eq!((value.as_str(), found.as_str()), ("it's", "it's"));
    let (value, found) = self::found("k: >\n  a b\n  c\nl: 1\n");
    assert_eq!((value.as_str(), found.as_str()), ("a b c\n", "a b\nc\n"));
}

#[test]
fn leading_empty_lines_of_a_block_are_counted() {
    let (node, sources) = read("k: |\n\n\n  abc\n");
    let node = node.get("k").unwrap();
    let offset = node.as_text().unwrap().find('b').unwrap();
    assert_eq!(sources.position(sources.inside(node, offset)).to_string(), "a.yaml:4:4");
}

#[test]
fn where_no_place_is_found_the_whole_text_is_shown() {
    let (node, sources) = read("k: \"a \\\n   b\"\nn: 5\n");
    let text = node.get("k").unwrap();
    assert_eq!(sources.inside(text, 3), text.span);
    let number = node.get("n").unwrap();
    assert!(matches!(number.value, Value::Number(_)));
    assert_eq!(sources.inside(number, 0), number.span);
    assert_eq!(sources.position(sources.inside(text, 9999)).line, 1);
}
