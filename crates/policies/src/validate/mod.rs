//! `validate`: what requests must look like (body, path, query, headers, cookies), by JSON Schema or
//! by an OpenAPI document, all errors at once; and what answers must look like.
//!
//! What was validated is what is forwarded: the same bytes, in which no key stands twice. A body over
//! the bound is refused, never unchecked.

mod openapi;
mod parameters;
mod schema;
mod settings;

use std::sync::Arc;

use http::header::{ALLOW, HeaderValue};
use http::{HeaderName, StatusCode};
use http_body::Body as _;
use jsonschema::Validator;
use portcullis_config::{
    Decode, Definitions, Diagnostics, Node, ProcessEnvironment, Sources, Spanned, Value as Yaml,
};
use portcullis_core::metrics::Metric;
use portcullis_core::{
    Body, Build, Code, Event, Exchange, FieldError, Outcome, Policy, Problem, Response, Step,
};

use crate::beside::beside;
use crate::bodies::{self, Sent, UNSUPPORTED_MEDIA_TYPE, Whole};
use crate::coding;
use crate::planner::{Planned, Planner};
use openapi::{Content, Document, Found};
use parameters::{Parameter, Place};
use schema::MOST_ERRORS;
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
pub const METRICS: &[&Metric] = &[];

pub fn schema(definitions: &mut Definitions) -> serde_json::Value {
    ValidateSettings::schema(definitions)
}

pub fn plan(block: &Node, planner: &mut Planner<'_>) -> Option<Box<dyn Planned>> {
    let settings = ValidateSettings::decode(block, planner.out)?;
    let body = settings.body.as_ref().map(|body| validator(body, planner));
    let parameters = plan_parameters(&settings, planner);
    let document = settings.openapi.as_ref().map(|path| document(path, planner));
    let response = settings
        .response
        .as_ref()
        .map(|response| validator(&response.body, planner).map(|body| (body, response.mode)));
    if settings.body.is_none()
        && document.is_none()
        && response.is_none()
        && parameters.as_ref().is_some_and(Vec::is_empty)
        && settings.content_types.is_empty()
    {
        planner
            .out
            .error(block.span, "there is nothing to validate")
            .hint("give it `body`, `query`, `openapi` or another of its keys");
    }
    let flat = |planned: Option<Option<Arc<Validator>>>| match planned {
        Some(planned) => planned.map(Some),
        None => Some(None),
    };
    let validate = Validate {
        body: flat(body)?,
        content_types: settings
            .content_types
            .iter()
            .map(|it| bodies::without_parameters(it))
            .collect(),
        parameters: parameters?,
        document: match document {
            Some(document) => Some(document?),
            None => None,
        },
        mode: settings.mode,
        response: match response {
            Some(response) => Some(response?),
            None => None,
        },
    };
    Some(Box::new(Plan(Arc::new(validate))))
}

/// All values that come as text; `None` after an error.
fn plan_parameters(
    settings: &ValidateSettings,
    planner: &mut Planner<'_>,
) -> Option<Vec<Parameter>> {
    let mut all = Vec::new();
    let headers = |name: &str| HeaderName::from_bytes(name.as_bytes()).ok().map(Place::Header);
    let groups = [
        (&settings.path, Some(Place::Path)),
        (&settings.query, Some(Place::Query)),
        (&settings.headers, None),
        (&settings.cookies, Some(Place::Cookie)),
    ];
    let mut sound = true;
    for (group, place) in groups {
        for entry in group.iter() {
            let (name, schema) = (&entry.name, entry.value.schema.to_json());
            let known = |param: &Arc<str>| **param == **name;
            if place == Some(Place::Path) && !planner.route.params.iter().any(known) {
                planner.out.error(entry.span, format!("the route's path has no {{{name}}}"));
                sound = false;
            }
            let required = entry.value.required || place == Some(Place::Path);
            let place = place.clone().or_else(|| headers(name)).ok_or("it is no header".to_owned());
            let planned = place
                .and_then(|place| Parameter::new(name.clone(), place, required, &schema, false));
            match planned {
                Ok(parameter) => all.push(parameter),
                Err(why) => {
                    planner.out.error(entry.span, format!("`{name}` cannot be checked: {why}"));
                    sound = false;
                }
            }
        }
    }
    sound.then_some(all)
}

