//! `transform`: requests and answers between their outer and inner shapes: bodies by jq, headers and
//! query parameters by string templates, statuses by condition.
//!
//! A request's steps run before it is sent. An answer's run on what the service itself said: on its
//! 2xx answers, or when their condition says so; the gateway's own problems are never touched. A body
//! is read only where a step needs it.

mod body;
mod desk;
mod headers;
mod request;
mod response;
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use portcullis_config::{Decode, Definitions, Diagnostics, Named, Node, Spanned};
use portcullis_core::context::VARIABLES;
use portcullis_core::mapping::Program;
use portcullis_core::metrics::Metric;
use portcullis_core::{Build, Code, Exchange, Policy, Response, Step};

use crate::planner::{Planned, Planner, program, runs, unknown};
use headers::{HeaderEdits, QueryEdits};
use settings::{Mapping, Oversize, RequestStep, ResponseStep, TestSettings, TransformSettings};

pub(super) const NAME: &str = "transform";

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

/// What the programs of an answer's steps know beside everybody's variables.
const OF_ANSWERS: [&str; 2] = ["status", "response"];

pub fn schema(definitions: &mut Definitions) -> serde_json::Value {
    TransformSettings::schema(definitions)
}

/// Programs by name, checked by themselves: a mistake is told once, also when nobody uses it.
pub type Mappings = BTreeMap<String, Spanned<String>>;

pub fn plan_mappings(all: &Named<Spanned<String>>) -> Mappings {
    all.iter().map(|entry| (entry.name.clone(), entry.value.clone())).collect()
}

/// A step, understood.
#[derive(Default)]
struct Rules {
    when: Option<Program>,
    body: Option<Program>,
    headers: Option<HeaderEdits>,
    query: Option<QueryEdits>,
    status: Option<StatusCode>,
    /// For `portcullis check --test`.
    tests: Vec<Spanned<TestSettings>>,
}

impl Rules {
    /// Whether any of its programs can read the body.
    fn reads_body(&self) -> bool {
        [&self.when, &self.body].into_iter().flatten().any(Program::reads_input)
    }

    fn uses_headers(&self) -> bool {
        [&self.when, &self.body].into_iter().flatten().any(|program| program.uses("headers"))
            || self.headers.as_ref().is_some_and(HeaderEdits::reads_headers)
    }
}

struct Desk<'d, 'p> {
    planner: &'d mut Planner<'p>,
    variables: Vec<&'static str>,
}

impl Desk<'_, '_> {
    fn program(&mut self, text: &Spanned<String>) -> Option<Program> {
        program(text, &self.variables, self.planner.sources, self.planner.out)
    }

    fn body(&mut self, mapping: &Mapping) -> Option<Program> {
        let name = match mapping {
            Mapping::Own(text) => return self.program(text),
            Mapping::Named(name) => name,
        };
        let mappings = &self.planner.shared.mappings;
        match mappings.get(name.as_str()) {
            Some(text) => self.program(&text.clone()),
            None => {
                unknown("mapping", name, mappings.keys().map(String::as_str), self.planner.out);
                None
            }
        }
    }

    /// Tests need something to test.
    fn tests(
        &mut self,
        tests: &[Spanned<TestSettings>],
        has_body: bool,
    ) -> Option<Vec<Spanned<TestSettings>>> {
        match tests.first().filter(|_| !has_body) {
            Some(first) => {
                self.planner.out.error(first.span, "`tests` have no effect without `body`");
                None
            }
            None => Some(tests.to_vec()),
        }
    }

    /// What is not there is not planned; what is wrong makes the whole wrong.
    fn request(&mut self, step: &RequestStep) -> Option<Rules> {
        let when = step.when.as_ref().map(|it| self.program(it));
        let body = step.body.as_ref().map(|it| self.body(it));
        let headers = step.headers.as_ref().map(|it| HeaderEdits::plan(it, self.planner));
        let query = step.query.as_ref().map(|it| QueryEdits::plan(it, self.planner));
        Some(Rules {
            when: sound(when)?,
            body: sound(body)?,
            headers: sound(headers)?,
            query: sound(query)?,
            status: None,
            tests: self.tests(&step.tests, step.body.is_some())?,
        })
    }

