//! `jwt`: tokens are validated once, at the gate (RFC 7519, RFC 8725).
//!
//! The key decides: its type and algorithm, and the issuer's list, must fit what the token's header
//! says. `exp`, `iss` and `aud` are required. "Token expired" is said only after a good signature.
//! Upstreams learn who asks from headers that nobody else can set.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use jsonwebtoken::Algorithm;
use portcullis_config::{
    Decode, Definitions, Named, Node, Spanned, choices, did_you_mean, settings,
};
use portcullis_core::mapping::Value as Strict;
use portcullis_core::{Build, Claims, Code, Event, Exchange, Outcome, Policy, Problem, Step};
use serde_json::{Map, Value};

use crate::issuers::{IssuerPlan, KeySet};
use crate::planner::{Planned, Planner};

const NAME: &str = "jwt";
/// A longer token is refused, in bytes.
const LONGEST: usize = 8 * 1024;
/// How long a request waits for a key that is not known yet.
const WAIT_FOR_KEY: Duration = Duration::from_millis(500);

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
pub const CODES: &[&Code] = &[&MISSING_TOKEN, &TOKEN_EXPIRED, &INVALID_TOKEN, &ISSUER_UNAVAILABLE];

choices! {
    /// Whether a request needs a token.
    pub enum Mode {
        /// It does.
        Required = "required",
        /// It may come without one; one that it brings must be good.
        Optional = "optional",
    }
}

choices! {
    /// Whether the token travels on.
    pub enum Pass {
        On = "on",
        Off = "off",
    }
}

settings! {
    /// Tokens are validated here.
    pub struct JwtSettings {
        /// Whose tokens are good here.
        pub issuers: Vec<Spanned<String>>,
        /// Headers for the upstream and the claims that they carry.
        pub headers: Named<Spanned<String>> = "{}",
        /// Whether a request needs a token.
        pub mode: Mode = "required",
        /// Whether the upstream gets the token itself.
        pub pass_token: Pass = "off",
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
        let problem =
            planner.out.error(name.span, format!("no issuer is called `{}`", name.shown()));
        let known = planner.shared.issuers.keys().map(String::as_str);
        if let Some(hint) = did_you_mean(name, known) {
            problem.hint(hint);
        }
    }
    if settings.issuers.is_empty() {
        planner
            .out
            .error(block.span, "the policy jwt trusts no issuer")
            .hint("name one in `issuers`");
    }
    let mut headers = Vec::new();
    for entry in settings.headers.iter() {
        match HeaderName::from_bytes(entry.name.as_bytes()) {
            Ok(name) => headers.push((name, entry.value.trim_start_matches('.').into())),
            Err(_) => drop(planner.out.error(entry.span, format!("`{}` is no header", entry.name))),
        }
    }
    let required = matches!(settings.mode, Mode::Required);
    let pass_token = matches!(settings.pass_token, Pass::On);
    Some(Box::new(JwtPlan { issuers, headers, required, pass_token }))
}

struct JwtPlan {
    issuers: Vec<Arc<IssuerPlan>>,
    headers: Vec<(HeaderName, Box<str>)>,
    required: bool,
    pass_token: bool,
}

impl Planned for JwtPlan {
    fn build(&self, build: &mut Build<'_>) -> Arc<dyn Policy> {
        let issuers = self.issuers.iter().map(|plan| (Arc::clone(plan), plan.build(build)));
        Arc::new(Jwt {
            issuers: issuers.collect(),
            headers: self.headers.clone(),
            required: self.required,
            pass_token: self.pass_token,
        })
    }

    fn identity_headers(&self) -> Vec<HeaderName> {
        self.headers.iter().map(|(name, _)| name.clone()).collect()
    }
}

pub(crate) struct Jwt {
    pub(crate) issuers: Vec<(Arc<IssuerPlan>, Arc<KeySet>)>,
    pub(crate) headers: Vec<(HeaderName, Box<str>)>,
    pub(crate) required: bool,
    pub(crate) pass_token: bool,
}

/// Why a token is not good.
pub(crate) enum Refusal {
    Expired,
    Invalid(String),
    /// The key is not known; another fetch may bring it.
    UnknownKey(Arc<KeySet>),
}

