//! One composition while it runs: each call waits for what it needs, is made once or for each item,
//! and says what it means when it fails.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use http::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use portcullis_core::mapping::{RunError, Value};
use portcullis_core::template::{Lookup, Reference};
use portcullis_core::{Body, Call, Code, Exchange, Problem, Response};
use portcullis_upstream::{Outbound, Upstream};
use tokio::sync::SetOnce;

use crate::plan::{CallPlan, ComposePlan, EachPlan};
use crate::problems::{BAD_PATH, CALL_FAILED, COMPOSITION_FAILED, COMPOSITION_TIMEOUT};
use crate::targets::forward::render;

/// What a call sends of the client's request, beside who asks.
const PASSED: [HeaderName; 5] = [
    ACCEPT_LANGUAGE,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-correlation-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// How a call ended.
#[derive(Clone)]
pub(super) enum Answer {
    Whole(Value),
    /// Something stands in for it.
    Instead(Value, Told),
    Absent(Told),
}

/// What a client may know of a call that failed.
#[derive(Clone)]
pub(super) struct Told {
    code: &'static Code,
    status: StatusCode,
    wait: Option<Duration>,
    detail: String,
    private: String,
}

impl Told {
    fn of(problem: &Problem) -> Self {
        Self {
            code: problem.code(),
            status: problem.status(),
            wait: problem.wait(),
            detail: problem.detail().to_owned(),
            private: problem.private_detail().to_owned(),
        }
    }

    fn problem(self) -> Problem {
        let problem = Problem::new(self.code, self.detail).private(self.private);
        let problem = problem.status_of(self.status).from_upstream();
        match self.wait {
            Some(wait) => problem.retry_after(wait),
            None => problem,
        }
    }

    pub(super) fn to_json(&self, call: &str) -> serde_json::Value {
        let mut told = serde_json::json!({
            "call": call, "status": self.status.as_u16(), "code": self.code.name,
        });
        if let (Some(members), Some(wait)) = (told.as_object_mut(), self.wait) {
            let seconds = portcullis_core::problem::whole_seconds(wait);
            members.insert("retryAfter".to_owned(), seconds.into());
        }
        told
    }
}

/// What a composition leaves behind, whether it came to its end or not.
pub(super) struct Made {
    /// For the record, in the order of the calls.
    pub(super) lines: Vec<Call>,
    /// What each answer says of its keeping.
    pub(super) kept: Vec<Option<HeaderValue>>,
    /// By call; `None` for one that was not made.
    pub(super) answers: Vec<Option<Answer>>,
}

/// An answer that several calls of a plan share.
type Shared = Rc<SetOnce<Result<Value, Told>>>;

/// A composition while it runs.
pub(super) struct Run<'r> {
    plan: &'r ComposePlan,
    upstreams: &'r [Arc<Upstream>],
    exchange: &'r Exchange,
    answers: Vec<SetOnce<Answer>>,
    /// Answers to equal GETs.
    shared: RefCell<HashMap<String, Shared>>,
    /// For the record, by call.
    lines: RefCell<Vec<Vec<Call>>>,
    /// Calls of whose items some failed, and the first of these.
    partly: RefCell<HashMap<usize, Told>>,
    /// What each answer says of its keeping.
    kept: RefCell<Vec<Option<HeaderValue>>>,
}

impl<'r> Run<'r> {
    pub(super) fn new(
        plan: &'r ComposePlan,
        upstreams: &'r [Arc<Upstream>],
        exchange: &'r Exchange,
    ) -> Self {
        Self {
            plan,
            upstreams,
            exchange,
            answers: plan.calls.iter().map(|_| SetOnce::new()).collect(),
            shared: RefCell::default(),
            lines: RefCell::new(plan.calls.iter().map(|_| Vec::new()).collect()),
            partly: RefCell::default(),
            kept: RefCell::default(),
        }
    }

    pub(super) fn end(self) -> Made {
        Made {
            lines: self.lines.into_inner().into_iter().flatten().collect(),
            kept: self.kept.into_inner(),
            answers: self.answers.into_iter().map(SetOnce::into_inner).collect(),
        }
    }

