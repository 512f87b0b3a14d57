//! What an exchange tells to mappings (`$jwt`, `$path`, ...) and to string templates: on its worker, or
//! on another thread by a copy ([`Seen`]).

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use http::request::Parts;

use crate::exchange::{Certificate, Claims, Consumer, Exchange, Params, query_pairs};
use crate::mapping::{Scope, Value};
use crate::path::CanonicalPath;
use crate::template::{Lookup, Reference};

/// The variables of every program, without the `$`.
pub const VARIABLES: [&str; 8] =
    ["jwt", "consumer", "client_cert", "headers", "query", "path", "request", "env"];

/// What programs and templates see of an exchange.
#[derive(Clone, Copy)]
struct Facts<'a> {
    request: &'a Parts,
    path: &'a CanonicalPath,
    params: &'a Params,
    jwt: Option<&'a Claims>,
    consumer: Option<&'a Consumer>,
    certificate: Option<&'a Certificate>,
    client_ip: IpAddr,
    request_id: &'a str,
    time: SystemTime,
}

/// A copy of what programs and templates see of an exchange, for a thread that has not the exchange.
pub struct Seen {
    /// Method, URI and headers.
    pub request: Parts,
    path: CanonicalPath,
    params: Params,
    jwt: Option<Arc<Claims>>,
    consumer: Option<Arc<Consumer>>,
    certificate: Option<Arc<Certificate>>,
    client_ip: IpAddr,
    request_id: Arc<str>,
    time: SystemTime,
}

const _: () = {
    const fn can_be_sent<T: Send + 'static>() {}
    can_be_sent::<Seen>();
};

impl Exchange {
    pub fn param(&self, name: &str) -> Option<&str> {
        self.facts().param(name)
    }

    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.facts().header(name)
    }

    /// A copy of what programs and templates see.
    pub fn seen(&self) -> Seen {
        let mut request = http::Request::new(()).into_parts().0;
        request.method = self.request.method.clone();
        request.uri = self.request.uri.clone();
        request.headers = self.request.headers.clone();
        Seen {
            request,
            path: self.path.clone(),
            params: self.params.clone(),
            jwt: self.jwt.clone(),
            consumer: self.consumer.clone(),
            certificate: self.peer.secure.as_ref().and_then(|secure| secure.certificate.clone()),
            client_ip: self.client_ip,
            request_id: Arc::clone(&self.record.request_id),
            time: self.record.time,
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            request: &self.request,
            path: &self.path,
            params: &self.params,
            jwt: self.jwt.as_deref(),
            consumer: self.consumer.as_deref(),
            certificate: self.peer.secure.as_ref().and_then(|it| it.certificate.as_deref()),
            client_ip: self.client_ip,
            request_id: &self.record.request_id,
            time: self.record.time,
        }
    }
}

impl Seen {
    fn facts(&self) -> Facts<'_> {
        Facts {
            request: &self.request,
            path: &self.path,
            params: &self.params,
            jwt: self.jwt.as_deref(),
            consumer: self.consumer.as_deref(),
            certificate: self.certificate.as_deref(),
            client_ip: self.client_ip,
            request_id: &self.request_id,
            time: self.time,
        }
    }
}

/// A header's value as programs, templates and schemas see it: what is UTF-8 is that text; in all else each byte is the
/// character of its number (ISO 8859-1), as it was once meant (RFC 9110 section 5.5).
pub fn header_text(value: &HeaderValue) -> Cow<'_, str> {
    let bytes = value.as_bytes();
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

fn json(object: &serde_json::Map<String, serde_json::Value>) -> Value {
    Value::object(object.iter().map(|(name, value)| (name.as_str(), Value::json(value))))
}

