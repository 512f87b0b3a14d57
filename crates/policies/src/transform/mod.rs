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
mod steps;

use std::sync::Arc;

use http::StatusCode;
use portcullis_config::{Decode, Definitions, Diagnostics, Named, Node, Sources, Span, Spanned};
use portcullis_core::context::VARIABLES;
use portcullis_core::mapping::{Program, RunError};
use portcullis_core::metrics::{Counter, Kind, Metric, Metrics};
use portcullis_core::{Build, Code, Env, Exchange, Policy, Response, Step};

use crate::planner::{Planned, Planner, Plans, plan_all, program, runs, unknown};
use headers::{HeaderEdits, QueryEdits};
use settings::{Body, Oversize, RequestStep, ResponseStep, TestSettings, TransformSettings};

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

pub static UNTOUCHED: Metric = Metric {
    name: "portcullis_transform_untouched_total",
    kind: Kind::Counter,
    help: "Answers that passed as they are although a step asks for their bodies, by why: no_body, partial, encoding, media_type or size.",
    labels: &["route", "why"],
};
pub const METRICS: &[&Metric] = &[&UNTOUCHED];

/// What the programs of an answer's steps know beside everybody's variables.
const OF_ANSWERS: [&str; 2] = ["status", "response"];

pub fn schema(definitions: &mut Definitions) -> serde_json::Value {
    TransformSettings::schema(definitions)
}

/// A program, and where it stands in the configuration.
pub struct Mapping {
    program: Program,
    place: String,
}

impl Mapping {
    fn plan(
        text: &Spanned<String>,
        variables: &[&'static str],
        env: &Arc<Env>,
        sources: &Sources,
        out: &mut Diagnostics,
    ) -> Option<Self> {
        let program = program(text, variables, env, sources, out)?;
        Some(Self { program, place: sources.position(text.span).to_string() })
    }

    /// For the log: what failed, and where it stands.
    fn tell(&self, error: &RunError) -> String {
        match error.pointer() {
            "" => format!("{}: {error}", self.place),
            pointer => format!("{}: at {pointer}: {error}", self.place),
        }
    }
}

/// Programs by name.
pub type Mappings = Plans<Mapping>;

/// Compiled once, whether and how often they are used: a mistake is told where it stands.
pub fn plan_mappings(
    all: &Named<Spanned<String>>,
    env: &Arc<Env>,
    sources: &Sources,
    out: &mut Diagnostics,
) -> Mappings {
    let variables = [&VARIABLES[..], &OF_ANSWERS].concat();
    plan_all(all, |_, _, text| Mapping::plan(text, &variables, env, sources, out))
}

/// A step, understood.
#[derive(Default)]
struct Rules {
    when: Option<Mapping>,
    body: Option<Arc<Mapping>>,
    headers: Option<HeaderEdits>,
    query: Option<QueryEdits>,
    status: Option<StatusCode>,
    /// For `portcullis check --test`.
    tests: Vec<Spanned<TestSettings>>,
}

impl Rules {
    fn programs(&self) -> impl Iterator<Item = &Program> {
        self.when.iter().chain(self.body.as_deref()).map(|mapping| &mapping.program)
    }

    /// Whether any of its programs can read the body.
    fn reads_body(&self) -> bool {
        self.programs().any(Program::reads_input)
    }

    fn uses_headers(&self) -> bool {
        self.programs().any(|program| program.uses("headers"))
            || self.headers.as_ref().is_some_and(HeaderEdits::reads_headers)
    }
}

struct Desk<'d, 'p> {
    planner: &'d mut Planner<'p>,
    variables: Vec<&'static str>,
}

impl Desk<'_, '_> {
    fn mapping(&mut self, text: &Spanned<String>) -> Option<Mapping> {
        let Planner { shared, sources, out, .. } = &mut *self.planner;
        Mapping::plan(text, &self.variables, &shared.env, sources, out)
    }

