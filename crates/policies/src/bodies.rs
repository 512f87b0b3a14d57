//! Reading bodies as JSON: what `validate` and `transform` share.

use std::collections::HashMap;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use portcullis_core::exchange::query_pairs;
use portcullis_core::mapping::{ParseError, Value};
use portcullis_core::problem::{PAYLOAD_TOO_LARGE, REQUEST_BROKEN, REQUEST_STALLED};
use portcullis_core::{BodyError, Code, Exchange, FieldError, Problem};

use crate::beside::LARGE;
use crate::coding::{self, Broken, Coding};

pub const INVALID_JSON: Code = Code {
    name: "invalid_json",
    status: StatusCode::BAD_REQUEST,
    title: "Invalid JSON",
    cure: "Send one JSON value in UTF-8, no key twice; the detail says where it breaks.",
};
pub const UNSUPPORTED_MEDIA_TYPE: Code = Code {
    name: "unsupported_media_type",
    status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
    title: "Unsupported media type",
    cure: "Send the body as application/json.",
};
pub const INVALID_ENCODING: Code = Code {
    name: "invalid_encoding",
    status: StatusCode::BAD_REQUEST,
    title: "Invalid content encoding",
    cure: "Send the body as its Content-Encoding says, or without one.",
};
pub const CODES: &[&Code] = &[&INVALID_JSON, &UNSUPPORTED_MEDIA_TYPE, &INVALID_ENCODING];

/// What `Content-Type` says, without parameters and in lower case; nothing when it stands there twice,
/// for then two readers may take two things.
pub fn media_type(headers: &HeaderMap) -> String {
    let mut all = headers.get_all(CONTENT_TYPE).iter();
    let only = all.next().filter(|_| all.next().is_none());
    without_parameters(only.and_then(|kind| kind.to_str().ok()).unwrap_or_default())
}

/// A media type without parameters, in lower case.
pub fn without_parameters(kind: &str) -> String {
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// True for `application/json` and `application/*+json`, with any parameters.
pub fn is_json(headers: &HeaderMap) -> bool {
    let kind = media_type(headers);
    kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json")
}

/// Why an answer's body is not read: it has none, a part of one, or one that is no JSON.
pub fn untouched(method: &Method, status: StatusCode, headers: &HeaderMap) -> Option<&'static str> {
    match status {
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED => {
            Some("no_body")
        }
        StatusCode::PARTIAL_CONTENT => Some("partial"),
        _ if *method == Method::HEAD => Some("no_body"),
        _ if coding::of(headers).is_err() => Some("encoding"),
        _ if !is_json(headers) => Some("media_type"),
        _ => None,
    }
}

/// True for a form (`application/x-www-form-urlencoded`).
fn is_form(headers: &HeaderMap) -> bool {
    media_type(headers) == "application/x-www-form-urlencoded"
}

/// All of a body, as it came.
pub struct Whole {
    pub bytes: Bytes,
    pub coding: Option<Coding>,
    /// How large it may be, decoded.
    pub limit: u64,
}

impl Whole {
    pub fn decoded(&self) -> Result<Bytes, Broken> {
        match self.coding {
            None => Ok(self.bytes.clone()),
            Some(coding) => coding.decode(&self.bytes, self.limit),
        }
    }

    /// Whether it is large once it is decoded, and so is no work for a worker.
    pub fn is_large(&self) -> bool {
        self.bytes.len() > LARGE
            || self.coding.is_some_and(|coding| {
                matches!(coding.decode(&self.bytes, LARGE as u64), Err(Broken::TooLarge))
            })
    }
}

/// All of a request's body. What goes on are the bytes as they came.
pub struct Sent {
    body: Whole,
    is_form: bool,
}

impl Sent {
    /// The request's body, read up to the bound; it has to be JSON.
    pub async fn json(exchange: &mut Exchange) -> Result<Self, Problem> {
        if !is_json(&exchange.request.headers) {
            return Err(Problem::new(&UNSUPPORTED_MEDIA_TYPE, "the body must be application/json"));
        }
        Self::read(exchange, false).await
    }

    /// The same as a mapping takes it: JSON, or a form.
    pub async fn json_or_form(exchange: &mut Exchange) -> Result<Self, Problem> {
        match is_form(&exchange.request.headers) {
            true => Self::read(exchange, true).await,
            false => Self::json(exchange).await,
        }
    }

    async fn read(exchange: &mut Exchange, is_form: bool) -> Result<Self, Problem> {
        let coding = coding::of(&exchange.request.headers).map_err(|coding| {
            let detail = format!("the body's content encoding {coding} is not known here");
            Problem::new(&UNSUPPORTED_MEDIA_TYPE, detail).header(ACCEPT_ENCODING, coding::KNOWN)
        })?;
        let limit = exchange.buffer_limit;
        let bytes = exchange.body.read(limit).await.map_err(|error| match error {
            BodyError::TooLarge { limit } => too_large(limit),
            BodyError::TooSlow => Problem::new(&REQUEST_STALLED, "the body came too slowly"),
            error => Problem::new(&REQUEST_BROKEN, "the body broke off").private(error.to_string()),
        })?;
        Ok(Self { body: Whole { bytes, coding, limit }, is_form })
    }

    pub fn is_large(&self) -> bool {
        self.body.is_large()
    }

    /// What it says without its coding.
    pub fn decoded(&self) -> Result<Bytes, Problem> {
        self.body.decoded().map_err(|broken| match broken {
            Broken::TooLarge => too_large(self.body.limit),
            Broken::Garbage(why) => {
                let detail = "the body is not what its Content-Encoding says";
                Problem::new(&INVALID_ENCODING, detail).private(why)
            }
        })
    }

    /// The value that a mapping takes; of a form an object of texts, in which a repeated field is a list.
    pub fn parsed(&self) -> Result<Value, Problem> {
        let bytes = self.decoded()?;
        if self.is_form { form(&bytes) } else { Value::parse(&bytes).map_err(no_json) }
    }
}

/// The problem of a body that is no JSON: with line and column, and the value in which that is.
pub fn no_json(error: ParseError) -> Problem {
    let detail = format!("the body is no JSON: {error}");
    let (pointer, message) = (error.pointer, error.message);
    let place = FieldError { pointer, message, keyword: "json".to_owned() };
    Problem::new(&INVALID_JSON, detail).errors(vec![place])
}

fn too_large(limit: u64) -> Problem {
    Problem::new(&PAYLOAD_TOO_LARGE, format!("the body is larger than {limit} bytes"))
}

fn form(bytes: &[u8]) -> Result<Value, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|_| {
        Problem::new(&INVALID_JSON, "the form is not written in visible ASCII or UTF-8")
    })?;
    let mut fields: Vec<(String, Vec<Value>)> = Vec::new();
    let mut places = HashMap::new();
    for (name, value) in query_pairs(text) {
        let place = *places.entry(name.clone()).or_insert(fields.len());
        match fields.get_mut(place) {
            Some((_, values)) => values.push(Value::text(&value)),
            None => fields.push((name, vec![Value::text(&value)])),
        }
    }
    Ok(Value::object(fields.into_iter().map(|(name, mut values)| match values.len() {
        1 => (name, values.remove(0)),
        _ => (name, Value::array(values)),
    })))
}
