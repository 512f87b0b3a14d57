//! Passive health: an endpoint that fails several times in a row is set aside for a while, by what
//! requests see of it; nothing is sent for it.
//!
//! ```text
//!             5 failures in a row
//! ┌────────┐ ─────────────────────▶ ┌───────┐
//! │ in use │                        │ aside │ ◀──┐
//! └────────┘ ◀───────────────┐      └───────┘    │
//!     a success              │          │ 10 s, doubled each time up to 5 m
//!                         ┌──────┐      ▼        │
//!                         │ good │ ◀── on trial ─┘ one failure
//!                         └──────┘
//! ```
//!
//! On trial an endpoint gets requests again, and one failure sets it aside for longer. A success
//! forgets everything. At most half of the endpoints are aside at a time, rounded down: when more
//! would have to be, all are used, because then it is not an endpoint that is sick.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Failures in a row that set an endpoint aside.
const FAILURES: u32 = 5;
/// For how long at first, and at most.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

/// What is known of an endpoint's health, shared by all workers. Times are milliseconds since any
/// fixed moment.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Failures in a row.
    failures: AtomicU32,
    /// How often in a row it was set aside.
    times: AtomicU32,
    /// Until when it is aside; 0: it is not.
    until: AtomicU64,
}

impl Health {
    /// An attempt went well.
    pub(crate) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.times.store(0, Ordering::Relaxed);
            self.until.store(0, Ordering::Relaxed);
        }
    }

    /// An attempt failed at `now`. Says for how long it is aside from now on, if this set it aside.
    pub(crate) fn failed(&self, now: Duration) -> Option<Duration> {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures < FAILURES || self.is_aside(now) {
            return None;
        }
        // Failures stay counted: on trial, one more is enough.
        let times = self.times.fetch_add(1, Ordering::Relaxed).min(16);
        let long = (FIRST * 2_u32.pow(times)).min(LONGEST);
        self.until.store(millis(now + long), Ordering::Relaxed);
        Some(long)
    }

    pub(crate) fn is_aside(&self, now: Duration) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until != 0 && millis(now) < until
    }

    /// For /status.
    pub(crate) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// True when those that are aside are too many to be passed over: more than half, rounded down.
pub(crate) fn is_panic(aside: usize, all: usize) -> bool {
    aside > all / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn five_failures_in_a_row_set_it_aside_for_a_growing_time() {
        let health = Health::default();
        for _ in 0..4 {
            assert_eq!(health.failed(SECOND), None);
        }
        health.succeeded();
        for _ in 0..4 {
            assert_eq!(health.failed(SECOND), None);
        }
        assert_eq!(health.failed(SECOND), Some(10 * SECOND));
        assert!(health.is_aside(10 * SECOND) && !health.is_aside(11 * SECOND));
        assert_eq!(health.failed(2 * SECOND), None, "what was under way says nothing new");
        assert_eq!(health.failed(11 * SECOND), Some(20 * SECOND), "on trial one is enough");
        let mut now = 31 * SECOND;
        let mut last = 20 * SECOND;
        for _ in 0..20 {
            let long = health.failed(now).unwrap();
            assert!(long >= last && long <= LONGEST);
            (now, last) = (now + long, long);
        }
        assert_eq!(last, LONGEST);
        health.succeeded();
        assert!(!health.is_aside(now));
        assert_eq!(health.failed(now), None);
    }

    #[test]
    fn at_most_half_are_passed_over() {
        for (aside, all, panic) in [
            (0, 1, false),
            (1, 1, true),
            (1, 2, false),
            (2, 2, true),
            (1, 3, false),
            (2, 3, true),
            (2, 4, false),
            (3, 4, true),
        ] {
            assert_eq!(is_panic(aside, all), panic, "{aside} of {all}");
        }
    }
}