/// A schema that stands here, or in the file that is named here.
fn validator(node: &Node, planner: &mut Planner<'_>) -> Option<Arc<Validator>> {
    let schema = match &node.value {
        Yaml::Map(_) => node.to_json(),
        _ => {
            let path = std::path::PathBuf::decode(node, planner.out)?;
            let text = planner.read(&path, node.span)?;
            match serde_json::from_str(&text) {
                Ok(schema) => schema,
                Err(error) => {
                    let message = format!("{} is no JSON: {error}", path.display());
                    planner.out.error(node.span, message);
                    return None;
                }
            }
        }
    };
    let compiled = schema::compile(&schema);
    compiled
        .map(Arc::new)
        .map_err(|why| {
            let message = format!("this is no JSON Schema that can be used: {why}");
            planner.out.error(node.span, message);
        })
        .ok()
}

fn document(path: &Spanned<String>, planner: &mut Planner<'_>) -> Option<Document> {
    let text = planner.read(std::path::Path::new(path.as_str()), path.span)?;
    let compiled = parsed(text).and_then(|root| Document::compile(&root));
    compiled
        .map_err(|why| {
            planner.out.error(path.span, format!("{} cannot be used: {why}", path.shown()));
        })
        .ok()
}

/// A document in YAML, of which JSON is a part. It is data: `${...}` in it means nothing.
fn parsed(text: String) -> Result<serde_json::Value, String> {
    if let Ok(value) = serde_json::from_str(&text) {
        return Ok(value);
    }
    let (mut sources, mut out) = (Sources::new(), Diagnostics::new());
    let escaped = text.replace("${", "$${");
    let node = portcullis_config::parse(
        &mut sources,
        "openapi.yaml".into(),
        escaped,
        &ProcessEnvironment,
        &mut out,
    );
    match node {
        Some(node) if !out.has_errors() => Ok(node.to_json()),
        _ => Err(out.render(&sources, false)),
    }
}

struct Plan(Arc<Validate>);

impl Planned for Plan {
    fn build(&self, _build: &mut Build<'_>) -> Arc<dyn Policy> {
        Arc::clone(&self.0) as Arc<dyn Policy>
    }
}

struct Validate {
    body: Option<Arc<Validator>>,
    /// Media types that a body may have, in lower case; empty: any.
    content_types: Vec<String>,
    parameters: Vec<Parameter>,
    document: Option<Document>,
    mode: Mode,
    response: Option<(Arc<Validator>, Mode)>,
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
        let Some((validator, mode)) = &self.response else { return Step::Next };
        let is_plain = exchange.record.failure.is_none() && response.status().is_success();
        let (method, status) = (&exchange.record.method, response.status());
        if !is_plain || bodies::untouched(method, status, response.headers()).is_some() {
            return Step::Next;
        }
        Step::Wait(Box::pin(async move {
            let limit = exchange.buffer_limit;
            let read = response.body_mut().read_if_fits(limit).await;
            let coding = coding::of(response.headers()).ok().flatten();
            let why = match read {
                Ok(Some(bytes)) => {
                    let (whole, validator) =
                        (Whole { bytes, coding, limit }, Arc::clone(validator));
                    match whole.is_large() {
                        true => beside(move || misfit(&validator, &whole)).await,
                        false => misfit(&validator, &whole),
                    }
                }
                Ok(None) => Some(format!("it is larger than {limit} bytes")),
                Err(error) => Some(error.to_string()),
            };
            let outcome = match (&why, mode) {
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
            match (why, mode) {
                (Some(why), Mode::Enforce) => {
                    let detail = "the service's answer does not have the promised shape";
                    Err(Problem::new(&RESPONSE_INVALID, detail).private(why).from_upstream())
                }
                _ => Ok(None),
            }
        }))
    }
}

/// What is wrong with an answer's body, in a few words.
fn misfit(validator: &Validator, whole: &Whole) -> Option<String> {
    let bytes = match whole.decoded() {
        Ok(bytes) => bytes,
        Err(broken) => return Some(format!("{broken:?}")),
    };
    match serde_json::from_slice(&bytes) {
        Ok(value) => {
            let errors = schema::errors(validator, &value, "");
            errors.first().map(|it| format!("{}: {}", it.pointer, it.message))
        }
        Err(error) => Some(format!("it is no JSON: {error}")),
    }
}

