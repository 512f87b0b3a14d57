//! One request and its response, on their way through the house. Owned by one worker.

use std::any::Any;
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::body::Body;
use crate::path::CanonicalPath;
use crate::record::Record;
use crate::worker::Worker;

/// Values of a route's `{name}` segments, percent-decoded once.
pub type Params = SmallVec<[(Arc<str>, Box<str>); 2]>;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Who it is; an IPv4 address that came through an IPv6 socket is an IPv4 address.
    pub ip: IpAddr,
    /// The same as text, made once for all of its requests.
    pub ip_text: HeaderValue,
    /// The address of the listener that accepted it, as configured.
    pub listener: Arc<str>,
    /// Of a connection through TLS.
    pub secure: Option<Box<Secure>>,
}

/// What TLS tells of a client, and what its listener wants done with all of its requests.
#[derive(Clone, Debug)]
pub struct Secure {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The host that it asked for, in lower case (SNI).
    pub server_name: Option<Arc<str>>,
    /// Requests are for that host alone: clients of other hosts may have to show another certificate.
    pub one_host: bool,
    pub certificate: Option<Arc<Certificate>>,
    /// Headers by which upstreams learn of the certificate.
    pub identity: Vec<(HeaderName, HeaderValue)>,
    /// `Strict-Transport-Security` of every answer.
    pub hsts: Option<HeaderValue>,
}

/// What a client's certificate says, once it was verified: `subject`, `cn`, `issuer`,
/// `serial`, `fingerprint` and `sans`.
#[derive(Debug)]
pub struct Certificate(pub serde_json::Map<String, serde_json::Value>);

impl Certificate {
    /// One of the template's `CERTIFICATE_PARTS`; `None` when the certificate does not have it. A comma
    /// inside of one of several names is encoded: it makes no two of it.
    pub fn text(&self, part: &str) -> Option<Cow<'_, str>> {
        if let Some(text) = self.0.get(part) {
            return text.as_str().map(Cow::Borrowed);
        }
        let names = self.0.get("sans")?.get(part)?.as_array()?.iter().filter_map(|it| it.as_str());
        let names: Vec<_> = names.map(|name| name.replace(',', "%2C")).collect();
        (!names.is_empty()).then(|| Cow::Owned(names.join(",")))
    }
}

impl Peer {
    pub fn new(address: SocketAddr, listener: Arc<str>) -> Self {
        let ip = address.ip().to_canonical();
        let text = HeaderValue::try_from(ip.to_string());
        // An address has only characters that a header may have.
        let ip_text = text.unwrap_or(HeaderValue::from_static("unknown"));
        Self { ip, ip_text, listener, secure: None }
    }
}

/// The gateway's own address, as a client used it.
#[derive(Clone, Debug)]
pub struct Outer {
    /// `http` or `https`.
    pub proto: HeaderValue,
    /// `None` when the request named none.
    pub host: Option<HeaderValue>,
}

/// What a verified token says.
#[derive(Debug)]
pub struct Claims {
    /// The issuer's name in the configuration.
    pub issuer: Arc<str>,
    /// `sub`, for the record.
    pub subject: Option<Arc<str>>,
    pub all: serde_json::Map<String, serde_json::Value>,
}

impl Claims {
    pub fn new(issuer: Arc<str>, all: serde_json::Map<String, serde_json::Value>) -> Self {
        let subject = all.get("sub").and_then(|sub| sub.as_str()).map(Arc::from);
        Self { issuer, subject, all }
    }

    /// The claim of this name, such as `sub` or `https://shop.example/roles`, or else at this
    /// dotted path, such as `org.id`.
    pub fn at(&self, path: &str) -> Option<&serde_json::Value> {
        if let Some(claim) = self.all.get(path) {
            return Some(claim);
        }
        let mut parts = path.split('.');
        let first = self.all.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    }

    /// The claim as text, when it is a string, a number or a boolean.
    pub fn text(&self, path: &str) -> Option<std::borrow::Cow<'_, str>> {
        match self.at(path)? {
            serde_json::Value::String(text) => Some(text.as_str().into()),
            serde_json::Value::Number(number) => Some(number.to_string().into()),
            serde_json::Value::Bool(value) => Some(if *value { "true" } else { "false" }.into()),
            _ => None,
        }
    }
}

/// A program that asks with a key.
#[derive(Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Its name in the configuration.
    pub name: Arc<str>,
    pub tier: Option<Arc<str>>,
}

/// One request and what has become of it.
pub struct Exchange {
    pub worker: Rc<Worker>,
    pub peer: Rc<Peer>,
    /// The client's address, as far as trusted proxies vouch for it.
    pub client_ip: IpAddr,
    pub outer: Outer,
    /// The record's request id, as a header's value.
    pub request_id: HeaderValue,
    /// Method, URI and headers, hop-by-hop headers already gone. What policies change here goes on.
    pub request: http::request::Parts,
    pub path: CanonicalPath,
    pub body: Body,
    pub params: Params,
    pub jwt: Option<Arc<Claims>>,
    pub consumer: Option<Arc<Consumer>>,
    /// A key vouched for the request where a key or a token is enough.
    pub needs_no_token: bool,
    /// How much of the body a policy may read into memory, in bytes.
    pub buffer_limit: u64,
    pub record: Record,
    /// Headers that policies want on the answer, whatever it becomes.
    pub answer_headers: Vec<(HeaderName, HeaderValue)>,
    guards: Vec<Box<dyn Any>>,
}

impl Exchange {
    /// A new exchange, before a route was found.
    #[allow(clippy::too_many_arguments)] // it is the one constructor, and each part is its own thing
    pub fn new(
        worker: Rc<Worker>,
        peer: Rc<Peer>,
        request: http::request::Parts,
        path: CanonicalPath,
        body: Body,
        buffer_limit: u64,
        record: Record,
        request_id: HeaderValue,
    ) -> Self {
        Self {
            worker,
            peer,
            client_ip: record.client_ip,
            outer: Outer { proto: HeaderValue::from_static("http"), host: None },
            request_id,
            request,
            path,
            body,
            params: Params::new(),
            jwt: None,
            consumer: None,
            needs_no_token: false,
            buffer_limit,
            record,
            answer_headers: Vec::new(),
            guards: Vec::new(),
        }
    }

    /// Keeps `guard` until the last byte of the answer has left or the client is gone: what its
    /// `Drop` undoes is undone in every case.
    pub fn guard(&mut self, guard: impl Any) {
        self.guards.push(Box::new(guard));
    }
}

/// The decoded pairs of a query, in order. `a&b=1` gives `("a", "")` and `("b", "1")`.
pub fn query_pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode_query(name), decode_query(value))
    })
}

fn decode_query(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_pairs_are_decoded_and_keep_their_order() {
        let pairs: Vec<_> = query_pairs("a=1&b&a=x+y%20z&=q").collect();
        let want = [("a", "1"), ("b", ""), ("a", "x y z"), ("", "q")];
        assert_eq!(pairs, want.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn claims_are_found_by_dotted_path() {
        let all = serde_json::json!({ "sub": "u-1", "org": { "id": 7 }, "roles": ["a"] });
        let claims = Claims::new("shop".into(), all.as_object().unwrap().clone());
        assert_eq!(claims.text("sub").as_deref(), Some("u-1"));
        assert_eq!(claims.text("org.id").as_deref(), Some("7"));
        assert_eq!(claims.text("roles"), None);
        assert_eq!(claims.text("org.name"), None);
    }
}