    fn response(&mut self, step: &ResponseStep) -> Option<Rules> {
        let when = step.when.as_ref().map(|it| self.program(it));
        let body = step.body.as_ref().map(|it| self.body(it));
        let headers = step.headers.as_ref().map(|it| HeaderEdits::plan(it, self.planner));
        let status = step.status.as_ref().map(|status| {
            let known = StatusCode::from_u16(**status).ok();
            let fits = known.filter(|it| (200..600).contains(&it.as_u16()));
            let fits = fits.filter(|it| !matches!(it.as_u16(), 204..=206 | 304));
            if fits.is_none() {
                let message = "an answer that may have a body has a status from 200 to 599";
                self.planner.out.error(status.span, message);
            }
            fits
        });
        Some(Rules {
            when: sound(when)?,
            body: sound(body)?,
            headers: sound(headers)?,
            query: None,
            status: sound(status)?,
            tests: self.tests(&step.tests, step.body.is_some())?,
        })
    }
}

/// `Some(None)` for what is not there, `None` for what is wrong.
fn sound<T>(planned: Option<Option<T>>) -> Option<Option<T>> {
    match planned {
        Some(planned) => planned.map(Some),
        None => Some(None),
    }
}

pub fn plan(block: &Node, planner: &mut Planner<'_>) -> Option<Box<dyn Planned>> {
    let settings = TransformSettings::decode(block, planner.out)?;
    let variables = VARIABLES.to_vec();
    let mut desk = Desk { planner, variables };
    let requests = settings.request.iter().flatten().map(|step| desk.request(step));
    let requests: Vec<_> = requests.collect();
    desk.variables.extend(OF_ANSWERS);
    let responses = settings.response.iter().flatten().map(|step| desk.response(step));
    let responses: Vec<_> = responses.collect();
    let transform = Transform {
        request: requests.into_iter().collect::<Option<_>>()?,
        response: responses.into_iter().collect::<Option<_>>()?,
        passes_oversize: settings.on_oversize == Oversize::Pass,
    };
    Some(Box::new(Plan(Arc::new(transform))))
}

struct Plan(Arc<Transform>);

impl Planned for Plan {
    fn build(&self, _build: &mut Build<'_>) -> Arc<dyn Policy> {
        Arc::clone(&self.0) as Arc<dyn Policy>
    }

    fn test(&self, out: &mut Diagnostics) -> usize {
        let steps = self.0.request.iter().chain(&self.0.response);
        let tested = steps.filter_map(|step| Some((step.body.as_ref()?, &step.tests)));
        tested.map(|(program, tests)| desk::run(program, tests, out)).sum()
    }

    fn notes(&self) -> Vec<String> {
        let both = [("request", &self.0.request), ("response", &self.0.response)];
        let bodies = both.iter().flat_map(|(side, steps)| {
            steps.iter().filter_map(move |step| Some((side, step.body.as_ref()?)))
        });
        bodies.map(|(side, body)| runs(&format!("the {side} mapping"), body)).collect()
    }
}

/// All steps of a route, in both directions.
struct Transform {
    request: Vec<Rules>,
    response: Vec<Rules>,
    /// An answer that is too large to be read passes as it is.
    passes_oversize: bool,
}

impl Policy for Transform {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        self.enter(exchange)
    }

    fn on_response<'a>(
        &'a self,
        exchange: &'a mut Exchange,
        response: &'a mut Response,
    ) -> Step<'a> {
        self.leave(exchange, response)
    }

    fn reads_request_late(&self) -> bool {
        self.response.iter().any(Rules::uses_headers)
    }
}
