//! What an exchange tells to mappings (`$jwt`, `$path`, ...) and to string templates.

use std::borrow::Cow;

use crate::exchange::{Exchange, query_pairs};
use crate::mapping::{Scope, Value};
use crate::template::{Lookup, Reference};

/// The variables of every program, without the `$`.
pub const VARIABLES: [&str; 6] = ["jwt", "consumer", "headers", "query", "path", "request"];

impl Scope for Exchange {
    fn variable(&self, name: &str) -> Value {
        match name {
            "jwt" => self.jwt.as_ref().map_or(Value::NULL, |claims| {
                Value::json(&serde_json::Value::Object(claims.all.clone()))
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
            "query" => Value::object(
                query_pairs(self.request.uri.query().unwrap_or_default())
                    .map(|(name, value)| (name, Value::text(&value))),
            ),
            "path" => Value::object(
                self.params.iter().map(|(name, value)| (name.to_string(), Value::text(value))),
            ),
            "request" => Value::object(
                ["id", "method", "path", "client_ip"]
                    .map(|field| (field.to_owned(), Value::text(&self.fact(field)))),
            ),
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
