//! An answer's steps, on its way out.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use portcullis_core::mapping::{RunError, Scope, Value};
use portcullis_core::template::Lookup;
use portcullis_core::{
    Body, BodyError, Event, Exchange, Outcome, Problem, Response, Step, Verdict,
};

use super::{NAME, Rules, Transform, UPSTREAM_BODY_TOO_LARGE, UPSTREAM_BODY_UNUSABLE, body};
use crate::bodies;
use crate::coding::{self, Accepts, Broken, Coding, is_accepted};

/// What programs see beside everybody's variables: the answer as the service gave it.
struct Answered<'a> {
    exchange: &'a Exchange,
    status: StatusCode,
    headers: &'a HeaderMap,
}

impl Scope for Answered<'_> {
    fn variable(&self, name: &str) -> Value {
        match name {
            "status" => Value::integer(self.status.as_u16().into()),
            "response" => {
                let header = |name: &http::HeaderName| {
                    let value = self.headers.get(name).and_then(|value| value.to_str().ok());
                    (name.as_str().to_owned(), value.map_or(Value::NULL, Value::text))
                };
                let headers = Value::object(self.headers.keys().map(header));
                Value::object([("headers", headers)])
            }
            _ => self.exchange.variable(name),
        }
    }
}

impl Transform {
    pub(super) fn leave<'a>(
        &'a self,
        exchange: &'a mut Exchange,
        response: &'a mut Response,
    ) -> Step<'a> {
        // The gateway's own problems are nobody's shape.
        if self.response.is_empty() || exchange.record.failure.is_some() {
            return Step::Next;
        }
        let is_plain = response.status().is_success();
        if !is_plain && self.response.iter().all(|step| step.when.is_none()) {
            return Step::Next;
        }
        Step::Wait(Box::pin(self.answer(exchange, response)))
    }

    async fn answer(&self, exchange: &mut Exchange, response: &mut Response) -> Verdict {
        let (status, original) = (response.status(), response.headers().clone());
        for step in &self.response {
            if step.when.is_none() && !status.is_success() {
                continue;
            }
            let input = match step.reads_body() || step.body.is_some() {
                true => match self.input(step, exchange, response).await? {
                    Some(input) => input,
                    None => continue,
                },
                false => Value::NULL,
            };
            let scope = Answered { exchange, status, headers: &original };
            if let Some(when) = &step.when
                && !when.is_allowed(input.clone(), &scope).map_err(unfit)?
            {
                continue;
            }
            if let Some(program) = &step.body {
                let output = program.run_one(input, &scope).map_err(unfit)?;
                let coding = coding::of(response.headers()).ok().flatten();
                let (bytes, coding) = encoded(output.to_bytes(), coding, exchange);
                *response.body_mut() = Body::full(bytes);
                body::describe(response.headers_mut(), coding.is_some());
                exchange.record.event(Event::new(NAME, Outcome::Changed).with("side", "response"));
            }
            if let Some(edits) = &step.headers {
                edits.apply(response.headers_mut(), exchange as &dyn Lookup)?;
            }
            if let Some(status) = step.status {
                *response.status_mut() = status;
            }
        }
        Ok(None)
    }

    /// The body as a step reads it. `None` where there is none that it could read: the step then
    /// does nothing.
    async fn input(
        &self,
        step: &Rules,
        exchange: &mut Exchange,
        response: &mut Response,
    ) -> Result<Option<Value>, Problem> {
        if let Some(why) = bodies::untouched(exchange, response) {
            exchange.record.event(
                Event::new(NAME, Outcome::Skipped).with("side", "response").with("why", why),
            );
            return Ok(None);
        }
        if !step.reads_body() {
            return Ok(Some(Value::NULL));
        }
        let limit = exchange.buffer_limit;
        let coding = coding::of(response.headers()).ok().flatten();
        if !self.passes_oversize {
            let bytes = response.body_mut().read(limit).await.map_err(unreadable)?;
            return parse(&bytes, coding, limit).map(Some);
        }
        match response.body_mut().read_if_fits(limit).await.map_err(unreadable)? {
            Some(bytes) => parse(&bytes, coding, limit).map(Some),
            None => {
                let event = Event::new(NAME, Outcome::Skipped).with("side", "response");
                exchange.record.event(event.with("why", "size"));
                Ok(None)
            }
        }
    }
}

/// A body as it was before its coding, as a value.
fn parse(bytes: &[u8], coding: Option<Coding>, limit: u64) -> Result<Value, Problem> {
    let decoded = coding.map(|coding| coding.decode(bytes, limit)).transpose();
    let decoded = decoded.map_err(|broken| match broken {
        Broken::TooLarge => unreadable(BodyError::TooLarge { limit }),
        Broken::Garbage(why) => unusable(format!("its content encoding: {why}")),
    })?;
    let plain = decoded.as_deref().unwrap_or(bytes);
    Value::parse(plain).map_err(|error| unusable(error.to_string()))
}

/// A new body in the old one's coding, where the client takes that.
fn encoded(
    output: Vec<u8>,
    coding: Option<Coding>,
    exchange: &Exchange,
) -> (Bytes, Option<Coding>) {
    let accepts = exchange.request.extensions.get::<Accepts>();
    let coding = coding.filter(|it| accepts.is_some_and(|Accepts(all)| is_accepted(*it, all)));
    match coding.map(|coding| coding.encode(&output)) {
        Some(Ok(bytes)) => (bytes, coding),
        Some(Err(_)) | None => (output.into(), None),
    }
}

fn unfit(error: RunError) -> Problem {
    unusable(error.to_string())
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
