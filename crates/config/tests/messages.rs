//! What people read when a file is wrong, word for word.

mod shop;

/// Each complaint as `LINE:COLUMN text [hint]`, in the order in which they are shown.
fn told(text: &str) -> Vec<String> {
    let (_, out, sources) = shop::open(text);
    let mut list: Vec<_> = out.iter().collect();
    list.sort_by_key(|one| one.span);
    let short = |one: &&portcullis_config::Diagnostic| {
        let at = one.span.map_or("-".to_owned(), |span| {
            let position = sources.position(span);
            format!("{}:{}", position.line, position.column)
        });
        let hint = one.hint.as_ref().map_or(String::new(), |hint| format!(" [{hint}]"));
        format!("{at} {}{hint}", one.message)
    };
    list.iter().map(short).collect()
}

fn rendered(text: &str) -> String {
    let (_, out, sources) = shop::open(text);
    out.render(&sources, false)
}

#[test]
fn a_complaint_shows_file_line_caret_and_hint() {
    assert_eq!(
        rendered("doors: []\ngood:\n  tea: { price: 1 }\n"),
        "\
error: unknown key `good`
 --> shop.yaml:2:1
  |
2 | good:
  | ^^^^
  |
  = hint: did you mean `goods`?
"
    );
}

#[test]
fn ten_different_mistakes_are_told_at_once() {
    let text = "\
doors: [localhost:80]
good: {}
goods:
  tea: { price: 1, keeps: 30 }
  milk: { keeps: 1d }
alarm: { loudness: 300 }
match: [a]
open: maybe
staff: 0
shelf: 10
mood: clam
open: on
";
    assert_eq!(
        told(text),
        [
            "1:9 expected an IP address and a port, such as 127.0.0.1:8080, found `localhost:80` \
             [write 127.0.0.1:80]",
            "2:1 unknown key `good` [known: days, sale, key, extra]",
            "4:27 expected a duration such as 300ms, 30s or 5m, found `30` \
             [the unit is missing: write 30s]",
            "5:9 missing key `price`",
            "6:20 expected a whole number from 0 to 255, found `300`",
            "7:8 expected text, found a list \
             [a text that begins with `{` or `[`, or holds `: `, wants quotes]",
            "8:7 expected `on` or `off`, found `maybe`",
            "9:8 expected a whole number from 1 to 10, found `0`",
            "10:8 expected a size such as 64KiB, 1MiB or 10MB, found `10` \
             [the unit is missing: write 10B]",
            "11:7 expected `calm`, `busy` or `off`, found `clam` [did you mean `calm`?]",
            "12:1 duplicate key `open` [it stands in line 8 already]",
        ]
    );
}

#[test]
fn what_is_not_yaml_is_told_in_plain_words() {
    for (text, expected) in [
        ("doors:\n\t- a\n", "2:2 a tab where YAML wants spaces [indent with spaces]"),
        ("doors: \"abc\n", "1:8 this quote is never closed [close it]"),
        (
            "a: b: c\n",
            "1:5 a `:` where no key can stand \
             [check the indentation, and quote a text that holds `: `]",
        ),
        (
            "doors: []\n  foo: 1\n",
            "2:3 expected a key [check the indentation of this line and the one before]",
        ),
        ("doors: [${TOKEN}]", "1:10 a `{` inside of brackets begins a map [quote it: \"${NAME}\"]"),
        ("doors: *gone\n", "1:8 nothing above has this name [quote a text that begins with `*`]"),
        ("match: @x\n", "1:8 no plain text begins like this [quote the whole value]"),
        ("match: 'a' b\n", "1:12 text behind a closed quote [quote the whole value]"),
        (
            "doors: [a\nmatch: b\n",
            "2:6 a `:` where no key can stand [is a bracket or a quote above never closed?]",
        ),
        ("]", "1:1 a bracket that closes nothing [remove it, or quote the text]"),
        ("{", "1:2 a value is missing here [is a bracket or a brace missing?]"),
        ("match: \"\\q\"", "1:8 an unknown `\\` escape [in 'single quotes' a `\\` is plain text]"),
        (
            "match: a\0b",
            "1:9 a control character that YAML does not allow \
             [in \"double quotes\" it can be written as \\xNN]",
        ),
    ] {
        assert_eq!(told(text), [expected], "{text}");
    }
}

#[test]
fn what_yaml_allows_but_surprises_is_refused() {
    for (text, expected) in [
        (
            "doors: []\n---\ndoors: []\n",
            "2:1 a second document begins here \
             [a file holds one; put the other into a file of its own]",
        ),
        (
            "doors: []\nextra: !!str 1\n",
            "2:8 tags are not understood [remove the `!…`; a quoted value is text]",
        ),
        (
            "doors: []\nextra:\n  <<: { a: 1 }\n",
            "3:3 merge keys are not understood [an alias may stand for a whole value: `key: *name`]",
        ),
        (
            "doors: []\nextra: { [a]: b }\n",
            "2:10 a key must be text [quote a key that begins with `{`, `[` or `*`]",
        ),
        ("doors: []\nextra: { : b }\n", "2:10 a key is missing here [write `key: value`]"),
        ("doors: []\nextra: &a [*a]\n", "2:12 this alias stands inside the value that it names"),
        (
            "doors: []\nextra: { ${TOKEN}: b }\n",
            "2:11 a `{` inside of brackets begins a map [quote it: \"${NAME}\"]",
        ),
        (
            "doors: []\n${TOKEN}: b\n",
            "2:1 a key cannot come from the environment [`${NAME}` stands in values only]",
        ),
    ] {
        assert_eq!(told(text), [expected], "{text}");
    }
}

