//! What a file may say about attempts: how long they take, when they are made again, how many there
//! may be.

use std::time::Duration;

use portcullis_config::{
    Bytes, Decode, Definitions, Diagnostics, Node, OrOff, Percent, Ranged, Spanned, Value, choices,
    settings,
};

use super::statuses::Statuses;

settings! {
    /// How long an upstream may take. More than that is a 504.
    pub struct TimeoutSettings {
        /// To accept a connection.
        pub connect: Spanned<Duration> = "1s",
        /// From the last byte of the request to the whole head of the answer.
        pub request: Spanned<Duration> = "10s",
        /// Between two pieces of a body, in either direction.
        pub idle: Spanned<Duration> = "60s",
        /// For everything together, all attempts and the answer's last byte included.
        pub deadline: OrOff<Spanned<Duration>> = "off",
        /// Whether the service is told the deadline, in X-Request-Deadline (seconds since 1970).
        pub pass_deadline: Spanned<bool> = "off",
    }
}

settings! {
    /// WebSockets to the upstream, from clients of HTTP/1.1 and HTTP/2.
    pub struct WebSocketSettings {
        /// How long nothing may be said, in either direction.
        pub idle: Spanned<Duration> = "5m",
        /// How long one may last.
        pub lifetime: OrOff<Spanned<Duration>> = "24h",
    }
}

settings! {
    /// When a request is sent again: idempotent methods only, to another endpoint.
    pub struct RetrySettings {
        /// How often it is sent at most, the first time included.
        pub attempts: Ranged<2, 10> = "2",
        /// After what: connect, timeout, reset, bad_answer, or a status such as 503 or 502-504.
        pub when: Spanned<Vec<Condition>> = "[connect, reset, 502, 503]",
        /// Over the last 10 s, at most this share of all requests is sent again, and 3 per second.
        pub budget: OrOff<Percent> = "20%",
        /// Larger bodies are not sent again.
        pub replay_limit: Bytes = "64KiB",
        /// The wait before the second attempt, drawn from nothing to this; doubled for each further one.
        pub backoff: Spanned<Duration> = "25ms",
        /// How long one of these waits may be.
        pub max_backoff: Spanned<Duration> = "250ms",
    }
}

choices! {
    /// How an attempt can be lost.
    pub enum Loss {
        /// No connection.
        Connect = "connect",
        /// No answer in time.
        Timeout = "timeout",
        /// The connection closed without an answer.
        Reset = "reset",
        /// What came is no answer.
        BadAnswer = "bad_answer",
    }
}

/// After what a request is sent again.
#[derive(Clone, Debug)]
pub enum Condition {
    Lost(Loss),
    Answered(Statuses),
}

impl Decode for Condition {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let digits = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
        match node.as_text() {
            Some(text) if !digits(text) => Loss::decode(node, out).map(Self::Lost),
            _ => Statuses::decode(node, out).map(Self::Answered),
        }
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        let (lost, answered) = (Loss::schema(definitions), Statuses::schema(definitions));
        serde_json::json!({ "anyOf": [lost, answered] })
    }
}

settings! {
    /// A second attempt for a GET or HEAD that takes longer than most: the first answer counts.
    pub struct HedgeSettings {
        /// After how long; left out, after the time within which 95 of 100 requests are answered.
        pub after: Option<Spanned<Duration>>,
    }
}

choices! {
    /// A limit that finds itself.
    pub enum Adaptive {
        /// As many as go without making answers slower.
        Adaptive = "adaptive",
    }
}

/// How many requests may be in flight at once.
#[derive(Clone, Copy, Debug)]
pub enum InFlightSettings {
    Adaptive,
    Most(u32),
}

impl Decode for InFlightSettings {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        if matches!(node.value, Value::Text(_)) && !node.is_from_environment() {
            return Adaptive::decode(node, out).map(|_| Self::Adaptive);
        }
        let most = Ranged::<1, 1_000_000>::decode(node, out)?;
        u32::try_from(most.get()).ok().map(Self::Most)
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        let most = Ranged::<1, 1_000_000>::schema(definitions);
        serde_json::json!({ "anyOf": [Adaptive::schema(definitions), most] })
    }
}

settings! {
    /// Requests that wait while `max_in_flight` are out.
    pub struct QueueSettings {
        /// How many may wait; further ones are refused at once.
        pub max: Ranged<0, 100_000> = "100",
        /// How long one may wait.
        pub wait: Spanned<Duration> = "1s",
    }
}