impl<'a> Facts<'a> {
    fn variable(self, name: &str) -> Value {
        match name {
            "jwt" => self.jwt.map_or(Value::NULL, |claims| json(&claims.all)),
            "client_cert" => {
                self.certificate.map_or(Value::NULL, |certificate| json(&certificate.0))
            }
            "consumer" => self.consumer.map_or(Value::NULL, |consumer| {
                let tier = consumer.tier.as_deref().map_or(Value::NULL, Value::text);
                Value::object([("name", Value::text(&consumer.name)), ("tier", tier)])
            }),
            "headers" => Value::object(self.request.headers.keys().map(|name| {
                let value = self.header(name.as_str());
                (name.as_str(), value.map_or(Value::NULL, |value| Value::text(&value)))
            })),
            // Of two with one name the first, as `{query.NAME}` and a rule's key read it.
            "query" => {
                let pairs = query_pairs(self.request.uri.query().unwrap_or_default());
                let mut pairs: Vec<_> =
                    pairs.map(|(name, value)| (name, Value::text(&value))).collect();
                let mut known = HashSet::new();
                pairs.retain(|(name, _)| known.insert(name.clone()));
                Value::object(pairs)
            }
            "path" => {
                Value::object(self.params.iter().map(|(name, value)| (name, Value::text(value))))
            }
            "request" => {
                let facts = ["id", "method", "path", "client_ip"];
                let facts = facts.map(|field| (field, Value::text(&self.fact(field))));
                let since = self.time.duration_since(UNIX_EPOCH).unwrap_or_default();
                let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
                Value::object(facts.into_iter().chain([("time", Value::integer(seconds))]))
            }
            _ => Value::NULL,
        }
    }

    fn param(self, name: &str) -> Option<&'a str> {
        self.params.iter().find(|(known, _)| &**known == name).map(|(_, value)| &**value)
    }

    fn header(self, name: &str) -> Option<Cow<'a, str>> {
        self.request.headers.get(name).map(header_text)
    }

    fn fact(self, field: &str) -> Cow<'a, str> {
        match field {
            "id" => Cow::Borrowed(self.request_id),
            "method" => Cow::Borrowed(self.request.method.as_str()),
            "path" => Cow::Borrowed(self.path.as_str()),
            _ => Cow::Owned(self.client_ip.to_string()),
        }
    }

    fn lookup(self, reference: &Reference) -> Option<Cow<'a, str>> {
        match reference {
            Reference::Path(name) => self.param(name).map(Cow::Borrowed),
            Reference::Jwt(path) => self.jwt?.text(path),
            Reference::Header(name) => self.header(name),
            Reference::Query(name) => {
                let mut pairs = query_pairs(self.request.uri.query().unwrap_or_default());
                pairs.find_map(|(key, value)| (*key == **name).then_some(Cow::Owned(value)))
            }
            Reference::Consumer(field) => {
                let consumer = self.consumer?;
                let tier = || consumer.tier.as_deref();
                let value = if &**field == "name" { Some(&*consumer.name) } else { tier() };
                value.map(Cow::Borrowed)
            }
            Reference::ClientCert(part) => self.certificate?.text(part),
            Reference::Request(field) => Some(self.fact(field)),
            // What other calls answered is known to their plan only, and `env` to the template itself.
            Reference::Call(..) | Reference::Env(_) => None,
        }
    }
}

impl Scope for Exchange {
    fn variable(&self, name: &str) -> Value {
        self.facts().variable(name)
    }
}

impl Lookup for Exchange {
    fn lookup<'a>(&'a self, reference: &Reference) -> Option<Cow<'a, str>> {
        self.facts().lookup(reference)
    }
}

impl Scope for Seen {
    fn variable(&self, name: &str) -> Value {
        self.facts().variable(name)
    }
}

impl Lookup for Seen {
    fn lookup<'a>(&'a self, reference: &Reference) -> Option<Cow<'a, str>> {
        self.facts().lookup(reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_utf_8_is_latin_1() {
        for (bytes, text) in [
            (&b"plain"[..], "plain"),
            (b"", ""),
            ("Zo\u{eb}, \u{6771}\u{4eac}".as_bytes(), "Zo\u{eb}, \u{6771}\u{4eac}"),
            (b"Zo\xeb", "Zo\u{eb}"),
            (b"\xc3\xa9 and \xe9", "\u{c3}\u{a9} and \u{e9}"),
            (b"\xc0\xaf", "\u{c0}\u{af}"),
        ] {
            assert_eq!(header_text(&HeaderValue::from_bytes(bytes).unwrap()), text, "{bytes:?}");
        }
    }
}
