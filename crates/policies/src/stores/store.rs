//! A store as requests see it: asked with a bound on time, left alone by a breaker while it is down,
//! and known to have been lost when it was.
//!
//! From the first decision that it did not make until one `per` after it answers again, or shows that
//! it has lost its data (another epoch), what it says is not all that was admitted: limits then hold
//! each gateway to its share as well ([`Store::is_unsettled`]).

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use portcullis_core::breaker::{Breaker, Settings};
use portcullis_core::metrics::{Counter, Gauge};
use portcullis_core::{Build, Clock, Live, Worker};
use redis::Value;

use super::connection::{Own, Servers};
use super::scripts::{self, Ask, Told};
use super::{ERRORS, GATEWAYS, StorePlan, UP};
use crate::rate_limit::window::{Micros, micros};

/// A gateway says this often that it is there, and is believed for so long, in microseconds.
const ANNOUNCED: Duration = Duration::from_secs(1);
const BELIEVED: u64 = 5_000_000;
/// The announcement is no request: it may take longer.
const PATIENCE: Duration = Duration::from_secs(1);
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
        let count = self.count.max(1);
        (requests / count + u64::from(self.own < requests % count)).max(1)
    }
}

/// What the store decided, and whether it lost its data since it was last asked.
pub type Answer = Result<Vec<Told>, ()>;

pub struct Store {
    pub name: Arc<str>,
    pub prefix: Box<str>,
    servers: Servers,
    timeout: Duration,
    breaker: Breaker,
    live: Arc<Live>,
    start: Instant,
    epoch_key: Option<Box<[u8]>>,
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
    pub fn new(plan: &StorePlan, build: &mut Build<'_>) -> Self {
        let settings = Settings { failures: 5, reset_after: Duration::from_secs(1), probes: 1 };
        let now = build.clock.now();
        let name = &plan.name;
        let up = build.metrics.gauge(&UP, &[name]);
        up.set(1);
        Self {
            name: Arc::clone(name),
            prefix: plan.prefix.clone(),
            servers: plan.servers.clone(),
            timeout: plan.timeout,
            breaker: Breaker::new(settings, now),
            live: Live::new(),
            start: now,
            // Every node of a Cluster has data of its own: one key would say nothing of the others.
            epoch_key: (!plan.servers.is_cluster())
                .then(|| format!("{}:epoch", plan.prefix).into_bytes().into()),
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

    /// On a Cluster the keys of a request may live on different nodes: each is asked by itself.
    pub fn asks_one_by_one(&self) -> bool {
        self.epoch_key.is_none()
    }

    /// One round trip for all these limits; `Err`: the store did not say in time.
    pub async fn decide(&self, worker: &Worker, asks: &[Ask<'_>]) -> Answer {
        let call = scripts::decide(asks, self.epoch_key.as_deref(), 0);
        let value = self.run(worker, &call).await?;
        let Some((epoch, told)) = scripts::told(&value, asks.len()) else {
            tracing::warn!(store = %self.name, "an answer that is none of the script's");
            return Err(());
        };
        self.learn_epoch(epoch, worker.clock.now());
        Ok(told)
    }

    /// Gives a charge back. It is tried once: a charge that stays only admits less.
    pub async fn refund(&self, worker: &Worker, ask: &Ask<'_>, told: &Told) {
        let call = scripts::refund(ask.key, told.granted, ask.lines.len(), told.began);
        let _ = self.run(worker, &call).await;
    }

    /// A key's state is gone.
    pub async fn forget(&self, worker: &Worker, key: &[u8]) -> Result<bool, ()> {
        let own = worker.local(&self.live, || Rc::new(Own::default()));
        let forget = async {
            let mut connection = own.get(&self.servers, PATIENCE).await?;
            redis::cmd("DEL").arg(key).query_async::<u64>(&mut connection).await
        };
        match tokio::time::timeout(PATIENCE, forget).await {
            Ok(Ok(count)) => Ok(count > 0),
            _ => Err(()),
        }
    }

    async fn run(&self, worker: &Worker, call: &redis::ScriptInvocation<'_>) -> Result<Value, ()> {
        let [timeout, error, open] = &self.errors;
        let Ok(permit) = self.breaker.admit(worker.clock.now()) else {
            open.inc();
            return Err(());
        };
        let own = worker.local(&self.live, || Rc::new(Own::default()));
        let asked = async {
            let mut connection = own.get(&self.servers, PATIENCE).await?;
            // Opening the first connection is not a part of any request's patience.
            tokio::time::timeout(self.timeout, call.invoke_async::<Value>(&mut connection))
                .await
                .map_err(|_| redis::RedisError::from((redis::ErrorKind::Io, "timeout")))?
        };
        let result = asked.await;
        let now = worker.clock.now();
        match result {
            Ok(value) => {
                permit.success(now);
                self.answered(now);
                Ok(value)
            }
            Err(failure) => {
                permit.failure(now);
                if failure.is_timeout() || failure.to_string().contains("timeout") {
                    timeout.inc();
                } else {
                    error.inc();
                    own.close();
                }
                self.failed(&failure);
                Err(())
            }
        }
    }

    fn failed(&self, failure: &redis::RedisError) {
        if self.since.swap(FAILING, Ordering::AcqRel) != FAILING {
            self.up.set(0);
            let store = &*self.name;
            tracing::warn!(store, error = %failure, "the store does not answer; limits do what on_store_failure says");
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

    fn learn_epoch(&self, epoch: u64, now: Instant) {
        if epoch == 0 || epoch == self.epoch.load(Ordering::Acquire) {
            return;
        }
        let before = self.epoch.swap(epoch, Ordering::AcqRel);
        if before != 0 && before != epoch {
            self.since.store(self.time(now), Ordering::Release);
            tracing::warn!(store = %self.name, "the store has lost its data; each gateway keeps to its share for a while");
        }
    }

    fn learn_gateways(&self, all: &[String], id: &str) {
        let own = all.iter().position(|known| known == id).unwrap_or(0) as u64;
        self.gateways.store((all.len().max(1) as u64) << 32 | own, Ordering::Relaxed);
        self.known.set(i64::try_from(all.len()).unwrap_or(0));
    }
}

/// Says that this gateway is there, for as long as somebody uses the store.
pub async fn announce(store: Weak<Store>, clock: Clock) {
    let id = id();
    let own = Rc::new(Own::default());
    let mut ticks = tokio::time::interval(ANNOUNCED);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(store) = store.upgrade() else { return };
        let keys = [format!("{}:gateways", store.prefix), format!("{}:epoch", store.prefix)];
        let keeps_epoch = store.epoch_key.is_some();
        let announced = async {
            let mut connection = own.get(&store.servers, PATIENCE).await?;
            let keys = [keys[0].as_str(), keys[1].as_str()];
            scripts::announce(&mut connection, keys, &id, BELIEVED, keeps_epoch).await
        };
        let announced = tokio::time::timeout(PATIENCE * 2, announced).await;
        let now = clock.now();
        match announced {
            Ok(Ok((epoch, all))) => {
                store.answered(now);
                store.learn_epoch(epoch, now);
                store.learn_gateways(&all, &id);
            }
            Ok(Err(error)) => {
                own.close();
                store.failed(&error);
            }
            Err(_) => {
                own.close();
                store.failed(&redis::RedisError::from((redis::ErrorKind::Io, "timeout")));
            }
        }
    }
}

/// Tells gateways apart.
fn id() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
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
