//! Whether a service's answer is what was promised: by a schema of the configuration for 2xx, and by
//! what a document declares for its status. The gateway's own problems are nobody's promise.

use std::sync::Arc;

use http::{Method, StatusCode};
use http_body::Body as _;
use jsonschema::Validator;
use portcullis_core::{Exchange, FieldError, Response};

use super::compile::Answer;
use super::held::Found;
use super::parameters::Given;
use super::{Answered, Validate, schema};
use crate::beside::beside;
use crate::bodies::{self, Whole};
use crate::{coding, json};

/// What one answer is held to.
pub(super) struct Promise<'v> {
    /// A document's word for this status; `None` when there is no document.
    declared: Option<Option<&'v Answer>>,
    body: Option<&'v Arc<Validator>>,
}

impl Validate {
    /// What this answer is held to; `None` when there is nothing to look at.
    pub(super) fn promised<'v>(
        &'v self,
        answered: &'v Answered,
        exchange: &Exchange,
        response: &Response,
    ) -> Option<Promise<'v>> {
        let status = response.status();
        // 304 stands for an answer that the client has, 206 is a part of one.
        let is_whole = !matches!(status, StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT);
        if exchange.record.failure.is_some() || !is_whole {
            return None;
        }
        let declared = self.held.as_ref().and_then(|held| {
            let Found::Operation(way, _) =
                held.find(&exchange.record.method, exchange.path.as_str())
            else {
                return None;
            };
            let answers = way.answers.as_ref().filter(|answers| !answers.is_empty())?;
            Some(answers.find(status))
        });
        let body = answered.body.as_ref();
        let (method, headers) = (&exchange.record.method, response.headers());
        let body = body.filter(|_| {
            status.is_success() && bodies::untouched(method, status, headers).is_none()
        });
        let promise = Promise { declared, body };
        (promise.declared.is_some() || promise.body.is_some()).then_some(promise)
    }
}

impl Promise<'_> {
    /// How the answer breaks the promise, in a few words.
    pub(super) async fn broken(
        &self,
        exchange: &Exchange,
        response: &mut Response,
    ) -> Option<String> {
        let mut validators: Vec<Arc<Validator>> = self.body.into_iter().cloned().collect();
        match self.declared {
            Some(None) => {
                return Some(format!("the status {} is not declared", response.status().as_u16()));
            }
            Some(Some(answer)) => {
                if let Some(why) = headers(answer, response) {
                    return Some(why);
                }
                match content(answer, exchange, response) {
                    Ok(validator) => validators.extend(validator.cloned()),
                    Err(why) => return Some(why),
                }
            }
            None => {}
        }
        if validators.is_empty() {
            return None;
        }
        match whole(response, exchange.buffer_limit).await {
            Ok(whole) if whole.is_large() => beside(move || misfit(&whole, &validators)).await,
            Ok(whole) => misfit(&whole, &validators),
            Err(why) => Some(why),
        }
    }
}

/// The first thing that is wrong with an answer's body.
fn misfit(whole: &Whole, validators: &[Arc<Validator>]) -> Option<String> {
    let bytes = match whole.decoded() {
        Ok(bytes) => bytes,
        Err(broken) => return Some(format!("{broken:?}")),
    };
    match json::parse(&bytes) {
        Ok(value) => validators
            .iter()
            .find_map(|validator| schema::errors(validator, &value, "").first().map(told)),
        Err(error) => Some(format!("it is no JSON: {error}")),
    }
}

fn told(error: &FieldError) -> String {
    match error.pointer.as_str() {
        "" => error.message.clone(),
        pointer => format!("{pointer}: {}", error.message),
    }
}

fn headers(answer: &Answer, response: &Response) -> Option<String> {
    let given = Given::new(response.headers(), "");
    let wrong = answer.headers.iter().find_map(|it| it.check(&given, &|_| None).into_iter().next());
    wrong.as_ref().map(told)
}

/// The schema for the answer's body; or why its media type is none that is declared.
fn content<'a>(
    answer: &'a Answer,
    exchange: &Exchange,
    response: &Response,
) -> Result<Option<&'a Arc<Validator>>, String> {
    let has_none = exchange.record.method == Method::HEAD
        || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
    if answer.content.types.is_empty() || has_none {
        return Ok(None);
    }
    let kinds = || answer.content.kinds().join(" or ");
    if response.body().size_hint().exact() == Some(0) {
        return Err(format!("it has no body, where {} is declared", kinds()));
    }
    let kind = bodies::media_type(response.headers());
    let Some(declared) = answer.content.find(&kind) else {
        return Err(format!("its media type is {kind:?}, not {}", kinds()));
    };
    // Under a wildcard, a schema is for what is JSON.
    let is_json = bodies::is_json(response.headers());
    Ok(declared.filter(|_| is_json))
}

/// The body; the answer keeps its bytes as they came.
async fn whole(response: &mut Response, limit: u64) -> Result<Whole, String> {
    let coding = coding::of(response.headers());
    let coding = coding.map_err(|coding| format!("its coding {coding} is not known here"))?;
    let read = response.body_mut().read_if_fits(limit).await.map_err(|error| error.to_string())?;
    let bytes = read.ok_or_else(|| format!("it is larger than {limit} bytes"))?;
    Ok(Whole { bytes, coding, limit })
}
