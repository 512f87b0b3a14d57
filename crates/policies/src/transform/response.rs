//! An answer's steps, on its way out.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, ETAG, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use portcullis_core::context::header_text;
use portcullis_core::mapping::{RunError, Scope, Value};
use portcullis_core::template::Lookup;
use portcullis_core::{
    Body, BodyError, Event, Exchange, Outcome, Problem, Response, Step, Verdict, headers,
};

use super::steps::{Held, Side, run};
use super::{
    Live, Mapping, NAME, Rules, Transform, UPSTREAM_BODY_TOO_LARGE, UPSTREAM_BODY_UNUSABLE, body,
};
use crate::beside::beside;
use crate::bodies::{self, Whole};
use crate::coding::{self, Accepts, Broken, Coding, is_accepted};

/// An answer without its body.
struct Answer {
    /// As the service gave it.
    status: StatusCode,
    /// As it becomes.
    new_status: StatusCode,
    headers: HeaderMap,
    /// The headers as the service gave them, where a program reads those.
    original: HeaderMap,
    method: Method,
    /// The codings that the client takes.
    accepts: Option<HeaderValue>,
    /// The new body's.
    coding: Option<Coding>,
}

/// An answer, and the request that it is to.
struct Answered<'a, R> {
    request: &'a R,
    answer: &'a mut Answer,
}

impl<R: Scope> Scope for Answered<'_, R> {
    /// Beside everybody's variables, the answer as the service gave it.
    fn variable(&self, name: &str) -> Value {
        match name {
            "status" => Value::integer(self.answer.status.as_u16().into()),
            "response" => {
                let original = &self.answer.original;
                let header = |name: &http::HeaderName| {
                    let value = original.get(name).map(header_text);
                    let value = value.map_or(Value::NULL, |value| Value::text(&value));
                    (name.as_str().to_owned(), value)
                };
                let headers = Value::object(original.keys().map(header));
                Value::object([("headers", headers)])
            }
            _ => self.request.variable(name),
        }
    }
}

impl<R: Scope + Lookup> Side for Answered<'_, R> {
    fn takes(&self, step: &Rules) -> bool {
        step.when.is_some() || self.answer.status.is_success()
    }

    fn untouched(&self) -> Option<&'static str> {
        let Answer { method, status, headers, .. } = &*self.answer;
        bodies::untouched(method, *status, headers)
    }

    /// The new body has the old one's coding, where the client takes that.
    fn describe(&mut self) {
        let answer = &mut *self.answer;
        let accepts =
            |it: &Coding| answer.accepts.as_ref().is_some_and(|all| is_accepted(*it, all));
        answer.coding = coding::of(&answer.headers).ok().flatten().filter(accepts);
        body::describe(&mut answer.headers, answer.coding.is_some());
    }

    fn edit(&mut self, step: &Rules) -> Result<(), Problem> {
        if let Some(edits) = &step.headers {
            edits.apply(edits.render(self.request)?, &mut self.answer.headers);
        }
        if let Some(status) = step.status {
            self.answer.new_status = status;
        }
        Ok(())
    }

    fn failed(&self, mapping: &Mapping, error: &RunError, _: bool) -> Problem {
        unusable(mapping.tell(error))
    }
}

impl Answer {
    fn of(exchange: &Exchange, response: &mut Response, keeps_original: bool) -> Self {
        let headers = std::mem::take(response.headers_mut());
        let accepts = exchange.request.extensions.get::<Accepts>();
        Self {
            status: response.status(),
            new_status: response.status(),
            original: if keeps_original { headers.clone() } else { HeaderMap::new() },
            headers,
            method: exchange.record.method.clone(),
            accepts: accepts.map(|Accepts(all)| all.clone()),
            coding: None,
        }
    }

    /// The body that the client gets in place of the service's.
    fn encoded(&mut self, written: Vec<u8>) -> Bytes {
        match self.coding.map(|coding| coding.encode(&written)) {
            Some(Ok(bytes)) => bytes,
            Some(Err(_)) => {
                self.headers.remove(CONTENT_ENCODING);
                written.into()
            }
            None => written.into(),
        }
    }
}

