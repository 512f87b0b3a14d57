//! `api_key`: a consumer is known by its key. Only a digest of the key is compared, and the key does
//! not travel on.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use portcullis_config::{Decode, Definitions, Named, Node, OrOff, Spanned, choices, settings};
use portcullis_core::{Build, Code, Consumer, Event, Exchange, Outcome, Policy, Problem, Step};

use crate::consumers::{BadKey, Consumers};
use crate::planner::{Planned, Planner, identity_name, unknown};

const NAME: &str = "api_key";
/// A longer key is none, in bytes.
const LONGEST: usize = 512;
const CHALLENGE: HeaderValue = HeaderValue::from_static("ApiKey");

pub const MISSING_KEY: Code = Code {
    name: "missing_api_key",
    status: StatusCode::UNAUTHORIZED,
    title: "Missing API key",
    cure: "Send your key in the header that the detail names, or as Authorization: ApiKey KEY.",
};
pub const INVALID_KEY: Code = Code {
    name: "invalid_api_key",
    status: StatusCode::UNAUTHORIZED,
    title: "Invalid API key",
    cure: "Send a key that is good here; the log says whether it is unknown, expired or another's.",
};
pub const CODES: &[&Code] = &[&MISSING_KEY, &INVALID_KEY];

choices! {
    /// Whether a request needs a key.
    pub enum Mode {
        /// It does, also beside a token of the policy jwt.
        Required = "required",
        /// It may come without one; one that it brings must be good.
        Optional = "optional",
        /// A key or a token of the policy jwt, either is enough.
        OrJwt = "or_jwt",
    }
}

settings! {
    /// Keys of consumers are checked here.
    pub struct ApiKeySettings {
        /// The header that holds the key; `Authorization: ApiKey KEY` is good as well.
        pub header: Spanned<String> = "x-api-key",
        /// Who may come in; every consumer when left out.
        pub consumers: Vec<Spanned<String>> = "[]",
        /// Headers for the upstream: what they carry is `name` or `tier`.
        pub headers: Named<Spanned<String>> = "{}",
        /// Whether a request needs a key.
        pub mode: Mode = "required",
    }
}

pub fn schema(definitions: &mut Definitions) -> serde_json::Value {
    OrOff::<ApiKeySettings>::schema(definitions)
}

pub fn plan(block: &Node, planner: &mut Planner<'_>) -> Option<Box<dyn Planned>> {
    let settings = OrOff::<ApiKeySettings>::decode(block, planner.out)?.into_on()?;
    let header = HeaderName::from_bytes(settings.header.as_bytes()).ok();
    if header.is_none() {
        let message = format!("`{}` is no header", settings.header.shown());
        planner.out.error(settings.header.span, message);
    }
    let all = &planner.shared.consumers;
    for name in settings.consumers.iter().filter(|name| !all.knows(name)) {
        unknown("consumer", name, all.names(), planner.out);
    }
    if all.names().next().is_none() {
        let problem = planner.out.error(block.span, "the policy api_key lets nobody in");
        problem.hint("name consumers and their keys in `consumers`");
    }
    if matches!(settings.mode, Mode::OrJwt) && !planner.route.kinds.contains(&"jwt") {
        let problem = planner.out.error(block.span, "`or_jwt` needs the policy jwt on this route");
        problem.hint("add jwt, or write mode: required");
    }
    let mut headers = Vec::new();
    for entry in settings.headers.iter() {
        let Some(name) = identity_name(&entry.name, entry.span, planner.out) else { continue };
        match entry.value.as_str() {
            "name" => headers.push((name, Fact::Name)),
            "tier" => headers.push((name, Fact::Tier)),
            _ => {
                let message = format!("`{}` is not known of a consumer", entry.value.shown());
                planner.out.error(entry.value.span, message).hint("write name or tier");
            }
        }
    }
    let allowed = settings.consumers.iter().map(|name| name.to_string()).collect();
    let consumers = Arc::clone(all);
    Some(Box::new(ApiKeyPlan { consumers, header: header?, allowed, headers, mode: settings.mode }))
}

