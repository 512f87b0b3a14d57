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

/// How deep a schema is looked into for what it says of a type.
const DEEPEST: usize = 8;

/// The part of a schema that says the type of a value, and that type: behind references, and in what it
/// is combined of. `root` is where references begin.
fn typed<'s>(root: &'s Value, schema: &'s Value, depth: usize) -> Option<(&'s str, &'s Value)> {
    let own = match schema.get("type") {
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null")
        }
        Some(Value::String(kind)) => Some(kind.as_str()).filter(|kind| *kind != "null"),
        _ => None,
    };
    if own.is_some() || depth == 0 {
        return own.map(|kind| (kind, schema));
    }
    let reference = schema.get("$ref").and_then(Value::as_str);
    let referred = reference.and_then(|it| root.pointer(it.strip_prefix('#')?));
    let combined = ["allOf", "anyOf", "oneOf"].into_iter();
    let combined = combined.filter_map(|word| schema.get(word)?.as_array()).flatten();
    referred.into_iter().chain(combined).find_map(|inner| typed(root, inner, depth - 1))
}

impl Kind {
    fn of(root: &Value, schema: &Value) -> Self {
        match typed(root, schema, DEEPEST) {
            Some(("integer", _)) => Self::Integer,
            Some(("number", _)) => Self::Number,
            Some(("boolean", _)) => Self::Boolean,
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
    /// From its schema, which holds all that it refers to.
    pub(super) fn new(
        name: String,
        place: Place,
        required: bool,
        schema: &Value,
        is_joined: bool,
    ) -> Result<Self, String> {
        let list = typed(schema, schema, DEEPEST).filter(|(kind, _)| *kind == "array");
        let is_list = list.is_some();
        let items = list.and_then(|(_, list)| list.get("items"));
        let is_joined = is_joined || matches!(place, Place::Path | Place::Header(_));
        Ok(Self {
            kind: Kind::of(schema, items.unwrap_or(schema)),
            validator: schema::compile(schema)?,
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
        // What is no UTF-8 travels on, so it is looked at too.
        let values = |name: &HeaderName| -> Vec<String> {
            let all = exchange.request.headers.get_all(name).iter();
            all.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
        };
        match &self.place {
            Place::Path => params(&self.name).into_iter().collect(),
            Place::Query => {
                let own = query_pairs(query).filter(|(name, _)| *name == self.name);
                own.map(|(_, value)| value).collect()
            }
            Place::Header(name) => values(name),
            Place::Cookie => {
                let all = values(&COOKIE);
                let pairs = all.iter().flat_map(|it| it.split(';'));
                let pairs = pairs.filter_map(|pair| pair.split_once('='));
                let own = pairs.filter(|(name, _)| name.trim() == self.name);
                own.map(|(_, value)| value.trim().trim_matches('"').to_owned()).collect()
            }
        }
    }
}
