//! Whether a request is what is expected: all that is wrong with it at once.

use std::sync::Arc;

use http::header::{ALLOW, HeaderValue};
use http_body::Body as _;
use jsonschema::Validator;
use portcullis_core::{Body, Exchange, FieldError, Problem};

use super::compile::{Content, fits};
use super::held::Found;
use super::parameters::Given;
use super::schema::{self, MOST_ERRORS};
use super::{OPERATION_NOT_ALLOWED, OPERATION_NOT_FOUND, VALIDATION_FAILED, Validate};
use crate::beside::beside;
use crate::bodies::{self, Sent, UNSUPPORTED_MEDIA_TYPE};
use crate::json;

impl Validate {
    pub(super) async fn check(&self, exchange: &mut Exchange) -> Result<(), Problem> {
        let mut errors = Vec::new();
        let content = self.check_head(exchange, &mut errors)?;
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

    /// Looks at all parameters, and finds what a document says of the body.
    fn check_head(
        &self,
        exchange: &Exchange,
        errors: &mut Vec<FieldError>,
    ) -> Result<Option<&Content>, Problem> {
        let request = &exchange.request;
        let given = Given::new(&request.headers, request.uri.query().unwrap_or_default());
        let own = |name: &str| exchange.param(name).map(str::to_owned);
        errors.extend(self.parameters.iter().flat_map(|it| it.check(&given, &own)));
        let Some(held) = &self.held else { return Ok(None) };
        match held.find(&request.method, exchange.path.as_str()) {
            Found::Operation(way, params) => {
                let named = |name: &str| {
                    let found = params.iter().find(|(known, _)| *known == name);
                    found.map(|(_, value)| value.clone())
                };
                let all = way.request.parameters.iter();
                errors.extend(all.flat_map(|it| it.check(&given, &named)));
                Ok(way.request.body.as_ref())
            }
            Found::OtherMethods(methods) => {
                let allowed: Vec<&str> = methods.iter().map(|it| it.as_str()).collect();
                let allowed = HeaderValue::try_from(allowed.join(", "));
                let detail = "the operation is not declared with this method";
                let problem = Problem::new(&OPERATION_NOT_ALLOWED, detail);
                Err(problem.header(ALLOW, allowed.unwrap_or(HeaderValue::from_static("GET"))))
            }
            Found::Nothing => {
                let detail = "no operation is declared for this path";
                Err(Problem::new(&OPERATION_NOT_FOUND, detail))
            }
        }
    }

    async fn check_body(
        &self,
        exchange: &mut Exchange,
        content: Option<&Content>,
        errors: &mut Vec<FieldError>,
    ) -> Result<(), Problem> {
        if is_empty(&exchange.body) && content.is_some_and(|content| content.required) {
            errors.push(FieldError {
                pointer: String::new(),
                message: "a body is required".to_owned(),
                keyword: "required".to_owned(),
            });
            return Ok(());
        }
        let declared = match is_empty(&exchange.body) {
            true => None,
            false => {
                let kind = bodies::media_type(&exchange.request.headers);
                if !self.content_types.is_empty()
                    && !self.content_types.iter().any(|wanted| fits(wanted, &kind))
                {
                    return Err(unsupported(&self.content_types.join(" or ")));
                }
                match content.filter(|content| !content.types.is_empty()) {
                    Some(content) => match content.find(&kind) {
                        Some(declared) => declared,
                        None => return Err(unsupported(&content.kinds().join(" or "))),
                    },
                    None => None,
                }
            }
        };
        let is_json = bodies::is_json(&exchange.request.headers);
        // Under a wildcard, a schema is for what is JSON.
        let declared = declared.filter(|_| is_json);
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
    let value = json::parse(&sent.decoded()?).map_err(bodies::no_json)?;
    Ok(validators.flat_map(|validator| schema::errors(validator, &value, "")).collect())
}

fn unsupported(wanted: &str) -> Problem {
    Problem::new(&UNSUPPORTED_MEDIA_TYPE, format!("the body must be {wanted}"))
}

fn is_empty(body: &Body) -> bool {
    matches!(body, Body::Empty) || body.size_hint().exact() == Some(0)
}
