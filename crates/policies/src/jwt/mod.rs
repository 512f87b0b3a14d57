//! `jwt`: tokens are validated once, at the gate (RFC 7519, RFC 8725).
//!
//! The key decides: its type and algorithm, and the issuer's list, must fit what the token's header
//! says. `exp`, `iss` and `aud` are required. "Token expired" is said only after a good signature.
//! Upstreams learn who asks from headers that nobody else can set.

mod judge;
mod place;
mod remembered;
pub(crate) mod verify;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::request::Parts;
use portcullis_config::{Decode, Definitions, Named, Node, OneOrMany, Spanned, choices, settings};
use portcullis_core::headers::visible;
use portcullis_core::{
    Build, Claims, Code, Event, Exchange, Live, LocalBoxFuture, Outcome, Policy, Problem, Step,
    fingerprint,
};
use serde_json::Value;

use crate::issuers::{IssuerPlan, NoKey};
use crate::planner::{Planned, Planner, identity_name, unknown};
use place::Place;
use remembered::Remembered;
use verify::{Refusal, Trusted, Verified, verify};

const NAME: &str = "jwt";
/// When to come back while an issuer cannot be asked.
const RETRY_AFTER: Duration = Duration::from_secs(2);

const fn unauthorized(name: &'static str, title: &'static str, cure: &'static str) -> Code {
    Code { name, status: StatusCode::UNAUTHORIZED, title, cure }
}

pub const MISSING_TOKEN: Code = unauthorized(
    "missing_token",
    "Missing authorization token",
    "Send a token as Authorization: Bearer TOKEN.",
);
pub const TOKEN_EXPIRED: Code =
    unauthorized("token_expired", "Token expired", "Get a new token from the issuer.");
pub const INVALID_TOKEN: Code = unauthorized(
    "invalid_token",
    "Invalid token",
    "Send a token of an issuer that this route trusts; the log says what is wrong with this one.",
);
pub const ISSUER_UNAVAILABLE: Code = Code {
    name: "issuer_unavailable",
    status: StatusCode::SERVICE_UNAVAILABLE,
    title: "Issuer unavailable",
    cure: "Wait: the issuer's keys cannot be fetched; the log says why.",
};
pub const INSUFFICIENT_SCOPE: Code = Code {
    name: "insufficient_scope",
    status: StatusCode::FORBIDDEN,
    title: "Insufficient scope",
    cure: "Get a token with the scopes that WWW-Authenticate names.",
};
pub const CODES: &[&Code] =
    &[&MISSING_TOKEN, &TOKEN_EXPIRED, &INVALID_TOKEN, &ISSUER_UNAVAILABLE, &INSUFFICIENT_SCOPE];

choices! {
    /// Whether a request needs a token.
    pub enum Mode {
        /// It does.
        Required = "required",
        /// It may come without one; one that it brings must be good.
        Optional = "optional",
        /// Nobody looks for a token; the same as `jwt: off`.
        Off = "off",
    }
}

settings! {
    /// Tokens are validated here.
    pub struct JwtSettings {
        /// Whose tokens are good here.
        pub issuers: Vec<Spanned<String>>,
        /// Where the token is: header.NAME, cookie.NAME or query.NAME; `Authorization: Bearer` when
        /// left out.
        pub from: OneOrMany<Spanned<String>> = "[]",
        /// Scopes that the token must have, all of them (`scope` or `scp`, RFC 8693 section 4.2).
        pub scopes: Vec<String> = "[]",
        /// Headers for the upstream and the claims that they carry: a name, or a path such as
        /// .org.id.
        pub headers: Named<Spanned<String>> = "{}",
        /// Whether a request needs a token.
        pub mode: Mode = "required",
        /// Whether the upstream gets the token itself.
        pub pass_token: bool = "off",
        /// Whether a token that was verified is remembered until it ends.
        pub token_cache: bool = "on",
    }
}

pub fn schema(definitions: &mut Definitions) -> serde_json::Value {
    JwtSettings::schema(definitions)
}

