//! Why a request failed, as its client and as the log see it.
//!
//! A [`Problem`] is built where it happens. Its [`Code`] is stable and documented; `detail` is for
//! the client, `private` for the log only. It becomes an `application/problem+json` answer
//! (RFC 9457) that also carries `code`, `error`, `retryAfter` and `requestId`, so that clients of
//! the plain `{ "error": ... }` shape keep working.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::body::Body;
use crate::policy::Response;

/// A documented way to fail: one constant per code, listed by its room's `CODES`.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// Stable name, in snake case: what a program compares.
    pub name: &'static str,
    /// The HTTP status it is answered with.
    pub status: StatusCode,
    /// The short text for people; also the `error` member.
    pub title: &'static str,
    /// What whoever meets it can do.
    pub cure: &'static str,
}

impl Code {
    /// The `type` member: a URI that stays the same for ever.
    pub fn uri(&self) -> String {
        format!("urn:portcullis:problem:{}", self.name)
    }
}

/// A body beyond its bound, whoever notices: the door, a policy that reads it, or delivery.
pub const PAYLOAD_TOO_LARGE: Code = Code {
    name: "payload_too_large",
    status: StatusCode::PAYLOAD_TOO_LARGE,
    title: "Payload too large",
    cure: "Send less, or raise the route's body_limit or else bounds.streamed_body (bodies that pass) or bounds.buffered_body (bodies that a policy reads).",
};

/// The problem of a request's body that has more than `limit` bytes.
pub fn too_large(limit: u64) -> Problem {
    Problem::new(&PAYLOAD_TOO_LARGE, format!("the body may have {limit} bytes at most"))
}

/// A body that ended before it was whole, whoever reads it.
pub const REQUEST_BROKEN: Code = Code {
    name: "request_body_broken",
    status: StatusCode::BAD_REQUEST,
    title: "Request body broke off",
    cure: "Send the body to its end, framed as RFC 9112 says.",
};

/// A body that came too slowly, whoever waits for it.
pub const REQUEST_STALLED: Code = Code {
    name: "request_body_timeout",
    status: StatusCode::REQUEST_TIMEOUT,
    title: "Request body took too long",
    cure: "Keep sending: not slower than bounds.body_rate, not longer than bounds.body_read, and with no pause longer than timeouts.idle of the upstream.",
};

/// A path, header or query that is to be made of something that the request does not have.
pub const MISSING_REFERENCE: Code = Code {
    name: "missing_reference",
    status: StatusCode::BAD_REQUEST,
    title: "Missing reference",
    cure: "Send what the route's path, headers or query are made of; the log names it.",
};

/// The codes that several rooms answer with.
pub const CODES: &[&Code] =
    &[&PAYLOAD_TOO_LARGE, &REQUEST_BROKEN, &REQUEST_STALLED, &MISSING_REFERENCE];

/// Whose doing it was: decides what breakers, metrics and logs count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Client,
    Gateway,
    Upstream,
}

/// One thing that is wrong with a client's body or parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// JSON Pointer into the body (RFC 6901).
    pub pointer: String,
    pub message: String,
    /// The rule that was broken, such as `required`.
    pub keyword: String,
}

/// Why a request failed. One pointer wide, so that results stay small.
#[derive(Debug)]
pub struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    code: &'static Code,
    status: StatusCode,
    detail: Cow<'static, str>,
    private: String,
    origin: Origin,
    retry_after: Option<Duration>,
    errors: Vec<FieldError>,
    headers: HeaderMap,
}

impl Problem {
    /// A problem of this code; `detail` is what the client may read.
    pub fn new(code: &'static Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let origin = if code.status.is_client_error() { Origin::Client } else { Origin::Gateway };
        Self(Box::new(Inner {
            code,
            status: code.status,
            detail: detail.into(),
            private: String::new(),
            origin,
            retry_after: None,
            errors: Vec::new(),
            headers: HeaderMap::new(),
        }))
    }

    /// What the log says and the client never sees.
    #[must_use]
    pub fn private(mut self, text: impl Into<String>) -> Self {
        self.0.private = text.into();
        self
    }

    #[must_use]
    pub fn from_upstream(mut self) -> Self {
        self.0.origin = Origin::Upstream;
        self
    }

    /// The status of another answer that this problem stands for (a required call's 404).
    #[must_use]
    pub fn status_of(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    /// When asking again makes sense: `Retry-After` and `retryAfter`, whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    #[must_use]
    pub fn errors(mut self, errors: Vec<FieldError>) -> Self {
        self.0.errors = errors;
        self
    }

    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.append(name, value);
        self
    }

    pub fn code(&self) -> &'static Code {
        self.0.code
    }

    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    pub fn private_detail(&self) -> &str {
        &self.0.private
    }

    pub fn wait(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The headers of its answer, but for those that describe a body.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = self.0.headers.clone();
        if let Some(wait) = self.0.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        headers
    }

    /// The answer that a client gets.
    pub fn reply(&self, request_id: &str) -> Reply {
        let mut members = serde_json::json!({
            "type": self.0.code.uri(),
            "title": self.0.code.title,
            "status": self.0.status.as_u16(),
            "detail": self.0.detail,
            "code": self.0.code.name,
            "error": self.0.code.title,
            "requestId": request_id,
        });
        let mut headers = self.headers();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(object) = members.as_object_mut() {
            if let Some(wait) = self.0.retry_after {
                object.insert("retryAfter".into(), whole_seconds(wait).into());
            }
            if !self.0.errors.is_empty() {
                let rows = self.0.errors.iter().map(|error| {
                    serde_json::json!({
                        "pointer": error.pointer, "message": error.message, "keyword": error.keyword,
                    })
                });
                object.insert("errors".into(), rows.collect());
            }
        }
        Reply { status: self.0.status, headers, body: Bytes::from(members.to_string()) }
    }
}

/// Seconds, rounded up and at least 1: waiting that long is always long enough.
pub fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// An answer that the gateway made itself.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

impl From<Reply> for Response {
    fn from(reply: Reply) -> Self {
        let mut response = Response::new(Body::full(reply.body));
        *response.status_mut() = reply.status;
        *response.headers_mut() = reply.headers;
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GONE: Code = Code {
        name: "gone_fishing",
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "Gone",
        cure: "Wait.",
    };

    #[test]
    fn carries_the_members_of_rfc_9457_and_of_plain_error_clients() {
        let reply = Problem::new(&GONE, "back soon")
            .private("secret address")
            .retry_after(Duration::from_millis(1200))
            .reply("r-1");
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "urn:portcullis:problem:gone_fishing", "title": "Gone", "status": 503,
                "detail": "back soon", "code": "gone_fishing", "error": "Gone", "requestId": "r-1",
                "retryAfter": 2,
            })
        );
        assert_eq!(reply.headers[RETRY_AFTER], "2");
        assert_eq!(reply.headers[CONTENT_TYPE], "application/problem+json");
    }

    #[test]
    fn a_wait_is_rounded_up_and_never_zero() {
        assert_eq!(whole_seconds(Duration::ZERO), 1);
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(3)), 3);
        assert_eq!(whole_seconds(Duration::new(3, 1)), 4);
    }
}
