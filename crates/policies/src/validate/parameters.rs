//! Values that come as text: names of the path, query parameters, headers and cookies. Each is read as
//! what its schema says it is, and then checked like any JSON.

use std::cell::OnceCell;
use std::sync::Arc;

use http::header::COOKIE;
use http::{HeaderMap, HeaderName};
use jsonschema::Validator;
use portcullis_core::FieldError;
use portcullis_core::context::header_text;
use portcullis_core::exchange::query_pairs;
use serde_json::Value;

use super::schema;
use super::texts::{Shape, Written};

/// Where a parameter stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Path,
    Query,
    Header(HeaderName),
    Cookie,
}

impl Place {
    /// As in templates: `{query.page}`.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header(_) => "header",
            Self::Cookie => "cookie",
        }
    }
}

/// What parameters are looked for in: a request's head, or an answer's headers alone. Query and
/// cookies are taken apart once, when the first parameter asks.
pub(super) struct Given<'g> {
    headers: &'g HeaderMap,
    query: &'g str,
    pairs: OnceCell<Vec<(String, String)>>,
    cookies: OnceCell<Vec<(String, String)>>,
}

impl<'g> Given<'g> {
    pub(super) fn new(headers: &'g HeaderMap, query: &'g str) -> Self {
        Self { headers, query, pairs: OnceCell::new(), cookies: OnceCell::new() }
    }

    fn pairs(&self) -> &[(String, String)] {
        self.pairs.get_or_init(|| query_pairs(self.query).collect())
    }

    /// All lines of a header.
    fn lines(&self, name: &HeaderName) -> Vec<String> {
        let all = self.headers.get_all(name).iter();
        all.map(|value| header_text(value).into_owned()).collect()
    }

    fn cookies(&self) -> &[(String, String)] {
        self.cookies.get_or_init(|| {
            let lines = self.lines(&COOKIE);
            let pairs = lines.iter().flat_map(|line| line.split(';'));
            let pairs = pairs.filter_map(|pair| pair.split_once('='));
            let plain = |text: &str| text.trim().trim_matches('"').to_owned();
            pairs.map(|(name, value)| (name.trim().to_owned(), plain(value))).collect()
        })
    }
}

/// A parameter and what it must look like.
pub(super) struct Parameter {
    name: String,
    place: Place,
    /// As errors call it: `query.page`.
    at: String,
    required: bool,
    /// Whether nothing may stand behind its name (`allowEmptyValue`).
    may_be_empty: bool,
    shape: Shape,
    written: Written,
    validator: Arc<Validator>,
}

impl Parameter {
    pub(super) fn new(
        name: String,
        place: Place,
        required: bool,
        shape: Shape,
        written: Written,
        validator: Arc<Validator>,
    ) -> Self {
        let at = format!("{}.{name}", place.word());
        Self { name, place, at, required, may_be_empty: false, shape, written, validator }
    }

    pub(super) fn empty_too(self, may_be_empty: bool) -> Self {
        Self { may_be_empty, ..self }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// What is wrong with it; `params` are the path's names.
    pub(super) fn check(
        &self,
        given: &Given<'_>,
        params: &dyn Fn(&str) -> Option<String>,
    ) -> Vec<FieldError> {
        if self.may_be_empty && self.place == Place::Query {
            let mut own = given.pairs().iter().filter(|(name, _)| *name == self.name);
            if own.next().is_some_and(|(_, text)| text.is_empty()) && own.next().is_none() {
                return Vec::new();
            }
        }
        match self.value(given, params) {
            Ok(Some(value)) => {
                let errors = schema::errors(&self.validator, &value, &self.at);
                let is_text = !errors.is_empty() && self.written != Written::Json;
                let others = if is_text { self.shape.others(&value) } else { Vec::new() };
                match others.iter().any(|other| self.validator.is_valid(other)) {
                    true => Vec::new(),
                    false => errors,
                }
            }
            Ok(None) if self.required => vec![FieldError {
                message: format!("\"{}\" is a required {}", self.name, self.kind()),
                pointer: self.at.clone(),
                keyword: "required".to_owned(),
            }],
            Ok(None) => Vec::new(),
            Err(wrong) => vec![wrong],
        }
    }

    fn kind(&self) -> String {
        match self.place {
            Place::Header(_) => "header".to_owned(),
            _ => format!("{} parameter", self.place.word()),
        }
    }

    /// Its value, if it is there.
    fn value(
        &self,
        given: &Given<'_>,
        params: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Value>, FieldError> {
        let (owned, pairs);
        let texts: Vec<&str> = match &self.place {
            Place::Path => {
                owned = params(&self.name).into_iter().collect::<Vec<_>>();
                owned.iter().map(String::as_str).collect()
            }
            Place::Header(name) => {
                owned = given.lines(name);
                owned.iter().map(String::as_str).collect()
            }
            Place::Query | Place::Cookie => {
                pairs = if self.place == Place::Query { given.pairs() } else { given.cookies() };
                match self.written {
                    Written::Deep => return self.shape.deep(&self.name, pairs, &self.at),
                    Written::Apart if self.shape.is_object() => {
                        return self.shape.gathered(pairs, &self.at);
                    }
                    _ => {}
                }
                let own = pairs.iter().filter(|(name, _)| *name == self.name);
                own.map(|(_, value)| value.as_str()).collect()
            }
        };
        match texts.is_empty() {
            true => Ok(None),
            false => self.shape.read(&texts, self.written, &self.at).map(Some),
        }
    }
}
