//! Files that want to hurt: nothing panics, nothing grows without bound.

use std::fmt::Write as _;

use portcullis_config::{Diagnostics, FILE_LIMIT, Node, Sources, parse};
use proptest::prelude::*;

fn read(text: &str) -> (Option<Node>, String) {
    let (mut sources, mut out) = (Sources::new(), Diagnostics::new());
    let environment = |name: &str| (name == "A").then(|| "value".to_owned());
    let node = parse(&mut sources, "a.yaml".into(), text.to_owned(), &environment, &mut out);
    assert!(node.is_some() || out.has_errors(), "what cannot be read is complained about");
    (node, out.render(&sources, false))
}

fn first_line(text: &str) -> String {
    let (node, shown) = read(text);
    assert!(node.is_none());
    shown.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn depth_is_bounded() {
    let flow = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(read(&flow(64)).0.is_some());
    let refused = "error: more than 64 lists and maps inside each other";
    assert_eq!(first_line(&flow(65)), refused);
    assert_eq!(first_line(&"[".repeat(200_000)), refused);
    assert_eq!(first_line(&"- ".repeat(200_000)), refused);
    assert_eq!(first_line(&"{a: ".repeat(100_000)), refused);
    let mut block = String::new();
    for level in 0..70 {
        let _ = writeln!(block, "{}a:", " ".repeat(level));
    }
    assert_eq!(first_line(&block), refused);
}

#[test]
fn depth_is_bounded_through_aliases_too() {
    let nest = |inner: &str| format!("{}{inner}{}", "[".repeat(30), "]".repeat(30));
    let text = format!("a: &a {}\nb: &b {}\nc: {}\n", nest("x"), nest("*a"), nest("*b"));
    assert_eq!(first_line(&text), "error: more than 64 lists and maps inside each other");
}

#[test]
fn aliases_cannot_multiply_without_bound() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let one = format!("*a{}", level - 1);
        let _ = writeln!(text, "a{level}: &a{level} [{}]", vec![one; 10].join(", "));
    }
    assert_eq!(first_line(&text), "error: the file holds too many values");

    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 1000].join(", "));
    assert_eq!(first_line(&long), "error: the file holds too many values");
}

#[test]
fn values_of_the_environment_count_as_often_as_they_are_used() {
    let environment = |_: &str| Some("x".repeat(1 << 20));
    let text = format!("[{}]", vec!["'${X}'"; 1000].join(", "));
    let (mut sources, mut out) = (Sources::new(), Diagnostics::new());
    assert!(parse(&mut sources, "a".into(), text, &environment, &mut out).is_none());
    assert!(out.render(&sources, false).contains("too many values"));
}

#[test]
fn a_large_file_is_read_whole() {
    let mut text = String::with_capacity(FILE_LIMIT);
    while text.len() < FILE_LIMIT - 200 {
        let line = text.len();
        let _ = writeln!(text, "key{line}: {{ path: \"/größe/{line}\", list: [1, two, 3s] }}");
    }
    let (node, shown) = read(&text);
    assert_eq!(shown, "");
    assert!(node.and_then(|node| node.as_map().map(|map| map.len())).unwrap() > 50_000);
}

#[test]
fn thousands_of_mistakes_are_bounded() {
    let mut text = "a: 1\n".to_owned();
    for _ in 0..20_000 {
        text.push_str("a: 2\n");
    }
    let (_, shown) = read(&text);
    assert!(shown.ends_with("and 19000 more\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        read(&text);
    }

    /// Made of what means something in YAML.
    #[test]
    fn any_heap_of_yaml_is_answered(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "a", "b: ", ": ", "- ", "? ", "\n", "\n  ", "\n    ", "[", "]", "{", "}", ", ", "'",
                "\"", "\\", "|", ">", "|2-\n", "&a ", "*a", "!t ", "# ", "---\n", "...\n", "%YAML ",
                "\t", "\r", "\r\n", "~", "1", "${A}", "${", "$", "<<: ", "日", "\u{feff}", "\u{85}",
                "@", "`", "off", "\0", "''", "\u{2028}",
            ]),
            0..60,
        ),
    ) {
        read(&parts.concat());
    }

    /// JSON is YAML: whatever JSON says is read as it was meant.
    #[test]
    fn json_is_read_as_json(text in json_text(4)) {
        let written: serde_json::Value = serde_json::from_str(&text).unwrap();
        let (node, shown) = read(&text);
        prop_assert_eq!(shown, "");
        prop_assert_eq!(node.unwrap().to_json(), written);
    }

    /// Each character of a block literal is found where it stands.
    #[test]
    fn places_inside_of_blocks_are_exact(
        lines in prop::collection::vec("[ a-z'\"{}:#äé日|.]{0,12}", 1..8),
        indent in 1_usize..6,
        crlf in any::<bool>(),
    ) {
        let pad = " ".repeat(indent);
        let ends = if crlf { "\r\n" } else { "\n" };
        let body: String = lines.iter().map(|line| format!("{pad}x{line}{ends}")).collect();
        let text = format!("k: |{ends}{body}z: 1{ends}");
        let (mut sources, mut out) = (Sources::new(), Diagnostics::new());
        let none = |_: &str| None;
        let node = parse(&mut sources, "a".into(), text.clone(), &none, &mut out).unwrap();
        let node = node.get("k").unwrap();
        for (offset, character) in node.as_text().unwrap().char_indices() {
            let span = sources.inside(node, offset);
            let there = text[span.start as usize..].chars().next().unwrap();
            prop_assert!(there == character || (character == '\n' && there == '\r'));
        }
    }
}

/// JSON texts of at most so many levels. Whole numbers only: fractions are written in many ways.
fn json_text(levels: u32) -> impl Strategy<Value = String> {
    let text = "[^\\x00-\\x1f\\x7f-\\x9f\u{fffe}\u{ffff}\u{feff}$]{0,8}";
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        text.prop_map(serde_json::Value::String),
    ];
    let value = leaf.prop_recursive(levels, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::Array),
            prop::collection::vec((text, inner), 0..6).prop_map(|members| {
                let named = members.into_iter().filter(|(name, _)| !name.is_empty());
                serde_json::Value::Object(named.collect())
            }),
        ]
    });
    value.prop_map(|value| value.to_string())
}
