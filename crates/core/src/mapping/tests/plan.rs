//! The plan held against jaq: for programs of the everyday part and any input, both give the same
//! value, or both fail (the texts may differ).

use proptest::prelude::*;

use super::{Claims, VARIABLES, Value};
use crate::mapping::Program;

pub(super) fn compiled(program: &str) -> Program {
    Program::compile(program, &VARIABLES).unwrap_or_else(|errors| {
        panic!("{program}: {}", errors.first().map(|error| &*error.message).unwrap_or_default())
    })
}

/// The same program with a definition, for which there is no plan.
pub(super) fn in_jaq(program: &str) -> Program {
    let program = compiled(&format!("def same: .; {program}"));
    assert_eq!(program.engine(), "jaq");
    program
}

/// What a program gives, as JSON text; nothing for an error.
pub(super) fn outcome(program: &Program, input: &Value) -> Option<String> {
    program.run_one(input.clone(), &Claims).ok().map(|value| value.to_string())
}

/// Members are few, so that programs find them.
pub(super) const NAMES: [&str; 4] = ["a", "b", "items", "id"];

pub(super) fn input() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::NULL),
        any::<bool>().prop_map(Value::boolean),
        (-3_i64..9).prop_map(Value::integer),
        prop::sample::select(&["1.50", "1e400", "12345678901234567890", "0.1"][..])
            .prop_map(|text| Value::parse(text.as_bytes()).unwrap()),
        prop::sample::select(&["", "a", "b,a", "7", "Ünï", "true"][..]).prop_map(Value::text),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::array),
            prop::collection::vec((prop::sample::select(&NAMES[..]), inner), 0..4)
                .prop_map(Value::object),
        ]
    })
}

/// A path that can be read and updated.
fn path() -> impl Strategy<Value = String> {
    let part = prop::sample::select(
        &[".a", ".b", ".items", ".id", "[0]", "[-1]", "[]", "[1:]", "[:2]", ".a?", "[]?", "[0]?"][..],
    );
    (
        prop::sample::select(&[".a", ".b", ".items", ".[0]", ".[]", ".id?"][..]),
        prop::collection::vec(part, 0..3),
    )
        .prop_map(|(first, parts)| format!("{first}{}", parts.concat()))
}

/// A function of the input.
const ALONE: [&str; 34] = [
    "length",
    "keys",
    "keys_unsorted",
    "add",
    "any",
    "all",
    "first",
    "last",
    "to_entries",
    "from_entries",
    "tostring",
    "tonumber",
    "toboolean",
    "tojson",
    "type",
    "not",
    "ascii_downcase",
    "ascii_upcase",
    "sort",
    "unique",
    "min",
    "max",
    "reverse",
    "floor",
    "flatten",
    "trim",
    "ltrim",
    "todate",
    "values",
    "strings",
    "explode",
    "@base64",
    "@uri",
    "utf8bytelength",
];

/// Around one program that gives one value.
const AROUND: [&str; 35] = [
    "[§]",
    "{a: §}",
    "{(\"b\"): §}",
    "-§",
    "(§ | length)",
    "\"<\\(§)>\"",
    "(§ | tostring)",
    "first(§)",
    "isempty(§)",
    "add(§)",
    "try § catch .",
    "[try §]",
    "[§ | select(. != null)]",
    "(§ as $x | [$x, .])",
    "if § then 1 else 2 end",
    "if § then .a end",
    "error(§)",
    "has(§)",
    "contains(§)",
    "join(§)",
    "split(§)",
    "startswith(§)",
    "endswith(§)",
    "[.[§]?]",
    ".[§:]?",
    "(. as $jwt | §)",
    "[.[][§]?]",
    "[.[]?[§]]",
    "[.a?[§]]",
    "try .a.b[error(§)] catch .",
    "try {(§): error(\"x\")} catch .",
    "index(§)?",
    "(.[§] |= 1)?",
    "(.a[§] = 2)?",
    "del(.[§].b[§:])?",
];

/// Around programs that may give several values.
const OVER: [&str; 22] = [
    "[§]",
    "map(§)",
    "map_values(§)",
    "with_entries(§)",
    "any(§)",
    "all(§)",
    "any(.[]; §)",
    "all(.[]; §)",
    "sort_by(§)",
    "group_by(§)",
    "unique_by(§)",
    "min_by(§)",
    "max_by(§)",
    "map(select(§))",
    "first(§)",
    "isempty(§)",
    "add(§)",
    "[.[]? | §]",
    "[§, 1]",
    "[first(§)]",
    "reduce (§) as $x (0; . + ($x | length))",
    "reduce (§) as $x ([]; . + [$x])",
];

