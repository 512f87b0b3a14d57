//! What a step can be seen to have done from outside: at the upstreams, in the access log, on
//! standard error, in the metrics and in files.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::act::Outcome;
use crate::check;
use crate::compare::{Extent, difference};
use crate::kit::BOUND;
use crate::kit::client::{self, Ask, Got};
use crate::kit::pause::eventually;
use crate::kit::script::{Seen, wild};
use crate::language::{Saw, Step};
use crate::metrics;
use crate::scene::Scene;
use crate::shapes::Amount;

/// What comes a moment after the answer (a log line, a counter) is waited for, so long at most.
const SOON: Duration = Duration::from_secs(5);

/// How far everything was when a step began.
pub struct Marks {
    /// Requests and connections, by upstream.
    upstreams: BTreeMap<String, (usize, usize)>,
    log: usize,
    stderr: usize,
}

impl Marks {
    pub fn of(scene: &Scene) -> Self {
        let mark = |(name, upstream): (&String, &crate::kit::upstream::Upstream)| {
            (name.clone(), (upstream.count(), upstream.connections()))
        };
        let gateway = scene.gateway.as_ref();
        Self {
            upstreams: scene.upstreams.iter().map(mark).collect(),
            log: gateway.map_or(0, |gateway| gateway.log.count()),
            stderr: gateway.map_or(0, |gateway| gateway.stderr.count()),
        }
    }

    /// For another attempt of the same step: what upstreams saw in the last one does not count.
    pub fn again(&self, scene: &Scene) -> Self {
        Self { log: self.log, stderr: self.stderr, ..Self::of(scene) }
    }
}

pub async fn look(scene: &Scene, step: &Step, marks: &Marks, outcome: &Outcome) -> Result<()> {
    upstreams(scene, step, marks).await?;
    if let Some(want) = step.issuer.as_ref().and_then(|issuer| issuer.fetches) {
        let count = scene.issuer.as_ref().context("no issuer in this scenario")?.fetches();
        ensure!(want.holds_count(count), "key set fetches: expected {want}, got {count}");
    }
    log(scene, step, marks, outcome).await?;
    told(scene, step, marks).await?;
    hides(scene, step, marks, outcome).await?;
    for (name, amount) in &step.metrics.0 {
        let amount = Amount::parse(amount).with_context(|| format!("{name}: expected a number"))?;
        eventually(SOON, || metric(scene, name, amount)).await?;
    }
    for (name, part) in &step.files.0 {
        eventually(SOON, || file(scene, name, part)).await?;
    }
    Ok(())
}

/// What every upstream that the step names has seen since its mark.
pub async fn upstreams(scene: &Scene, step: &Step, marks: &Marks) -> Result<()> {
    for entry in &step.upstream {
        let upstream = scene.upstream(&entry.name)?;
        let (requests, connections) = marks.upstreams.get(&entry.name).copied().unwrap_or_default();
        let seen = upstream.seen_since(requests);
        let new = upstream.connections() - connections;
        let wanted: Vec<&Saw> = entry.value.iter().collect();
        check::beside(saw(&wanted, &seen, new), || {
            let seen: Vec<_> = seen.iter().map(|seen| seen.to_json(&entry.name)).collect();
            format!("upstream {} saw {}", entry.name, Value::from(seen))
        })?;
    }
    Ok(())
}

/// One expectation holds for each request, several hold one by one.
fn saw(wanted: &[&Saw], seen: &[Seen], connections: usize) -> Result<()> {
    let pairs: Vec<(&Saw, &Seen)> = match wanted {
        [one] => {
            let count = one.count.unwrap_or(Amount::at_least(1.0));
            let got = seen.len();
            ensure!(count.holds_count(got), "requests: expected {count}, got {got}");
            seen.iter().map(|seen| (*one, seen)).collect()
        }
        several => {
            let (want, got) = (several.len(), seen.len());
            ensure!(want == got, "requests: expected {want}, got {got}");
            several.iter().copied().zip(seen).collect()
        }
    };
    for (want, seen) in pairs {
        request(want, seen)?;
    }
    for want in wanted.iter().filter_map(|saw| saw.connections) {
        ensure!(
            want.holds_count(connections),
            "new connections: expected {want}, got {connections}"
        );
    }
    Ok(())
}

fn request(want: &Saw, seen: &Seen) -> Result<()> {
    let method = &seen.head.method;
    ensure!(want.method.as_ref().is_none_or(|want| want == method), "method: got {method}");
    let path = &seen.head.target;
    ensure!(want.path.as_ref().is_none_or(|want| wild(want, path)), "path: got {path}");
    check::fields(&want.headers, &seen.head.fields)?;
    check::absent(&want.absent, &seen.head.fields)?;
    check::json(want.json.as_ref().map(|want| (want.to_json(), Extent::Part)), &seen.body.bytes)?;
    if let Some(want) = &want.text {
        let text = String::from_utf8_lossy(&seen.body.bytes);
        ensure!(wild(want, &text), "body: expected {want:?}, got {text:?}");
    }
    if let Some(want) = want.length {
        let length = seen.body.bytes.len();
        ensure!(want.holds_count(length), "body: expected {want} bytes, got {length}");
    }
    check::fields(&want.trailers, &seen.body.trailers).context("trailers")
}

