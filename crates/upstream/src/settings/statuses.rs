//! Statuses: of HTTP `503` or `502-504`, of gRPC `UNAVAILABLE`.

use portcullis_config::{Decode, Definitions, Diagnostics, Node, expansion};
use portcullis_core::grpc::Status;

/// One status, or all from one to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Statuses {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl Statuses {
    pub fn contain(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }

    fn parse(text: &str) -> Option<Self> {
        let status = |text: &str| {
            let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|status| digits && (200..=999).contains(status))
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (status(first)?, status(last)?),
            None => (status(text)?, status(text)?),
        };
        (first <= last).then_some(Self { first, last })
    }
}

impl Decode for Statuses {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let text = node.to_json();
        let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
        let read = Self::parse(&text);
        if read.is_none() {
            node.expected("a status such as 503, or several such as 502-504", out);
        }
        read
    }

    fn schema(_: &mut Definitions) -> serde_json::Value {
        serde_json::json!({ "anyOf": [
            { "type": "integer", "minimum": 200, "maximum": 999 },
            { "type": "string", "pattern": "^[2-9][0-9]{2}(-[2-9][0-9]{2})?$" },
        ] })
    }
}

/// One of the 17 ways in which a gRPC call can end.
#[derive(Clone, Copy, Debug)]
pub struct GrpcStatus(pub Status);

impl Decode for GrpcStatus {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let place = expansion::choice(node, &Status::NAMES, out)?;
        u8::try_from(place).ok().and_then(Status::numbered).map(Self)
    }

    fn schema(_: &mut Definitions) -> serde_json::Value {
        serde_json::json!({ "enum": Status::NAMES })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_three_digits_or_two_of_them_in_order() {
        assert_eq!(Statuses::parse("503"), Some(Statuses { first: 503, last: 503 }));
        let range = Statuses::parse("502-504").unwrap();
        assert!(range.contain(502) && range.contain(504) && !range.contain(505));
        for text in ["", "50", "0503", "100", "504-502", "5xx", "502-", "-502", "+503", "502-504-6"]
        {
            assert_eq!(Statuses::parse(text), None, "{text}");
        }
    }
}