const BETWEEN: [&str; 18] = [
    "(§1 + §2)",
    "(§1 - §2)",
    "(§1 * §2)",
    "(§1 / §2)",
    "(§1 % §2)",
    "(§1 == §2)",
    "(§1 < §2)",
    "(§1 >= §2)",
    "(§1 != §2)",
    "(§1 and §2)",
    "(§1 or §2)",
    "(§1 // §2)",
    "{a: §1, b: §2}",
    "(§1 | §2)",
    "(§1 as $x | §2 | [., $x])",
    "if §1 then §2 else . end",
    "try §1 catch §2",
    "{a: §1, a: §2}",
];

pub(super) fn programs() -> (BoxedStrategy<String>, BoxedStrategy<String>) {
    let constant = prop::sample::select(
        &[
            ".",
            "1",
            "0",
            "-2",
            "1.50",
            "2.5",
            "\"a\"",
            "\",\"",
            "null",
            "true",
            "[]",
            "{}",
            "$jwt.sub",
            "$headers",
            "$jwt.permissions",
            "{a, b}",
            "{$jwt}",
            "{a, \"x y\": .b}",
        ][..],
    );
    let alone = prop::sample::select(&ALONE[..28]);
    let leaf = prop_oneof![
        constant.prop_map(str::to_owned),
        alone.prop_map(str::to_owned),
        prop::sample::select(&["(.a?)", "(.b // 1)", "(.items | length)"][..3])
            .prop_map(|text| text.replace("(.a?)", ".a")),
    ];
    let one = leaf.prop_recursive(3, 12, 3, |inner| {
        let paths = path();
        prop_oneof![
            (prop::sample::select(&AROUND[..]), inner.clone())
                .prop_map(|(shape, inner)| shape.replace('§', &inner)),
            (prop::sample::select(&OVER[..]), inner.clone())
                .prop_map(|(shape, inner)| shape.replace('§', &inner)),
            (prop::sample::select(&OVER[..]), paths)
                .prop_map(|(shape, path)| shape.replace('§', &path)),
            (prop::sample::select(&BETWEEN[..]), inner.clone(), inner.clone())
                .prop_map(|(shape, left, right)| shape.replace("§1", &left).replace("§2", &right)),
            (path(), prop::sample::select(&["=", "|=", "+=", "-=", "*=", "//="][..]), inner)
                .prop_map(|(path, operator, value)| format!("({path} {operator} ({value}))")),
            path().prop_map(|path| format!("del({path})")),
            (path(), path()).prop_map(|(x, y)| format!("del({x}, {y})")),
        ]
    });
    let many = prop_oneof![
        path(),
        (path(), one.clone()).prop_map(|(path, one)| format!("({path} | {one})")),
        (one.clone(), one.clone()).prop_map(|(x, y)| format!("({x}, {y})")),
        (path(), one.clone()).prop_map(|(path, one)| format!("(try {path} catch {one})")),
        (path(), one.clone()).prop_map(|(path, one)| format!("({path} as $x | [$x, {one}])")),
        one.clone().prop_map(|one| format!("(.[]? | select({one}))")),
        one.clone().prop_map(|one| format!("({one} // empty)")),
    ];
    let many = many.prop_recursive(2, 6, 2, {
        let one = one.clone();
        move |inner| {
            (prop::sample::select(&SEVERAL[..]), inner.clone(), inner, one.clone()).prop_map(
                |(shape, x, y, one)| shape.replace("§1", &x).replace("§2", &y).replace('§', &one),
            )
        }
    });
    (one.boxed(), many.boxed())
}

/// Around two programs that may give several values, and one that gives one.
const SEVERAL: [&str; 30] = [
    "(§1 + §2)",
    "(§1 - §)",
    "(§ * §2)",
    "(§1 == §2)",
    "(§ < §2)",
    "-§1",
    "(§1 and §2)",
    "(§ or §2)",
    "(§1 and §)",
    "{a: §1, b: §2}",
    "{a: §, b: §2, c: 1}",
    "{(§1): §}",
    "{(§1 | tostring): §, b: §2}",
    "\"<\\(§1)-\\(§)-\\(§2)>\"",
    "@uri \"<\\(§1)-\\(§)>\"",
    "(§1 // §2)",
    "if §1 then §2 else § end",
    "if § then §1 elif §2 then . end",
    "(§1 | §2)",
    "(§1 as $x | § + $x)",
    "(§ as $x | {a: $x, b: §1, c: $x})",
    "has(§1)?",
    "join(§1)",
    "index(§1)?",
    ".[§1]?",
    ".[§1:§2]?",
    "(try §1 catch 1 | [.])",
    "(.a = §1)",
    "(§ as $x | .a[$x]? += §1)",
    "last(§1, §2)",
];

