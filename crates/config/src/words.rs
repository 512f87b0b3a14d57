//! The YAML parser's complaints in words that say what to do.

/// What is told for each complaint that is met often: a part of the parser's text, message, hint.
const WORDS: [(&str, &str, &str); 16] = [
    ("tab", "a tab where YAML wants spaces", "indent with spaces"),
    (
        "mapping values are not allowed",
        "a `:` where no key can stand",
        "check the indentation, and quote a text that holds `: `",
    ),
    ("illegal placement of ':'", "a `:` where no key can stand", "quote a text that holds `: `"),
    (
        "block mapping, did not find expected key",
        "expected a key",
        "check the indentation of this line and the one before",
    ),
    (
        "simple key expect",
        "expected `:` after the key",
        "write `key: value`; check the indentation",
    ),
    ("did not find expected '-'", "expected `- `", "check the indentation of this line"),
    ("sequence entries are not allowed", "a `- ` where no list can stand", "check the indentation"),
    ("unknown anchor", "nothing above has this name", "quote a text that begins with `*`"),
    ("quoted scalar, found unexpected end", "this quote is never closed", "close it"),
    ("indentation in quoted scalar", "this quote is never closed", "or its lines are not indented"),
    ("flow sequence, expected", "expected `,` or `]`", "is a bracket or a quote missing?"),
    ("flow mapping, did not find", "expected `,` or `}`", "is a brace or a quote missing?"),
    ("unknown escape", "an unknown `\\` escape", "in 'single quotes' a `\\` is plain text"),
    ("hexadecimal number", "an unfinished `\\` escape", "in 'single quotes' a `\\` is plain text"),
    (
        "invalid indentation in flow",
        "this line is not indented enough",
        "indent what is in brackets",
    ),
    ("wrongly indented line", "this line is not indented enough", "indent it like the first line"),
];

/// Message and hint for a complaint of the parser.
pub(crate) fn syntax(info: &str) -> (String, Option<&'static str>) {
    match WORDS.iter().find(|(part, ..)| info.contains(part)) {
        Some((_, message, hint)) => ((*message).to_owned(), Some(hint)),
        None => (format!("not valid YAML: {info}"), None),
    }
}
