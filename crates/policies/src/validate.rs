//! `validate`: a request's body against a JSON Schema (2020-12 and draft-07), all errors at once.
//! What was validated is what is forwarded; a body over the bound is refused, never unchecked.

use std::sync::Arc;

use http::StatusCode;
use jsonschema::{PatternOptions, Validator};
use portcullis_config::{Decode, Definitions, Node, Value as Yaml, settings};
use portcullis_core::metrics::Metric;
use portcullis_core::{Build, Code, Event, Exchange, FieldError, Outcome, Policy, Problem, Step};

use crate::bodies;
use crate::planner::{Planned, Planner};

const NAME: &str = "validate";
/// Errors that one answer lists, and the length of each, in characters.
const MOST_ERRORS: usize = 32;
const LONGEST: usize = 200;

pub const VALIDATION_FAILED: Code = Code {
    name: "validation_failed",
    status: StatusCode::BAD_REQUEST,
    title: "Validation failed",
    cure: "Send a body that fits the schema; `errors` lists what does not.",
};
pub const CODES: &[&Code] = &[&VALIDATION_FAILED];
pub const METRICS: &[&Metric] = &[];

settings! {
    /// What requests must look like.
    pub struct ValidateSettings {
        /// A JSON Schema for the body: a file's path, or the schema itself.
        pub body: Node,
    }
}

pub fn schema(definitions: &mut Definitions) -> serde_json::Value {
    ValidateSettings::schema(definitions)
}

pub fn plan(block: &Node, planner: &mut Planner<'_>) -> Option<Box<dyn Planned>> {
    let settings = ValidateSettings::decode(block, planner.out)?;
    let span = settings.body.span;
    let schema = match &settings.body.value {
        Yaml::Map(_) => settings.body.to_json(),
        _ => {
            let path = std::path::PathBuf::decode(&settings.body, planner.out)?;
            let text = planner.read(&path, span)?;
            match serde_json::from_str(&text) {
                Ok(schema) => schema,
                Err(error) => {
                    planner.out.error(span, format!("{} is no JSON: {error}", path.display()));
                    return None;
                }
            }
        }
    };
    let validator =
        jsonschema::options().with_pattern_options(PatternOptions::regex()).build(&schema);
    match validator {
        Ok(validator) => Some(Box::new(Plan(Arc::new(validator)))),
        Err(error) => {
            planner.out.error(span, format!("this is no JSON Schema that can be used: {error}"));
            None
        }
    }
}

struct Plan(Arc<Validator>);

impl Planned for Plan {
    fn build(&self, _build: &mut Build<'_>) -> Arc<dyn Policy> {
        Arc::new(Validate(Arc::clone(&self.0)))
    }
}

struct Validate(Arc<Validator>);

impl Policy for Validate {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        Step::Wait(Box::pin(async move {
            let (bytes, _) = bodies::read(exchange).await?;
            let value = serde_json::from_slice(&bytes).map_err(|error| {
                Problem::new(&bodies::INVALID_JSON, format!("the body is no JSON: {error}"))
            })?;
            let errors: Vec<_> = self.0.iter_errors(&value).take(MOST_ERRORS).map(field).collect();
            let outcome = if errors.is_empty() { Outcome::Passed } else { Outcome::Refused };
            exchange.record.event(Event::new(NAME, outcome));
            if errors.is_empty() {
                return Ok(None);
            }
            Err(Problem::new(&VALIDATION_FAILED, "the body does not fit its schema").errors(errors))
        }))
    }
}

fn field(error: jsonschema::ValidationError<'_>) -> FieldError {
    let keyword = error.kind().keyword().to_owned();
    let message = error.to_string().chars().take(LONGEST).collect();
    FieldError { pointer: error.instance_path().to_string(), message, keyword }
}
