//! `${NAME}` fills values in and is never seen again.

mod shop;

use portcullis_config::{
    Decode as _, Diagnostics, Node, Secret, Sources, Span, Spanned, Value, parse,
};

fn node(text: &str) -> (Node, Diagnostics, Sources) {
    let (mut sources, mut out) = (Sources::new(), Diagnostics::new());
    let environment = |name: &str| (name == "TOKEN").then(|| "s3cr3t-t0ken".to_owned());
    let node = parse(&mut sources, "a.yaml".into(), text.to_owned(), &environment, &mut out);
    assert!(node.is_some(), "{}", out.render(&sources, false));
    (node.unwrap_or_else(|| Node::new(Value::Null, Span::default())), out, sources)
}

#[test]
fn any_scalar_can_come_from_the_environment() {
    let (shop, out, sources) = shop::open(
        "doors: [\"127.0.0.1:${PORT}\"]\nstaff: ${STAFF}\nopen: ${OPEN}\nmood: ${MOOD:-busy}\n\
         shelf: ${SHELF:-2}MiB\ngoods: { tea: { price: \"${PRICE:-7}\" } }\nkey: ${TOKEN}\n\
         match: |\n  a ${TOKEN} b\n  $${kept}\n",
    );
    let shop = shop.unwrap_or_else(|| panic!("{}", out.render(&sources, false)));
    assert_eq!(shop.doors[0].port(), 8080);
    assert_eq!(shop.staff.get(), 4);
    assert!(!shop.open);
    assert_eq!(shop.mood, shop::Mood::Busy);
    assert_eq!(shop.shelf.0, 2 << 20);
    assert_eq!(shop.goods.get("tea").unwrap().price, 7);
    assert_eq!(shop.key.unwrap().expose(), "s3cr3t-t0ken");
    assert_eq!(shop.r#match.unwrap(), "a s3cr3t-t0ken b\n${kept}\n");
}

#[test]
fn a_value_cannot_become_structure() {
    let environment = |_: &str| Some("x: 1\n- {a: b}\n#".to_owned());
    let (mut sources, mut out) = (Sources::new(), Diagnostics::new());
    let node = parse(&mut sources, "a".into(), "k: ${X}\n".into(), &environment, &mut out).unwrap();
    assert_eq!(node.get("k").unwrap().as_text(), Some("x: 1\n- {a: b}\n#"));
}

#[test]
fn no_message_ever_holds_a_value() {
    let bad = "doors: ['${TOKEN}']\ngoods: '${TOKEN}'\nalarm: ${TOKEN}\ndays: { a: ${TOKEN} }\n\
               open: ${TOKEN}\nstaff: ${TOKEN}\nsale: ${TOKEN}\nshelf: x${TOKEN}\nmood: ${TOKEN}\n";
    // Braces around ${…} want quotes.
    let bad = bad.replace("{ a: ${TOKEN} }", "{ a: '${TOKEN}' }");
    let (shop, out, sources) = shop::open(&bad);
    assert!(shop.is_none());
    assert_eq!(out.counts().0, 9);
    let all = out.render(&sources, false);
    assert!(all.contains("found `${TOKEN}`") && all.contains("found `x${TOKEN}`"), "{all}");
    assert!(out.iter().all(|one| !format!("{one:?}").contains("s3cr3t")));
    assert!(!all.contains("s3cr3t"), "{all}");
}

#[test]
fn the_last_guard_masks_what_another_room_says() {
    let (node, mut out, sources) = node("a: ${TOKEN}\n");
    let text = Spanned::<String>::decode(node.get("a").unwrap(), &mut out).unwrap();
    out.error(text.span, format!("nothing is called `{}`", *text))
        .hint(format!("did you mean `{}x`?", *text));
    let shown = out.render(&sources, false);
    assert!(shown.starts_with("error: nothing is called `${TOKEN}`\n"), "{shown}");
    assert!(shown.contains("did you mean `${TOKEN}x`?"), "{shown}");
    assert_eq!(text.shown(), "${TOKEN}");
}

#[test]
fn debug_prints_hold_no_value() {
    let (node, mut out, _) = node("a: ${TOKEN}\nb: [x, '${TOKEN}']\n");
    assert_eq!(node.get("a").unwrap().shown(), "${TOKEN}");
    assert!(!format!("{node:?}").contains("s3cr3t"), "{node:?}");
    let a = node.get("a").unwrap();
    let spanned = Spanned::<String>::decode(a, &mut out).unwrap();
    let secret = Secret::decode(a, &mut out).unwrap();
    assert_eq!(format!("{spanned:?} {secret:?}"), "${TOKEN} ***");
    assert_eq!(a.to_json(), "s3cr3t-t0ken");
}

#[test]
fn a_variable_that_is_not_set_is_told_once_at_its_place() {
    let (shop, out, sources) =
        shop::open("doors: []\nstaff: ${NONE}\nmatch: |\n  a\n  b ${GONE} c\n");
    assert!(shop.is_none());
    assert_eq!(
        out.render(&sources, false),
        "\
error: the environment variable `NONE` is not set
 --> shop.yaml:2:8
  |
2 | staff: ${NONE}
  |        ^^^^^^^
  |
  = hint: set it, or give a default: ${NONE:-value}

error: the environment variable `GONE` is not set
 --> shop.yaml:5:5
  |
5 |   b ${GONE} c
  |     ^^^^^^^
  |
  = hint: set it, or give a default: ${GONE:-value}
"
    );
}
