//! The runner's own tests: one that lets a wrong answer pass would make every scenario worthless.

use anyhow::{Result, ensure};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use crate::act::Outcome;
use crate::check;
use crate::compare::{Extent, difference};
use crate::fill::{Variables, check_filled, unescape};
use crate::kit::client::Got;
use crate::language::Expect;
use crate::metrics;
use crate::shapes::Amount;

type Test = fn() -> Result<()>;

pub fn trials() -> Vec<Trial> {
    let all: [(&str, Test); 6] = [
        ("a part of a body is found, and what differs is not", parts),
        ("amounts compare", amounts),
        ("samples are summed by their labels", samples),
        ("only the runner's own names are filled in", names),
        ("escapes become bytes", escapes),
        ("a problem that contradicts its headers is noticed", problems),
    ];
    let trial = |(name, test): (&str, Test)| {
        Trial::test(format!("the runner itself: {name}"), move || {
            test().map_err(|error| Failed::from(format!("{error:#}")))
        })
    };
    all.into_iter().map(trial).collect()
}

fn parts() -> Result<()> {
    let got = json!({ "a": 1, "b": [{ "c": "hello world" }, null], "d": 19.0 });
    let part = |want: Value| difference(&want, &got, Extent::Part).is_none();
    for want in [
        json!({}),
        json!({ "a": 1.0, "d": 19 }),
        json!({ "b": [{ "c": "hello*" }, null] }),
        json!({ "a": "*" }),
    ] {
        ensure!(part(want.clone()), "{want} is a part");
    }
    for want in [
        json!({ "a": 2 }),
        json!({ "a": "1" }),
        json!({ "x": null }),
        json!({ "b": [] }),
        json!({ "b": [{ "c": "world" }, null] }),
        json!({ "b": [{}, "*"] }),
        json!([]),
    ] {
        ensure!(!part(want.clone()), "{want} is no part");
    }
    ensure!(difference(&json!({ "a": 1 }), &got, Extent::Whole).is_some(), "more than expected");
    ensure!(difference(&got, &got, Extent::Whole).is_none(), "the same");
    Ok(())
}

fn amounts() -> Result<()> {
    for (text, holds, fails) in [("3", 3, 4), (">=3", 4, 2), ("<= 3", 2, 4), ("0", 0, 1)] {
        let amount = Amount::parse(text).ok_or_else(|| anyhow::anyhow!("{text}"))?;
        ensure!(amount.holds_count(holds) && !amount.holds_count(fails), "{text}");
    }
    ensure!(Amount::parse("many").is_none() && Amount::parse("").is_none(), "no amounts");
    Ok(())
}

fn samples() -> Result<()> {
    let text = "# HELP x y\nx{a=\"1\",b=\"p q\"} 2\nx{a=\"1\",b=\"r\"} 3\nxy 7\nz 1.5e1\n";
    for (wanted, sum) in [
        ("x", Some(5.0)),
        ("x{b=\"r\"}", Some(3.0)),
        ("x{b=\"p q\", a=\"1\"}", Some(2.0)),
        ("x{a=\"2\"}", None),
        ("z", Some(15.0)),
    ] {
        ensure!(metrics::sum(text, wanted)? == sum, "{wanted}");
    }
    ensure!(metrics::sum("x{ nonsense\n", "x").is_err(), "nonsense is noticed");
    Ok(())
}

fn names() -> Result<()> {
    let mut variables = Variables::default();
    variables.set("upstream.up", "http://127.0.0.1:1");
    let filled = variables.text("${upstream.up}/x ${HOME} ${A:-b} ${upstream.other} ${");
    ensure!(filled == "http://127.0.0.1:1/x ${HOME} ${A:-b} ${upstream.other} ${", "{filled}");
    ensure!(check_filled(&filled).is_err(), "a name of the runner's is left");
    ensure!(check_filled("${HOME} ${A:-b.c}").is_ok(), "names of the gateway's");
    Ok(())
}

fn escapes() -> Result<()> {
    ensure!(unescape(r"a\r\n\x00\xffé\\n")? == b"a\r\n\x00\xff\xc3\xa9\\n", "bytes");
    ensure!(unescape(r"\q").is_err() && unescape(r"\x0").is_err(), "no escapes");
    Ok(())
}

fn problems() -> Result<()> {
    let good = json!({
        "type": "urn:x", "title": "T", "status": 503, "detail": "d", "code": "c", "error": "T",
        "requestId": "r-1", "retryAfter": 2,
    });
    let judged = |body: &Value| {
        let mut got = Got { status: 503, body: body.to_string().into_bytes(), ..Got::default() };
        for (name, value) in [
            ("content-type", "application/problem+json"),
            ("x-request-id", "r-1"),
            ("retry-after", "2"),
        ] {
            got.headers.push(name, value.as_bytes());
        }
        let expect = Expect::defaults().ok_or_else(|| anyhow::anyhow!("defaults"))?;
        check::outcome(&expect, &Outcome::Answers(vec![Ok(got)]))
    };
    judged(&good)?;
    for (member, value) in [
        ("status", json!(500)),
        ("requestId", json!("r-2")),
        ("retryAfter", json!(3)),
        ("error", Value::Null),
        ("code", json!("")),
    ] {
        let mut bad = good.clone();
        if let Some(place) = bad.get_mut(member) {
            *place = value;
        }
        ensure!(judged(&bad).is_err(), "{member} is wrong, and nobody noticed");
    }
    Ok(())
}