proptest! {
    #[test]
    fn a_plan_gives_what_jaq_gives(
        program in programs().0, many in programs().1, over in prop::sample::select(&OVER[..]),
        inputs in prop::collection::vec(input(), 4),
    ) {
        for program in [program, over.replace('§', &many)] {
            let plan = compiled(&program);
            let jaq = in_jaq(&program);
            for input in &inputs {
                let (ours, theirs) = (outcome(&plan, input), outcome(&jaq, input));
                prop_assert_eq!(ours, theirs, "{} on {}", program, input);
            }
        }
    }
}

#[test]
fn every_function_gives_what_jaq_gives() {
    let inputs = [
        "null",
        "true",
        "7",
        "-1.50",
        "1e400",
        "\"\"",
        "\" Aé \"",
        "\"7\"",
        "\"true\"",
        "[]",
        "[3,1,2,1,null]",
        "[[1,2],[0]]",
        "[true,false]",
        "[\"b\",\"a\"]",
        "[{\"a\":2},{\"a\":1,\"b\":3},{\"a\":2}]",
        "[{\"key\":\"a\",\"value\":1},{\"name\":\"b\"}]",
        "{}",
        "{\"b\":1,\"a\":[2]}",
        "1700000000",
    ];
    let inputs = inputs.map(|text| Value::parse(text.as_bytes()).unwrap());
    let with = [
        "test(\"^a\")",
        "test(\"A\"; \"i\")",
        "ltrimstr(\"a\")",
        "rtrimstr(\" \")",
        "index(\"é\")",
        "rindex(1)",
        "indices(1)",
        "flatten(1)",
        "nth(1)",
        "getpath([\"a\"])",
        "limit(2; .[]?)",
        "[splits(\", *\")]",
        "[range(3)]",
        "[range(0; 7; 2)]",
        "gsub(\"a\"; \"b\")",
        "..",
        "[..]",
        "[.[]?, .[]?]",
        "has(0)",
        "has(\"a\")",
        "contains(\"\")",
        "inside(\"xyz\")",
        "first(.[]?)",
        "@json",
        "@html",
        "@sh",
        "@text",
        "paths",
        "[paths]",
        "tojson | fromjson",
    ];
    for program in ALONE.into_iter().chain(with) {
        let plan = compiled(program);
        let jaq = in_jaq(program);
        for input in &inputs {
            assert_eq!(outcome(&plan, input), outcome(&jaq, input), "{program} on {input}");
        }
    }
}

#[test]
fn the_everyday_part_has_a_plan() {
    for program in [
        "{ a: .b.c, \"d e\": .f[0], g: [.h[]?.i] }",
        ".items | map({ id, n: (.a * 2), s: (.b | tostring) }) | sort_by(.id) | .[:5]",
        "if .a then \"x\\(.b)\" elif .c then null else .d // 7 end",
        "reduce .items[]? as $item (0; . + $item.price)",
        ".a = 1 | .b |= (. // 0) | del(.c, .d[0]) | .e += 1 | .f //= {}",
        "with_entries(.value |= tostring)? // {}",
        "try error(\"x\") catch .",
        "[.items[]? | select(.a == $jwt.sub and (.b | test(\"^x\")))] | group_by(.c) | length",
        "{ at: (1700000000 | todate), up: ($headers[\"x\"] // \"a\" | ascii_upcase | split(\"\")) }",
        "[limit(2; 1)]? // (.a, 1) | [.]",
        "[{ id: .items[]?.id, n: (1, 2), \"x\\(1, 2)\": (.a, .b), ((\"y\", \"z\")): -(1, 2) }]",
        "[.[\"a\", \"b\"]?, has(\"a\", \"b\"), (.a, .b) + (1, 2), @uri \"\\(.a, .b)\"] | last(.[])",
        "reduce .items[]? as $item ({}; .[$item.id] += $item.price)",
        "if .a, .b then (.a, .b and true, false) else (.c = (1, 2)) end",
    ] {
        let (plan, jaq) = (compiled(program), in_jaq(program));
        assert_eq!(plan.engine(), "plan", "{program}");
        assert_eq!(outcome(&plan, &Value::NULL), outcome(&jaq, &Value::NULL), "{program}");
    }
    for program in ["def f: 1; f", ". as {a: $x} | $x", "[limit(2; .[]?)]", ".."] {
        assert_eq!(compiled(program).engine(), "jaq", "{program}");
    }
}
