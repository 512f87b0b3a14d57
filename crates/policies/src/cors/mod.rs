//! `cors`: which scripts of other origins may ask and read (Fetch, section 3.2).
//!
//! Preflights are answered here, before anybody asks for credentials, which they never carry. What an
//! answer says of this is said by the gateway alone: the service's own words go.

pub(crate) mod origin;

use std::sync::Arc;
use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, HeaderName, HeaderValue,
};
use http::{Method, StatusCode};
use portcullis_config::{Decode, Definitions, Diagnostics, Node, OneOrMany, Spanned, settings};
use portcullis_core::{
    Build, Event, Exchange, Outcome, Policy, Reply, Response, Step, headers, preflight,
};

use crate::planner::{Planned, Planner};
use crate::rate_limit;
use origin::{Listed, Origins};

const NAME: &str = "cors";

settings! {
    /// Which scripts of other origins may ask and read.
    pub struct CorsSettings {
        /// Origins such as https://shop.example.com, one or a list: `https://*.example.com` for every name
        /// below, `http://localhost:*` for any port, `*` alone for any origin.
        pub origins: OneOrMany<Spanned<String>>,
        /// Methods that scripts may use; all that the route takes when left out.
        pub methods: Vec<Spanned<String>> = "[]",
        /// Request headers that scripts may set; any when left out.
        pub headers: Vec<Spanned<String>> = "[]",
        /// Answer headers that scripts may read, beside those of limits, Retry-After and X-Request-Id.
        pub expose: Vec<Spanned<String>> = "[]",
        /// Whether cookies travel along, and what is read with them.
        pub credentials: bool = "off",
        /// How long a browser may remember what a preflight was told.
        pub max_age: Duration = "10m",
    }
}

pub fn schema(definitions: &mut Definitions) -> serde_json::Value {
    CorsSettings::schema(definitions)
}

pub fn plan(block: &Node, planner: &mut Planner<'_>) -> Option<Box<dyn Planned>> {
    let settings = CorsSettings::decode(block, planner.out)?;
    let out = &mut *planner.out;
    let origins = origins(&settings, block, out);
    let own: Vec<&str> = planner.route.methods.iter().map(|method| method.as_str()).collect();
    let methods = named(&settings.methods, "a method", out, |text| {
        text.parse::<Method>().is_ok() && !text.bytes().any(|byte| byte.is_ascii_lowercase())
    });
    let headers = named(&settings.headers, "a header", out, is_header);
    let expose = named(&settings.expose, "a header", out, is_header);
    let (methods, expose) = (methods?, expose?);
    let always = format!("{}, X-Request-Id", rate_limit::ANNOUNCED);
    let exposed = [vec![always.as_str()], expose].concat();
    let cors = Cors {
        origins: origins?,
        methods: value(if methods.is_empty() { own } else { methods }),
        headers: value(headers?),
        exposed: value(exposed),
        credentials: settings.credentials,
        max_age: HeaderValue::from(settings.max_age.as_secs()),
    };
    Some(Box::new(Plan(Arc::new(cors))))
}

fn origins(settings: &CorsSettings, block: &Node, out: &mut Diagnostics) -> Option<Origins> {
    if let Some(any) = settings.origins.iter().find(|origin| origin.as_str() == "*") {
        if settings.credentials {
            out.error(any.span, "any origin at all could read with its users' cookies")
                .hint("name the origins, or remove `credentials`");
            return None;
        }
        if settings.origins.len() > 1 {
            out.error(any.span, "`*` is every origin: the others say nothing beside it")
                .hint("write `origins: \"*\"`, or name them all");
            return None;
        }
        return Some(Origins::Any);
    }
    let mut listed = Listed::default();
    let mut sound = true;
    for origin in settings.origins.iter() {
        if let Err(mistake) = listed.add(origin) {
            // What came from the environment stands in no message.
            match origin.value == origin.shown() {
                true => out.error(origin.span, mistake.message).hint(mistake.hint),
                false => out.error(origin.span, format!("`{}` is no origin", origin.shown())),
            };
            sound = false;
        }
    }
    if block.get("origins").and_then(Node::as_list).is_some_and(<[Node]>::is_empty) {
        out.error(block.span, "an empty list lets no script read")
            .hint("name origins, or write `cors: off`");
        return None;
    }
    sound.then_some(Origins::Listed(listed))
}