pub fn plan(block: &Node, planner: &mut Planner<'_>) -> Option<Box<dyn Planned>> {
    let settings = JwtSettings::decode(block, planner.out)?;
    let mut issuers = Vec::new();
    for name in &settings.issuers {
        if let Some(known) = planner.shared.issuers.get(name.as_str()) {
            issuers.extend(known.clone());
            continue;
        }
        let known = planner.shared.issuers.keys().map(String::as_str);
        unknown("issuer", name, known, planner.out);
    }
    if settings.issuers.is_empty() {
        let problem = planner.out.error(block.span, "the policy jwt trusts no issuer");
        problem.hint("name one in `issuers`");
    }
    let headers = settings
        .headers
        .iter()
        .filter_map(|entry| identity_header(&entry.name, &entry.value, entry.span, planner));
    Some(Box::new(JwtPlan {
        headers: headers.collect(),
        places: place::plan(&settings.from, planner.out)?,
        issuers,
        scopes: settings.scopes,
        mode: settings.mode,
        pass_token: settings.pass_token,
        remembers: settings.token_cache,
    }))
}

/// A header that says who asks, and the claim that it carries.
fn identity_header(
    name: &str,
    claim: &Spanned<String>,
    span: portcullis_config::Span,
    planner: &mut Planner<'_>,
) -> Option<(HeaderName, Box<str>)> {
    let header = identity_name(name, span, planner.out)?;
    let path = claim.trim_start_matches('.');
    if path.is_empty() || path.contains(['$', '|', '[', ' ', '(']) {
        let problem = planner.out.error(claim.span, format!("`{}` is no claim", claim.shown()));
        problem.hint("write a claim's name, or a path such as .org.id; it is no expression");
        return None;
    }
    Some((header, path.into()))
}

struct JwtPlan {
    issuers: Vec<Arc<IssuerPlan>>,
    places: Vec<Place>,
    scopes: Vec<String>,
    headers: Vec<(HeaderName, Box<str>)>,
    mode: Mode,
    pass_token: bool,
    remembers: bool,
}

impl Planned for JwtPlan {
    fn build(&self, build: &mut Build<'_>) -> Arc<dyn Policy> {
        let issuers = self.issuers.iter().map(|plan| (Arc::clone(plan), plan.build(build)));
        let issuers: Vec<Trusted> = issuers.collect();
        // Routes that trust the same issuers share what they remember.
        let marks: Vec<u64> = self.issuers.iter().map(|plan| plan.fingerprint()).collect();
        let mark = fingerprint(&marks);
        let remembered = self
            .remembers
            .then(|| build.keep("verified tokens", &format!("{mark:x}"), mark, |_| Live::new()));
        Arc::new(Jwt {
            issuers,
            remembered,
            places: self.places.clone(),
            scopes: self.scopes.clone(),
            headers: self.headers.clone(),
            mode: self.mode,
            pass_token: self.pass_token,
        })
    }

    fn judge<'a>(&'a self, request: &'a Parts) -> LocalBoxFuture<'a, Vec<String>> {
        Box::pin(judge::judge(self, request))
    }

    fn identity_headers(&self) -> Vec<HeaderName> {
        self.headers.iter().map(|(name, _)| name.clone()).collect()
    }
}

struct Jwt {
    issuers: Vec<Trusted>,
    remembered: Option<Arc<Live>>,
    places: Vec<Place>,
    scopes: Vec<String>,
    headers: Vec<(HeaderName, Box<str>)>,
    mode: Mode,
    pass_token: bool,
}

impl Policy for Jwt {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        if self.mode == Mode::Off {
            return Step::Next;
        }
        let found = place::find(&self.places, &exchange.request);
        let token = match found {
            Ok(Some(token)) => token,
            Ok(None) if self.mode == Mode::Optional || exchange.needs_no_token => {
                exchange.record.event(Event::new(NAME, Outcome::Skipped));
                return Step::Next;
            }
            Ok(None) => {
                let detail = "this route needs a token: Authorization: Bearer TOKEN";
                let problem = Problem::new(&MISSING_TOKEN, detail);
                return refused(exchange, problem.header(WWW_AUTHENTICATE, BEARER)).into();
            }
            Err(why) => return refused(exchange, refuse(&Refusal::Invalid(why.to_owned()))).into(),
        };
        let now = exchange.worker.clock.unix_seconds();
        let remembered =
            self.remembered.as_ref().map(|live| exchange.worker.local(live, Remembered::default));
        if let Some(verified) = remembered.as_ref().and_then(|all| all.find(token, now)) {
            return step(self.accept(exchange, &verified, "remembered"));
        }
        match verify(&self.issuers, token, now) {
            Ok(verified) => {
                if let Some(remembered) = remembered {
                    remembered.remember(token, &verified);
                }
                step(self.accept(exchange, &verified, "verified"))
            }
            Err(Refusal::UnknownKey(keys, kid)) => {
                let token = token.to_owned();
                Step::Wait(Box::pin(async move {
                    let refusal = match keys.missing(kid.as_deref()).await {
                        Ok(()) => match verify(&self.issuers, &token, now) {
                            Ok(verified) => {
                                self.accept(exchange, &verified, "verified")?;
                                return Ok(None);
                            }
                            Err(refusal) => refuse(&refusal),
                        },
                        Err(NoKey::Absent) => refuse(&Refusal::UnknownKey(keys, kid)),
                        Err(NoKey::Unavailable) => {
                            Problem::new(&ISSUER_UNAVAILABLE, "the token cannot be checked now")
                                .retry_after(RETRY_AFTER)
                                .private("the issuer's key set cannot be fetched")
                        }
                    };
                    Err(refused(exchange, refusal))
                }))
            }
            Err(refusal) => refused(exchange, refuse(&refusal)).into(),
        }
    }
}

