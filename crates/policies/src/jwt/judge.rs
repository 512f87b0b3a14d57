//! What `explain` says of a request's token: exactly why it is good or not, which no client ever hears.

use std::sync::Arc;

use http::request::Parts;
use portcullis_core::Clock;

use super::place;
use super::verify::{Refusal, Trusted, Verified, verify};
use super::{JwtPlan, Mode, has_scope};
use crate::issuers::IssuerPlan;

pub(super) async fn judge(plan: &JwtPlan, request: &Parts) -> Vec<String> {
    if plan.mode == Mode::Off {
        return vec!["nobody looks for a token".to_owned()];
    }
    let token = match place::find(&plan.places, request) {
        Ok(Some(token)) => token,
        Ok(None) if plan.mode == Mode::Optional => return vec!["no token: it passes".to_owned()],
        Ok(None) => return vec!["401 missing_token: there is none".to_owned()],
        Err(why) => return vec![format!("401 invalid_token: {why}")],
    };
    let clock = Clock::system();
    let mut said = Vec::new();
    let mut trusted: Vec<Trusted> = Vec::new();
    for issuer in &plan.issuers {
        match IssuerPlan::key_set(issuer, &clock).await {
            Ok(keys) => trusted.push((Arc::clone(issuer), keys)),
            Err(why) => said.push(format!("the keys of {} cannot be fetched: {why}", issuer.name)),
        }
    }
    said.push(match verify(&trusted, token, clock.unix_seconds()) {
        Ok(verified) => passes(plan, &verified),
        Err(Refusal::Expired) => "401 token_expired: exp is past; the signature is good".to_owned(),
        Err(Refusal::Invalid(why)) => format!("401 invalid_token: {why}"),
        Err(Refusal::UnknownKey(_, kid)) => {
            let kid = kid.as_deref().unwrap_or("none");
            format!("401 invalid_token: the issuer has no key of this kid ({kid})")
        }
    });
    said
}

fn passes(plan: &JwtPlan, verified: &Verified) -> String {
    let claims = &verified.claims;
    match plan.scopes.iter().find(|scope| !has_scope(claims, scope)) {
        Some(missing) => format!("403 insufficient_scope: the token has no scope {missing}"),
        None => format!(
            "the token is good: issuer {}, subject {}",
            claims.issuer,
            claims.subject.as_deref().unwrap_or("none"),
        ),
    }
}
