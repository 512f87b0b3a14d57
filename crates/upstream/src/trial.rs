//! An attempt that is out: counted once, in the metrics, by the breaker and in its endpoint's health,
//! also when its future is dropped.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use portcullis_core::breaker::{Permit, Ticket};

use crate::attempt::Outcome;
use crate::pool::Pool;
use crate::set::{Picked, Set};
use crate::upstream::Upstream;

/// Until [`Trial::end`] or the drop.
pub(crate) struct Trial<'t> {
    upstream: &'t Arc<Upstream>,
    set: &'t Rc<Set>,
    pub(crate) place: usize,
    pub(crate) pool: &'t Pool,
    /// It tries an endpoint that was set aside.
    pub(crate) on_trial: bool,
    permit: Option<Permit<'t>>,
    ended: bool,
}

impl<'t> Trial<'t> {
    pub(crate) fn new(
        upstream: &'t Arc<Upstream>,
        set: &'t Rc<Set>,
        picked: &Picked<'t>,
        permit: Option<Permit<'t>>,
    ) -> Self {
        let (place, on_trial) = (picked.place, picked.on_trial);
        Self { upstream, set, place, pool: &picked.member.pool, on_trial, permit, ended: false }
    }

    /// Leaves the verdict to the answer's body.
    pub(crate) fn put_off(mut self) -> PutOff {
        self.ended = true;
        PutOff {
            upstream: Arc::clone(self.upstream),
            set: Rc::clone(self.set),
            place: self.place,
            on_trial: self.on_trial,
            ticket: self.permit.take().map(Permit::put_off),
            ended: false,
        }
    }

    pub(crate) fn end(&mut self, outcome: Outcome, now: Instant, reason: impl FnOnce() -> String) {
        self.ended = true;
        self.upstream.metrics.attempt(outcome);
        self.judge(outcome, now);
        let (Some(permit), Some(breaker)) = (self.permit.take(), &self.upstream.breaker) else {
            return;
        };
        let step = match outcome {
            Outcome::Answered => permit.success(now),
            Outcome::Client | Outcome::Stale => None, // dropping the permit says it all
            _ => permit.failure(now),
        };
        if let Some(step) = step {
            breaker.moved(step, reason());
        }
    }

    /// What it says of the endpoint's health, where there are others to go to.
    fn judge(&self, outcome: Outcome, now: Instant) {
        let Some(member) = self.set.members.get(self.place) else { return };
        if !self.upstream.is_judged || self.set.members.len() < 2 {
            return;
        }
        let (endpoint, since) = (&member.endpoint, self.upstream.since(now));
        let (upstream, label) = (&self.upstream.name, &endpoint.label);
        match outcome {
            Outcome::Client | Outcome::Stale => {}
            Outcome::Answered => {
                if endpoint.health.succeeded(since) {
                    endpoint.show_health();
                    // Unless probes find it unhealthy as well.
                    if endpoint.health.is_in_use() {
                        tracing::info!(%upstream, endpoint = %label, "an endpoint is in use again");
                    }
                }
            }
            _ => {
                let has_room = || self.set.has_room_aside();
                if let Some(aside) = endpoint.health.failed(since, self.on_trial, has_room) {
                    endpoint.metrics.set_aside.inc();
                    endpoint.show_health();
                    tracing::warn!(%upstream, endpoint = %label, ?aside, "an endpoint is set aside");
                }
            }
        }
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Outcome::Client, self.upstream.clock.now(), String::new);
        }
    }
}

/// An attempt that was answered, and of which only the answer's body says how it went. Counted once, also
/// when it is dropped.
pub(crate) struct PutOff {
    pub(crate) upstream: Arc<Upstream>,
    set: Rc<Set>,
    place: usize,
    on_trial: bool,
    ticket: Option<Ticket>,
    ended: bool,
}

impl PutOff {
    /// Says how it went, and why.
    pub(crate) fn end(mut self, outcome: Outcome, why: String) {
        self.close(outcome, why);
    }

    fn close(&mut self, outcome: Outcome, why: String) {
        self.ended = true;
        let (upstream, set, place) = (&self.upstream, &self.set, self.place);
        let permit = self.ticket.take().zip(upstream.breaker.as_ref());
        let permit = permit.map(|(ticket, breaker)| breaker.redeem(ticket));
        let Some(member) = set.members.get(place) else { return };
        let picked = Picked { place, member, on_trial: self.on_trial };
        let mut trial = Trial::new(upstream, set, &picked, permit);
        trial.end(outcome, upstream.clock.now(), || format!("{}: {why}", member.pool.label));
    }
}

impl Drop for PutOff {
    fn drop(&mut self) {
        if !self.ended {
            self.close(Outcome::Client, String::new());
        }
    }
}