fn invalid<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Invalid(why.into()))
}

impl Policy for Jwt {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let token = match token(exchange) {
            Ok(Some(token)) => token,
            Ok(None) if !self.required => {
                exchange.record.event(Event::new(NAME, Outcome::Skipped));
                return Step::Next;
            }
            Ok(None) => {
                let challenge = HeaderValue::from_static("Bearer");
                let detail = "this route needs a token: Authorization: Bearer TOKEN";
                return Problem::new(&MISSING_TOKEN, detail)
                    .header(WWW_AUTHENTICATE, challenge)
                    .into();
            }
            Err(why) => return refuse(&Refusal::Invalid(why.to_owned())).into(),
        };
        match self.verify(&token, exchange.worker.clock.unix_seconds()) {
            Ok(claims) => {
                self.accept(exchange, claims);
                Step::Next
            }
            Err(Refusal::UnknownKey(keys)) => Step::Wait(Box::pin(async move {
                keys.refreshed(WAIT_FOR_KEY).await;
                let now = exchange.worker.clock.unix_seconds();
                let claims = self.verify(&token, now).map_err(|refusal| refuse(&refusal))?;
                self.accept(exchange, claims);
                Ok(None)
            })),
            Err(refusal) => refuse(&refusal).into(),
        }
    }
}

/// The request's bearer token (RFC 6750 section 2.1). Other schemes count as none.
fn token(exchange: &Exchange) -> Result<Option<String>, &'static str> {
    let mut values = exchange.request.headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        let several = exchange.request.headers.contains_key(AUTHORIZATION);
        return if several { Err("more than one Authorization header") } else { Ok(None) };
    };
    let Ok(text) = value.to_str() else { return Err("a token that is not ASCII") };
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            let token = token.trim();
            if token.len() > LONGEST {
                return Err("a token longer than 8 KiB");
            }
            Ok((!token.is_empty()).then(|| token.to_owned()))
        }
        _ => Ok(None),
    }
}

fn refuse(refusal: &Refusal) -> Problem {
    let (code, detail, why) = match refusal {
        Refusal::Expired => (&TOKEN_EXPIRED, "the token has expired", "exp is past".to_owned()),
        Refusal::Invalid(why) => (&INVALID_TOKEN, "the token is not good here", why.clone()),
        Refusal::UnknownKey(keys) if keys.last_failed() => {
            let detail = "the token cannot be checked now";
            return Problem::new(&ISSUER_UNAVAILABLE, detail)
                .retry_after(Duration::from_secs(2))
                .private("the issuer's key set cannot be fetched");
        }
        Refusal::UnknownKey(_) => {
            (&INVALID_TOKEN, "the token is not good here", "kid is unknown".to_owned())
        }
    };
    let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{}\"", code.title);
    let value = HeaderValue::try_from(challenge).unwrap_or(HeaderValue::from_static("Bearer"));
    Problem::new(code, detail).private(why).header(WWW_AUTHENTICATE, value)
}

impl Jwt {
    pub(crate) fn verify(&self, token: &str, now: u64) -> Result<Claims, Refusal> {
        let mut parts = token.split('.');
        let (Some(head), Some(body), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return invalid("not three parts");
        };
        let header =
            object(head).ok_or(Refusal::Invalid("header is not strict JSON".to_owned()))?;
        let claims =
            object(body).ok_or(Refusal::Invalid("claims are not strict JSON".to_owned()))?;
        let dangerous = ["crit", "jwk", "jku", "x5u", "x5c", "zip", "enc", "b64"];
        if let Some(name) = dangerous.iter().find(|name| header.contains_key(**name)) {
            return invalid(format!("header has {name}"));
        }
        let algorithm =
            header.get("alg").and_then(Value::as_str).and_then(|name| name.parse().ok());
        let Some(algorithm) = algorithm else { return invalid("alg is not known") };
        let issuer = claims.get("iss").and_then(Value::as_str);
        let trusted = |plan: &IssuerPlan| issuer == Some(&*plan.issuer);
        let Some((plan, keys)) = self.issuers.iter().find(|(plan, _)| trusted(plan)) else {
            return invalid("iss is not trusted here");
        };
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) if kid.len() <= 256 => Some(kid.as_str()),
            Some(_) => return invalid("kid is no short text"),
        };
        check_signature(plan, keys, kid, algorithm, token, signature)?;
        check_claims(plan, &claims, now)?;
        Ok(Claims { issuer: Arc::clone(&plan.name), all: claims })
    }

    /// Remembers who asks, and tells the upstream.
    fn accept(&self, exchange: &mut Exchange, claims: Claims) {
        for (name, claim) in &self.headers {
            exchange.request.headers.remove(name);
            if let Some(value) = claims.at(claim).and_then(header_value) {
                exchange.request.headers.insert(name.clone(), value);
            }
        }
        if !self.pass_token {
            exchange.request.headers.remove(AUTHORIZATION);
        }
        exchange.record.subject = claims.text("sub").map(|subject| Arc::from(&*subject));
        exchange
            .record
            .event(Event::new(NAME, Outcome::Passed).with("issuer", Arc::clone(&claims.issuer)));
        exchange.jwt = Some(Arc::new(claims));
    }
}