impl Live {
    pub(super) fn leave<'a>(
        &'a self,
        exchange: &'a mut Exchange,
        response: &'a mut Response,
    ) -> Step<'a> {
        let steps = &self.transform.response;
        // The gateway's own problems are nobody's shape.
        if steps.is_empty() || exchange.record.failure.is_some() {
            return Step::Next;
        }
        if !response.status().is_success() && steps.iter().all(|step| step.when.is_none()) {
            return Step::Next;
        }
        if exchange.record.method == Method::HEAD && steps.iter().any(|step| step.body.is_some()) {
            // What they say is true of the service's body, and nobody sees what it is mapped to.
            headers::forget_bytes(response.headers_mut());
            response.headers_mut().remove(ETAG);
        }
        let mut answer = Answer::of(exchange, response, self.transform.keeps_original);
        let mut held = Held::Unasked;
        let mut answered = Answered { request: &*exchange, answer: &mut answer };
        match run(steps, &mut answered, &mut held) {
            Err(problem) => Step::Fail(problem),
            Ok([]) => {
                let written = held.written().map(|written| answer.encoded(written));
                self.answer(answer, written, &held, exchange, response);
                Step::Next
            }
            Ok(rest) => {
                let from = steps.len() - rest.len();
                Step::Wait(Box::pin(self.read_answer(from, answer, exchange, response)))
            }
        }
    }

    /// Runs the steps from the first on that reads the body.
    async fn read_answer(
        &self,
        from: usize,
        mut answer: Answer,
        exchange: &mut Exchange,
        response: &mut Response,
    ) -> Verdict {
        let limit = exchange.buffer_limit;
        let read = response.body_mut().read_if_fits(limit).await.map_err(unreadable)?;
        let Some(bytes) = read else {
            if !self.transform.passes_oversize {
                return Err(unreadable(BodyError::TooLarge { limit }));
            }
            let mut held = Held::Untouched("size");
            let steps = self.transform.response.get(from..).unwrap_or_default();
            run(steps, &mut Answered { request: &*exchange, answer: &mut answer }, &mut held)?;
            self.answer(answer, None, &held, exchange, response);
            return Ok(None);
        };
        let coding = coding::of(&answer.headers).ok().flatten();
        let whole = Whole { bytes, coding, limit };
        let (answer, written) = if whole.is_large() {
            let (transform, seen) = (Arc::clone(&self.transform), exchange.seen());
            beside(move || transform.map_answer(from, &whole, &seen, answer)).await?
        } else {
            self.transform.map_answer(from, &whole, &*exchange, answer)?
        };
        self.answer(answer, written, &Held::Closed, exchange, response);
        Ok(None)
    }

    /// The answer as it goes on.
    fn answer(
        &self,
        answer: Answer,
        written: Option<Bytes>,
        held: &Held,
        exchange: &mut Exchange,
        response: &mut Response,
    ) {
        *response.headers_mut() = answer.headers;
        *response.status_mut() = answer.new_status;
        let event = |outcome| Event::new(NAME, outcome).with("side", "response");
        if let Some(written) = written {
            *response.body_mut() = Body::full(written);
            exchange.record.event(event(Outcome::Changed));
        }
        if let Held::Untouched(why) = held {
            self.untouched.count(why);
            exchange.record.event(event(Outcome::Skipped).with("why", *why));
        }
    }
}

impl Transform {
    fn map_answer(
        &self,
        from: usize,
        whole: &Whole,
        request: &(impl Scope + Lookup),
        mut answer: Answer,
    ) -> Result<(Answer, Option<Bytes>), Problem> {
        let plain = whole.decoded().map_err(|broken| match broken {
            Broken::TooLarge => unreadable(BodyError::TooLarge { limit: whole.limit }),
            Broken::Garbage(why) => unusable(format!("its content encoding: {why}")),
        })?;
        let value = Value::parse(&plain).map_err(|error| unusable(error.to_string()))?;
        let mut held = Held::Sent(value);
        let steps = self.response.get(from..).unwrap_or_default();
        run(steps, &mut Answered { request, answer: &mut answer }, &mut held)?;
        let written = held.written().map(|written| answer.encoded(written));
        Ok((answer, written))
    }
}

fn unusable(why: String) -> Problem {
    let detail = "the service's answer does not have the shape that this route expects";
    Problem::new(&UPSTREAM_BODY_UNUSABLE, detail).private(why).from_upstream()
}

fn unreadable(error: BodyError) -> Problem {
    let problem = match &error {
        BodyError::TooLarge { limit } => {
            let detail = format!("the service's answer is larger than {limit} bytes");
            Problem::new(&UPSTREAM_BODY_TOO_LARGE, detail)
        }
        _ => Problem::new(&UPSTREAM_BODY_UNUSABLE, "the service's answer broke off"),
    };
    problem.private(error.to_string()).from_upstream()
}
