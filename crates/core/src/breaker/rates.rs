//! Shares of failures and of slow attempts over a sliding window: when they open a breaker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Reason;
use crate::sliding::Sliding;

/// A share in hundredths of a percent, from 1 to 10,000.
pub type Share = u32;

/// Which shares open a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rates {
    pub failure_rate: Option<Share>,
    pub slow_rate: Option<Share>,
    /// Attempts that take longer than this are slow.
    pub slow_after: Duration,
    /// How far back outcomes count.
    pub window: Duration,
    /// How many outcomes it takes to judge.
    pub minimum: u32,
}

/// Outcomes of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub attempts: u64,
    pub failed: u64,
    pub slow: u64,
}

/// The window of one breaker.
#[derive(Debug)]
pub(super) struct Window {
    rates: Rates,
    /// Attempts, failed ones, slow ones.
    counts: Sliding<3>,
    /// When there was something bad last, in milliseconds and one more; 0: never.
    bad: AtomicU64,
}

impl Window {
    pub(super) fn new(rates: Rates) -> Self {
        Self { rates, counts: Sliding::new(rates.window), bad: AtomicU64::new(0) }
    }

    pub(super) fn is_slow(&self, took: Duration) -> bool {
        self.rates.slow_rate.is_some() && took > self.rates.slow_after
    }

    /// Counts an outcome, and says whether there were too many of its kind.
    pub(super) fn add(&self, now: Duration, failed: bool, slow: bool) -> Option<Reason> {
        self.counts.add(now, [1, failed.into(), slow.into()]);
        if failed || slow {
            self.bad.store(millis(now) + 1, Ordering::Relaxed);
        }
        // Where nothing was bad there is nothing to judge.
        let bad = self.bad.load(Ordering::Relaxed);
        if bad == 0 || millis(now) > bad + millis(self.rates.window) {
            return None;
        }
        let Seen { attempts, failed, slow } = self.seen(now);
        if attempts < u64::from(self.rates.minimum) {
            return None;
        }
        let reaches = |count: u64, share: Option<Share>| {
            share.is_some_and(|share| count * 10_000 >= u64::from(share) * attempts)
        };
        if reaches(failed, self.rates.failure_rate) {
            return Some(Reason::FailureRate);
        }
        reaches(slow, self.rates.slow_rate).then_some(Reason::SlowRate)
    }

    pub(super) fn seen(&self, now: Duration) -> Seen {
        let [attempts, failed, slow] = self.counts.sum(now);
        Seen { attempts, failed, slow }
    }

    pub(super) fn clear(&self) {
        self.bad.store(0, Ordering::Relaxed);
        self.counts.clear();
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2)
}
