//! One call, or the answer to an equal one: what is sent, and what comes back to the last byte.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use http::header::{ACCEPT_LANGUAGE, CONTENT_TYPE, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use portcullis_core::mapping::Value;
use portcullis_core::template::{Lookup, MissingReference, Reference};
use portcullis_core::{Body, Call, Clock, Exchange, Problem, Response};
use portcullis_policies::coding;
use portcullis_upstream::{Outbound, Upstream, asked_for};
use tokio::sync::SetOnce;

use super::failure::Failure;
use super::heard::Heard;
use super::run::{Run, Turn};
use crate::open::ids::{TRACEPARENT, X_CORRELATION_ID, X_REQUEST_ID, child_span};
use crate::plan::CallPlan;
use crate::problems::BAD_PATH;
use crate::targets::forward::canonical;
use crate::targets::unresolved;

/// What a call sends of the client's request, beside who asks and the trace.
const PASSED: [HeaderName; 3] = [ACCEPT_LANGUAGE, X_REQUEST_ID, X_CORRELATION_ID];
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A call that did not come to its end: another one failed, or the client left.
const CANCELLED: &str = "cancelled";

/// Who carries calls: the upstreams, and in a test whoever answers as it says.
pub(super) trait Services {
    fn send(
        &self,
        at: usize,
        outbound: Outbound,
        line: &mut Call,
    ) -> impl Future<Output = Result<Response, Problem>>;
}

/// A composition's upstreams, by the place of its calls.
pub(super) struct Upstreams<'u> {
    pub(super) all: &'u [Arc<Upstream>],
    pub(super) exchange: &'u Exchange,
}

impl Services for Upstreams<'_> {
    async fn send(
        &self,
        at: usize,
        mut outbound: Outbound,
        line: &mut Call,
    ) -> Result<Response, Problem> {
        let Some(upstream) = self.all.get(at) else {
            return Err(Problem::new(&crate::problems::CALL_FAILED, "an upstream is missing"));
        };
        outbound.affinity = upstream.affinity(self.exchange);
        let sent = upstream.send(&self.exchange.worker, outbound, line).await;
        sent.map_err(|failure| failure.problem)
    }
}

/// What makes two GETs of one plan equal: the group of calls that differ in their paths and headers
/// only, and these.
pub(super) type Shared = (usize, PathAndQuery, Vec<HeaderValue>);
/// The answer that equal GETs wait for.
pub(super) type Sharing = Rc<SetOnce<Result<Value, Failure>>>;

