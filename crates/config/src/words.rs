//! The YAML parser's complaints in words that say what to do.

/// What is told for each complaint that is met often: a part of the parser's text, message, hint.
const WORDS: [(&str, &str, &str); 22] = [
    ("tab", "a tab where YAML wants spaces", "indent with spaces"),
    (
        "mapping values are not allowed",
        "a `:` where no key can stand",
        "check the indentation, and quote a text that holds `: `",
    ),
    (
        "illegal placement of ':'",
        "a `:` where no key can stand",
        "is a bracket or a quote above never closed?",
    ),
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
    (
        "recursion limit",
        "more than 64 lists and maps inside each other",
        "is a bracket never closed?",
    ),
    ("unexpected character", "no plain text begins like this", "quote the whole value"),
    ("trailing content after double-quoted", "text behind a closed quote", "quote the whole value"),
    ("misplaced bracket", "a bracket that closes nothing", "remove it, or quote the text"),
    ("expected node content", "a value is missing here", "is a bracket or a brace missing?"),
    ("comment intercepting", "a comment inside of a text", "quote the text, or use a `|` block"),
    ("wrongly indented line", "this line is not indented enough", "indent it like the first line"),
];

/// Message and hint for a complaint of the parser. `before` and `after` are the text around it.
pub(crate) fn syntax(info: &str, before: &str, after: &str) -> (String, Option<&'static str>) {
    if before.ends_with('$') && after.starts_with('{') {
        let message = "a `{` inside of brackets begins a map".to_owned();
        return (message, Some("quote it: \"${NAME}\""));
    }
    match WORDS.iter().find(|(part, ..)| info.contains(part)) {
        Some((_, message, hint)) => ((*message).to_owned(), Some(hint)),
        None => (format!("not valid YAML: {info}"), None),
    }
}
