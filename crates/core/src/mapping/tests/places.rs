//! Where in its input a program fails: as near as its plan knows, and never anywhere else.

use super::{Claims, compile};
use crate::mapping::Value;

/// Of a program that has a plan.
fn place(program: &str, input: &str) -> String {
    let input = Value::parse(input.as_bytes()).unwrap();
    let compiled = compile(program).unwrap();
    assert_eq!(compiled.engine() == "jaq", program.starts_with("def"), "{program}");
    let error = compiled.run_one(input, &Claims).unwrap_err();
    error.pointer().to_owned()
}

const ORDER: &str = r#"{
    "items": [
        {"price": 1, "qty": 2, "tags": ["a"]},
        {"price": "9", "qty": 1, "tags": ["b", "c"]},
        {"price": "x", "qty": null, "tags": ["d", 7]}
    ],
    "ship": {"zip": "y", "at/b": [[1, {}]]}, "n": 7
}"#;

#[test]
fn a_failure_names_what_was_being_mapped() {
    let programs = [
        (".n.x", "/n"),
        (".ship.zip | tonumber", "/ship/zip"),
        (".ship | .zip | tonumber", "/ship/zip"),
        ("{ a: .n, b: { zip: (.ship.zip | tonumber) } }", "/ship/zip"),
        ("{ items: .items | map({ price: (.price | tonumber), qty }) }", "/items/2/price"),
        (".items | map(.price) | map(tonumber)", "/items"),
        ("[.items[].price | tonumber]", "/items/2/price"),
        ("[.items[] | .price | tonumber]", "/items/2/price"),
        ("[.items[2:][] | .price | tonumber]", "/items"),
        ("[.items[:3][] | .price | tonumber]", "/items/2/price"),
        ("[.items[-1].price | tonumber]", "/items"),
        (".items[2].price | tonumber", "/items/2/price"),
        ("[.items[].tags[] | ascii_upcase]", "/items/2/tags/1"),
        ("[.items[].tags | map(ascii_upcase)]", "/items/2/tags/1"),
        ("[.ship[] | tonumber]", "/ship/zip"),
        (".ship[\"at/b\"][0][1] | keys | .[0] | .x | tonumber", "/ship/at~1b/0/1"),
        ("-.ship.zip", "/ship/zip"),
        (".n - .ship.zip", ""),
        (".ship.zip - 1", "/ship/zip"),
        ("1 - .ship.zip", "/ship/zip"),
        (".ship.zip * .ship.other", "/ship"),
        ("[.items[] | .qty - .price]", "/items/1"),
        ("[.items[] | select(.qty) | .price | tonumber | . / 0 | error]", "/items/0/price"),
        ("[.items[] | select(.price | tonumber)]", "/items/2/price"),
        ("[.items[] | select(.tags[] | startswith(\"d\"))]", "/items/2/tags/1"),
        ("[.items[] | select(.tags[]) | .price | tonumber]", "/items/2/price"),
        (".items | sort_by(.price | tonumber)", "/items/2/price"),
        (".items | any(.price | tonumber == 0)", "/items/2/price"),
        ("[.items[] | .price] | add", ""),
        ("add(.items[].price)", "/items/1/price"),
        ("reduce .items[] as $item (0; . + ($item.price | tonumber))", "/items/2"),
        ("[.items[] as $item | .ship.zip | tonumber]", "/ship/zip"),
        ("[.items[] as $item | $item.price | tonumber]", ""),
        (".items as $all | .ship.zip | tonumber", "/ship/zip"),
        ("[(.items[] | .price) | tonumber]", "/items/2/price"),
        ("[(.items[].price // 0) | tonumber]", "/items/2/price"),
        ("[.items[] | (try .price catch 0) | tonumber]", "/items/2"),
        ("try error(\"x\") catch (.ship | tonumber)", ""),
        ("try error(\"x\") catch (. | tonumber)", ""),
        ("(.ship | tonumber)?, (.n | keys)", "/n"),
        ("if .ship.zip | tonumber then 1 else 2 end", "/ship/zip"),
        (".items | if .[2].qty == null then error(\"no\") else . end", "/items"),
        ("\"a \\(.ship.zip | tonumber)\"", "/ship/zip"),
        (".ship | has(0)", "/ship"),
        (".ship | trim", "/ship"),
        (".ship.zip | trim | tonumber", "/ship/zip"),
        (".items[$headers.at | tonumber].price", ""),
        ("$jwt.sub.x", ""),
        (".items | length | tostring | .x", "/items"),
        (".items | map(.price | tostring | .x)", "/items/0/price"),
        ("[.items[] | { a: (.price, .qty | tonumber) }]", "/items/2/price"),
        ("[.items[] | .price - (1, 2)]", "/items/1"),
        ("[if .n, 1 then .ship.zip | tonumber else 2 end]", "/ship/zip"),
        ("last(.items[].price) | tonumber", ""),
        (".a[.ship.zip | tonumber] = 1", "/ship/zip"),
    ];
    let found = programs.map(|(program, _)| (program, place(program, ORDER)));
    assert_eq!(found, programs.map(|(program, wanted)| (program, wanted.to_owned())));
}

#[test]
fn an_update_names_what_it_could_not_change() {
    for (program, wanted) in [
        (".ship.zip |= tonumber", "/ship/zip"),
        (".items[].price |= tonumber", "/items/2/price"),
        (".items[].tags[] |= ascii_upcase", "/items/2/tags/1"),
        (".items[2].price -= 1", "/items/2/price"),
        (".items[-1].price |= tonumber", "/items"),
        (".ship[] |= tonumber", "/ship"),
        (".items |= map(.price |= tonumber)", "/items/2/price"),
        (".n.x = 1", "/n"),
        (".n[] = 1", "/n"),
        (".items[7].price = 1", "/items"),
        (".items[].price.x = 1", "/items/0/price"),
        (".a = (.ship.zip | tonumber)", "/ship/zip"),
        ("map_values(.zip)", ""),
        (".items | map_values(.price |= tonumber)", "/items/2/price"),
        (".ship | with_entries(.value |= tonumber)", "/ship"),
    ] {
        assert_eq!(place(program, ORDER), wanted, "{program}");
    }
}

#[test]
fn where_jaq_runs_or_the_result_is_at_fault_nothing_is_named() {
    for program in [
        "def same: .; .ship.zip | tonumber",
        ".items[]",
        "empty",
        ".n / 0",
        ".ship.zip * 100000000",
    ] {
        assert_eq!(place(program, ORDER), "", "{program}");
    }
}

#[test]
fn a_text_that_is_no_json_breaks_in_a_value() {
    for (text, wanted) in [
        (&br#"{"a":[1,{"b":x}]}"#[..], "/a/1/b"),
        (br#"{"a":[1,{"b":1,"b":2}]}"#, "/a/1/b"),
        (br#"{"a":[1 2]}"#, "/a"),
        (br#"{"a":[1,]}"#, "/a/1"),
        (br#"{"a~/":{"#, "/a~0~1"),
        (b"[1,2", ""),
        (b"[1,\"\xff\"]", "/1"),
        (b"[x,\"\xff\"]", ""),
    ] {
        let error = Value::parse(text).unwrap_err();
        assert_eq!(error.pointer, wanted, "{}", String::from_utf8_lossy(text));
    }
}
