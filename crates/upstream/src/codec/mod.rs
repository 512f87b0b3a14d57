//! HTTP/1.1 as a client speaks it (RFC 9112): pure pieces that turn a request into bytes and bytes
//! into an answer. The socket is `connection.rs`'s business.

pub(crate) mod answer;
pub(crate) mod head;
pub(crate) mod request;

/// What an endpoint sent that is no answer: which rule it broke.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bad(pub(crate) String);

impl Bad {
    pub(crate) fn new(rule: impl Into<String>) -> Self {
        Self(rule.into())
    }
}
