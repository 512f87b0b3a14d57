//! Reading a request's body as JSON: what `validate` and `transform` share.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use portcullis_core::exchange::query_pairs;
use portcullis_core::mapping::Value;
use portcullis_core::problem::{PAYLOAD_TOO_LARGE, REQUEST_BROKEN};
use portcullis_core::{BodyError, Code, Exchange, Problem, Response};

use crate::coding::{self, Broken};

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
pub fn untouched(exchange: &Exchange, response: &Response) -> Option<&'static str> {
    let (status, headers) = (response.status(), response.headers());
    match status {
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED => {
            Some("no_body")
        }
        StatusCode::PARTIAL_CONTENT => Some("partial"),
        _ if exchange.record.method == Method::HEAD => Some("no_body"),
        _ if coding::of(headers).is_err() => Some("encoding"),
        _ if !is_json(headers) => Some("media_type"),
        _ => None,
    }
}

/// True for a form (`application/x-www-form-urlencoded`).
fn is_form(headers: &HeaderMap) -> bool {
    media_type(headers) == "application/x-www-form-urlencoded"
}

/// The request's body, read up to the bound, and decoded. What goes on are the bytes as they came.
async fn whole(exchange: &mut Exchange) -> Result<Bytes, Problem> {
    let coding = coding::of(&exchange.request.headers).map_err(|coding| {
        let detail = format!("the body's content encoding {coding} is not known here");
        Problem::new(&UNSUPPORTED_MEDIA_TYPE, detail).header(ACCEPT_ENCODING, coding::KNOWN)
    })?;
    let limit = exchange.buffer_limit;
    let too_large = |limit: u64| {
        Problem::new(&PAYLOAD_TOO_LARGE, format!("the body is larger than {limit} bytes"))
    };
    let bytes = exchange.body.read(limit).await.map_err(|error| match error {
        BodyError::TooLarge { limit } => too_large(limit),
        error => Problem::new(&REQUEST_BROKEN, "the body broke off").private(error.to_string()),
    })?;
    match coding {
        None => Ok(bytes),
        Some(coding) => coding.decode(&bytes, limit).map_err(|broken| match broken {
            Broken::TooLarge => too_large(limit),
            Broken::Garbage(why) => {
                let detail = "the body is not what its Content-Encoding says";
                Problem::new(&INVALID_ENCODING, detail).private(why)
            }
        }),
    }
}

/// The request's body as a mapping sees it: JSON, or the fields of a form as an object of texts, in
/// which a repeated field is a list.
pub async fn read_mapped(exchange: &mut Exchange) -> Result<Value, Problem> {
    if !is_form(&exchange.request.headers) {
        return read(exchange).await.map(|(_, value)| value);
    }
    let bytes = whole(exchange).await?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        Problem::new(&INVALID_JSON, "the form is not written in visible ASCII or UTF-8")
    })?;
    let mut fields: Vec<(String, Vec<Value>)> = Vec::new();
    for (name, value) in query_pairs(text) {
        let value = Value::text(&value);
        match fields.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => fields.push((name, vec![value])),
        }
    }
    Ok(Value::object(fields.into_iter().map(|(name, mut values)| match values.len() {
        1 => (name, values.remove(0)),
        _ => (name, Value::array(values)),
    })))
}

/// The request's body, read up to the bound, as JSON.
pub async fn read(exchange: &mut Exchange) -> Result<(Bytes, Value), Problem> {
    if !is_json(&exchange.request.headers) {
        return Err(Problem::new(&UNSUPPORTED_MEDIA_TYPE, "the body must be application/json"));
    }
    let bytes = whole(exchange).await?;
    let value = Value::parse(&bytes)
        .map_err(|error| Problem::new(&INVALID_JSON, format!("the body is no JSON: {error}")))?;
    Ok((bytes, value))
}
