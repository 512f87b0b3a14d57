//! What is counted about upstreams. Handles are resolved when an upstream is built.

use portcullis_core::breaker::{Phase, Reason, Transition};
use portcullis_core::metrics::{Counter, Gauge, Histogram, Kind, Metric, Metrics};

use crate::attempt::Outcome;

static DURATION: Metric = Metric {
    name: "portcullis_upstream_duration_seconds",
    kind: Kind::Histogram,
    help: "From a request's departure to the head of the upstream's answer, or to the failure; all attempts together.",
    labels: &["upstream"],
};

static ATTEMPTS: Metric = Metric {
    name: "portcullis_attempts_total",
    kind: Kind::Counter,
    help: "Sends to an endpoint by how they ended: answered, server_error, connect, timeout, reset, bad_answer, stale (a kept connection was gone, sent again), client (the client went away, its body failed, or another attempt was faster).",
    labels: &["upstream", "outcome"],
};

static BREAKER_STATE: Metric = Metric {
    name: "portcullis_breaker_state",
    kind: Kind::Gauge,
    help: "The breaker: 0 closed, 1 half-open, 2 open.",
    labels: &["upstream"],
};

static BREAKER_TRANSITIONS: Metric = Metric {
    name: "portcullis_breaker_transitions_total",
    kind: Kind::Counter,
    help: "Steps of the breaker from one state to another, by their reason: failures, failure_rate, slow_rate, reset_after, probe_failed, probes_succeeded, forced, auto.",
    labels: &["upstream", "from", "to", "reason"],
};

static BREAKER_REJECTED: Metric = Metric {
    name: "portcullis_breaker_rejected_total",
    kind: Kind::Counter,
    help: "Attempts that the breaker did not let through.",
    labels: &["upstream"],
};

static CONNECTIONS: Metric = Metric {
    name: "portcullis_pool_connections",
    kind: Kind::Gauge,
    help: "Open connections to the upstream's endpoints, waiting (idle) or in use (busy); brought up to date once a second.",
    labels: &["upstream", "state"],
};

static SET_ASIDE: Metric = Metric {
    name: "portcullis_endpoint_set_aside_total",
    kind: Kind::Counter,
    help: "How often an endpoint was set aside because it failed several times in a row.",
    labels: &["upstream", "endpoint"],
};

static HEALTHY: Metric = Metric {
    name: "portcullis_endpoint_healthy",
    kind: Kind::Gauge,
    help: "1 while an endpoint is in use, 0 while it is set aside or found unhealthy.",
    labels: &["upstream", "endpoint"],
};

static RETRIES: Metric = Metric {
    name: "portcullis_retries_total",
    kind: Kind::Counter,
    help: "Attempts beside the first: retry (after it), hedge (beside it), refused (the budget was spent).",
    labels: &["upstream", "kind"],
};

static OVERLOADED: Metric = Metric {
    name: "portcullis_overloaded_total",
    kind: Kind::Counter,
    help: "Requests that were refused because max_in_flight were out and the queue was full, or took too long.",
    labels: &["upstream"],
};

pub const METRICS: &[&Metric] = &[
    &DURATION,
    &ATTEMPTS,
    &BREAKER_STATE,
    &BREAKER_TRANSITIONS,
    &BREAKER_REJECTED,
    &CONNECTIONS,
    &SET_ASIDE,
    &HEALTHY,
    &RETRIES,
    &OVERLOADED,
];

/// One upstream's handles.
pub(crate) struct UpstreamMetrics {
    pub(crate) duration: Histogram,
    attempts: [Counter; Outcome::ALL.len()],
    pub(crate) idle: Gauge,
    pub(crate) busy: Gauge,
    pub(crate) retried: Counter,
    pub(crate) hedged: Counter,
    pub(crate) unbudgeted: Counter,
    pub(crate) overloaded: Counter,
}

impl UpstreamMetrics {
    pub(crate) fn new(metrics: &Metrics, upstream: &str) -> Self {
        let attempts =
            Outcome::ALL.map(|outcome| metrics.counter(&ATTEMPTS, &[upstream, outcome.as_str()]));
        let connections = |state| metrics.gauge(&CONNECTIONS, &[upstream, state]);
        let retries = |kind| metrics.counter(&RETRIES, &[upstream, kind]);
        Self {
            duration: metrics.histogram(&DURATION, &[upstream]),
            attempts,
            idle: connections("idle"),
            busy: connections("busy"),
            retried: retries("retry"),
            hedged: retries("hedge"),
            unbudgeted: retries("refused"),
            overloaded: metrics.counter(&OVERLOADED, &[upstream]),
        }
    }

    pub(crate) fn attempt(&self, outcome: Outcome) {
        let place = Outcome::ALL.iter().position(|known| *known == outcome);
        if let Some(counter) = place.and_then(|place| self.attempts.get(place)) {
            counter.inc();
        }
    }
}

/// One endpoint's handles.
pub(crate) struct EndpointMetrics {
    pub(crate) set_aside: Counter,
    pub(crate) healthy: Gauge,
}

impl EndpointMetrics {
    pub(crate) fn new(metrics: &Metrics, upstream: &str, endpoint: &str) -> Self {
        let healthy = metrics.gauge(&HEALTHY, &[upstream, endpoint]);
        healthy.set(1);
        Self { set_aside: metrics.counter(&SET_ASIDE, &[upstream, endpoint]), healthy }
    }
}

/// One breaker's handles.
pub(crate) struct BreakerMetrics {
    state: Gauge,
    rejected: Counter,
    transitions: Vec<(Transition, Counter)>,
}

/// The steps that there are.
const STEPS: [(Phase, Phase, Reason); 11] = {
    use Phase::{Closed, HalfOpen, Open};
    [
        (Closed, Open, Reason::Failures),
        (Closed, Open, Reason::FailureRate),
        (Closed, Open, Reason::SlowRate),
        (Closed, Open, Reason::Forced),
        (Open, HalfOpen, Reason::ResetAfter),
        (Open, Closed, Reason::Forced),
        (Open, Closed, Reason::Auto),
        (HalfOpen, Open, Reason::ProbeFailed),
        (HalfOpen, Open, Reason::Forced),
        (HalfOpen, Closed, Reason::ProbesSucceeded),
        (HalfOpen, Closed, Reason::Forced),
    ]
};

impl BreakerMetrics {
    pub(crate) fn new(metrics: &Metrics, upstream: &str) -> Self {
        let transition = |(from, to, reason): (Phase, Phase, Reason)| {
            let labels = [upstream, from.as_str(), to.as_str(), reason.as_str()];
            let counter = metrics.counter(&BREAKER_TRANSITIONS, &labels);
            (Transition { from, to, reason }, counter)
        };
        let state = metrics.gauge(&BREAKER_STATE, &[upstream]);
        state.set(0);
        Self {
            state,
            rejected: metrics.counter(&BREAKER_REJECTED, &[upstream]),
            transitions: STEPS.into_iter().map(transition).collect(),
        }
    }

    pub(crate) fn rejected(&self) {
        self.rejected.inc();
    }

    /// Counts a step. `now` is where the breaker stands now: two steps may be told in the wrong
    /// order, and the gauge should not stay with the earlier one.
    pub(crate) fn transition(&self, step: Transition, now: Phase) {
        self.state.set(match now {
            Phase::Closed => 0,
            Phase::HalfOpen => 1,
            Phase::Open => 2,
        });
        for (_, counter) in self.transitions.iter().filter(|(known, _)| *known == step) {
            counter.inc();
        }
    }
}
