//! A store as requests see it: asked with a bound on time, left alone by a breaker while it is down,
//! and known to have been lost when it was.
//!
//! From the first decision that it did not make until one `per` after it answers again, or shows that
//! it has lost its data (another epoch), what it says is not all that was admitted: limits then hold
//! each gateway to its share as well ([`Store::is_unsettled`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portcullis_core::breaker::{Breaker, Permit, Settings};
use portcullis_core::metrics::{Counter, Gauge};
use portcullis_core::{Build, LocalBoxFuture, Worker};

use super::scripts::{Ask, Told};
use super::{ERRORS, GATEWAYS, StorePlan, UP};
use crate::rate_limit::window::{Micros, micros};

/// When it is left alone. It is asked again every second, for as long as it is down.
const LEFT_ALONE: Settings = Settings {
    failures: Some(5),
    rates: None,
    reset_after: Duration::from_secs(1),
    max_reset_after: Duration::from_secs(1),
    probes: 1,
};

/// The store does not answer.
const FAILING: u64 = u64::MAX;

/// How many gateways share the store, and which of them this is, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateways {
    pub count: u64,
    pub own: u64,
}

impl Gateways {
    /// This gateway's share of `requests`: the remainder goes to the first of them, nobody has none.
    pub fn share(self, requests: u64) -> u64 {
        self.part(requests).max(1)
    }

    /// The same, where a part may be nothing.
    pub fn part(self, requests: u64) -> u64 {
        let count = self.count.max(1);
        requests / count + u64::from(self.own < requests % count)
    }
}

/// Why the store did not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Timeout,
    Error,
    /// It was not asked: its breaker is open.
    Open,
}

/// What stands behind a store: Redis, or in tests what behaves like it.
pub trait Server: Send + Sync {
    /// Decides in one step; gives the epoch as well.
    fn decide<'a>(
        &'a self,
        worker: &'a Worker,
        asks: &'a [Ask<'a>],
    ) -> LocalBoxFuture<'a, Result<(u64, Vec<Told>), Failure>>;

    /// Gives a charge back.
    fn refund<'a>(
        &'a self,
        worker: &'a Worker,
        ask: &'a Ask<'a>,
        told: &'a Told,
    ) -> LocalBoxFuture<'a, ()>;

    /// Forgets a key; true when it was there.
    fn forget<'a>(
        &'a self,
        worker: &'a Worker,
        key: &'a [u8],
    ) -> LocalBoxFuture<'a, Result<bool, Failure>>;

    /// Keys of one request may live on different nodes.
    fn is_sharded(&self) -> bool;
}

pub struct Store {
    pub name: Arc<str>,
    pub prefix: Box<str>,
    server: Box<dyn Server>,
    breaker: Breaker,
    start: Instant,
    epoch: AtomicU64,
    /// [`FAILING`], or since when it answers again, in microseconds; 0: it never failed.
    since: AtomicU64,
    /// The count in the upper half, the own place in the lower.
    gateways: AtomicU64,
    up: Gauge,
    known: Gauge,
    /// Timeout, error, open.
    errors: [Counter; 3],
}

impl Store {
    pub fn new(plan: &StorePlan, server: Box<dyn Server>, build: &mut Build<'_>) -> Self {
        let now = build.clock.now();
        let name = &plan.name;
        let up = build.metrics.gauge(&UP, &[name]);
        up.set(1);
        Self {
            name: Arc::clone(name),
            prefix: plan.prefix.clone(),
            server,
            breaker: Breaker::new(LEFT_ALONE, None, now),
            start: now,
            epoch: AtomicU64::new(0),
            since: AtomicU64::new(0),
            gateways: AtomicU64::new(plan.gateways << 32),
            up,
            known: build.metrics.gauge(&GATEWAYS, &[name]),
            errors: ["timeout", "error", "open"]
                .map(|reason| build.metrics.counter(&ERRORS, &[name, reason])),
        }
    }

    pub fn gateways(&self) -> Gateways {
        let both = self.gateways.load(Ordering::Relaxed);
        Gateways { count: both >> 32, own: both & 0xFFFF_FFFF }
    }

    /// True when requests were admitted, within `per`, of which the store does not know.
    pub fn is_unsettled(&self, per: Micros, now: Instant) -> bool {
        match self.since.load(Ordering::Acquire) {
            0 => false,
            FAILING => true,
            since => self.time(now) < since.saturating_add(per),
        }
    }

