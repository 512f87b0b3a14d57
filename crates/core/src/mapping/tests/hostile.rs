//! Bodies that are written to hurt: none of them may take the process, a worker's time, or memory
//! without bound.

use super::{compile, fails, refused, run};
use crate::mapping::Value;
use crate::mapping::budget::SPENT;

#[test]
fn text_that_nests_deep_cannot_take_the_stack() {
    let deep = format!("\"{}\"", "[".repeat(500_000));
    assert!(fails("tonumber", &deep).starts_with("cannot use"));
    assert!(fails("fromjson", &deep).contains("nesting deeper than 64"));
    assert!(fails("[.] | from_entries", &deep).starts_with("cannot use"));
}

#[test]
fn values_cannot_nest_without_bound() {
    let items = format!("[{}0]", "0,".repeat(5000));
    for program in ["reduce .[] as $x (0; [.])", "reduce .[] as $x (0; {a: .})"] {
        assert!(run(program, &items).is_err(), "{program}");
    }
    let set = "reduce .[] as $x ({}; {} | .a = $x)";
    assert!(run(set, &items).is_ok());
    assert!(fails("reduce .[] as $x ({}; . as $o | {} | .a = $o)", &items).contains("too deep"));
    let flat = "reduce .[:250][] as $x ([]; [.]) | flatten(1000)";
    assert!(run(flat, &items).map_or_else(|error| error.to_string() == SPENT, |it| it == "[]"));
}

#[test]
fn a_small_program_cannot_make_much_of_little() {
    let many = (0..40).map(|_| "1").collect::<Vec<_>>().join(",");
    for program in [
        ".s * .n".to_owned(),
        "[.s * 100000] | map(. * 100000) | tojson".to_owned(),
        format!("reduce ({many}) as $i (.s; . + .)"),
        format!("reduce ({many}) as $i (.s; [., .]) | tojson"),
        format!("reduce ({many}) as $i ([.s]; . + .)"),
        format!("reduce ({many}) as $i (.s; [., .]) | . == (tojson | fromjson)"),
        "[combinations(1000000)]".to_owned(),
        "[limit(1000000000; .[] | combinations(100))]".to_owned(),
        "[.l[] as $a | .l[] as $b | .l[] as $c | .l[] as $d | select(false)] | length".to_owned(),
        format!(".s{}", " | @base64".repeat(200)),
        format!(".s{}", " | tojson".repeat(60)),
        format!(".s{}", " | \"\\(.)\\(.)\"".repeat(60)),
    ] {
        let items = "1,".repeat(200);
        let input = format!("{{\"s\":\"0123456789\\\"\",\"n\":1000000000000,\"l\":[{items}1]}}");
        let message = fails(&program, &input);
        assert!(message == SPENT || message.contains("cannot use"), "{program}: {message}");
    }
}

#[test]
fn what_shares_its_parts_is_not_written_out_without_bound() {
    let ones = (0..60).map(|_| "1").collect::<Vec<_>>().join(",");
    let program = format!("reduce ({ones}) as $i (\"xxxx\"; [., .])");
    assert_eq!(fails(&program, "null"), "the result is larger than 8388608 bytes");
}

#[test]
fn numbers_stay_cheap() {
    let long = "9".repeat(300_000);
    assert_eq!(run(".", &long).unwrap(), long);
    assert!(fails(". + 1", &long).contains("not finite"));
    assert_eq!(run("[. == ., . < 1]", &long).unwrap(), "[true,false]");
    let squares = "reduce range(10000) as $i (12345678901234567890; . * .) | tostring";
    assert_eq!(run(squares, "null").unwrap(), "\"1.7976931348623157e+308\"");
    assert_eq!(run("[.[] | length]", "[-9223372036854775808]").unwrap(), "[9223372036854775808]");
    assert_eq!(run("[.[] | -. % -1]", "[-9223372036854775808]").unwrap(), "[0]");
}

#[test]
fn patterns_take_time_in_line_with_the_text() {
    let text = format!("\"{}b\"", "a".repeat(20_000));
    assert_eq!(run("test(\"^(a+)+$\")", &text).unwrap(), "false");
    assert_eq!(run("[match(\"(?:(a)|(b))*\")] | length", "\"ba\"").unwrap(), "1");
    assert!(fails("test(.)", "\"(((((a{99}){99}){99}){99}){99})\"").contains("no regular"));
    assert_eq!(fails("test(.)", &format!("\"{}\"", "x".repeat(9_000))), SPENT);
    let patterns =
        format!("[{}]", (0..2000).map(|i| format!("\"a{i}\"")).collect::<Vec<_>>().join(","));
    assert_eq!(fails("map(. as $p | \"x\" | test($p))", &patterns), SPENT);
}

