//! What an exchange tells to mappings (`$jwt`, `$path`, ...) and to string templates.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::UNIX_EPOCH;

use crate::exchange::{Exchange, query_pairs};
use crate::mapping::{Scope, Value};
use crate::template::{Lookup, Reference};

/// The variables of every program, without the `$`.
pub const VARIABLES: [&str; 6] = ["jwt", "consumer", "headers", "query", "path", "request"];

impl Scope for Exchange {
    fn variable(&self, name: &str) -> Value {
        match name {
            "jwt" => self.jwt.as_ref().map_or(Value::NULL, |claims| {
                let claims = claims.all.iter();
                Value::object(claims.map(|(name, value)| (name.as_str(), Value::json(value))))
            }),
            "consumer" => self.consumer.as_ref().map_or(Value::NULL, |consumer| {
                let tier = consumer.tier.as_deref().map_or(Value::NULL, Value::text);
                Value::object([
                    ("name".to_owned(), Value::text(&consumer.name)),
                    ("tier".to_owned(), tier),
                ])
            }),
            "headers" => Value::object(self.request.headers.keys().map(|name| {
                let value = self.header(name.as_str()).map_or(Value::NULL, Value::text);
                (name.as_str().to_owned(), value)
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
            "path" => Value::object(
                self.params.iter().map(|(name, value)| (name.to_string(), Value::text(value))),
            ),
            "request" => {
                let facts = ["id", "method", "path", "client_ip"];
                let facts = facts.map(|field| (field, Value::text(&self.fact(field))));
                let since = self.record.time.duration_since(UNIX_EPOCH).unwrap_or_default();
                let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
                Value::object(facts.into_iter().chain([("time", Value::integer(seconds))]))
            }
            _ => Value::NULL,
        }
    }
}

impl Exchange {
    fn fact(&self, field: &str) -> Cow<'_, str> {
        match field {
            "id" => Cow::Borrowed(&self.record.request_id),
            "method" => Cow::Borrowed(self.request.method.as_str()),
            "path" => Cow::Borrowed(self.path.as_str()),
            _ => Cow::Owned(self.client_ip.to_string()),
        }
    }
}

impl Lookup for Exchange {
    fn lookup<'a>(&'a self, reference: &Reference) -> Option<Cow<'a, str>> {
        match reference {
            Reference::Path(name) => self.param(name).map(Cow::Borrowed),
            Reference::Jwt(path) => self.jwt.as_ref()?.text(path),
            Reference::Header(name) => self.header(name).map(Cow::Borrowed),
            Reference::Query(name) => self.query(name).map(Cow::Owned),
            Reference::Consumer(field) => {
                let consumer = self.consumer.as_ref()?;
                let tier = || consumer.tier.as_deref();
                let value = if &**field == "name" { Some(&*consumer.name) } else { tier() };
                value.map(Cow::Borrowed)
            }
            Reference::Request(field) => Some(self.fact(field)),
            // What other calls answered is known to their plan only.
            Reference::Call(..) => None,
        }
    }
}