    /// Makes a call when its turn has come.
    pub(super) async fn make(&self, at: usize) -> Result<(), Problem> {
        let (Some(call), Some(own)) = (self.plan.calls.get(at), self.answers.get(at)) else {
            return Ok(());
        };
        for needed in call.after.iter().filter_map(|at| self.answers.get(*at)) {
            needed.wait().await;
        }
        let made = self.values(at, call).await;
        let answer = match (made, &call.otherwise) {
            (Ok(value), _) => match self.partly.borrow_mut().remove(&at) {
                Some(told) => Answer::Instead(value, told),
                None => Answer::Whole(value),
            },
            (Err(problem), Some(otherwise)) => {
                Answer::Instead(Value::json(otherwise), Told::of(&problem))
            }
            (Err(problem), None) if call.optional => Answer::Absent(Told::of(&problem)),
            (Err(problem), None) => return Err(problem),
        };
        let _ = own.set(answer); // it is set here only
        Ok(())
    }

    /// The answers that a call needs, and the item that it is made for.
    fn input(&self, call: &CallPlan, item: Option<(&str, &Value)>) -> Value {
        let needed = call.after.iter().filter_map(|at| {
            let name = &self.plan.calls.get(*at)?.name;
            match self.answers.get(*at)?.get()? {
                Answer::Whole(value) | Answer::Instead(value, _) => {
                    Some((name.to_string(), value.clone()))
                }
                Answer::Absent(_) => None,
            }
        });
        let item = item.map(|(name, value)| (name.to_owned(), value.clone()));
        Value::object(needed.chain(item))
    }

    async fn values(&self, at: usize, call: &CallPlan) -> Result<Value, Problem> {
        if let Some(when) = &call.when {
            let allowed = when.is_allowed(self.input(call, None), self.exchange);
            if !allowed.map_err(|error| unfit(call, &error))? {
                return Ok(Value::NULL);
            }
        }
        let Some(each) = &call.each else { return self.one(at, call, None).await };
        let items = each.items.run_one(self.input(call, None), self.exchange);
        let items = items.map_err(|error| unfit(call, &error))?;
        let items = items.items().ok_or_else(|| {
            let private = format!("{}: for_each gave {} and no array", call.name, items.kind());
            Problem::new(&COMPOSITION_FAILED, "the services' answers do not fit together")
                .private(private)
        })?;
        self.for_each(at, call, each, items).await
    }

    /// One call for each item, some at a time; the answers in the items' order.
    async fn for_each(
        &self,
        at: usize,
        call: &CallPlan,
        each: &EachPlan,
        items: Vec<Value>,
    ) -> Result<Value, Problem> {
        let mut different: Vec<(String, Value)> = Vec::new();
        let mut places = Vec::new();
        for item in items {
            let text = item.to_string();
            let known = different.iter().position(|(known, _)| each.distinct && *known == text);
            places.push(known.unwrap_or(different.len()));
            if known.is_none() {
                different.push((text, item));
            }
        }
        if different.len() > each.most {
            let (count, most) = (different.len(), each.most);
            let private = format!("{}: {count} items, and at most {most} are asked for", call.name);
            let detail = format!("the call {} has too many items", call.name);
            return Err(Problem::new(&COMPOSITION_FAILED, detail).private(private));
        }
        let calls = different.iter().map(|(_, item)| self.one(at, call, Some((&each.name, item))));
        let made: Vec<_> = stream::iter(calls).buffered(each.concurrency).collect().await;
        let mut values = Vec::new();
        for result in made {
            values.push(match (result, &call.otherwise) {
                (Ok(value), _) => value,
                (Err(problem), None) if !call.optional => return Err(problem),
                (Err(problem), otherwise) => {
                    self.partly.borrow_mut().entry(at).or_insert_with(|| Told::of(&problem));
                    otherwise.as_ref().map_or(Value::NULL, Value::json)
                }
            });
        }
        let in_place = places.into_iter().map(|place| values.get(place).cloned());
        Ok(Value::array(in_place.map(|value| value.unwrap_or(Value::NULL))))
    }

    /// One call, or the answer to an equal one.
    async fn one(
        &self,
        at: usize,
        call: &CallPlan,
        item: Option<(&str, &Value)>,
    ) -> Result<Value, Problem> {
        let outbound = self.outbound(at, call, item)?;
        if outbound.method != Method::GET {
            return self.send(at, call, outbound).await;
        }
        let key = format!(
            "{}\n{}\n{:?}\n{:?}",
            call.to, outbound.path_and_query, outbound.headers, call.accept
        );
        let known = self.shared.borrow().get(&key).cloned();
        if let Some(known) = known {
            return known.wait().await.clone().map_err(Told::problem);
        }
        let own: Shared = Rc::new(SetOnce::new());
        self.shared.borrow_mut().insert(key, Rc::clone(&own));
        let result = self.send(at, call, outbound).await;
        let _ = own.set(match &result {
            Ok(value) => Ok(value.clone()),
            Err(problem) => Err(Told::of(problem)),
        });
        result
    }