    fn body(&mut self, body: &Body) -> Option<Arc<Mapping>> {
        let name = match body {
            Body::Own(text) => return self.mapping(text).map(Arc::new),
            Body::Named(name) => name,
        };
        let mappings = &self.planner.shared.mappings;
        let Some(mapping) = mappings.get(name.as_str()) else {
            unknown("mapping", name, mappings.keys().map(String::as_str), self.planner.out);
            return None;
        };
        // What is wrong with it was said where it stands.
        let mapping = mapping.as_ref()?;
        let uses = |variable: &&&str| mapping.program.uses(variable);
        let strange = OF_ANSWERS.iter().filter(|it| !self.variables.contains(it)).find(uses);
        if let Some(strange) = strange {
            let message = format!("the mapping `{}` reads ${strange}", name.shown());
            self.planner.out.error(name.span, message).hint("only answers have that");
            return None;
        }
        Some(Arc::clone(mapping))
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

    /// A step that does nothing was meant to do something.
    fn acts(&mut self, span: Span, acts: bool, keys: &str) -> Option<()> {
        if !acts {
            let complaint = self.planner.out.error(span, "this step changes nothing");
            complaint.hint(format!("give it {keys}"));
        }
        acts.then_some(())
    }

    /// What is not there is not planned; what is wrong makes the whole wrong.
    fn request(&mut self, step: &Spanned<RequestStep>) -> Option<Rules> {
        let acts = step.body.is_some() || step.headers.is_some() || step.query.is_some();
        self.acts(step.span, acts, "`body`, `headers` or `query`")?;
        let when = step.when.as_ref().map(|it| self.mapping(it));
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

    fn response(&mut self, step: &Spanned<ResponseStep>) -> Option<Rules> {
        let acts = step.body.is_some() || step.headers.is_some() || step.status.is_some();
        self.acts(step.span, acts, "`body`, `headers` or `status`")?;
        let when = step.when.as_ref().map(|it| self.mapping(it));
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
    if settings.request.iter().flatten().next().is_none()
        && settings.response.iter().flatten().next().is_none()
    {
        let complaint = planner.out.error(block.span, "there is nothing to transform");
        complaint
            .hint("give it `request` or `response`; `transform: off` removes an inherited one");
        return None;
    }
    let variables = VARIABLES.to_vec();
    let mut desk = Desk { planner, variables };
    let requests = settings.request.iter().flatten().map(|step| desk.request(step));
    let requests: Vec<_> = requests.collect();
    desk.variables.extend(OF_ANSWERS);
    let responses = settings.response.iter().flatten().map(|step| desk.response(step));
    let responses: Vec<_> = responses.collect();
    let response: Vec<Rules> = responses.into_iter().collect::<Option<_>>()?;
    let reads_original = |step: &Rules| step.programs().any(|program| program.uses("response"));
    let keeps_original = response.iter().any(reads_original);
    let transform = Transform {
        request: requests.into_iter().collect::<Option<_>>()?,
        response,
        keeps_original,
        passes_oversize: settings.on_oversize == Oversize::Pass,
    };
    let route = Arc::clone(&desk.planner.route.name);
    Some(Box::new(Plan { transform: Arc::new(transform), route }))
}

struct Plan {
    transform: Arc<Transform>,
    route: Arc<str>,
}

impl Planned for Plan {
    fn build(&self, build: &mut Build<'_>) -> Arc<dyn Policy> {
        let untouched = Untouched::new(build.metrics, &self.route);
        Arc::new(Live { transform: Arc::clone(&self.transform), untouched })
    }

    fn test(&self, out: &mut Diagnostics) -> usize {
        let steps = self.transform.request.iter().chain(&self.transform.response);
        let tested = steps.filter_map(|step| Some((step.body.as_ref()?, &step.tests)));
        tested.map(|(mapping, tests)| desk::run(&mapping.program, tests, out)).sum()
    }

    fn notes(&self) -> Vec<String> {
        let both = [("request", &self.transform.request), ("response", &self.transform.response)];
        let bodies = both.iter().flat_map(|(side, steps)| {
            steps.iter().filter_map(move |step| Some((side, step.body.as_ref()?)))
        });
        bodies.map(|(side, body)| runs(&format!("the {side} mapping"), &body.program)).collect()
    }
}

/// All steps of a route, in both directions.
struct Transform {
    request: Vec<Rules>,
    response: Vec<Rules>,
    /// A program of `response` reads the headers as the service gave them.
    keeps_original: bool,
    /// An answer that is too large to be read passes as it is.
    passes_oversize: bool,
}

/// Answers that a step could not read, by why.
struct Untouched([(&'static str, Counter); 5]);

impl Untouched {
    fn new(metrics: &Metrics, route: &str) -> Self {
        let words = ["no_body", "partial", "encoding", "media_type", "size"];
        Self(words.map(|why| (why, metrics.counter(&UNTOUCHED, &[route, why]))))
    }

    fn count(&self, why: &str) {
        self.0.iter().filter(|(known, _)| *known == why).for_each(|(_, counter)| counter.inc());
    }
}

struct Live {
    transform: Arc<Transform>,
    untouched: Untouched,
}

impl Policy for Live {
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
        self.transform.response.iter().any(Rules::uses_headers)
    }
}
