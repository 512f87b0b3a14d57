//! What a program says that it reads is all that it reads.

use proptest::prelude::*;

use super::plan::{NAMES, compiled, input, outcome, programs};
use crate::mapping::{Program, Value};

#[test]
fn a_program_knows_what_it_needs() {
    let uses = compiled("{a: $jwt.sub, b: \"\\($path.id)\"}");
    assert!(uses.uses("jwt") && uses.uses("path") && !uses.uses("headers"));
    for program in [
        "$jwt.sub == $path.id",
        "$jwt.permissions // [] | any(. == \"a\")",
        "{ a: 1, b: [$jwt.sub], $jwt }",
        "if $jwt then true else false end",
        "def ok: true; ok and ($jwt.sub | startswith(\"a\"))",
        "reduce $jwt.permissions[] as $p (0; . + 1)",
        "try $jwt.sub catch .",
        "null | {a: .b}",
        ". as $in | 1",
    ] {
        assert!(!compiled(program).reads_input(), "{program}");
    }
}

/// The members that a program reads; `*` where it may be any.
fn members(program: &Program) -> String {
    let all: Vec<&str> =
        NAMES.into_iter().chain(["z"]).filter(|it| program.reads_member(it)).collect();
    if all.contains(&"z") { "*".to_owned() } else { all.join(" ") }
}

#[test]
fn members_are_found_where_a_program_names_them() {
    for (program, expected) in [
        (".a", "a"),
        ("{ a, b: .id }", "a id"),
        ("{ \"a\" }", "a"),
        (".[\"a\"].b", "a"),
        (". as $in | .a | . + $in.b", "a b"),
        ("$jwt[.a]", "a"),
        (".a[.b]", "a b"),
        (".items[]? | .id | length", "items"),
        ("$jwt as $j | .a", "a"),
        ("\"\\(.a)\"", "a"),
        ("def f: .a; f", "a"),
        ("{ text: \".a\" } # .a", ""),
        ("$jwt | .a", ""),
        ("if .a then .b else 1 end", "a b"),
        ("reduce .items[] as $a (0; . + $a.id)", "items"),
        ("def f(g): .a | g; . as $in | 1 | f($in | .b)", "a b"),
        (".", "*"),
        (".[]", "*"),
        (".[0]", "*"),
        ("[..]", "*"),
        ("length", "*"),
        ("if $jwt then 1 end", "*"),
        ("def f(g): g; f(.)", "*"),
        ("first(.[])", "*"),
        (". as {a: $x} | $x", "*"),
        (". as $in | [$in]", "*"),
        ("def length: 1; .a | length", "a"),
        ("(def length: 1; .a), length", "*"),
        (". as $in | def f(g): $in | g; 1 | f(.a)", "a"),
    ] {
        let program_ = compiled(program);
        assert_eq!(members(&program_), expected, "{program}");
        assert_eq!(program_.reads_input(), !expected.is_empty(), "{program}");
    }
}

/// Around a program, so that its `.` is the input at some places and something else at others.
const SHAPES: [&str; 6] = [
    "§",
    ". as $in | [.a | ., ($in | §)]",
    "[{a} | §]",
    "def f(g): [g]; . as $in | 1 | f($in | §)",
    "[.items | §] | length",
    ". as $in | reduce (1, 2) as $x ([]; . + [$in.b] | [§])",
];

proptest! {
    #[test]
    fn what_a_program_does_not_read_makes_no_difference(
        program in programs().0, shape in prop::sample::select(&SHAPES[..]),
        values in prop::collection::vec(input(), NAMES.len()),
    ) {
        let program = compiled(&shape.replace('§', &program));
        let all = || NAMES.into_iter().zip(values.clone());
        let read = all().filter(|(name, _)| program.reads_member(name));
        prop_assert_eq!(
            outcome(&program, &Value::object(all())), outcome(&program, &Value::object(read)),
        );
    }
}
