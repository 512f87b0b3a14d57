//! `transform`: bodies between their outer and inner shapes, by jq.
//!
//! The request's mapping runs before it is sent. The answer's runs on the upstream's 2xx JSON
//! answers only: the gateway's own problems, other media types and encoded bodies pass untouched.

use std::sync::Arc;

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG,
    HeaderName, HeaderValue,
};
use http::{HeaderMap, StatusCode};
use portcullis_config::{Decode, Definitions, Node, Spanned, settings};
use portcullis_core::mapping::{Program, Value};
use portcullis_core::metrics::Metric;
use portcullis_core::{
    Body, BodyError, Build, Code, Event, Exchange, Outcome, Policy, Problem, Response, Step,
};

use crate::bodies;
use crate::planner::{Planned, Planner};

const NAME: &str = "transform";

pub const MAPPING_FAILED: Code = Code {
    name: "mapping_failed",
    status: StatusCode::BAD_REQUEST,
    title: "Mapping failed",
    cure: "Send a body in the shape that this route expects; the detail says what did not fit.",
};
pub const UPSTREAM_BODY_UNUSABLE: Code = Code {
    name: "upstream_body_unusable",
    status: StatusCode::BAD_GATEWAY,
    title: "The service's answer cannot be used",
    cure: "The log says why the answer does not fit the route's mapping.",
};
pub const UPSTREAM_BODY_TOO_LARGE: Code = Code {
    name: "upstream_body_too_large",
    status: StatusCode::BAD_GATEWAY,
    title: "The service's answer is too large",
    cure: "Ask for less, or raise bounds.buffered_body.",
};
pub const CODES: &[&Code] = &[&MAPPING_FAILED, &UPSTREAM_BODY_UNUSABLE, &UPSTREAM_BODY_TOO_LARGE];
pub const METRICS: &[&Metric] = &[];

settings! {
    /// A body's mapping.
    pub struct MappingSettings {
        /// A jq program that gives exactly one value.
        pub body: Spanned<String>,
    }
}

settings! {
    /// Bodies between their outer and inner shapes.
    pub struct TransformSettings {
        /// From the client's shape to the service's.
        pub request: Option<MappingSettings>,
        /// From the service's shape to the client's.
        pub response: Option<MappingSettings>,
    }
}

pub fn schema(definitions: &mut Definitions) -> serde_json::Value {
    TransformSettings::schema(definitions)
}

pub fn plan(block: &Node, planner: &mut Planner<'_>) -> Option<Box<dyn Planned>> {
    let settings = TransformSettings::decode(block, planner.out)?;
    let mut compile = |mapping: &Option<MappingSettings>| match mapping {
        Some(mapping) => planner.program(&mapping.body).map(|program| Some(Arc::new(program))),
        None => Some(None),
    };
    let (request, response) = (compile(&settings.request), compile(&settings.response));
    Some(Box::new(Plan { request: request?, response: response? }))
}

struct Plan {
    request: Option<Arc<Program>>,
    response: Option<Arc<Program>>,
}

impl Planned for Plan {
    fn build(&self, _build: &mut Build<'_>) -> Arc<dyn Policy> {
        Arc::new(Transform { request: self.request.clone(), response: self.response.clone() })
    }

    fn notes(&self) -> Vec<String> {
        let both = [("request", &self.request), ("response", &self.response)];
        let set = both.iter().filter(|(_, program)| program.is_some());
        set.map(|(name, _)| format!("the {name} mapping runs in jaq")).collect()
    }
}

struct Transform {
    request: Option<Arc<Program>>,
    response: Option<Arc<Program>>,
}

impl Policy for Transform {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        if self.response.is_some() {
            // The answer has to be read here.
            exchange.request.headers.remove(ACCEPT_ENCODING);
        }
        let Some(program) = &self.request else { return Step::Next };
        Step::Wait(Box::pin(async move {
            let (_, input) = bodies::read(exchange).await?;
            let output = program
                .run_one(input, exchange)
                .map_err(|error| Problem::new(&MAPPING_FAILED, error.to_string()))?;
            exchange.body = Body::full(output.to_string());
            describe(&mut exchange.request.headers);
            exchange.record.event(Event::new(NAME, Outcome::Changed).with("side", "request"));
            Ok(None)
        }))
    }

    fn on_response<'a>(
        &'a self,
        exchange: &'a mut Exchange,
        response: &'a mut Response,
    ) -> Step<'a> {
        let Some(program) = &self.response else { return Step::Next };
        if !is_mapped(exchange, response) {
            return Step::Next;
        }
        Step::Wait(Box::pin(async move {
            let bytes =
                response.body_mut().read(exchange.buffer_limit).await.map_err(unreadable)?;
            let unusable = |why: String| {
                let detail = "the service's answer does not have the shape that this route expects";
                Problem::new(&UPSTREAM_BODY_UNUSABLE, detail).private(why).from_upstream()
            };
            let input = Value::parse(&bytes).map_err(|error| unusable(error.to_string()))?;
            let output =
                program.run_one(input, exchange).map_err(|error| unusable(error.to_string()))?;
            *response.body_mut() = Body::full(output.to_string());
            describe(response.headers_mut());
            exchange.record.event(Event::new(NAME, Outcome::Changed).with("side", "response"));
            Ok(None)
        }))
    }

    fn reads_request_late(&self) -> bool {
        self.response.as_ref().is_some_and(|program| program.uses("headers"))
    }
}

/// The upstream's own good JSON answers with a body that can be read.
fn is_mapped(exchange: &Exchange, response: &Response) -> bool {
    let (status, headers) = (response.status(), response.headers());
    exchange.record.failure.is_none()
        && status.is_success()
        && !matches!(status, StatusCode::NO_CONTENT | StatusCode::PARTIAL_CONTENT)
        && exchange.record.method != http::Method::HEAD
        && bodies::is_json(headers)
        && !headers.contains_key(CONTENT_ENCODING)
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

/// What the headers say of a body is said of the new one.
fn describe(headers: &mut HeaderMap) {
    let stale = [
        CONTENT_LENGTH,
        ETAG,
        ACCEPT_RANGES,
        HeaderName::from_static("digest"),
        HeaderName::from_static("content-digest"),
        HeaderName::from_static("repr-digest"),
        HeaderName::from_static("content-md5"),
    ];
    for name in stale {
        headers.remove(name);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
}