impl Validate {
    async fn check(&self, exchange: &mut Exchange) -> Result<(), Problem> {
        let own = |name: &str| exchange.param(name).map(str::to_owned);
        let mut errors: Vec<FieldError> =
            self.parameters.iter().flat_map(|it| it.check(exchange, &own)).collect();
        let mut content = None;
        if let Some(document) = &self.document {
            match document.find(&exchange.request.method, exchange.path.as_str()) {
                Found::Operation(operation, params) => {
                    let named = |name: &str| {
                        let found = params.iter().find(|(known, _)| *known == name);
                        found.map(|(_, value)| value.clone())
                    };
                    let all = operation.parameters.iter();
                    errors.extend(all.flat_map(|it| it.check(exchange, &named)));
                    content = operation.body.as_ref();
                }
                Found::OtherMethods(methods) => {
                    let allowed: Vec<&str> = methods.iter().map(|it| it.as_str()).collect();
                    let allowed = HeaderValue::try_from(allowed.join(", "));
                    let detail = "the operation is not declared with this method";
                    let problem = Problem::new(&OPERATION_NOT_ALLOWED, detail);
                    return Err(
                        problem.header(ALLOW, allowed.unwrap_or(HeaderValue::from_static("GET")))
                    );
                }
                Found::Nothing => {
                    let detail = "no operation is declared for this path";
                    return Err(Problem::new(&OPERATION_NOT_FOUND, detail));
                }
            }
        }
        self.check_body(exchange, content, &mut errors).await?;
        errors.truncate(MOST_ERRORS);
        match errors.is_empty() {
            true => Ok(()),
            false => {
                let detail = "the request does not fit what is expected";
                Err(Problem::new(&VALIDATION_FAILED, detail).errors(errors))
            }
        }
    }

    async fn check_body(
        &self,
        exchange: &mut Exchange,
        content: Option<&Content>,
        errors: &mut Vec<FieldError>,
    ) -> Result<(), Problem> {
        let is_empty = is_empty(&exchange.body);
        let kind = bodies::media_type(&exchange.request.headers);
        let own = self.content_types.iter().map(String::as_str).collect();
        let declared = content.iter().flat_map(|it| &it.types).map(|(kind, _)| kind.as_str());
        for types in [own, declared.collect::<Vec<&str>>()] {
            if !is_empty && !types.is_empty() && !types.iter().any(|wanted| fits(wanted, &kind)) {
                let detail = format!("the body must be {}", types.join(" or "));
                return Err(Problem::new(&UNSUPPORTED_MEDIA_TYPE, detail));
            }
        }
        let declared = content.and_then(|content| {
            let found = content.types.iter().find(|(wanted, _)| fits(wanted, &kind));
            found.and_then(|(_, validator)| validator.as_ref())
        });
        // Under a wildcard, a schema is for what is JSON.
        let declared = declared.filter(|_| bodies::is_json(&exchange.request.headers));
        if is_empty && content.is_some_and(|content| content.required) {
            errors.push(FieldError {
                pointer: String::new(),
                message: "a body is required".to_owned(),
                keyword: "required".to_owned(),
            });
            return Ok(());
        }
        let declared = declared.filter(|_| !is_empty);
        if self.body.is_none() && declared.is_none() {
            return Ok(());
        }
        let sent = Sent::json(exchange).await?;
        let validators = self.body.iter().chain(declared);
        errors.extend(match sent.is_large() {
            true => {
                let validators: Vec<_> = validators.cloned().collect();
                beside(move || misfits(&sent, validators.iter())).await?
            }
            false => misfits(&sent, validators)?,
        });
        Ok(())
    }
}

/// Everything that is wrong with a request's body.
fn misfits<'v>(
    sent: &Sent,
    validators: impl Iterator<Item = &'v Arc<Validator>>,
) -> Result<Vec<FieldError>, Problem> {
    let (bytes, _) = sent.parsed()?;
    let value = serde_json::from_slice(&bytes).map_err(|error| {
        Problem::new(&bodies::INVALID_JSON, format!("the body is no JSON: {error}"))
    })?;
    Ok(validators.flat_map(|validator| schema::errors(validator, &value, "")).collect())
}

fn is_empty(body: &Body) -> bool {
    matches!(body, Body::Empty) || body.size_hint().exact() == Some(0)
}

/// `application/json` is `application/json`, `application/*` and `*/*`.
fn fits(wanted: &str, kind: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some("*/") => !kind.is_empty(),
        Some(family) => kind.starts_with(family),
        None => wanted == kind,
    }
}