/// A part of the token: base64url without padding, strict JSON, an object.
fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
    Strict::parse(&bytes).ok()?;
    match serde_json::from_slice(&bytes).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

fn check_signature(
    plan: &IssuerPlan,
    keys: &Arc<KeySet>,
    kid: Option<&str>,
    algorithm: Algorithm,
    token: &str,
    signature: &str,
) -> Result<(), Refusal> {
    if !plan.algorithms.contains(&algorithm) {
        return invalid("alg is not among the issuer's");
    }
    let Some(signed) = token.get(..token.len() - signature.len() - 1) else {
        return invalid("not three parts");
    };
    let verdict = keys.find(kid, |key| {
        key.fits.contains(&algorithm)
            && jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key.key, algorithm)
                .unwrap_or(false)
    });
    match verdict {
        Some(true) => Ok(()),
        Some(false) => invalid("signature is not good"),
        None => Err(Refusal::UnknownKey(Arc::clone(keys))),
    }
}

fn check_claims(plan: &IssuerPlan, claims: &Map<String, Value>, now: u64) -> Result<(), Refusal> {
    let good = |audience: &Value| {
        audience.as_str().is_some_and(|one| plan.audiences.iter().any(|known| known == one))
    };
    let for_us = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().all(Value::is_string) && all.iter().any(good),
        Some(one) => good(one),
        None => false,
    };
    if !for_us {
        return invalid("aud is missing or another");
    }
    for name in ["sub", "jti"] {
        if claims.get(name).is_some_and(|value| !value.is_string()) {
            return invalid(format!("{name} is no text"));
        }
    }
    let Some(expires) = time(claims, "exp")? else { return invalid("exp is missing") };
    for name in ["nbf", "iat"] {
        if time(claims, name)?.is_some_and(|from| from > now + plan.leeway) {
            return invalid(format!("{name} is in the future"));
        }
    }
    if expires + plan.leeway <= now { Err(Refusal::Expired) } else { Ok(()) }
}

/// A NumericDate, whole seconds; a fraction is cut off.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Refusal> {
    const LATEST: u64 = 1 << 40;
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_u64().or_else(|| {
        let fraction = value.as_f64().filter(|one| (0.0..1e12).contains(one))?;
        format!("{fraction:.0}").parse().ok()
    });
    match seconds.filter(|seconds| *seconds < LATEST) {
        Some(seconds) => Ok(Some(seconds)),
        None => invalid(format!("{name} is no time")),
    }
}

/// A claim as a header: texts, numbers, booleans; lists joined by commas. What is not visible ASCII
/// is percent-encoded, so that no claim ends a line.
fn header_value(claim: &Value) -> Option<HeaderValue> {
    let text = match claim {
        Value::Array(all) => all.iter().map(plain).collect::<Option<Vec<_>>>()?.join(","),
        one => plain(one)?,
    };
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            byte => drop(write!(out, "%{byte:02X}")),
        }
    }
    HeaderValue::try_from(out).ok()
}

fn plain(claim: &Value) -> Option<String> {
    match claim {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}
