//! A token, verified (RFC 7515, RFC 7519, RFC 8725): strict forms, the key's own algorithm, and the
//! claims that make it good here and now.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use portcullis_core::Claims;
use portcullis_core::mapping::Value as Strict;
use serde_json::{Map, Value};

use crate::issuers::{IssuerPlan, KeySet};

/// A kid that is longer is none.
const LONGEST_KID: usize = 256;
/// Header members that let a token choose how it is read.
const DANGEROUS: [&str; 9] = ["crit", "jwk", "jku", "x5u", "x5c", "zip", "enc", "b64", "epk"];
/// No time is later, in seconds: far beyond every calendar, far below an overflow.
const LATEST: u64 = 1 << 40;

/// An issuer that a policy trusts, and its keys.
pub(crate) type Trusted = (Arc<IssuerPlan>, Arc<KeySet>);

/// A good token.
#[derive(Clone)]
pub(crate) struct Verified {
    pub(crate) claims: Arc<Claims>,
    /// The first second at which it is no longer good.
    pub(crate) until: u64,
    pub(crate) keys: Arc<KeySet>,
    /// The keys' generation that verified it.
    pub(crate) generation: u64,
}

/// Why a token is not good.
pub(crate) enum Refusal {
    Expired,
    Invalid(String),
    /// The key is not known; a fetch may bring it.
    UnknownKey(Arc<KeySet>, Option<Box<str>>),
}

fn invalid<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Invalid(why.into()))
}

pub(crate) fn verify(issuers: &[Trusted], token: &str, now: u64) -> Result<Verified, Refusal> {
    let mut parts = token.split('.');
    let (Some(head), Some(body), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return invalid("not three parts");
    };
    let header = object(head).ok_or(Refusal::Invalid("header is not strict JSON".to_owned()))?;
    let claims = object(body).ok_or(Refusal::Invalid("claims are not strict JSON".to_owned()))?;
    if let Some(name) = DANGEROUS.iter().find(|name| header.contains_key(**name)) {
        return invalid(format!("header has {name}"));
    }
    let algorithm = header.get("alg").and_then(Value::as_str).and_then(|name| name.parse().ok());
    let Some(algorithm) = algorithm else { return invalid("alg is not known") };
    let issuer = claims.get("iss").and_then(Value::as_str);
    let trusted = |(plan, _): &&Trusted| issuer == Some(&*plan.issuer);
    let Some((plan, keys)) = issuers.iter().find(trusted) else {
        return invalid("iss is not trusted here");
    };
    check_type(plan, &header)?;
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) if kid.len() <= LONGEST_KID => Some(kid.as_str()),
        Some(_) => return invalid("kid is no short text"),
    };
    let generation = keys.generation(); // before the keys are read: too old at worst
    check_signature(plan, keys, kid, algorithm, token, signature)?;
    let until = check_claims(plan, &claims, now)?;
    let claims = Arc::new(Claims::new(Arc::clone(&plan.name), claims));
    Ok(Verified { claims, until, keys: Arc::clone(keys), generation })
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

fn check_type(plan: &IssuerPlan, header: &Map<String, Value>) -> Result<(), Refusal> {
    let typ = match header.get("typ") {
        None => None,
        Some(Value::String(typ)) => Some(typ.to_ascii_lowercase().replace("application/", "")),
        Some(_) => return invalid("typ is no text"),
    };
    if plan.typ.is_empty() || typ.is_some_and(|typ| plan.typ.contains(&typ)) {
        return Ok(());
    }
    invalid("typ is not one that the issuer's `typ` lists")
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
    let signed = token.len().checked_sub(signature.len() + 1).and_then(|end| token.get(..end));
    let Some(signed) = signed else { return invalid("not three parts") };
    let verdict = keys.verify(kid, algorithm, |key| {
        jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key.key, algorithm)
            .unwrap_or(false)
    });
    match verdict {
        Some(true) => Ok(()),
        Some(false) => invalid("signature is not good"),
        None => Err(Refusal::UnknownKey(Arc::clone(keys), kid.map(Box::from))),
    }
}

/// Checks what the token says of itself, and gives the first second at which it is no longer good.
fn check_claims(plan: &IssuerPlan, claims: &Map<String, Value>, now: u64) -> Result<u64, Refusal> {
    if let Some(audiences) = &plan.audiences {
        let good =
            |one: &Value| one.as_str().is_some_and(|one| audiences.iter().any(|it| it == one));
        let for_us = match claims.get("aud") {
            Some(Value::Array(all)) => all.iter().all(Value::is_string) && all.iter().any(good),
            Some(one) => good(one),
            None => false,
        };
        if !for_us {
            return invalid("aud is missing or another");
        }
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
    let until = expires + plan.leeway;
    if until <= now { Err(Refusal::Expired) } else { Ok(until) }
}

/// A NumericDate in whole seconds; a fraction is cut off.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Refusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let fraction = || std::time::Duration::try_from_secs_f64(value.as_f64()?).ok();
    let seconds = value.as_u64().or_else(|| fraction().map(|time| time.as_secs()));
    match seconds.filter(|seconds| *seconds < LATEST) {
        Some(seconds) => Ok(Some(seconds)),
        None => invalid(format!("{name} is no time")),
    }
}
