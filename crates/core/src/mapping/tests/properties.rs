//! Reading and writing held against `serde_json`, and what strictness refuses.

use proptest::prelude::*;

use crate::mapping::Value;

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<u64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        ".{0,12}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
            prop::collection::vec((".{0,6}", inner), 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// The same text, byte for byte: order of members, numbers, escapes.
    #[test]
    fn what_is_read_is_written(value in json()) {
        let text = value.to_string();
        let read = Value::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(&read.to_string(), &text);
        prop_assert_eq!(Value::json(&value).to_string(), text);
    }

    /// Nothing is accepted that serde_json refuses; what we refuse beyond it has a reason.
    #[test]
    fn foreign_bytes_are_read_like_serde_json(bytes in prop::collection::vec(
        prop::sample::select(b"{}[]:,\"\\u0019eE+-.truefalsn \n\xc3\xa9dD8".to_vec()), 0..24,
    )) {
        let ours = Value::parse(&bytes);
        let theirs = serde_json::from_slice::<serde_json::Value>(&bytes);
        match (&ours, &theirs) {
            (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("out of range"), "{error}"),
            (Err(error), Ok(_)) => prop_assert!(error.message.contains("twice"), "{error}"),
            _ => {}
        }
    }

    /// A text with one byte changed never panics, and an error's place lies within it.
    #[test]
    fn errors_have_a_place(value in json(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = value.to_string().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        if let Err(error) = Value::parse(&text) {
            prop_assert!(error.offset <= text.len() && error.line >= 1 && error.column >= 1);
        }
    }

    /// The order is total, and equality is the order's.
    #[test]
    fn values_have_one_order(x in json(), y in json()) {
        let (x, y) = (Value::json(&x), Value::json(&y));
        prop_assert_eq!(x.cmp(&y), y.cmp(&x).reverse());
        prop_assert_eq!(x == y, x.cmp(&y).is_eq());
    }
}

#[test]
fn bodies_are_strict_json() {
    let deep = "[".repeat(65) + &"]".repeat(65);
    for (bad, place, part) in [
        ("{\"a\":1,\"b\":{\"x\":1,\n \"x\":2}}", (2, 2), "the key \"x\" stands twice"),
        ("{\"a\":1,\"\\u0061\":2}", (1, 8), "stands twice"),
        ("1 2", (1, 3), "`2` after the end"),
        ("", (1, 1), "not the end"),
        ("NaN", (1, 1), "not `N`"),
        ("[Infinity]", (1, 2), "not `I`"),
        ("-Infinity", (1, 1), "a number that is not complete"),
        ("nul", (1, 1), "a value was expected"),
        ("{\"a\":}", (1, 6), "not `}`"),
        ("{\"a\" 1}", (1, 6), "`:` was expected"),
        ("{a:1}", (1, 2), "a name in quotes"),
        ("{\"a\":1,}", (1, 8), "a name in quotes"),
        ("[1,]", (1, 4), "a value was expected, not `]`"),
        ("[1 2]", (1, 4), "`,` or `]`"),
        ("// x\n1", (1, 1), "not `/`"),
        ("[1] # x", (1, 5), "after the end"),
        ("01", (1, 2), "JSON does not know"),
        ("1.5.2", (1, 4), "JSON does not know"),
        ("[1e]", (1, 2), "not complete"),
        ("\"\\x\"", (1, 2), "an escape that JSON does not know"),
        ("\"\\u12g4\"", (1, 2), "four digits"),
        ("\"\\ud800\"", (1, 2), "half a surrogate pair"),
        ("\"\\udc00\\ud800\"", (1, 2), "half a surrogate pair"),
        ("\"ä\tb\"", (1, 3), "a control character"),
        ("\"abc", (1, 5), "closing quote"),
        ("\u{feff}1", (1, 1), "a value was expected"),
        (&deep, (1, 65), "nesting deeper than 64"),
    ] {
        let error = Value::parse(bad.as_bytes()).unwrap_err();
        assert!(error.message.contains(part), "{bad}: {error}");
        assert_eq!((error.line, error.column), place, "{bad}: {error}");
    }
    let error = Value::parse(b"[\"\xc3\xa4\xff\"]").unwrap_err();
    assert_eq!((error.offset, error.line, error.column), (4, 1, 4));
    assert!(Value::parse(&vec![b'['; 1_000_000]).is_err());
    assert!(Value::parse(("[".repeat(64) + &"]".repeat(64)).as_bytes()).is_ok());
}

#[test]
fn texts_survive() {
    for text in [
        r#"{"z":1.10,"a":[12345678901234567890123,1e400,-0,0.0,-1.50E+2],"m":{}}"#,
        r#""\u0000\u001f\b\f\n\r\t\"\\/é😀""#,
        "[]",
        "[true,false,null]",
    ] {
        assert_eq!(Value::parse(text.as_bytes()).unwrap().to_string(), text);
    }
    let escaped = Value::parse(br#""\ud83d\ude00\u00e9\/""#).unwrap();
    assert_eq!(escaped.as_str(), Some("😀é/"));
}

#[test]
fn values_answer_questions() {
    let value = Value::parse(br#"{"a":"x","b":true,"c":null}"#).unwrap();
    assert_eq!(value.get("a").unwrap().as_str(), Some("x"));
    assert!(value.get("b").unwrap().is_true() && !value.is_true() && value.get("d").is_none());
    assert_eq!((value.kind(), Value::NULL.kind()), ("object", "null"));
    let mut out = b"body: ".to_vec();
    Value::boolean(true).write(&mut out);
    assert_eq!(out, b"body: true");
}
