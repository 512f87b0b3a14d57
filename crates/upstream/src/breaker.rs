//! The breaker in front of an upstream, seen from outside: what it refuses becomes a problem, and
//! each of its steps is counted, logged and remembered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use portcullis_core::Problem;
use portcullis_core::breaker::{Breaker, Permit, Phase, Settings, Status, Ticket, Transition, Why};
use portcullis_core::chance;
use portcullis_core::metrics::Metrics;
use portcullis_core::problem::whole_seconds;
use serde_json::{Value, json};

use crate::metrics::BreakerMetrics;
use crate::problems::UNAVAILABLE;

/// An upstream's breaker. It outlives reloads that leave its settings as they are.
pub(crate) struct UpstreamBreaker {
    upstream: Arc<str>,
    breaker: Breaker,
    metrics: BreakerMetrics,
    /// Why it opened last.
    last_reason: Mutex<Option<String>>,
}

impl UpstreamBreaker {
    pub(crate) fn new(upstream: &str, settings: Settings, now: Instant, metrics: &Metrics) -> Self {
        Self {
            metrics: BreakerMetrics::new(metrics, upstream),
            upstream: Arc::from(upstream),
            breaker: Breaker::new(settings, Some(chance::seed()), now),
            last_reason: Mutex::default(),
        }
    }

    /// Leave to try once, or the answer that says when to ask again.
    pub(crate) fn admit(&self, now: Instant) -> Result<Permit<'_>, Problem> {
        match self.breaker.admit(now) {
            Ok(permit) => {
                if let Some(step) = permit.transition() {
                    self.moved(step, "it is time to try again".to_owned());
                }
                Ok(permit)
            }
            Err(refused) => {
                self.metrics.rejected();
                let (detail, private) = match refused.why {
                    Why::Probing => ("the service is being tried again", "all probes are out"),
                    Why::Open => ("the service failed several times", "the breaker is open"),
                    Why::Forced => ("the service was taken out of use", "the breaker is held open"),
                };
                let problem = Problem::new(&UNAVAILABLE, detail).private(private);
                Err(problem.retry_after(refused.retry_after).from_upstream())
            }
        }
    }

    /// The permit again that became this ticket.
    pub(crate) fn redeem(&self, ticket: Ticket) -> Permit<'_> {
        self.breaker.redeem(ticket)
    }

    /// Holds it open or closed, or lets it go.
    pub(crate) fn force(&self, open: Option<bool>) {
        if let Some(step) = self.breaker.force(open) {
            self.moved(step, "an operator asked for it".to_owned());
        }
    }

    /// Tells of a step.
    pub(crate) fn moved(&self, step: Transition, detail: String) {
        self.metrics.transition(step, self.breaker.phase());
        let (upstream, from, to) = (&self.upstream, step.from.as_str(), step.to.as_str());
        let reason = step.reason.as_str();
        if step.to != Phase::Open {
            tracing::info!(%upstream, from, to, reason, detail, "breaker");
            return;
        }
        tracing::warn!(%upstream, from, to, reason, detail, "breaker");
        *self.last_reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(detail);
    }

    /// For /status.
    pub(crate) fn status(&self, now: Instant) -> Value {
        let status = self.breaker.status(now);
        let mut shown = json!({ "state": status.phase.as_str() });
        let Some(members) = shown.as_object_mut() else { return shown };
        if status.forced {
            members.insert("forced".into(), true.into());
        } else {
            match status.phase {
                Phase::Closed => {
                    members.insert("failures".into(), status.failures.into());
                    members.insert("opensAt".into(), self.distance(&status).into());
                }
                Phase::HalfOpen => {
                    members.insert("probing".into(), status.probing.into());
                    members.insert("successes".into(), status.successes.into());
                }
                Phase::Open => {
                    let wait = status.retry_after.map_or(0, whole_seconds);
                    members.insert("retryAfter".into(), wait.into());
                }
            }
        }
        if let Some(seen) = status.seen {
            let (attempts, failed, slow) = (seen.attempts, seen.failed, seen.slow);
            let window = json!({ "attempts": attempts, "failed": failed, "slow": slow });
            members.insert("window".into(), window);
        }
        let last = self.last_reason.lock().unwrap_or_else(PoisonError::into_inner);
        members.insert("lastReason".into(), last.clone().into());
        shown
    }

    /// Why a closed breaker has not opened: what there is, of what it takes.
    fn distance(&self, status: &Status) -> String {
        let settings = self.breaker.settings();
        let mut parts = Vec::new();
        if let Some(most) = settings.failures {
            parts.push(format!("{} of {most} failures in a row", status.failures));
        }
        if let (Some(rates), Some(seen)) = (settings.rates, status.seen) {
            if seen.attempts < u64::from(rates.minimum) {
                parts.push(format!("{} of {} attempts to judge by", seen.attempts, rates.minimum));
            }
            let shares = [
                (rates.failure_rate, seen.failed, "failed"),
                (rates.slow_rate, seen.slow, "were slow"),
            ];
            for (most, count, what) in shares {
                let Some(most) = most else { continue };
                let share = (count * 10_000).checked_div(seen.attempts).unwrap_or(0);
                parts.push(format!("{} of {} {what}", percent(share), percent(most.into())));
            }
        }
        parts.join(", ")
    }
}

/// Hundredths of a percent, as people write them.
fn percent(share: u64) -> String {
    match share % 100 {
        0 => format!("{}%", share / 100),
        rest => format!("{}.{rest:02}%", share / 100),
    }
}
