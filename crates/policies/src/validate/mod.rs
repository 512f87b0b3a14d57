//! `validate`: what requests must look like (body, path, query, headers, cookies), by JSON Schema or
//! by an OpenAPI document, all errors at once; and what answers must look like.
//!
//! What was validated is what is forwarded: the same bytes, in which no key stands twice. A body over
//! the bound is refused, never unchecked.

mod answers;
mod compile;
mod drift;
pub mod fuzzing;
mod held;
mod parameters;
mod plan;
mod requests;
mod schema;
mod settings;
mod texts;

use std::sync::Arc;

use http::StatusCode;
use jsonschema::Validator;
use portcullis_config::{Decode, Definitions};
use portcullis_core::{Code, Event, Exchange, Outcome, Policy, Problem, Response, Step};

use crate::coding;
pub use drift::Described;
pub use held::Documents;
use held::Held;
use parameters::Parameter;
pub use plan::plan;
use settings::{Mode, ValidateSettings};

const NAME: &str = "validate";

pub const VALIDATION_FAILED: Code = Code {
    name: "validation_failed",
    status: StatusCode::BAD_REQUEST,
    title: "Validation failed",
    cure: "Send what fits the schema; `errors` lists what does not.",
};
pub const OPERATION_NOT_FOUND: Code = Code {
    name: "operation_not_found",
    status: StatusCode::NOT_FOUND,
    title: "No such operation",
    cure: "The OpenAPI document of this route has no such path.",
};
pub const OPERATION_NOT_ALLOWED: Code = Code {
    name: "operation_not_allowed",
    status: StatusCode::METHOD_NOT_ALLOWED,
    title: "No such operation",
    cure: "The OpenAPI document of this route has this path with other methods; Allow lists them.",
};
pub const RESPONSE_INVALID: Code = Code {
    name: "response_invalid",
    status: StatusCode::BAD_GATEWAY,
    title: "The service's answer is not as promised",
    cure: "Operators: the log says what in the service's answer does not fit validate.response.",
};
pub const CODES: &[&Code] =
    &[&VALIDATION_FAILED, &OPERATION_NOT_FOUND, &OPERATION_NOT_ALLOWED, &RESPONSE_INVALID];

pub fn schema(definitions: &mut Definitions) -> serde_json::Value {
    ValidateSettings::schema(definitions)
}

struct Validate {
    body: Option<Arc<Validator>>,
    /// Media types that a body may have, in lower case; empty: any.
    content_types: Vec<String>,
    parameters: Vec<Parameter>,
    /// What a document says.
    held: Option<Held>,
    mode: Mode,
    response: Option<Answered>,
}

/// What answers must look like, beside what a document says of them.
struct Answered {
    body: Option<Arc<Validator>>,
    mode: Mode,
}

impl Policy for Validate {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        if self.response.is_some() {
            // The answer has to be read here.
            coding::ask_for_whole(&mut exchange.request);
        }
        Step::Wait(Box::pin(async move {
            let verdict = self.check(exchange).await;
            match (verdict, self.mode) {
                (Ok(()), _) => {
                    exchange.record.event(Event::new(NAME, Outcome::Passed));
                    Ok(None)
                }
                (Err(problem), Mode::Enforce) => {
                    exchange.record.event(Event::new(NAME, Outcome::Refused));
                    Err(problem)
                }
                (Err(problem), Mode::Observe) => {
                    let event = Event::new(NAME, Outcome::Observed);
                    exchange.record.event(event.with("code", problem.code().name));
                    Ok(None)
                }
            }
        }))
    }

    fn on_response<'a>(
        &'a self,
        exchange: &'a mut Exchange,
        response: &'a mut Response,
    ) -> Step<'a> {
        let Some(answered) = &self.response else { return Step::Next };
        let Some(promise) = self.promised(answered, exchange, response) else { return Step::Next };
        Step::Wait(Box::pin(async move {
            let why = promise.broken(exchange, response).await;
            let outcome = match (&why, answered.mode) {
                (None, _) => Outcome::Passed,
                (Some(_), Mode::Observe) => Outcome::Observed,
                (Some(_), Mode::Enforce) => Outcome::Refused,
            };
            let event = Event::new(NAME, outcome).with("side", "response");
            let told: Option<Arc<str>> = why.as_deref().map(Arc::from);
            exchange.record.event(match told {
                Some(why) => event.with("why", why),
                None => event,
            });
            match (why, answered.mode) {
                (Some(why), Mode::Enforce) => {
                    let detail = "the service's answer does not have the promised shape";
                    Err(Problem::new(&RESPONSE_INVALID, detail).private(why).from_upstream())
                }
                _ => Ok(None),
            }
        }))
    }
}
