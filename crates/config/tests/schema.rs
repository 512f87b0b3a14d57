//! The schema says what the decoder does.

mod shop;

use portcullis_config::{Decode as _, Definitions, document, settings};
use serde_json::json;

const GOOD: [&str; 9] = [
    "doors: []",
    "doors: [127.0.0.1:80, '[::1]:443', '${HOST:-127.0.0.1:1}']",
    "doors: []\nalarm: off\nmood: off\nopen: false",
    "doors: []\nalarm: on",
    "doors: []\nalarm: false\nmood: false\nopen: on",
    "doors: []\ngoods: { tea: { price: 1 }, milk: { price: '${STAFF}', keeps: 1d } }",
    "doors: []\ndays: monday\nmatch: 7\nstaff: 10\nsale: 12.5%\nshelf: 64KiB",
    "doors: []\ndays: [a, b]\nkey: ${TOKEN}\nextra: { any: [thing] }\nalarm: { number: 110 }",
    "doors: []\nstaff: ${STAFF}\nsale: ${SALE:-5}%\nshelf: ${N:-1}KB\nmood: ${M:-busy}\nopen: ${OPEN}",
];

const BAD: [&str; 15] = [
    "{}",
    "[]",
    "doors: 127.0.0.1:80",
    "doors: []\nunknown: 1",
    "doors: []\nalarm: { loudness: 256 }",
    "doors: []\ngoods: { tea: {} }",
    "doors: []\ngoods: { 'a b': { price: 1 } }",
    "doors: []\ngoods: { tea: { price: -1 } }",
    "doors: []\ngoods: { tea: { price: 1, keeps: 30 } }",
    "doors: []\nopen: maybe",
    "doors: []\nstaff: 0",
    "doors: []\nstaff: 11",
    "doors: []\nsale: 0.5",
    "doors: []\nshelf: 10",
    "doors: []\nmood: mad",
];

fn as_written(text: &str) -> serde_json::Value {
    // What an editor sees: `${NAME}` is still there.
    let (mut sources, mut out) =
        (portcullis_config::Sources::new(), portcullis_config::Diagnostics::new());
    let itself = |name: &str| Some(format!("${{{name}}}"));
    let node =
        portcullis_config::parse(&mut sources, "a".into(), text.to_owned(), &itself, &mut out);
    node.map_or(json!(null), |node| node.to_json())
}

#[test]
fn what_the_decoder_takes_the_schema_takes() {
    let schema = jsonschema::validator_for(&document::<shop::Shop>("Shop")).unwrap();
    for text in GOOD {
        let (shop, out, sources) = shop::open(text);
        assert!(shop.is_some(), "{text}\n{}", out.render(&sources, false));
        let written = as_written(text);
        let errors: Vec<_> = schema.iter_errors(&written).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{text}: {errors:?}");
    }
    for text in BAD {
        assert!(shop::open(text).0.is_none() || shop::open(text).1.has_errors(), "{text}");
        assert!(!schema.is_valid(&as_written(text)), "{text}");
    }
}

#[test]
fn documentation_and_defaults_stand_in_the_schema() {
    let schema = document::<shop::Shop>("Shop");
    assert_eq!(schema["title"], "Shop");
    assert_eq!(schema["$ref"], "#/$defs/Shop");
    let shop = &schema["$defs"]["Shop"];
    assert_eq!(shop["description"], "A shop.");
    assert_eq!(shop["properties"]["goods"]["description"], "What is sold, by name.");
    assert_eq!(shop["properties"]["staff"]["default"], 3);
    assert_eq!(shop["properties"]["shelf"]["default"], "1MiB");
    assert_eq!(shop["required"], json!(["doors"]));
    assert_eq!(shop["additionalProperties"], false);
    assert!(shop["properties"].get("match").is_some(), "a raw name has its plain key");
    let mood = &schema["$defs"]["Mood"]["anyOf"];
    assert_eq!(mood[0], json!({ "const": "calm", "description": "As always." }));
    assert!(jsonschema::meta::is_valid(&schema));
}

mod other {
    use super::settings;

    settings! {
        /// Another block of the same name.
        pub struct Alarm {
            pub bell: bool = "on",
            pub inner: Option<Box<Alarm>>,
        }
    }
}

#[test]
fn types_of_one_name_are_told_apart_and_may_hold_themselves() {
    let mut definitions = Definitions::new();
    assert_eq!(shop::Alarm::schema(&mut definitions), json!({ "$ref": "#/$defs/Alarm" }));
    assert_eq!(other::Alarm::schema(&mut definitions), json!({ "$ref": "#/$defs/other.Alarm" }));
    let whole = definitions.finish("x", json!({}));
    assert_eq!(
        whole["$defs"]["other.Alarm"]["properties"]["inner"],
        json!({ "$ref": "#/$defs/other.Alarm" })
    );
}

#[test]
fn an_empty_block_is_its_defaults() {
    let alarm = shop::Alarm::defaults().unwrap();
    assert_eq!((alarm.loudness, alarm.number.as_str()), (5, "112"));
    assert!(other::Alarm::defaults().unwrap().bell);
    assert!(shop::Good::defaults().is_none(), "a price is required");
    let shop = shop::open("doors: []").0.unwrap();
    assert!(shop.alarm.on().is_some() && shop.days.is_empty() && shop.goods.is_empty());
    assert_eq!(
        (shop.mood.as_str(), shop.staff.get(), shop.shelf.to_string()),
        ("calm", 3, "1MiB".into())
    );
}