#[test]
fn a_pattern_that_no_run_can_pay_for_is_refused_where_it_stands() {
    let name = |length| format!("[scan(\"{}\")] | length", "x".repeat(length));
    assert_eq!(run(&name(8000), "\"x\"").unwrap(), "0");
    let error = refused(&name(8001));
    assert_eq!(error.offset, "[scan(\"".len());
    assert!(error.message.contains("8001 bytes") && error.hint.is_some(), "{}", error.message);
    for (program, place) in [
        ("gsub(\"(\"; \"\")", 6),
        ("sub(\"a\\n(\"; \"\"; \"g\")", 5),
        ("split(\"a{999}{999}{999}\"; \"i\")", 7),
        ("[.[] | select(test(\"\\\\d(\"; null | \"g\"))]", 0),
        ("def test(re): re; test(\"(\")", 0),
    ] {
        let refused = compile(program).err().map_or(0, |errors| errors[0].offset);
        assert_eq!(refused, place, "{program}");
    }
}

#[test]
fn dates_and_code_points_out_of_range_are_errors() {
    for (program, input) in [
        ("todate", "1e300"),
        ("todate", "9223372036854775807"),
        ("implode", "[1114112]"),
        ("implode", "[55296]"),
        ("fromdate", "\"2026-99-99T00:00:00Z\""),
        ("ltrimstr(1)", "\"a\""),
        ("bsearch(1)", "1"),
    ] {
        assert!(run(program, input).is_err(), "{program} {input}");
    }
}

#[test]
fn programs_are_bounded_too() {
    for program in [
        "[".repeat(1000),
        format!("{}1", "-".repeat(30_000)),
        format!("{}.", ".|".repeat(30_000)),
        format!(".{}a", "a.".repeat(20_000)),
        format!("{}1{}", "if . then ".repeat(3000), " end".repeat(3000)),
        " ".repeat(70_000),
    ] {
        assert_eq!(compile(&program).err().unwrap().len(), 1);
    }
    let fields: Vec<_> = (0..200).map(|index| format!("f{index}: .a.b")).collect();
    assert!(run(&format!("{{{}}}", fields.join(", ")), "{}").is_ok());
}

/// A worker's thread has 2 MiB of stack: half of it is enough for the deepest program. What is not
/// optimised needs many times as much.
#[test]
fn the_deepest_programs_fit_a_workers_stack() {
    let nested = |open: &str, close: &str| format!("{}.{}", open.repeat(30), close.repeat(30));
    let programs = [
        format!("1{}", " + 1".repeat(490)),
        format!(".{}", " | .".repeat(490)),
        format!("{}.", ". as $x | ".repeat(240)),
        format!("first({}.)", "(., 2) as $x | ".repeat(60)),
        format!("first([{}.])", "try ".repeat(400)),
        format!("null{}", " // null".repeat(480)),
        format!("{}.{}", "if . then . else ".repeat(240), " end".repeat(240)),
        format!("[.[]? | {}1]", format!(".a{} | ", ".a?".repeat(450)).repeat(20)),
        nested("map(", ")"),
        nested("[.[]? | select(", ")]"),
        format!("first({})", nested("{a: (., ", ")}")),
        format!("first({}.)", "(., 1) + ".repeat(240)),
        format!("first({}1)", "(1, .) | 1 + ".repeat(160)),
        nested("reduce .[]? as $x (.; ", ")"),
    ];
    let stack = if cfg!(debug_assertions) { 16 * 1024 * 1024 } else { 1024 * 1024 };
    let runs = move || {
        for program in programs {
            for text in [format!("def same: .; {program}"), program] {
                let outcome = run(&text, "[]");
                assert!(outcome.is_ok(), "{text}: {outcome:?}");
            }
        }
    };
    std::thread::Builder::new().stack_size(stack).spawn(runs).unwrap().join().unwrap();
}