    fn time(&self, now: Instant) -> Micros {
        micros(now.saturating_duration_since(self.start)) + 1 // 0 says never
    }

    /// On a Cluster each key is asked for by itself.
    pub fn asks_one_by_one(&self) -> bool {
        self.server.is_sharded()
    }

    /// One round trip for all these limits; `Err`: the store did not say in time.
    pub async fn decide(&self, worker: &Worker, asks: &[Ask<'_>]) -> Result<Vec<Told>, Failure> {
        let [timeout, error, open] = &self.errors;
        let Some(permit) = self.attempt(worker.clock.now()) else {
            open.inc();
            self.failed(); // what is decided without it, it does not know
            return Err(Failure::Open);
        };
        let decided = self.server.decide(worker, asks).await;
        let now = worker.clock.now();
        self.tried(permit, decided.is_ok(), now);
        match decided {
            Ok((epoch, told)) => {
                self.learn_epoch(epoch, now);
                Ok(told)
            }
            Err(failure) => {
                let count = if failure == Failure::Timeout { timeout } else { error };
                count.inc();
                Err(failure)
            }
        }
    }

    /// May it be asked? What comes of it is said to [`Store::tried`].
    pub fn attempt(&self, now: Instant) -> Option<Permit<'_>> {
        self.breaker.admit(now).ok()
    }

    /// Whether it answered an attempt.
    pub fn tried(&self, permit: Permit<'_>, answered: bool, now: Instant) {
        if answered {
            permit.success(now);
            self.answered(now);
        } else {
            permit.failure(now);
            self.failed();
        }
    }

    /// Gives a charge back. It is tried once: a charge that stays only admits less.
    pub async fn refund(&self, worker: &Worker, ask: &Ask<'_>, told: &Told) {
        self.server.refund(worker, ask, told).await;
    }

    pub async fn forget(&self, worker: &Worker, key: &[u8]) -> Result<bool, Failure> {
        self.server.forget(worker, key).await
    }

    /// The store did not answer. Why stands in the log of whoever asked.
    fn failed(&self) {
        if self.since.swap(FAILING, Ordering::AcqRel) != FAILING {
            self.up.set(0);
            let store = &*self.name;
            tracing::warn!(
                store,
                "the store does not answer; limits do what on_store_failure says"
            );
        }
    }

    fn answered(&self, now: Instant) {
        let failing = self.since.load(Ordering::Acquire) == FAILING;
        if failing {
            let since = self.time(now);
            let changed =
                self.since.compare_exchange(FAILING, since, Ordering::AcqRel, Ordering::Acquire);
            if changed.is_ok() {
                self.up.set(1);
                tracing::info!(store = %self.name, "the store answers again");
            }
        }
    }

    pub fn learn_epoch(&self, epoch: u64, now: Instant) {
        if epoch == 0 || epoch == self.epoch.load(Ordering::Acquire) {
            return;
        }
        let before = self.epoch.swap(epoch, Ordering::AcqRel);
        if before != 0 && before != epoch {
            self.since.store(self.time(now), Ordering::Release);
            tracing::warn!(store = %self.name, "the store has lost its data; each gateway keeps to its share for a while");
        }
    }

    pub fn learn_gateways(&self, all: Gateways) {
        self.gateways.store(all.count.max(1) << 32 | all.own, Ordering::Relaxed);
        self.known.set(i64::try_from(all.count).unwrap_or(0));
    }
}

#[cfg(test)]
impl Store {
    /// A store before this server, for tests.
    pub fn before(server: Box<dyn Server>, now: Instant) -> Self {
        Self {
            name: "s".into(),
            prefix: "p".into(),
            server,
            breaker: Breaker::new(LEFT_ALONE, None, now),
            start: now,
            epoch: AtomicU64::new(0),
            since: AtomicU64::new(0),
            gateways: AtomicU64::new(1 << 32),
            up: Gauge::default(),
            known: Gauge::default(),
            errors: Default::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole_and_nobody_has_none() {
        let share = |requests, count| {
            (0..count).map(|own| Gateways { count, own }.share(requests)).collect::<Vec<_>>()
        };
        assert_eq!(share(100, 3), [34, 33, 33]);
        assert_eq!(share(2, 3), [1, 1, 1]);
        assert_eq!(share(7, 1), [7]);
        assert_eq!(Gateways { count: 0, own: 0 }.share(7), 7);
    }
}