/// What a header tells of a consumer.
#[derive(Clone, Copy, Debug)]
enum Fact {
    Name,
    Tier,
}

#[derive(Clone)]
struct ApiKeyPlan {
    consumers: Arc<Consumers>,
    header: HeaderName,
    /// Empty: every consumer.
    allowed: Vec<String>,
    headers: Vec<(HeaderName, Fact)>,
    mode: Mode,
}

impl Planned for ApiKeyPlan {
    fn build(&self, _build: &mut Build<'_>) -> Arc<dyn Policy> {
        Arc::new(ApiKey(self.clone()))
    }

    fn identity_headers(&self) -> Vec<HeaderName> {
        self.headers.iter().map(|(name, _)| name.clone()).collect()
    }
}

struct ApiKey(ApiKeyPlan);

impl Policy for ApiKey {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let plan = &self.0;
        let key = match find(&plan.header, &exchange.request.headers) {
            Ok(Some(key)) => key,
            Ok(None) if !matches!(plan.mode, Mode::Required) => {
                exchange.record.event(Event::new(NAME, Outcome::Skipped));
                return Step::Next;
            }
            Ok(None) => {
                let detail = format!("this route needs a key in {}", plan.header);
                return refuse(exchange, Problem::new(&MISSING_KEY, detail));
            }
            Err(why) => return invalid(exchange, why),
        };
        let now = exchange.worker.clock.unix_seconds();
        let consumer = match plan.consumers.find(key, now) {
            Ok(consumer) => Arc::clone(consumer),
            Err(BadKey::Unknown) => return invalid(exchange, "the key is not known"),
            Err(BadKey::Expired) => return invalid(exchange, "the key has expired"),
        };
        if !plan.allowed.is_empty() && !plan.allowed.iter().any(|name| **name == *consumer.name) {
            return invalid(exchange, "the key is another consumer's");
        }
        plan.accept(exchange, consumer);
        Step::Next
    }
}

impl ApiKeyPlan {
    /// Remembers who asks, and tells the upstream.
    fn accept(&self, exchange: &mut Exchange, consumer: Arc<Consumer>) {
        let headers = &mut exchange.request.headers;
        headers.remove(&self.header);
        if bearer(headers).is_some() {
            headers.remove(AUTHORIZATION);
        }
        for (name, fact) in &self.headers {
            let value = match fact {
                Fact::Name => Some(&consumer.name),
                Fact::Tier => consumer.tier.as_ref(),
            };
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name.clone(), value);
            }
        }
        let event = Event::new(NAME, Outcome::Passed);
        exchange.record.event(event.with("consumer", Arc::clone(&consumer.name)));
        exchange.record.consumer = Some(Arc::clone(&consumer.name));
        exchange.needs_no_token |= matches!(self.mode, Mode::OrJwt);
        exchange.consumer = Some(consumer);
    }
}

/// The request's one key.
fn find<'h>(header: &HeaderName, headers: &'h HeaderMap) -> Result<Option<&'h str>, &'static str> {
    let mut values = headers.get_all(header).iter();
    let own = match (values.next(), values.next()) {
        (_, Some(_)) => return Err("more than one key"),
        (first, None) => first.and_then(|value| value.to_str().ok()),
    };
    match (own, bearer(headers)) {
        (Some(_), Some(_)) => Err("more than one key"),
        (Some(key), None) | (None, Some(key)) if key.len() > LONGEST => Err("the key is too long"),
        (Some(key), None) | (None, Some(key)) => Ok(Some(key)),
        (None, None) => Ok(None),
    }
}

/// The key of `Authorization: ApiKey KEY`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("apikey").then(|| key.trim())
}

fn invalid(exchange: &mut Exchange, why: &'static str) -> Step<'static> {
    refuse(exchange, Problem::new(&INVALID_KEY, "the key is not good here").private(why))
}

fn refuse(exchange: &mut Exchange, problem: Problem) -> Step<'static> {
    let event = Event::new(NAME, Outcome::Refused);
    exchange.record.event(event.with("code", problem.code().name));
    Step::Fail(problem.header(WWW_AUTHENTICATE, CHALLENGE))
}
