//! What a file may say about sickness: of the whole upstream (breaker) and of one endpoint (health).

use std::time::Duration;

use portcullis_config::{Percent, Ranged, Spanned, settings};

use super::statuses::{GrpcStatus, Statuses};

settings! {
    /// When a sick upstream is left alone: one count for all its endpoints, routes and workers.
    pub struct BreakerSettings {
        /// Failures in a row that open it; 5, unless a rate is given.
        pub failures: Option<Ranged<1, 100_000>>,
        /// The share of failures that opens it.
        pub failure_rate: Option<Percent>,
        /// The share of slow attempts that opens it.
        pub slow_rate: Option<Percent>,
        /// What takes longer is slow.
        pub slow_after: Spanned<Duration> = "1s",
        /// How far back rates look.
        pub window: Spanned<Duration> = "10s",
        /// How many attempts of the window it takes to judge by a rate.
        pub minimum: Spanned<Ranged<1, 10_000>> = "20",
        /// Answers that are failures.
        pub statuses: Vec<Statuses> = "[500, 502-504, 506-599]",
        /// How gRPC calls end that are failures; what the statuses above come to.
        pub grpc_statuses: Vec<GrpcStatus> = "[UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS]",
        /// How long it stays open before it is tried again; twice as long after each try that failed.
        pub reset_after: Spanned<Duration> = "30s",
        /// How long it stays open at most.
        pub max_reset_after: Spanned<Duration> = "5m",
        /// How many requests may try it at once then; as many successes close it.
        pub probes: Ranged<1, 100_000> = "3",
    }
}

settings! {
    /// When an endpoint gets no requests: by what requests see of it (five failures in a row), and
    /// by what the gateway itself asks it.
    pub struct HealthSettings {
        /// What the gateway asks for with GET; without it and `grpc` it asks nothing.
        pub path: Option<Spanned<String>>,
        /// The service that it asks for with gRPC's own health check; `""` for all that is there.
        pub grpc: Option<Spanned<String>>,
        /// Answers that are healthy.
        pub statuses: Spanned<Vec<Statuses>> = "[200-299]",
        /// How often it asks, a tenth more or less.
        pub every: Spanned<Duration> = "5s",
        /// How long an answer may take.
        pub timeout: Spanned<Duration> = "1s",
        /// Bad answers in a row that take an endpoint out of use.
        pub unhealthy_after: Spanned<Ranged<1, 1000>> = "3",
        /// Good answers in a row that bring it back.
        pub healthy_after: Spanned<Ranged<1, 1000>> = "2",
        /// Where it asks, when that is not the endpoint's own port.
        pub port: Option<Spanned<Ranged<1, 65_535>>>,
        /// When less than this share of the endpoints is healthy, all are used.
        pub panic_below: Percent = "50%",
    }
}