fn is_header(text: &str) -> bool {
    HeaderName::from_bytes(text.as_bytes()).is_ok() && text != "*"
}

/// The names of a list, each of them checked.
fn named<'s>(
    names: &'s [Spanned<String>],
    what: &str,
    out: &mut Diagnostics,
    fits: impl Fn(&str) -> bool,
) -> Option<Vec<&'s str>> {
    let mut sound = true;
    for name in names.iter().filter(|name| !fits(name)) {
        out.error(name.span, format!("`{}` is not {what}", name.shown()));
        sound = false;
    }
    sound.then(|| names.iter().map(|name| name.as_str()).collect())
}

/// A list as a header says it; `None` for an empty one.
fn value(names: Vec<&str>) -> Option<HeaderValue> {
    let joined = HeaderValue::try_from(names.join(", ")).ok();
    joined.filter(|joined| !joined.is_empty())
}

struct Plan(Arc<Cors>);

impl Planned for Plan {
    fn build(&self, _build: &mut Build<'_>) -> Arc<dyn Policy> {
        Arc::clone(&self.0) as Arc<dyn Policy>
    }

    fn answers_preflights(&self) -> bool {
        true
    }
}

struct Cors {
    origins: Origins,
    /// `None`: whatever the route takes, which is any method.
    methods: Option<HeaderValue>,
    /// `None`: whatever is asked for.
    headers: Option<HeaderValue>,
    exposed: Option<HeaderValue>,
    credentials: bool,
    max_age: HeaderValue,
}

impl Policy for Cors {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let request = &exchange.request;
        let allowed = self.origins.allowed(&request.headers);
        let announced = preflight::announced(&request.method, &request.headers);
        let is_allowed = allowed.is_some();
        if let Some(origin) = allowed {
            exchange.answer_headers.push((ACCESS_CONTROL_ALLOW_ORIGIN, origin));
            if self.credentials {
                let yes = HeaderValue::from_static("true");
                exchange.answer_headers.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, yes));
            }
        }
        match announced {
            Some(method) => {
                let outcome = if is_allowed { Outcome::Passed } else { Outcome::Refused };
                exchange.record.event(Event::new(NAME, outcome).with("preflight", "answered"));
                if is_allowed {
                    self.tell(&method, exchange);
                }
                Step::Stop(Reply::empty(StatusCode::NO_CONTENT))
            }
            None => {
                if let Some(exposed) = self.exposed.clone().filter(|_| is_allowed) {
                    exchange.answer_headers.push((ACCESS_CONTROL_EXPOSE_HEADERS, exposed));
                }
                Step::Next
            }
        }
    }

    fn on_response<'a>(
        &'a self,
        _exchange: &'a mut Exchange,
        response: &'a mut Response,
    ) -> Step<'a> {
        headers::remove_where(response.headers_mut(), |name| name.starts_with("access-control-"));
        headers::vary(response.headers_mut(), "Origin");
        Step::Next
    }
}

impl Cors {
    /// What a preflight is told: which methods and headers may be used. The browser compares.
    fn tell(&self, announced: &Method, exchange: &mut Exchange) {
        let asked = exchange.request.headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
        let headers = asked.map(|asked| self.headers.as_ref().unwrap_or(asked).clone());
        let methods =
            self.methods.clone().or_else(|| HeaderValue::from_str(announced.as_str()).ok());
        let told = [
            (ACCESS_CONTROL_ALLOW_METHODS, methods),
            (ACCESS_CONTROL_ALLOW_HEADERS, headers),
            (ACCESS_CONTROL_MAX_AGE, Some(self.max_age.clone())),
        ];
        let told = told.into_iter().filter_map(|(name, value)| Some((name, value?)));
        exchange.answer_headers.extend(told);
    }
}
