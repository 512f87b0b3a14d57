//! Permits that a worker takes in advance for a key that is asked for often: one round trip for many
//! requests.
//!
//! A lease ends `per`/64 after it was asked for, and the store charges it with that end as its time.
//! So whatever is admitted by it counts for at least as long as it would have alone: the promise
//! holds. What is not used is lost.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use portcullis_core::Worker;
use tokio::sync::Notify;

use crate::stores::{Ask, Failure, Store, Told};

/// So many keys have leases; then those that have ended are forgotten, and no more are begun.
const MOST: usize = 4096;
/// Permits for less time than this gain nothing.
const SHORTEST: Duration = Duration::from_millis(1);
/// A request that finds others before it so often asks for itself.
const PATIENCE: usize = 3;

/// A worker's leases of one limit.
#[derive(Default)]
pub struct Leases(RefCell<HashMap<Box<[u8]>, Lease>>);

struct Lease {
    permits: u64,
    until: Instant,
    /// When the store was asked last.
    asked: Instant,
    told: Told,
    /// A request is asking: others wait for what it brings.
    asking: Option<Rc<Notify>>,
}

enum Next {
    Use(Told),
    Wait(Rc<Notify>),
    /// Ask for so much.
    Ask(u64),
}

impl Leases {
    /// Decides by a lease, or by the store, which then gives one if the key is asked for often.
    pub async fn decide(
        &self,
        store: &Store,
        worker: &Worker,
        ask: Ask<'_>,
        wanted: u64,
    ) -> Result<Told, Failure> {
        let span = ask.lines.iter().map(|line| line.per / 64).min().map(Duration::from_micros);
        let Some(span) = span.filter(|span| *span >= SHORTEST && ask.cost > 0) else {
            return only(store.decide(worker, &[ask]).await);
        };
        for _ in 0..PATIENCE {
            match self.next(&ask, wanted, span, worker.clock.now()) {
                Next::Use(told) => return Ok(told),
                Next::Wait(news) => news.notified().await,
                Next::Ask(wanted) => {
                    let asking = Asking { leases: self, key: ask.key };
                    let sent = worker.clock.now();
                    let ahead = u64::try_from(span.as_micros()).unwrap_or(0);
                    let told = only(store.decide(worker, &[Ask { wanted, ahead, ..ask }]).await);
                    let told = told.map(|told| self.keep(&ask, told, sent, sent + span));
                    drop(asking);
                    return told;
                }
            }
        }
        only(store.decide(worker, &[ask]).await)
    }

    fn next(&self, ask: &Ask<'_>, wanted: u64, span: Duration, now: Instant) -> Next {
        let mut all = self.0.borrow_mut();
        let Some(lease) = all.get_mut(ask.key) else {
            if all.len() >= MOST {
                all.retain(|_, lease| lease.until > now || lease.asking.is_some());
            }
            if all.len() < MOST {
                let told = Told::default();
                let lease =
                    Lease { permits: 0, until: now, asked: now, told, asking: Some(Rc::default()) };
                all.insert(ask.key.into(), lease);
            }
            return Next::Ask(0);
        };
        if lease.permits >= ask.cost && now < lease.until {
            lease.permits -= ask.cost;
            let remaining = lease.told.remaining + lease.permits;
            return Next::Use(Told { remaining, granted: ask.cost, began: 0, ..lease.told });
        }
        if let Some(asking) = &lease.asking {
            return Next::Wait(Rc::clone(asking));
        }
        let often = now.saturating_duration_since(lease.asked) < span;
        lease.asking = Some(Rc::default());
        lease.asked = now;
        Next::Ask(if often { wanted } else { 0 })
    }

    /// Keeps what was granted beyond the request itself. A lease is never given back: its permits may
    /// be used already.
    fn keep(&self, ask: &Ask<'_>, told: Told, sent: Instant, until: Instant) -> Told {
        let spare = told.granted.saturating_sub(ask.cost);
        if let Some(lease) = self.0.borrow_mut().get_mut(ask.key) {
            (lease.permits, lease.until, lease.asked, lease.told) = (spare, until, sent, told);
        }
        let began = if spare > 0 { 0 } else { told.began };
        Told {
            remaining: told.remaining + spare,
            granted: told.granted.min(ask.cost),
            began,
            ..told
        }
    }
}

fn only(told: Result<Vec<Told>, Failure>) -> Result<Told, Failure> {
    told.and_then(|told| told.first().copied().ok_or(Failure::Error))
}

/// Wakes those who wait, also when the request that asked has gone.
struct Asking<'a> {
    leases: &'a Leases,
    key: &'a [u8],
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let asking = self.leases.0.borrow_mut().get_mut(self.key).and_then(|it| it.asking.take());
        if let Some(news) = asking {
            news.notify_waiters();
        }
    }
}