const BEARER: HeaderValue = HeaderValue::from_static("Bearer");

fn step(accepted: Result<(), Problem>) -> Step<'static> {
    accepted.map_or_else(Step::Fail, |()| Step::Next)
}

/// Writes the refusal down.
fn refused(exchange: &mut Exchange, problem: Problem) -> Problem {
    let event = Event::new(NAME, Outcome::Refused);
    exchange.record.event(event.with("code", problem.code().name));
    problem
}

/// What the client hears: the class, never the reason.
fn refuse(refusal: &Refusal) -> Problem {
    let (code, detail, why) = match refusal {
        Refusal::Expired => (&TOKEN_EXPIRED, "the token has expired", "exp is past"),
        Refusal::Invalid(why) => (&INVALID_TOKEN, "the token is not good here", why.as_str()),
        Refusal::UnknownKey(..) => {
            (&INVALID_TOKEN, "the token is not good here", "its key is not known")
        }
    };
    let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{}\"", code.title);
    let value = HeaderValue::try_from(challenge).unwrap_or(BEARER);
    Problem::new(code, detail).private(why).header(WWW_AUTHENTICATE, value)
}

impl Jwt {
    /// Remembers who asks, and tells the upstream.
    fn accept(
        &self,
        exchange: &mut Exchange,
        verified: &Verified,
        how: &'static str,
    ) -> Result<(), Problem> {
        let claims = &verified.claims;
        if let Some(missing) = self.scopes.iter().find(|scope| !has_scope(claims, scope)) {
            let all = self.scopes.join(" ");
            let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{all}\"");
            let value = HeaderValue::try_from(challenge).unwrap_or(BEARER);
            let problem = Problem::new(&INSUFFICIENT_SCOPE, "the token lacks a scope")
                .private(format!("the token has no scope {missing}"))
                .header(WWW_AUTHENTICATE, value);
            return Err(refused(exchange, problem));
        }
        if !self.pass_token {
            place::remove(&self.places, &mut exchange.request);
        }
        for (name, claim) in &self.headers {
            exchange.request.headers.remove(name);
            if let Some(value) = claims.at(claim).and_then(header_value) {
                exchange.request.headers.insert(name.clone(), value);
            }
        }
        exchange.record.subject = claims.subject.clone();
        let event = Event::new(NAME, Outcome::Passed).with("issuer", Arc::clone(&claims.issuer));
        exchange.record.event(event.with("token", how));
        exchange.jwt = Some(Arc::clone(claims));
        Ok(())
    }
}

/// `scope` is a list in one text (RFC 8693); `scp` is a list, or such a text.
fn has_scope(claims: &Claims, wanted: &str) -> bool {
    ["scope", "scp"].iter().filter_map(|name| claims.all.get(*name)).any(|scopes| match scopes {
        Value::String(text) => text.split(' ').any(|one| one == wanted),
        Value::Array(all) => all.iter().any(|one| one.as_str() == Some(wanted)),
        _ => false,
    })
}

/// A claim as a header: texts, numbers, booleans; lists joined by commas.
fn header_value(claim: &Value) -> Option<HeaderValue> {
    let text = match claim {
        Value::Array(all) => all.iter().map(plain).collect::<Option<Vec<_>>>()?.join(","),
        one => plain(one)?,
    };
    visible(&text)
}

fn plain(claim: &Value) -> Option<String> {
    match claim {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}
