//! Values that come as text: names of the path, query parameters, headers and cookies. Each is read as
//! what its schema says it is, and then checked like any JSON.

use http::HeaderName;
use http::header::COOKIE;
use jsonschema::Validator;
use portcullis_core::exchange::query_pairs;
use portcullis_core::{Exchange, FieldError};
use serde_json::Value;

use super::schema;

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
    fn word(&self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header(_) => "header",
            Self::Cookie => "cookie",
        }
    }
}

/// What a text is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
}

impl Kind {
    fn of(schema: &Value) -> Self {
        let kinds = match schema.get("type") {
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(kind)) => vec![kind.as_str()],
            _ => Vec::new(),
        };
        match kinds.into_iter().find(|kind| *kind != "null") {
            Some("integer") => Self::Integer,
            Some("number") => Self::Number,
            Some("boolean") => Self::Boolean,
            _ => Self::Text,
        }
    }

    /// A text that cannot be read so stays text, and its schema says what is wrong with it.
    fn read(self, text: &str) -> Value {
        let read = match self {
            Self::Text => None,
            Self::Integer | Self::Number => {
                let plain = text.bytes().all(|it| it.is_ascii_digit() || b"+-.eE".contains(&it));
                text.parse::<serde_json::Number>().ok().filter(|_| plain).map(Value::Number)
            }
            Self::Boolean => text.parse().ok().map(Value::Bool),
        };
        read.unwrap_or_else(|| Value::String(text.to_owned()))
    }
}

/// A parameter and what it must look like.
pub(super) struct Parameter {
    name: String,
    place: Place,
    required: bool,
    kind: Kind,
    /// Several values make a list.
    is_list: bool,
    /// A list's values stand in one text, separated by commas.
    is_joined: bool,
    validator: Validator,
}

impl Parameter {
    /// From its schema, in which references are resolved by the validator: `root` is what it is
    /// compiled from, and `schema` what says its type.
    pub(super) fn new(
        name: String,
        place: Place,
        required: bool,
        (root, schema): (&Value, &Value),
        is_joined: bool,
    ) -> Result<Self, String> {
        let is_list = schema.get("type").and_then(Value::as_str) == Some("array");
        let items = schema.get("items").filter(|_| is_list);
        let is_joined = is_joined || matches!(place, Place::Path | Place::Header(_));
        Ok(Self {
            kind: Kind::of(items.unwrap_or(schema)),
            validator: schema::compile(root)?,
            name,
            place,
            required,
            is_list,
            is_joined,
        })
    }

    /// What is wrong with it in this request; `params` are the path's names.
    pub(super) fn check(
        &self,
        exchange: &Exchange,
        params: &dyn Fn(&str) -> Option<String>,
    ) -> Vec<FieldError> {
        let texts = self.texts(exchange, params);
        let at = format!("{}.{}", self.place.word(), self.name);
        let Some(first) = texts.first() else {
            let missing = FieldError {
                message: format!("\"{}\" is a required {} parameter", self.name, self.place.word()),
                pointer: at,
                keyword: "required".to_owned(),
            };
            return if self.required { vec![missing] } else { Vec::new() };
        };
        let value = if self.is_list {
            let split = |text: &String| match self.is_joined {
                true => text.split(',').map(|part| part.trim().to_owned()).collect(),
                false => vec![text.clone()],
            };
            texts.iter().flat_map(split).map(|text| self.kind.read(&text)).collect()
        } else if texts.len() > 1 {
            let several = FieldError {
                message: format!("\"{}\" is there {} times", self.name, texts.len()),
                pointer: at,
                keyword: "maxItems".to_owned(),
            };
            return vec![several];
        } else {
            self.kind.read(first)
        };
        schema::errors(&self.validator, &value, &at)
    }

    fn texts(&self, exchange: &Exchange, params: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
        let query = exchange.request.uri.query().unwrap_or_default();
        let headers = &exchange.request.headers;
        match &self.place {
            Place::Path => params(&self.name).into_iter().collect(),
            Place::Query => {
                let own = query_pairs(query).filter(|(name, _)| *name == self.name);
                own.map(|(_, value)| value).collect()
            }
            Place::Header(name) => {
                let values = headers.get_all(name).iter().filter_map(|it| it.to_str().ok());
                values.map(str::to_owned).collect()
            }
            Place::Cookie => {
                let all = headers.get_all(COOKIE).iter().filter_map(|it| it.to_str().ok());
                let pairs = all.flat_map(|all| all.split(';')).filter_map(|it| it.split_once('='));
                let own = pairs.filter(|(name, _)| name.trim() == self.name);
                own.map(|(_, value)| value.trim().trim_matches('"').to_owned()).collect()
            }
        }
    }
}
