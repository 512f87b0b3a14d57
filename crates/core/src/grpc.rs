//! gRPC as a gateway meets it: which messages speak it, what its statuses mean, and an answer that is
//! nothing but a status (gRPC over HTTP/2, "Trailers-Only"; gRPC-Web).

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::problem::{Problem, Reply};

pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Everything else of ASCII stands as it is; other characters never do.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

const PREFIX: &[u8] = b"application/grpc";

/// How a message is framed whose content type says gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grpc {
    Native,
    /// Trailers stand in the body: for browsers, which do not show others to a program.
    Web,
    /// The same as text, in base64.
    WebText,
}

impl Grpc {
    /// What a content type says, whatever messages it names (`+proto`).
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let kind = headers.get(CONTENT_TYPE)?.as_bytes();
        let (prefix, rest) = kind.split_at_checked(PREFIX.len())?;
        if !prefix.eq_ignore_ascii_case(PREFIX) {
            return None;
        }
        let end = rest.iter().position(|byte| matches!(byte, b'+' | b';' | b' '));
        let form = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        match form.to_ascii_lowercase().as_slice() {
            b"" => Some(Self::Native),
            b"-web" => Some(Self::Web),
            b"-web-text" => Some(Self::WebText),
            _ => None,
        }
    }

    /// The content type without the name of its messages.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Native => "application/grpc",
            Self::Web => "application/grpc-web",
            Self::WebText => "application/grpc-web-text",
        }
    }

    /// The answer to a problem: no message, and in its head what would stand behind the last one. A
    /// client of gRPC-Web reads it there, too.
    pub fn reply(self, problem: &Problem) -> Reply {
        let mut headers = problem.headers();
        let text = format!("{}: {}", problem.code().name, problem.detail());
        let text = utf8_percent_encode(&text, ENCODED).to_string();
        let status = Status::of_http(problem.status());
        let message = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type()));
        headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(status.number())));
        headers.insert(GRPC_MESSAGE, message);
        Reply { status: StatusCode::OK, headers, body: Bytes::new() }
    }
}

/// A gRPC request as its record knows it: how it is framed, and how it ended as far as that was told.
/// Clones are the same one, since its status may pass where nobody has the record.
#[derive(Clone, Debug)]
pub struct Rpc {
    pub form: Grpc,
    status: Rc<Cell<Option<Status>>>,
}

impl Rpc {
    /// Of a request that has these headers, if it is one.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        Grpc::of(headers).map(|form| Self { form, status: Rc::default() })
    }

    /// Looks for a status in a head or in trailers.
    pub fn note(&self, fields: &HeaderMap) {
        if let Some(status) = Status::of(fields) {
            self.status.set(Some(status));
        }
    }

    pub fn status(&self) -> Option<Status> {
        self.status.get()
    }
}

/// How a call ended: one of the 17 statuses of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status(u8);

impl Status {
    pub const OK: Self = Self(0);
    pub const UNKNOWN: Self = Self(2);
    pub const DEADLINE_EXCEEDED: Self = Self(4);

    /// By number.
    pub const NAMES: [&'static str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];

    /// What a head or trailers say. Whatever is none of the 17 is `UNKNOWN`.
    pub fn of(fields: &HeaderMap) -> Option<Self> {
        let text = fields.get(GRPC_STATUS)?.to_str().unwrap_or_default();
        Some(text.parse().ok().and_then(Self::numbered).unwrap_or(Self::UNKNOWN))
    }

    pub fn numbered(number: u8) -> Option<Self> {
        (usize::from(number) < Self::NAMES.len()).then_some(Self(number))
    }

    /// What an answer of HTTP with this status comes to.
    pub fn of_http(status: StatusCode) -> Self {
        Self(match status.as_u16() {
            400 => 3,
            401 => 16,
            403 => 7,
            404 => 12,
            413 | 429 => 8,
            503 => 14,
            504 => 4,
            _ => 13,
        })
    }

    pub fn number(self) -> u8 {
        self.0
    }

    pub fn name(self) -> &'static str {
        Self::NAMES.get(usize::from(self.0)).copied().unwrap_or("UNKNOWN")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{MISSING_REFERENCE, PAYLOAD_TOO_LARGE};

    fn of(kind: &'static str) -> Option<Grpc> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Grpc::of(&headers)
    }

    #[test]
    fn content_types() {
        for (kind, form) in [
            ("application/grpc", Some(Grpc::Native)),
            ("Application/gRPC+proto", Some(Grpc::Native)),
            ("application/grpc; charset=utf-8", Some(Grpc::Native)),
            ("application/grpc-web+proto", Some(Grpc::Web)),
            ("application/grpc-web", Some(Grpc::Web)),
            ("application/grpc-web-text+json;a=b", Some(Grpc::WebText)),
            ("application/grpcweb", None),
            ("application/grpc-web-x", None),
            ("application/json", None),
            ("text/plain; application/grpc", None),
        ] {
            assert_eq!(of(kind), form, "{kind}");
        }
        assert_eq!(Grpc::of(&HeaderMap::new()), None);
    }

    #[test]
    fn statuses_have_numbers_and_names() {
        let said = |text: &'static str| {
            let mut fields = HeaderMap::new();
            fields.insert(GRPC_STATUS, HeaderValue::from_static(text));
            Status::of(&fields).map(Status::name)
        };
        assert_eq!(said("0"), Some("OK"));
        assert_eq!(said("16"), Some("UNAUTHENTICATED"));
        for text in ["17", "-1", "", "300", "OK"] {
            assert_eq!(said(text), Some("UNKNOWN"), "{text}");
        }
        assert_eq!(Status::of(&HeaderMap::new()), None);
        for (http, name) in [
            (400, "INVALID_ARGUMENT"),
            (401, "UNAUTHENTICATED"),
            (403, "PERMISSION_DENIED"),
            (404, "UNIMPLEMENTED"),
            (413, "RESOURCE_EXHAUSTED"),
            (429, "RESOURCE_EXHAUSTED"),
            (503, "UNAVAILABLE"),
            (504, "DEADLINE_EXCEEDED"),
            (502, "INTERNAL"),
            (405, "INTERNAL"),
        ] {
            assert_eq!(Status::of_http(StatusCode::from_u16(http).unwrap()).name(), name);
        }
    }

    #[test]
    fn a_problem_is_a_status_in_a_head() {
        let problem = Problem::new(&PAYLOAD_TOO_LARGE, "100% too much: é\n").private("secret");
        let reply = Grpc::Native.reply(&problem);
        assert_eq!((reply.status, reply.body.len()), (StatusCode::OK, 0));
        assert_eq!(reply.headers[CONTENT_TYPE], "application/grpc");
        assert_eq!(reply.headers[GRPC_STATUS], "8");
        assert_eq!(reply.headers[GRPC_MESSAGE], "payload_too_large: 100%25 too much: %C3%A9%0A");
        let problem = Problem::new(&MISSING_REFERENCE, "x");
        assert_eq!(
            Grpc::WebText.reply(&problem).headers[CONTENT_TYPE],
            "application/grpc-web-text"
        );
    }
}
