//! Several services, one answer. Calls that need nothing of each other are made at the same time, the
//! others as soon as what they need is there; the answers become members of the mapping's input in
//! declared order, whoever answers first.

mod cache;
mod call;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use portcullis_core::mapping::Value;
use portcullis_core::{Exchange, Problem, Reply, Response};
use portcullis_upstream::Upstream;

use self::call::{Answer, Made, Run};
use crate::plan::ComposePlan;
use crate::problems::{COMPOSITION_FAILED, COMPOSITION_TIMEOUT};

/// Names the calls that something else stands in for, or that are missing.
const PARTIAL: HeaderName = HeaderName::from_static("x-portcullis-partial");

/// The calls, their upstreams, and the mapping that makes one answer of theirs.
pub struct Compose {
    plan: Arc<ComposePlan>,
    upstreams: Vec<Arc<Upstream>>,
}

impl Compose {
    pub fn build(
        plan: &Arc<ComposePlan>,
        upstreams: &BTreeMap<String, Arc<Upstream>>,
    ) -> Option<Self> {
        let found = plan.calls.iter().map(|call| upstreams.get(&call.to).cloned());
        Some(Self { plan: Arc::clone(plan), upstreams: found.collect::<Option<_>>()? })
    }

    pub async fn answer(&self, exchange: &mut Exchange) -> Result<Response, Problem> {
        let plan = &*self.plan;
        let run = Run::new(plan, &self.upstreams, exchange);
        // The first required call that fails ends all others.
        let made = try_join_all((0..plan.calls.len()).map(|at| run.make(at)));
        let made = tokio::time::timeout(plan.timeout, made).await.unwrap_or_else(|_| {
            let detail = format!("the calls took longer than {:?}", plan.timeout);
            Err(Problem::new(&COMPOSITION_TIMEOUT, detail).from_upstream())
        });
        let Made { lines, kept, answers } = run.end();
        exchange.record.calls.extend(lines);
        made?;
        let mut members = Vec::new();
        let mut missing = Vec::new();
        for (call, answer) in plan.calls.iter().zip(answers) {
            match answer {
                Some(Answer::Whole(value)) => members.push((call.name.to_string(), value)),
                Some(Answer::Instead(value, told)) => {
                    members.push((call.name.to_string(), value));
                    missing.push((&*call.name, told));
                }
                Some(Answer::Absent(told)) => missing.push((&*call.name, told)),
                None => {}
            }
        }
        let output = plan.body.run_one(Value::object(members), exchange).map_err(|error| {
            Problem::new(&COMPOSITION_FAILED, "the services' answers do not fit together")
                .private(error.to_string())
        })?;
        let mut body = output.to_string();
        let mut reply = Reply::empty(StatusCode::OK);
        reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if missing.is_empty() {
            let strictest = cache::strictest(&kept);
            reply.headers.extend(strictest.map(|value| (CACHE_CONTROL, value)));
        } else {
            let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
            reply
                .headers
                .extend(HeaderValue::try_from(names.join(", ")).ok().map(|value| (PARTIAL, value)));
            reply.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            reply.status = StatusCode::from_u16(plan.partial_status).unwrap_or(StatusCode::OK);
            if plan.errors {
                let errors: serde_json::Value =
                    missing.iter().map(|(name, told)| told.to_json(name)).collect();
                body = with_errors(body, &errors);
            }
        }
        Ok(Reply { body: body.into(), ..reply }.into())
    }
}

/// An object with one member more. What is no object stays as it is.
fn with_errors(object: String, errors: &serde_json::Value) -> String {
    match object.strip_suffix('}') {
        Some("{") => format!("{{\"_errors\":{errors}}}"),
        Some(rest) if rest.starts_with('{') => format!("{rest},\"_errors\":{errors}}}"),
        _ => object,
    }
}
