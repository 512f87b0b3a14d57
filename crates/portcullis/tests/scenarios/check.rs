//! Compares what came back with what was expected. The first difference is the error, with the
//! whole answer beside it.

use std::io::Read as _;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::Value;

use crate::act::Outcome;
use crate::compare::{Extent, difference};
use crate::kit::client::{Got, RawGot};
use crate::kit::fields::Fields;
use crate::kit::gateway::Ended;
use crate::kit::script::wild;
use crate::language::{Coding, Expect};
use crate::shapes::{Amount, Texts};

pub fn outcome(expect: &Expect, outcome: &Outcome) -> Result<()> {
    match outcome {
        Outcome::Nothing => bail!("`expect` without a request"),
        Outcome::Ended(got) => beside(ended(expect, got), || shown_end(got)),
        Outcome::Raw(got) => raw(expect, got),
        Outcome::Answers(answers) => answers.iter().try_for_each(|got| match got {
            Ok(got) => answer(expect, got),
            Err(_) if expect.refused => Ok(()),
            Err(error) => bail!("{error:#}"),
        }),
    }
}

fn raw(expect: &Expect, got: &RawGot) -> Result<()> {
    let all = std::iter::once(expect).chain(&expect.then).filter(|expect| !expect.refused);
    all.zip(&got.answers).try_for_each(|(expect, got)| answer(expect, got))
}

fn answer(expect: &Expect, got: &Got) -> Result<()> {
    ensure!(!expect.refused, "expected no answer, got {}", shown(got));
    let decoded = expect.coding.map(|coding| decoded(coding, got)).transpose()?;
    let got = decoded.as_ref().unwrap_or(got);
    let checked = head(expect, got)
        .and_then(|()| body(expect, got))
        .and_then(|()| problem(expect, got))
        .and_then(|()| timing(expect, got));
    beside(checked, || shown(got))
}

/// The answer as a client reads it that knows the coding.
fn decoded(coding: Coding, got: &Got) -> Result<Got> {
    let said = got.headers.joined("content-encoding");
    ensure!(said.as_deref() == Some(coding.as_str()), "content-encoding: got {said:?}");
    let (coded, mut body) = (got.body.as_slice(), Vec::new());
    match coding {
        Coding::Gzip => flate2::read::MultiGzDecoder::new(coded).read_to_end(&mut body),
        Coding::Brotli => brotli::Decompressor::new(coded, 4096).read_to_end(&mut body),
        Coding::Zstd => zstd::stream::read::Decoder::new(coded)?.read_to_end(&mut body),
    }
    .with_context(|| format!("the body is no {}", coding.as_str()))?;
    Ok(Got { body, ..got.clone() })
}

fn head(expect: &Expect, got: &Got) -> Result<()> {
    if let Some(status) = expect.status {
        ensure!(got.status == status, "status: expected {status}, got {}", got.status);
    }
    if let Some(continued) = expect.continued {
        ensure!(got.continued == continued, "100 Continue: it came: {}", got.continued);
    }
    fields(&expect.headers, &got.headers)?;
    fields(&expect.trailers, &got.trailers).context("trailers")?;
    absent(&expect.absent, &got.headers)
}

/// Every field is there with its value.
pub fn fields(want: &Texts, got: &Fields) -> Result<()> {
    for (name, value) in &want.0 {
        let there = got.joined(name);
        let fits = there.as_ref().is_some_and(|there| wild(value, there));
        let one_of_many = got.all(name).any(|there| wild(value, there));
        let there = there.as_deref().unwrap_or("nothing");
        ensure!(fits || one_of_many, "header {name}: expected {value:?}, got {there:?}");
    }
    Ok(())
}

pub fn absent(names: &[String], got: &Fields) -> Result<()> {
    for name in names {
        if let Some(value) = got.joined(name) {
            bail!("header {name}: expected none, got {value:?}");
        }
    }
    Ok(())
}

fn body(expect: &Expect, got: &Got) -> Result<()> {
    match &got.broken {
        Some(why) if !expect.broken => bail!("the body broke off: {why}"),
        None if expect.broken => bail!("expected a body that breaks off"),
        _ => {}
    }
    json(expect.json.as_ref().map(|want| (want.to_json(), Extent::Part)), &got.body)?;
    json(expect.json_exact.as_ref().map(|want| (want.to_json(), Extent::Whole)), &got.body)?;
    let text = got.text();
    if let Some(want) = &expect.text {
        ensure!(wild(want, &text), "body: expected {want:?}, got {text:?}");
    }
    if let Some(length) = expect.length {
        let count = got.body.len();
        ensure!(length.holds_count(count), "body: expected {length} bytes, got {count}");
    }
    for part in expect.contains.iter() {
        ensure!(text.contains(part), "body: {part:?} does not stand in it");
    }
    for part in expect.hides.iter() {
        let hidden = !text.contains(part) && !got.headers.to_string().contains(part);
        ensure!(hidden, "{part:?} stands in the answer");
    }
    Ok(())
}

/// A body that is JSON and as wanted.
pub fn json(want: Option<(Value, Extent)>, body: &[u8]) -> Result<()> {
    let Some((want, extent)) = want else { return Ok(()) };
    let got: Value = serde_json::from_slice(body)
        .map_err(|error| anyhow!("not JSON ({error}): {:?}", String::from_utf8_lossy(body)))?;
    difference(&want, &got, extent).map_or(Ok(()), |difference| Err(anyhow!(difference)))
}

