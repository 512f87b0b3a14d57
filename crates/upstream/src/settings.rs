//! What a file may say about an upstream.

use std::time::Duration;

use portcullis_config::{
    Decode, Definitions, Diagnostics, Node, OrOff, Ranged, Spanned, Value, choices, settings,
};

settings! {
    /// A named group of endpoints that can stand in for each other.
    pub struct UpstreamSettings {
        /// Where requests go. One that cannot be connected to is passed over.
        pub endpoints: Spanned<Vec<EndpointSettings>>,
        /// Which of them a request goes to.
        pub balance: BalanceSettings = "least_requests",
        /// How long to wait.
        pub timeouts: TimeoutSettings = "{}",
        /// When to leave the upstream alone, and how to try it again.
        pub breaker: OrOff<BreakerSettings> = "{}",
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
    /// How long an upstream may take. More than that is a 504.
    pub struct TimeoutSettings {
        /// To accept a connection.
        pub connect: Spanned<Duration> = "1s",
        /// From the last byte of the request to the whole head of the answer.
        pub request: Spanned<Duration> = "10s",
        /// Between two pieces of a body, in either direction.
        pub idle: Spanned<Duration> = "60s",
    }
}

settings! {
    /// When a sick upstream is left alone: one count for all its endpoints, routes and workers.
    pub struct BreakerSettings {
        /// Failures in a row that open it.
        pub failures: Ranged<1, 100_000> = "5",
        /// How long it stays open before it is tried again.
        pub reset_after: Spanned<Duration> = "30s",
        /// How many requests may try it at once then; as many successes close it.
        pub probes: Ranged<1, 100_000> = "3",
    }
}

settings! {
    /// Connections that are kept for the next request, per worker and endpoint.
    pub struct PoolSettings {
        /// How many may wait at most.
        pub max_idle: Ranged<0, 100_000> = "64",
        /// How long one may wait. Keep it below what the upstream itself allows.
        pub idle_timeout: Spanned<Duration> = "30s",
    }
}

settings! {
    /// One endpoint with settings of its own.
    struct EndpointBlock {
        /// Its address: `http://HOST:PORT`.
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