    fn outbound(
        &self,
        at: usize,
        call: &CallPlan,
        item: Option<(&str, &Value)>,
    ) -> Result<Outbound, Problem> {
        let values = InPlan { run: self, item };
        let text = render(&call.path, &values)?;
        let path_and_query = PathAndQuery::try_from(text).map_err(|error| {
            Problem::new(&BAD_PATH, "a call's path cannot be sent").private(error.to_string())
        })?;
        let mut headers = HeaderMap::new();
        for name in PASSED.iter().chain(&self.plan.identity) {
            if let Some(value) = self.exchange.request.headers.get(name) {
                headers.insert(name.clone(), value.clone());
            }
        }
        for (name, template) in &call.headers {
            let text = template.render(&values).map_err(|it| crate::targets::unresolved(&it))?;
            headers.extend(HeaderValue::try_from(text).ok().map(|value| (name.clone(), value)));
        }
        let body = match &call.body {
            None => Body::Empty,
            Some(program) => {
                let input = self.input(call, item);
                let output = program.run_one(input, self.exchange);
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Body::full(output.map_err(|error| unfit(call, &error))?.to_bytes())
            }
        };
        Ok(Outbound {
            method: call.method.clone(),
            path_and_query,
            headers,
            host: None,
            affinity: self.upstreams.get(at).and_then(|it| it.affinity(self.exchange)),
            retry_non_idempotent: false,
            body,
        })
    }

    /// One call, to the last byte of its answer.
    async fn send(&self, at: usize, plan: &CallPlan, outbound: Outbound) -> Result<Value, Problem> {
        let Some(upstream) = self.upstreams.get(at) else {
            return Err(Problem::new(&CALL_FAILED, "an upstream is missing"));
        };
        let timeout = plan.timeout.unwrap_or(self.plan.timeout).min(self.plan.timeout);
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
            let sent = upstream.send(&self.exchange.worker, outbound, &mut call).await;
            let response = sent.map_err(|failure| failure.problem)?;
            self.kept.borrow_mut().push(response.headers().get(CACHE_CONTROL).cloned());
            value(plan, response, self.exchange.buffer_limit).await
        };
        let result = tokio::time::timeout(timeout, asked).await.unwrap_or_else(|_| {
            let detail = format!("the call {} took longer than {timeout:?}", plan.name);
            Err(Problem::new(&COMPOSITION_TIMEOUT, detail).from_upstream())
        });
        if let Err(problem) = &result {
            call.code = Some(problem.code().name);
        }
        if let Some(lines) = self.lines.borrow_mut().get_mut(at) {
            lines.push(call);
        }
        result
    }
}

/// What a call's templates are made of: the request, other calls' answers, and the item.
struct InPlan<'p> {
    run: &'p Run<'p>,
    item: Option<(&'p str, &'p Value)>,
}

impl Lookup for InPlan<'_> {
    fn lookup<'a>(&'a self, reference: &Reference) -> Option<Cow<'a, str>> {
        let Reference::Call(name, path) = reference else {
            return self.run.exchange.lookup(reference);
        };
        if let Some((_, item)) = self.item.filter(|(own, _)| *own == &**name) {
            return item.at(path)?.scalar().map(Cow::Owned);
        }
        let at = self.run.plan.calls.iter().position(|call| *call.name == **name)?;
        match self.run.answers.get(at)?.get()? {
            Answer::Whole(value) | Answer::Instead(value, _) => {
                value.at(path)?.scalar().map(Cow::Owned)
            }
            Answer::Absent(_) => None,
        }
    }
}

fn unfit(call: &CallPlan, error: &RunError) -> Problem {
    Problem::new(&COMPOSITION_FAILED, "the services' answers do not fit together")
        .private(format!("{}: {error}", call.name))
}

async fn value(plan: &CallPlan, mut response: Response, limit: u64) -> Result<Value, Problem> {
    let status = response.status();
    let failed = |why: String| {
        let detail = format!("the call {} failed", plan.name);
        Problem::new(&CALL_FAILED, detail).private(why).from_upstream()
    };
    if !plan.accept.iter().any(|it| it.contain(status.as_u16())) {
        let problem = failed(format!("its status is {status}"));
        return Err(if status.is_client_error() { problem.status_of(status) } else { problem });
    }
    let bytes = response.body_mut().read(limit).await.map_err(|error| failed(error.to_string()))?;
    if bytes.is_empty() {
        return Ok(Value::NULL);
    }
    Value::parse(&bytes).map_err(|error| failed(format!("its answer is no JSON: {error}")))
}