impl<S: Services> Run<'_, S> {
    /// One call, or the answer to an equal one.
    pub(super) async fn one(&self, turn: Turn<'_>) -> Result<Value, Failure> {
        let call = turn.plan;
        let values = InPlan { run: self, turn };
        let path = self.path(call, &values)?;
        let own = self.own_headers(call, &values)?;
        let Some(group) = call.shares else { return self.send(turn, path, own).await };
        let key = (group, path.clone(), own.clone());
        let known = self.shared.borrow().get(&key).cloned();
        if let Some(known) = known {
            return known.wait().await.clone();
        }
        let sharing = Sharing::default();
        self.shared.borrow_mut().insert(key, Rc::clone(&sharing));
        let result = self.send(turn, path, own).await;
        let _ = sharing.set(result.clone()); // it is set here only
        result
    }

    fn path(&self, call: &CallPlan, values: &dyn Lookup) -> Result<PathAndQuery, Failure> {
        let text = call.path.render(values).map_err(missing)?;
        // What another service said is nothing that the client could mend.
        let of_answers = call.path.references().any(|it| matches!(it, Reference::Call(..)));
        let text = canonical(text, self.plan.path_rules).map_err(|problem| match of_answers {
            true => Failure::unfit(format!("{}: {}", problem.detail(), problem.private_detail())),
            false => Failure::of(&problem),
        })?;
        PathAndQuery::try_from(text).map_err(|error| {
            let problem = Problem::new(&BAD_PATH, "its path cannot be sent");
            Failure::of(&problem.private(error.to_string()))
        })
    }

    /// The values of the headers that the call names, in its order.
    fn own_headers(
        &self,
        call: &CallPlan,
        values: &dyn Lookup,
    ) -> Result<Vec<HeaderValue>, Failure> {
        let value = |text: String| HeaderValue::try_from(text).map_err(Failure::unfit);
        let rendered = call.headers.iter().map(|(_, template)| template.render(values));
        rendered.map(|text| text.map_err(missing).and_then(value)).collect()
    }

    /// All headers of a call, and the span that it is in its trace.
    fn headers(&self, call: &CallPlan, own: Vec<HeaderValue>) -> (HeaderMap, Option<Arc<str>>) {
        let given = &self.exchange.request.headers;
        let mut headers = HeaderMap::new();
        for name in PASSED.iter().chain(&self.plan.identity) {
            if let Some(value) = given.get(name) {
                headers.insert(name.clone(), value.clone());
            }
        }
        let child = given.get(TRACEPARENT).and_then(child_span);
        let span = child.map(|(parent, span)| {
            headers.insert(TRACEPARENT, parent);
            for state in given.get_all(TRACESTATE) {
                headers.append(TRACESTATE, state.clone());
            }
            span
        });
        if call.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for ((name, _), value) in call.headers.iter().zip(own) {
            headers.insert(name.clone(), value);
        }
        (headers, span)
    }

    /// One call, to the last byte of its answer.
    async fn send(
        &self,
        turn: Turn<'_>,
        path_and_query: PathAndQuery,
        own: Vec<HeaderValue>,
    ) -> Result<Value, Failure> {
        let call = turn.plan;
        let clock = &self.exchange.worker.clock;
        let (headers, span) = self.headers(call, own);
        let body = match &call.body {
            None => Body::Empty,
            Some(body) => Body::full(body.run_one(self.input(turn), self.exchange)?.to_bytes()),
        };
        let (host, affinity, retry_non_idempotent) = (None, None, false);
        let method = call.method.clone();
        let outbound = Outbound {
            method,
            path_and_query,
            headers,
            host,
            affinity,
            retry_non_idempotent,
            websocket: None,
            body,
        };
        let started = clock.now();
        let left = self.deadline.saturating_duration_since(started);
        let timeout = call.timeout.unwrap_or(left).min(left);
        let mut line = Line {
            place: turn.place(),
            started,
            clock,
            lines: &self.lines,
            call: Call { span, code: Some(CANCELLED), ..Call::new(&call.name, &call.to) },
        };
        let result = if timeout.is_zero() {
            Err(Failure::too_late(self.plan.timeout))
        } else {
            let asked = pin!(self.asked(turn, outbound, &mut line.call));
            let too_late = if timeout < left { timeout } else { self.plan.timeout };
            let ended = tokio::time::timeout(timeout, asked).await;
            ended.unwrap_or_else(|_| Err(Failure::too_late(too_late)))
        };
        line.call.code = result.as_ref().err().map(Failure::code);
        result
    }

    async fn asked(
        &self,
        turn: Turn<'_>,
        outbound: Outbound,
        line: &mut Call,
    ) -> Result<Value, Failure> {
        let call = turn.plan;
        let sent = self.services.send(turn.at, outbound, line).await;
        let mut response = sent.map_err(|problem| Failure::of(&problem))?;
        let status = response.status();
        let is_answer = call.accept.iter().any(|it| it.contain(status.as_u16()));
        if !is_answer {
            return Err(Failure::status(status, asked_for(response.headers())));
        }
        let limit = self.exchange.buffer_limit;
        let heard = Heard::of(response.headers(), &call.pass);
        let bytes = response.body_mut().read(limit).await;
        let bytes = bytes.map_err(|error| Failure::no_answer(error.to_string()))?;
        let bytes = coding::whole(response.headers(), bytes, limit).map_err(Failure::no_answer)?;
        let value = if bytes.is_empty() {
            Value::NULL
        } else {
            Value::parse(&bytes)
                .map_err(|error| Failure::no_answer(format!("its answer is no JSON: {error}")))?
        };
        self.heard.borrow_mut().insert(turn.place(), heard);
        Ok(value)
    }
}

/// A call's line item, which is written also when the call is cut short.
struct Line<'l> {
    place: (usize, usize),
    call: Call,
    started: Instant,
    clock: &'l Clock,
    lines: &'l RefCell<BTreeMap<(usize, usize), Call>>,
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        self.call.duration = self.clock.now().saturating_duration_since(self.started);
        self.lines.borrow_mut().insert(self.place, self.call.clone());
    }
}

/// What a call's templates are made of: the request, other calls' answers, and the item.
struct InPlan<'p, S> {
    run: &'p Run<'p, S>,
    turn: Turn<'p>,
}

impl<S: Services> Lookup for InPlan<'_, S> {
    fn lookup<'a>(&'a self, reference: &Reference) -> Option<Cow<'a, str>> {
        let Reference::Call(name, path) = reference else {
            return self.run.exchange.lookup(reference);
        };
        let each = self.turn.plan.each.as_ref().zip(self.turn.item);
        let value = match each.filter(|(each, _)| *each.name == **name) {
            Some((_, (_, item))) => item,
            None => {
                let at = self.run.plan.calls.iter().position(|call| *call.name == **name)?;
                self.run.answers.get(at)?.get()?.value()?
            }
        };
        value.at(path)?.scalar().map(Cow::Owned)
    }
}

/// A client that leaves something out is told so; a service that does is another matter.
fn missing(missing: MissingReference) -> Failure {
    match missing.0 {
        Reference::Call(..) => Failure::unfit(missing),
        _ => Failure::of(&unresolved(&missing)),
    }
}
