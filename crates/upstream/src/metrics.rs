//! What is counted about upstreams. Handles are resolved when an upstream is built.

use std::sync::Arc;

use portcullis_core::breaker::{Phase, Transition};
use portcullis_core::metrics::{Counter, Gauge, Histogram, Kind, Metric, Metrics};

use crate::attempt::Outcome;
use crate::endpoint::Endpoint;

static DURATION: Metric = Metric {
    name: "portcullis_upstream_duration_seconds",
    kind: Kind::Histogram,
    help: "From a request's departure to the head of the upstream's answer, or to the failure; all attempts together.",
    labels: &["upstream"],
};

static ATTEMPTS: Metric = Metric {
    name: "portcullis_attempts_total",
    kind: Kind::Counter,
    help: "Sends to an endpoint by how they ended: answered, server_error, connect, timeout, reset, bad_answer, stale (a kept connection was gone, sent again), client (the client went away or its body failed).",
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
    help: "Steps of the breaker from one state to another.",
    labels: &["upstream", "from", "to"],
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

pub const METRICS: &[&Metric] = &[
    &DURATION,
    &ATTEMPTS,
    &BREAKER_STATE,
    &BREAKER_TRANSITIONS,
    &BREAKER_REJECTED,
    &CONNECTIONS,
    &SET_ASIDE,
];

/// One upstream's handles.
pub(crate) struct UpstreamMetrics {
    pub(crate) duration: Histogram,
    attempts: [Counter; Outcome::ALL.len()],
    pub(crate) idle: Gauge,
    pub(crate) busy: Gauge,
    breaker: Option<BreakerMetrics>,
    /// In the order of the endpoints.
    set_aside: Vec<Counter>,
}

struct BreakerMetrics {
    state: Gauge,
    rejected: Counter,
    /// The four steps that there are.
    transitions: Vec<(Transition, Counter)>,
}

impl UpstreamMetrics {
    pub(crate) fn new(
        metrics: &Metrics,
        upstream: &str,
        breaker: bool,
        endpoints: &[Arc<Endpoint>],
    ) -> Self {
        let set_aside = |endpoint: &Arc<Endpoint>| {
            metrics.counter(&SET_ASIDE, &[upstream, &endpoint.authority])
        };
        let attempts =
            Outcome::ALL.map(|outcome| metrics.counter(&ATTEMPTS, &[upstream, outcome.as_str()]));
        let steps = [
            (Phase::Closed, Phase::Open),
            (Phase::Open, Phase::HalfOpen),
            (Phase::HalfOpen, Phase::Open),
            (Phase::HalfOpen, Phase::Closed),
        ];
        let breaker = breaker.then(|| BreakerMetrics {
            state: metrics.gauge(&BREAKER_STATE, &[upstream]),
            rejected: metrics.counter(&BREAKER_REJECTED, &[upstream]),
            transitions: steps
                .map(|(from, to)| {
                    let labels = [upstream, from.as_str(), to.as_str()];
                    (Transition { from, to }, metrics.counter(&BREAKER_TRANSITIONS, &labels))
                })
                .into(),
        });
        let connections = |state| metrics.gauge(&CONNECTIONS, &[upstream, state]);
        Self {
            duration: metrics.histogram(&DURATION, &[upstream]),
            attempts,
            idle: connections("idle"),
            busy: connections("busy"),
            breaker,
            set_aside: endpoints.iter().map(set_aside).collect(),
        }
    }

    pub(crate) fn attempt(&self, outcome: Outcome) {
        let place = Outcome::ALL.iter().position(|known| *known == outcome);
        if let Some(counter) = place.and_then(|place| self.attempts.get(place)) {
            counter.inc();
        }
    }

    /// The endpoint at this place was set aside.
    pub(crate) fn set_aside(&self, place: usize) {
        if let Some(counter) = self.set_aside.get(place) {
            counter.inc();
        }
    }

    pub(crate) fn rejected(&self) {
        if let Some(breaker) = &self.breaker {
            breaker.rejected.inc();
        }
    }

    /// Counts a step. `now` is where the breaker stands now: two steps may be told in the wrong
    /// order, and the gauge should not stay with the earlier one.
    pub(crate) fn transition(&self, step: Transition, now: Phase) {
        let Some(breaker) = &self.breaker else { return };
        breaker.state.set(match now {
            Phase::Closed => 0,
            Phase::HalfOpen => 1,
            Phase::Open => 2,
        });
        for (known, counter) in &breaker.transitions {
            if *known == step {
                counter.inc();
            }
        }
    }
}