#[test]
fn a_file_without_keys_is_told_what_keys_there_are() {
    let keys =
        "its keys: doors, goods, alarm, match, days, open, staff, sale, shelf, mood, key, extra";
    for text in ["", "# nothing yet\n", "---\n", "\u{feff}", "~"] {
        assert_eq!(told(text), [format!("1:1 expected keys with values, found nothing [{keys}]")]);
    }
    assert_eq!(
        told("- a\n- b\n"),
        ["1:1 expected keys with values, found a list [write `key: value` in place of `- …`]"]
    );
    assert_eq!(told("shop\n"), ["1:1 expected keys with values, found `shop`"]);
    assert_eq!(told("{}"), ["1:1 missing key `doors`"]);
}

#[test]
fn a_key_without_a_value_is_where_the_complaint_goes() {
    assert_eq!(
        told("goods:\n\ndoors: []\nsale:\nalarm: ~\n"),
        [
            "1:1 expected a map from names, found nothing [none at all is written {}]",
            "4:1 expected a share from 0% to 100%, found nothing \
             [give it a value, or remove the key]",
            "5:8 expected keys with values, found nothing [its keys: loudness, number]",
        ]
    );
}

#[test]
fn a_misspelled_key_is_not_called_missing_too() {
    assert_eq!(told("door: []\n"), ["1:1 unknown key `door` [did you mean `doors`?]"]);
}

#[test]
fn units_are_put_right() {
    for (text, hint) in [
        ("shelf: 10", "the unit is missing: write 10B"),
        ("shelf: 1.5KiB", "write 1536B"),
        ("shelf: 10mb", "write 10MB"),
        ("shelf: 10 MB", "write 10MB"),
        ("shelf: 10M", "write 10MiB"),
        ("goods: { a: { price: 1, keeps: 1.5s } }", "write 1500ms"),
        ("goods: { a: { price: 1, keeps: 5 minutes } }", "write 5m"),
        ("goods: { a: { price: 1, keeps: 5sec } }", "write 5s"),
        ("goods: { a: { price: '1' } }", "write 1"),
        ("goods: { a: { price: 1_000 } }", "write 1000"),
        ("sale: 0.5", "write 50%"),
        ("sale: 12", "write 12%"),
        ("sale: 0.07", "write 7%"),
        ("open: no\nmood: bussy", "did you mean `busy`?"),
        ("doors: 127.0.0.1:80", "write [127.0.0.1:80]"),
    ] {
        let text =
            if text.starts_with("doors") { text.to_owned() } else { format!("doors: []\n{text}") };
        let told = told(&text);
        assert!(told.last().unwrap().ends_with(&format!("[{hint}]")), "{told:?}");
    }
}

#[test]
fn quantities_that_do_not_fit_are_refused() {
    for text in [
        "shelf: 99999999999999999999MiB",
        "shelf: 18446744073709551615KiB",
        "shelf: -1B",
        "shelf: MiB",
        "sale: 101%",
        "sale: -1%",
        "sale: inf%",
        "sale: 1e1%",
        "staff: 1.5",
        "staff: -1",
        "staff: 99999999999999999999",
        "goods: { a: { price: 4294967296 } }",
        "goods: { a: { price: 1, keeps: 30ss } }",
        "goods: { a: { price: 1, keeps: \"\" } }",
        "goods: { a: { price: 1, keeps: 9999999999999999999d } }",
    ] {
        let told = told(&format!("doors: []\n{text}\n"));
        assert_eq!(told.len(), 1, "{text}: {told:?}");
        assert!(told[0].contains("expected"), "{told:?}");
    }
}

#[test]
fn tabs_and_wide_text_keep_the_caret_in_place() {
    assert_eq!(
        rendered("doors: []\nmatch: 日本\t# tea\nstaff: \t\"多\"\n"),
        "\
error: expected a whole number from 1 to 10, found `多`
 --> shop.yaml:3:9
  |
3 | staff:     \"多\"
  |            ^^^^
"
    );
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_change_nothing() {
    let text = "doors: []\nstaff: 0\nmatch: |\n  a\n  b\n";
    let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    assert_eq!(rendered(&windows), rendered(text));
    assert_eq!(
        shop::open(&windows.replace("staff: 0", "staff: 1")).0.unwrap().r#match.unwrap(),
        "a\nb\n"
    );
}

#[test]
fn a_very_long_line_is_shown_in_part() {
    let text =
        format!("doors: []\nextra: {{ a: {}, a: 2, b: {} }}\n", "x".repeat(5000), "y".repeat(5000));
    let shown = rendered(&text);
    assert!(shown.contains("duplicate key `a`") && shown.contains("shop.yaml:2:5015"), "{shown}");
    assert!(shown.lines().all(|line| line.len() < 200), "{shown}");
}

#[test]
fn a_message_cannot_speak_to_the_terminal() {
    let shown = rendered("doors: []\n\"\\e[31mred\\nline\": 1\n");
    assert!(!shown.contains('\u{1b}'), "{shown}");
    assert!(shown.starts_with("error: unknown key ` [31mred line`\n"), "{shown}");
}

#[test]
fn colors_are_only_there_when_asked_for() {
    let (_, out, sources) = shop::open("door: []\n");
    assert!(!out.render(&sources, false).contains('\u{1b}'));
    assert!(out.render(&sources, true).contains('\u{1b}'));
}

#[test]
fn a_file_that_is_too_large_is_refused_with_its_size() {
    let text = "#".repeat(5 * 1024 * 1024);
    assert_eq!(
        rendered(&text),
        "error: shop.yaml is too large: 5.0 MiB\n |\n = hint: a file may have 4 MiB\n"
    );
}
