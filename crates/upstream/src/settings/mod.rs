//! What a file may say about an upstream.

mod attempts;
mod health;
mod statuses;
mod tls;

use std::time::Duration;

pub use attempts::{
    Condition, HedgeSettings, InFlightSettings, Loss, QueueSettings, RetrySettings,
    TimeoutSettings, WebSocketSettings,
};
pub use health::{BreakerSettings, HealthSettings};
use portcullis_config::{
    Decode, Definitions, Diagnostics, Node, OrOff, Ranged, Spanned, Value, choices, settings,
};
pub use statuses::Statuses;
pub use tls::TlsSettings;

settings! {
    /// A named group of endpoints that can stand in for each other.
    pub struct UpstreamSettings {
        /// Where requests go. One that cannot be connected to is passed over.
        pub endpoints: Spanned<Vec<EndpointSettings>>,
        /// Which of them a request goes to.
        pub balance: BalanceSettings = "least_requests",
        /// For how long an endpoint that comes back gets less than its part; growing to all of it.
        pub slow_start: OrOff<Spanned<Duration>> = "off",
        /// What the endpoints speak.
        pub protocol: Protocol = "h1",
        /// How https:// endpoints are connected to.
        pub tls: Option<Spanned<TlsSettings>>,
        /// How long to wait.
        pub timeouts: TimeoutSettings = "{}",
        /// When to leave the upstream alone, and how to try it again.
        pub breaker: OrOff<BreakerSettings> = "{}",
        /// When to leave one of its endpoints alone.
        pub health: OrOff<HealthSettings> = "{}",
        /// When to send a request again.
        pub retries: OrOff<RetrySettings> = "off",
        /// When to send a request a second time beside the first.
        pub hedge: OrOff<HedgeSettings> = "off",
        /// How many requests may be in flight at once, over all endpoints and workers.
        pub max_in_flight: OrOff<InFlightSettings> = "off",
        /// Requests that wait until fewer are in flight.
        pub queue: Spanned<QueueSettings> = "{}",
        /// Connections that are kept for the next request.
        pub pool: PoolSettings = "{}",
    }
}

choices! {
    /// Which endpoint a request goes to.
    pub enum BalanceWord {
        /// Of two, the one with fewer requests in flight for its weight.
        LeastRequests = "least_requests",
        /// In turn, as often as the weights say.
        RoundRobin = "round_robin",
        /// By chance, as often as the weights say.
        Random = "random",
        /// Of two, the one that answers sooner with fewer requests in flight.
        PeakEwma = "peak_ewma",
    }
}

choices! {
    /// What endpoints speak.
    pub enum Protocol {
        /// HTTP/1.1.
        H1 = "h1",
        /// HTTP/2: with prior knowledge (RFC 9113 section 3.3), to https:// endpoints by ALPN. gRPC
        /// needs it.
        H2 = "h2",
    }
}

settings! {
    /// The same endpoint for the same value.
    pub struct HashSettings {
        /// What is hashed: client_ip, jwt.CLAIM, header.NAME, query.NAME or path.NAME.
        pub hash: Spanned<String>,
    }
}

/// A word, or what to hash.
#[derive(Clone, Debug)]
pub enum BalanceSettings {
    Word(BalanceWord),
    Hash(HashSettings),
}

impl Decode for BalanceSettings {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            Value::Map(_) => HashSettings::decode(node, out).map(Self::Hash),
            _ => BalanceWord::decode(node, out).map(Self::Word),
        }
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        let (word, hash) = (BalanceWord::schema(definitions), HashSettings::schema(definitions));
        serde_json::json!({ "anyOf": [word, hash] })
    }
}

settings! {
    /// Connections that are kept for the next request, per worker and endpoint.
    pub struct PoolSettings {
        /// How many may wait at most.
        pub max_idle: Spanned<Ranged<0, 100_000>> = "64",
        /// How long one may wait. Keep it below what the upstream itself allows.
        pub idle_timeout: Spanned<Duration> = "30s",
        /// How many requests share a connection of HTTP/2.
        pub max_streams: Spanned<Ranged<1, 10_000>> = "100",
    }
}

settings! {
    /// One endpoint with settings of its own.
    struct EndpointBlock {
        /// Its address: `http://HOST:PORT` or `https://HOST:PORT`.
        url: Spanned<String>,
        /// How much of the requests it gets, beside the others' weights.
        weight: Ranged<1, 1000> = "1",
    }
}

/// One endpoint: its URL, or a map that holds it.
#[derive(Clone, Debug)]
pub struct EndpointSettings {
    pub url: Spanned<String>,
    pub weight: u32,
}

impl Decode for EndpointSettings {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        if let Value::Map(_) = &node.value {
            let block = EndpointBlock::decode(node, out)?;
            let weight = u32::try_from(block.weight.get()).unwrap_or(1);
            return Some(Self { url: block.url, weight });
        }
        Some(Self { url: Spanned::decode(node, out)?, weight: 1 })
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        let text = String::schema(definitions);
        serde_json::json!({ "anyOf": [text, EndpointBlock::schema(definitions)] })
    }
}