/// What every answer of the gateway's own holds to, whether the scenario asks for it or not: the
/// members of RFC 9457 and those of plain clients agree with each other and with the headers.
fn problem(expect: &Expect, got: &Got) -> Result<()> {
    let kind = got.headers.get("content-type").unwrap_or_default();
    if kind != "application/problem+json" {
        ensure!(expect.problem.is_none(), "expected a problem, got {kind:?}");
        return Ok(());
    }
    if got.body.is_empty() {
        return Ok(()); // to HEAD
    }
    let members = got.json()?;
    for name in ["type", "title", "detail", "code", "error", "requestId"] {
        let text = members.get(name).and_then(Value::as_str).unwrap_or_default();
        ensure!(!text.is_empty(), "a problem without `{name}`");
    }
    let status = members.get("status").and_then(Value::as_u64);
    ensure!(status == Some(u64::from(got.status)), "`status` is not the answer's status");
    let id = members.get("requestId").and_then(Value::as_str);
    ensure!(id == got.headers.get("x-request-id"), "`requestId` is not X-Request-Id");
    let wait = members.get("retryAfter").map(Value::to_string);
    ensure!(wait.as_deref() == got.headers.get("retry-after"), "`retryAfter` is not Retry-After");
    let code = members.get("code").and_then(Value::as_str);
    if let Some(want) = &expect.problem {
        ensure!(code == Some(want), "code: expected {want}, got {code:?}");
    }
    Ok(())
}

fn timing(expect: &Expect, got: &Got) -> Result<()> {
    if let Some(bound) = expect.within {
        ensure!(got.took <= bound, "took {:?}, at most {bound:?} was expected", got.took);
    }
    if let Some(bound) = expect.head_within {
        ensure!(got.head_took <= bound, "the head took {:?}, more than {bound:?}", got.head_took);
    }
    if let Some(bound) = expect.after {
        ensure!(got.took >= bound, "took {:?}, at least {bound:?} was expected", got.took);
    }
    Ok(())
}

fn ended(expect: &Expect, got: &Ended) -> Result<()> {
    if let Some(code) = expect.exit {
        let exit = got.exit;
        ensure!(exit == Some(i32::from(code)), "exit code: expected {code}, got {exit:?}");
    }
    for part in expect.stdout.iter() {
        ensure!(got.stdout.contains(part), "standard output: {part:?} does not stand in it");
    }
    for part in expect.stderr.iter() {
        ensure!(got.stderr.contains(part), "standard error: {part:?} does not stand in it");
    }
    for part in expect.hides.iter() {
        let hidden = !got.stdout.contains(part) && !got.stderr.contains(part);
        ensure!(hidden, "{part:?} stands in the output");
    }
    if expect.quiet {
        ensure!(got.stdout.is_empty() && got.stderr.is_empty(), "expected no output at all");
    }
    Ok(())
}

/// How often each status came: exactly these.
pub fn statuses(want: &Texts, outcome: &Outcome) -> Result<()> {
    if want.0.is_empty() {
        return Ok(());
    }
    let Outcome::Answers(answers) = outcome else { bail!("`statuses` without a request") };
    let got: Vec<u16> = answers.iter().flatten().map(|got| got.status).collect();
    let mut known = 0;
    for (status, amount) in &want.0 {
        let code: u16 = status.parse()?;
        let amount = Amount::parse(amount).context("statuses: a number")?;
        let count = got.iter().filter(|got| **got == code).count();
        known += count;
        ensure!(amount.holds_count(count), "{status}: expected {amount} of them, got {got:?}");
    }
    ensure!(known == answers.len(), "other statuses, or no answers, as well: {got:?}");
    Ok(())
}

/// A part of the answer that later steps want.
pub fn saved(name: &str, what: &str, outcome: &Outcome) -> Result<(String, String)> {
    let last = match outcome {
        Outcome::Answers(answers) => answers.last().and_then(|got| got.as_ref().ok()),
        Outcome::Raw(got) => got.answers.last(),
        _ => None,
    };
    let got = last.with_context(|| format!("save {name}: there is no answer"))?;
    let value = match what.strip_prefix("header.") {
        Some(header) => got.headers.joined(header),
        None => got.json()?.pointer(what).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }),
    };
    let value = value.with_context(|| format!("save {name}: no {what} in {}", shown(got)))?;
    Ok((name.to_owned(), value))
}

/// The difference first, then what it was found in.
pub fn beside(checked: Result<()>, whole: impl Fn() -> String) -> Result<()> {
    checked.map_err(|error| anyhow!("{error:#}\n{}", whole()))
}

fn shown(got: &Got) -> String {
    let text = got.text();
    let cut: String = text.chars().take(2000).collect();
    format!("the answer:\n    {}\n{}\n    {cut}", got.status, got.headers)
}

fn shown_end(got: &Ended) -> String {
    let Ended { exit, stdout, stderr } = got;
    format!(
        "the command ended with {exit:?}\nstandard output:\n{stdout}\nstandard error:\n{stderr}"
    )
}
