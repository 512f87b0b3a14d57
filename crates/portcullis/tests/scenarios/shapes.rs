//! The small shapes of the scenario language that settings have no type for: names of any kind with
//! texts, and numbers with a comparison.

use std::fmt;

use portcullis_config::{Decode, Definitions, Diagnostics, Node, Value};
use serde_json::json;

use crate::kit::fields::Fields;

/// Names of any kind, each with a text or a list of texts, in order.
#[derive(Clone, Debug, Default)]
pub struct Texts(pub Vec<(String, String)>);

impl Texts {
    pub fn to_fields(&self) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in &self.0 {
            fields.push(name, value.as_bytes());
        }
        fields
    }
}

impl Decode for Texts {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let Some(map) = node.as_map() else {
            node.expected("names with texts", out);
            return None;
        };
        let mut texts = Self::default();
        for entry in map {
            match &entry.value.value {
                Value::List(items) => {
                    for item in items {
                        texts.0.push((entry.key.clone(), String::decode(item, out)?));
                    }
                }
                Value::Bool(value) => texts.0.push((entry.key.clone(), value.to_string())),
                _ => texts.0.push((entry.key.clone(), String::decode(&entry.value, out)?)),
            }
        }
        Some(texts)
    }

    fn schema(_: &mut Definitions) -> serde_json::Value {
        json!({ "type": "object" })
    }
}

/// `3`, `>=3` or `<=3`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Amount {
    comparison: Comparison,
    number: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    AtLeast,
    AtMost,
}

impl Amount {
    pub const fn at_least(number: f64) -> Self {
        Self { comparison: Comparison::AtLeast, number }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let (comparison, digits) = if let Some(rest) = text.strip_prefix(">=") {
            (Comparison::AtLeast, rest)
        } else if let Some(rest) = text.strip_prefix("<=") {
            (Comparison::AtMost, rest)
        } else {
            (Comparison::Equal, text)
        };
        Some(Self { comparison, number: digits.trim().parse().ok()? })
    }

    pub fn holds(self, number: f64) -> bool {
        match self.comparison {
            Comparison::Equal => (number - self.number).abs() < 1e-9,
            Comparison::AtLeast => number >= self.number,
            Comparison::AtMost => number <= self.number,
        }
    }

    pub fn holds_count(self, count: usize) -> bool {
        u32::try_from(count).is_ok_and(|count| self.holds(f64::from(count)))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.comparison {
            Comparison::Equal => "",
            Comparison::AtLeast => ">=",
            Comparison::AtMost => "<=",
        };
        write!(f, "{sign}{}", self.number)
    }
}

impl Decode for Amount {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let text = String::decode(node, out)?;
        let amount = Self::parse(&text);
        if amount.is_none() {
            node.expected("a number, or one with >= or <= in front", out);
        }
        amount
    }

    fn schema(_: &mut Definitions) -> serde_json::Value {
        json!({ "type": ["string", "number"] })
    }
}
