//! Several services, one answer. Calls that need nothing of each other are made at the same time, the
//! others as soon as what they need is there; the answers become members of the mapping's input in
//! declared order, whoever answers first.

mod failure;
mod heard;
mod run;
mod send;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use portcullis_core::mapping::Value;
use portcullis_core::metrics::{Counter, Histogram, Metrics};
use portcullis_core::{Call, Exchange, Problem, Reply, Response};
use portcullis_upstream::Upstream;

use self::run::{Answer, Made, Run};
use self::send::{Services, Upstreams};
use crate::metrics::{CALL_DURATION, CALLS};
use crate::plan::ComposePlan;
use crate::problems::COMPOSITION_FAILED;

/// Names the calls that something else stands in for, or that are missing.
const PARTIAL: HeaderName = HeaderName::from_static("x-portcullis-partial");

/// The calls, their upstreams, and the mapping that makes one answer of theirs.
pub struct Compose {
    plan: Arc<ComposePlan>,
    upstreams: Vec<Arc<Upstream>>,
    /// By call.
    metrics: Vec<CallMetrics>,
}

impl Compose {
    pub fn build(
        plan: &Arc<ComposePlan>,
        route: &str,
        upstreams: &BTreeMap<String, Arc<Upstream>>,
        metrics: &Metrics,
    ) -> Option<Self> {
        let found = plan.calls.iter().map(|call| upstreams.get(&*call.to).cloned());
        let counted = plan.calls.iter().map(|call| CallMetrics::new(metrics, route, &call.name));
        let (upstreams, metrics) = (found.collect::<Option<_>>()?, counted.collect());
        Some(Self { plan: Arc::clone(plan), upstreams, metrics })
    }

    pub async fn answer(&self, exchange: &mut Exchange) -> Result<Response, Problem> {
        let services = Upstreams { all: &self.upstreams, exchange };
        let (lines, result) = composed(&self.plan, &services, exchange).await;
        for ((at, _), line) in &lines {
            if let Some(metrics) = self.metrics.get(*at) {
                metrics.observe(line);
            }
        }
        exchange.record.calls.extend(lines.into_values());
        result.map(Response::from)
    }
}

/// What is left behind for the record, and the answer.
async fn composed(
    plan: &ComposePlan,
    services: &impl Services,
    exchange: &Exchange,
) -> (BTreeMap<(usize, usize), Call>, Result<Reply, Problem>) {
    let (result, made) = Run::new(plan, services, exchange).all().await;
    let Made { lines, heard, answers } = made;
    let reply = result.and_then(|()| {
        let (mut members, mut missing) = (Vec::new(), Vec::new());
        for (call, answer) in plan.calls.iter().zip(answers) {
            let (value, failure) = match answer {
                Some(Answer::Whole(value)) => (Some(value), None),
                Some(Answer::Instead(value, failure)) => (Some(value), Some(failure)),
                Some(Answer::Absent(failure)) => (None, Some(failure)),
                None => (None, None),
            };
            members.extend(value.map(|value| (&*call.name, value)));
            missing.extend(failure.map(|failure| (&*call.name, failure)));
        }
        let output = plan.body.run_one(Value::object(members), exchange).map_err(|error| {
            Problem::new(&COMPOSITION_FAILED, "the services' answers do not fit together")
                .private(error.to_string())
        })?;
        let mut reply = Reply::empty(StatusCode::OK);
        reply.headers = heard::headers(heard.values(), !missing.is_empty());
        reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut body = output.to_bytes();
        if !missing.is_empty() {
            let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
            if let Ok(names) = HeaderValue::try_from(names.join(", ")) {
                reply.headers.insert(PARTIAL, names);
            }
            reply.status = StatusCode::from_u16(plan.partial_status).unwrap_or(StatusCode::OK);
            if plan.errors {
                body =
                    with_errors(body, missing.iter().map(|(name, it)| it.to_json(name)).collect());
            }
        }
        Ok(Reply { body: body.into(), ..reply })
    });
    (lines, reply)
}

/// An object with one member more. What is no object stays as it is.
fn with_errors(object: Vec<u8>, errors: serde_json::Value) -> Vec<u8> {
    match object.strip_suffix(b"}") {
        Some(rest) if rest.starts_with(b"{") => {
            let comma = if rest.len() > 1 { "," } else { "" };
            [rest, format!("{comma}\"_errors\":{errors}}}").as_bytes()].concat()
        }
        _ => object,
    }
}

/// What is counted about a call.
struct CallMetrics {
    answered: Counter,
    failed: Counter,
    duration: Histogram,
}

impl CallMetrics {
    fn new(metrics: &Metrics, route: &str, call: &str) -> Self {
        let counter = |outcome| metrics.counter(&CALLS, &[route, call, outcome]);
        let duration = metrics.histogram(&CALL_DURATION, &[route, call]);
        Self { answered: counter("answered"), failed: counter("failed"), duration }
    }

    fn observe(&self, line: &Call) {
        if line.code.is_none() { &self.answered } else { &self.failed }.inc();
        self.duration.observe(line.duration);
    }
}
