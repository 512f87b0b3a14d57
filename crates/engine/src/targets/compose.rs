//! Several services, one answer. The calls are made at the same time; each is a GET whose JSON
//! answer becomes a member of the mapping's input, in declared order, whoever answers first.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::header::{ACCEPT_LANGUAGE, CONTENT_TYPE, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use portcullis_core::mapping::Value;
use portcullis_core::template::Template;
use portcullis_core::{Body, Call, Exchange, Problem, Reply, Response, Worker};
use portcullis_upstream::{Outbound, Upstream};

use super::forward::render;
use crate::plan::{CallPlan, ComposePlan};
use crate::problems::{BAD_PATH, CALL_FAILED, COMPOSITION_FAILED, COMPOSITION_TIMEOUT};

/// What a call sends of the client's request, beside who asks.
const PASSED: [HeaderName; 5] = [
    ACCEPT_LANGUAGE,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-correlation-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

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
        let mut prepared = Vec::new();
        for (call, upstream) in self.plan.calls.iter().zip(&self.upstreams) {
            let outbound = Outbound {
                affinity: upstream.affinity(exchange),
                ..self.outbound(&call.path, exchange)?
            };
            prepared.push((call, upstream, outbound));
        }
        let worker = Rc::clone(&exchange.worker);
        let limit = exchange.buffer_limit;
        let calls = prepared.into_iter().map(|(call, upstream, outbound)| {
            let timeout = call.timeout.unwrap_or(self.plan.timeout).min(self.plan.timeout);
            one(&worker, call, upstream, outbound, timeout, limit)
        });
        let results = join_all(calls).await;
        let mut members = Vec::new();
        let mut failed = None;
        for (call, (line, result)) in self.plan.calls.iter().zip(results) {
            exchange.record.calls.push(line);
            match (result, &call.otherwise) {
                (Ok(value), _) => members.push((call.name.to_string(), value)),
                (Err(_), Some(otherwise)) => {
                    members.push((call.name.to_string(), Value::json(otherwise)))
                }
                (Err(problem), None) => failed = failed.or(Some(problem)),
            }
        }
        if let Some(problem) = failed {
            return Err(problem);
        }
        let output = self.plan.body.run_one(Value::object(members), exchange).map_err(|error| {
            Problem::new(&COMPOSITION_FAILED, "the services' answers do not fit together")
                .private(error.to_string())
        })?;
        let mut reply = Reply { body: output.to_string().into(), ..Reply::empty(StatusCode::OK) };
        reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(reply.into())
    }

    fn outbound(&self, path: &Template, exchange: &Exchange) -> Result<Outbound, Problem> {
        let text = render(path, exchange)?;
        let path_and_query = PathAndQuery::try_from(text).map_err(|error| {
            Problem::new(&BAD_PATH, "a call's path cannot be sent").private(error.to_string())
        })?;
        let mut headers = HeaderMap::new();
        for name in PASSED.iter().chain(&self.plan.identity) {
            if let Some(value) = exchange.request.headers.get(name) {
                headers.insert(name.clone(), value.clone());
            }
        }
        let (method, body) = (Method::GET, Body::Empty);
        Ok(Outbound {
            method,
            path_and_query,
            headers,
            host: None,
            affinity: None,
            retry_non_idempotent: false,
            body,
        })
    }
}

/// One call, to the last byte of its answer.
async fn one(
    worker: &Rc<Worker>,
    plan: &CallPlan,
    upstream: &Upstream,
    outbound: Outbound,
    timeout: Duration,
    limit: u64,
) -> (Call, Result<Value, Problem>) {
    let mut call = Call {
        name: Arc::clone(&plan.name),
        upstream: Arc::clone(upstream.name()),
        endpoint: None,
        attempts: 0,
        status: 0,
        duration: timeout,
        code: None,
    };
    let asked = async {
        let sent = upstream.send(worker, outbound, &mut call).await;
        let response = sent.map_err(|failure| failure.problem)?;
        value(plan, response, limit).await
    };
    let result = tokio::time::timeout(timeout, asked).await.unwrap_or_else(|_| {
        let detail = format!("the call {} took longer than {timeout:?}", plan.name);
        Err(Problem::new(&COMPOSITION_TIMEOUT, detail).from_upstream())
    });
    if let Err(problem) = &result {
        call.code = Some(problem.code().name);
    }
    (call, result)
}

async fn value(plan: &CallPlan, mut response: Response, limit: u64) -> Result<Value, Problem> {
    let status = response.status();
    let failed = |why: String| {
        let detail = format!("the call {} failed", plan.name);
        Problem::new(&CALL_FAILED, detail).private(why).from_upstream()
    };
    if !status.is_success() {
        let problem = failed(format!("its status is {status}"));
        return Err(if status.is_client_error() { problem.status_of(status) } else { problem });
    }
    let bytes = response.body_mut().read(limit).await.map_err(|error| failed(error.to_string()))?;
    Value::parse(&bytes).map_err(|error| failed(format!("its answer is no JSON: {error}")))
}