fn answers(outcome: &Outcome) -> Vec<&Got> {
    match outcome {
        Outcome::Answers(answers) => answers.iter().flatten().collect(),
        Outcome::Raw(got) => got.answers.iter().collect(),
        _ => Vec::new(),
    }
}

/// The step's lines: those with its answers' request ids, or all new ones where an answer has none.
fn own_lines(lines: &[String], outcome: &Outcome) -> Vec<Value> {
    let answers = answers(outcome);
    let ids: Option<BTreeSet<&str>> =
        answers.iter().map(|got| got.headers.get("x-request-id")).collect();
    let own = |line: &Value| match &ids {
        Some(ids) if !ids.is_empty() => {
            line.get("id").and_then(Value::as_str).is_some_and(|id| ids.contains(id))
        }
        _ => true,
    };
    lines.iter().filter_map(|line| serde_json::from_str(line).ok()).filter(own).collect()
}

async fn log(scene: &Scene, step: &Step, marks: &Marks, outcome: &Outcome) -> Result<()> {
    let wanted: Vec<Value> = step.log.iter().map(portcullis_config::Node::to_json).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let log = &scene.gateway()?.log;
    let complete = |lines: &[String]| {
        let own = own_lines(lines, outcome);
        let there =
            |want: &Value| own.iter().any(|line| difference(want, line, Extent::Part).is_none());
        wanted.iter().all(there).then_some(())
    };
    log.wait_for(SOON, "the access log's lines", marks.log, complete).await.with_context(|| {
        let own: Vec<_> = own_lines(&log.since(marks.log), outcome);
        let told: Vec<_> = wanted
            .iter()
            .flat_map(|want| own.iter().filter_map(|got| difference(want, got, Extent::Part)))
            .collect();
        format!(
            "expected {}\ngot {}\n{}",
            Value::from(wanted.clone()),
            Value::from(own),
            told.join("\n")
        )
    })
}

/// Texts that the gateway writes for people, each in some line.
async fn told(scene: &Scene, step: &Step, marks: &Marks) -> Result<()> {
    let all = step.stderr.iter().map(|want| (want, "standard error", marks.stderr));
    let all = all.chain(step.banner.iter().map(|want| (want, "standard error", 0)));
    for (want, stream, mark) in
        all.chain(step.stdout.iter().map(|want| (want, "output", marks.log)))
    {
        let gateway = scene.gateway()?;
        let lines = if stream == "output" { &gateway.log } else { &gateway.stderr };
        let there = |lines: &[String]| lines.iter().any(|line| line.contains(want)).then_some(());
        lines.wait_for(SOON, &format!("{want:?} on {stream}"), mark, there).await?;
    }
    Ok(())
}

/// Nothing of this was written, once all lines of the step's requests are there.
async fn hides(scene: &Scene, step: &Step, marks: &Marks, outcome: &Outcome) -> Result<()> {
    if step.hides.is_empty() {
        return Ok(());
    }
    let gateway = scene.gateway()?;
    let count = answers(outcome).len();
    let complete = |lines: &[String]| (own_lines(lines, outcome).len() >= count).then_some(());
    gateway.log.wait_for(SOON, "the access log's lines", marks.log, complete).await?;
    let lines = [gateway.log.since(marks.log), gateway.stderr.since(marks.stderr)].concat();
    for secret in &step.hides {
        if let Some(line) = lines.iter().find(|line| line.contains(secret)) {
            bail!("{secret:?} stands in what the gateway wrote: {line}");
        }
    }
    Ok(())
}

async fn metric(scene: &Scene, name: &str, want: Amount) -> Result<()> {
    let ask = Ask { method: "GET".into(), path: "/metrics".into(), ..Ask::default() };
    let got = client::ask(scene.gateway()?.admin()?, &ask, BOUND).await?;
    ensure!(got.status == 200, "/metrics: status {}", got.status);
    let text = got.text();
    let sum = metrics::sum(&text, name)?;
    // A counter that was never counted may be missing, or be there with 0.
    if want.holds(sum.unwrap_or(0.0)) {
        return Ok(());
    }
    let family = name.split('{').next().unwrap_or(name);
    let near: Vec<_> = text.lines().filter(|line| line.starts_with(family)).collect();
    bail!("{name}: expected {want}, got {sum:?}; there is:\n{}", near.join("\n"))
}

async fn file(scene: &Scene, name: &str, part: &str) -> Result<()> {
    let path = scene.place.path().join(name);
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {name}"))?;
    ensure!(wild(&format!("*{part}*"), &text), "{name}: {part:?} does not stand in it:\n{text}");
    Ok(())
}