/// Paths are data too: a list of names is one, and a `reduce` leads along what a client sent.
#[test]
fn long_paths_cannot_take_the_stack() {
    let items = format!("[{}\"a\"]", "\"a\",".repeat(100_000));
    for program in [
        "getpath(.)",
        "setpath(.; 1)",
        "delpaths([.])",
        "getpath(.) |= 1",
        ". as $p | null | setpath($p; 1)",
        ". as $p | [null | path(getpath($p))]",
        ". as $p | null | pick(getpath($p))",
        "(reduce .[] as $x (.; .)) |= 1",
        "(reduce .[] as $x (.; .a?)) = 1",
        "(foreach .[] as $x (.; .)) |= .",
        "(foreach .[] as $x (.; .; .)) |= .",
        "{} | (reduce range(0; 10000) as $x (.; .a)) = 1",
        ". as $p | null | [path(reduce $p[] as $x (.; .a))]",
        ". as $p | null | path(first(foreach $p[] as $x (.; .a; select(false))), .)",
        "def to($p): reduce $p[] as $x (.; .[$x]); . as $p | {} | to($p) = 1",
    ] {
        // Whatever it is, the process lives to say it.
        if let Err(error) = run(program, &items) {
            let message = error.to_string();
            let known = ["too deep", "cannot index", SPENT].iter().any(|it| message.contains(it));
            assert!(known, "{program}: {message}");
        }
    }
    let path = format!("[{}\"a\"]", "\"a\",".repeat(59));
    assert!(run(". as $p | null | setpath($p; 1) | delpaths([$p])", &path).is_ok());
    assert_eq!(run(". as $p | null | setpath($p; 7) | getpath($p)", &path).unwrap(), "7");
}

/// A comparison cannot say that the budget is spent; whoever sorts has to.
#[test]
fn a_sort_that_costs_too_much_ends_as_such_and_leaves_nothing_behind() {
    let item = |at: usize| format!("{{\"cost\":{{\"a\":{}}}}}", at * 7_919 % 40_009);
    let items = (0..40_000).map(item).collect::<Vec<_>>().join(",");
    let input = Value::parse(format!("[{items}]").as_bytes()).unwrap();
    for program in ["sort", "sort_by(.cost)", "group_by(.cost)", "unique", ". - [.[0]]", ". - ."] {
        for text in [program.to_owned(), format!("def same: .; {program}")] {
            if let Err(error) = compile(&text).unwrap().run_one(input.clone(), &super::Claims) {
                assert_eq!(error.to_string(), SPENT, "{text}");
            }
            assert_eq!(run("{a: \"hello\"}", "null").unwrap(), r#"{"a":"hello"}"#);
        }
    }
}

#[test]
fn what_a_program_says_costs_as_much_as_what_a_client_says() {
    let text = "x".repeat(20_000);
    let zeros = format!("[{}0]", "0,".repeat(50_000));
    for program in [format!("map(\"{text}\") | length"), format!("map({{\"{text}\": 1}}) | length")]
    {
        assert_eq!(fails(&program, &zeros), SPENT);
    }
    let doubled = vec!["(., .)"; 30].join(" | ");
    assert_eq!(fails(&format!("reduce ({doubled}) as $x (0; .)"), "0"), SPENT);
    assert_eq!(run(&format!(".a |= ({doubled})"), r#"{"a":1}"#).unwrap(), r#"{"a":1}"#);
}

/// In jaq, where nothing but the program makes many of little and no value sees it.
#[test]
fn steps_that_no_value_sees_are_paid_for() {
    let items = format!("[{}0]", "0,".repeat(40));
    let twice = vec!["(., .)"; 40].join(" | ");
    let passed = vec!["((., .)?)"; 40].join(" | ");
    let names: String = (0..12).map(|at| format!("(1, 2, 3, 4, 5, 6, 7) as $v{at} | ")).collect();
    let calls: String = (1..40).map(|at| format!("def f{at}: f{0} | f{0}; ", at - 1)).collect();
    for program in [
        format!("[{names}select(false)]"),
        format!("last({passed})"),
        format!("sort_by({twice})"),
        format!("[path(last({twice}))]"),
        format!("({twice}) |= ."),
        "last(reduce .[] as $x (0; (., .)))".to_owned(),
        format!("def f0: .; {calls}f39"),
        format!("def two(f): f | f; {}.{}", "two(".repeat(40), ")".repeat(40)),
    ] {
        // Most of the budget is gone at once, so that the rest is soon.
        let program = format!("def same: .; (\"x\" * 60000000 | 0) as $spent | {program}");
        assert_eq!(fails(&program, &items), SPENT, "{program}");
    }
}

#[test]
fn two_runs_do_not_share_a_budget() {
    assert_eq!(fails("\"x\" * 100000000", "null"), SPENT);
    assert_eq!(run("1 + 1", "null").unwrap(), "2");
    assert_eq!(Value::parse(b"[1]").unwrap(), Value::array([Value::integer(1)]));
}
