//! Health of one endpoint: set aside for a while when it fails several times in a row, by what
//! requests see of it; out of use while the gateway's own probes (`probe.rs`) find it unhealthy.
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
//! On trial an endpoint gets one request, and only one that can be sent again elsewhere; where no
//! such request comes for as long again, any. Good probes bring it back as well. At most half of the
//! endpoints are aside at a time, rounded down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Failures in a row that set an endpoint aside.
const FAILURES: u32 = 5;
/// For how long at first, and at most.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

/// An upstream among those that had its name, one after another. Endpoints outlive them, and the old
/// one ends only with its last request: what its probes find until then says nothing any more.
pub(crate) struct Generation {
    own: u64,
    newest: Arc<AtomicU64>,
}

impl Generation {
    /// The next one, from now on the newest.
    pub(crate) fn next(newest: Arc<AtomicU64>) -> Self {
        Self { own: newest.fetch_add(1, Ordering::Relaxed) + 1, newest }
    }

    pub(crate) fn is_newest(&self) -> bool {
        self.own == self.newest.load(Ordering::Relaxed)
    }

    /// The count that the next one is made from.
    pub(crate) fn count(&self) -> &Arc<AtomicU64> {
        &self.newest
    }
}

/// What an endpoint may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    InUse,
    /// One request, by [`Health::claim`].
    OnTrial,
    Aside,
}

/// What is known of an endpoint's health, shared by all workers. Times are milliseconds since any
/// fixed moment, and never 0.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Failures in a row.
    failures: AtomicU32,
    /// How often in a row it was set aside.
    times: AtomicU32,
    /// Until when it is aside, or the request that tries it has time; 0: it is not.
    until: AtomicU64,
    /// The gateway's own probes find it unhealthy.
    unhealthy: AtomicBool,
    /// When it came back; 0: it was never away.
    returned: AtomicU64,
}

impl Health {
    pub(crate) fn standing(&self, now: Duration, can_repeat: bool) -> Standing {
        if self.unhealthy.load(Ordering::Relaxed) {
            return Standing::Aside;
        }
        let (until, now) = (self.until.load(Ordering::Relaxed), millis(now));
        match until {
            0 => Standing::InUse,
            _ if now < until => Standing::Aside,
            _ if can_repeat || now >= until + self.wait() => Standing::OnTrial,
            _ => Standing::Aside,
        }
    }

    /// For how long it was set aside last.
    fn wait(&self) -> u64 {
        millis(long(self.times.load(Ordering::Relaxed).saturating_sub(1)))
    }

    /// Takes the one request of a trial, which has this long to say something.
    pub(crate) fn claim(&self, now: Duration, within: Duration) -> bool {
        let (until, order) = (self.until.load(Ordering::Relaxed), Ordering::Relaxed);
        let next = millis(now + within);
        until != 0
            && until <= millis(now)
            && self.until.compare_exchange(until, next, order, order).is_ok()
    }

    /// An attempt went well. Says whether that brought it back.
    pub(crate) fn succeeded(&self, now: Duration) -> bool {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        self.until.load(Ordering::Relaxed) != 0 && self.bring_back(now)
    }

    fn bring_back(&self, now: Duration) -> bool {
        self.times.store(0, Ordering::Relaxed);
        let was_away = self.until.swap(0, Ordering::Relaxed) != 0;
        self.returned.store(millis(now), Ordering::Relaxed);
        was_away
    }

    /// An attempt failed at `now`, perhaps the one of a trial. Says for how long it is aside from now
    /// on, if this set it aside; `has_room` is asked whether one more may be.
    pub(crate) fn failed(
        &self,
        now: Duration,
        on_trial: bool,
        has_room: impl FnOnce() -> bool,
    ) -> Option<Duration> {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let is_aside = self.until.load(Ordering::Relaxed) != 0;
        // While it is aside only its trial says something new.
        if is_aside != on_trial || (!on_trial && (failures < FAILURES || !has_room())) {
            return None;
        }
        let long = long(self.times.fetch_add(1, Ordering::Relaxed));
        self.until.store(millis(now + long), Ordering::Relaxed);
        Some(long)
    }

    /// What the gateway's own probes found. Says whether that is news.
    pub(crate) fn probed(&self, healthy: bool, now: Duration) -> bool {
        let was_unhealthy = self.unhealthy.swap(!healthy, Ordering::Relaxed);
        match healthy {
            true => {
                let was_aside = self.until.load(Ordering::Relaxed) != 0;
                (was_unhealthy || was_aside) && {
                    self.failures.store(0, Ordering::Relaxed);
                    self.bring_back(now);
                    true
                }
            }
            false => !was_unhealthy,
        }
    }

    /// Nobody probes it any more: what probes found does not count, what requests saw still does.
    pub(crate) fn forget_probes(&self, now: Duration) {
        if self.unhealthy.swap(false, Ordering::Relaxed) && self.is_in_use() {
            self.returned.store(millis(now), Ordering::Relaxed);
        }
    }

    pub(crate) fn is_in_use(&self) -> bool {
        self.until.load(Ordering::Relaxed) == 0 && !self.unhealthy.load(Ordering::Relaxed)
    }

    pub(crate) fn is_unhealthy(&self) -> bool {
        self.unhealthy.load(Ordering::Relaxed)
    }

    /// For /status.
    pub(crate) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How much of its part it gets, in percent: growing to all of it in this time after it came
    /// back, from a tenth on.
    pub(crate) fn part(&self, now: Duration, slow_start: Duration) -> u32 {
        let returned = self.returned.load(Ordering::Relaxed);
        let (since, all) = (millis(now).saturating_sub(returned), millis(slow_start));
        if returned == 0 || since >= all {
            return 100;
        }
        u32::try_from(since * 100 / all).map_or(100, |part| part.clamp(10, 100))
    }
}

/// For how long it is aside the n-th time, from 0.
fn long(times: u32) -> Duration {
    (FIRST * 2_u32.pow(times.min(16))).min(LONGEST)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn fail(health: &Health, now: Duration, times: usize) -> Option<Duration> {
        (0..times).map(|_| health.failed(now, false, || true)).last().flatten()
    }

    #[test]
    fn five_failures_in_a_row_set_it_aside_for_a_growing_time() {
        let health = Health::default();
        assert_eq!(fail(&health, SECOND, 4), None);
        assert!(!health.succeeded(SECOND));
        assert_eq!(fail(&health, SECOND, 4), None);
        assert_eq!(fail(&health, SECOND, 1), Some(10 * SECOND));
        assert_eq!(health.standing(10 * SECOND, true), Standing::Aside);
        assert_eq!(health.standing(11 * SECOND, true), Standing::OnTrial);
        assert_eq!(fail(&health, 11 * SECOND, 9), None, "what was under way says nothing new");
        let (mut now, mut last) = (11 * SECOND, 10 * SECOND);
        for _ in 0..20 {
            assert!(health.claim(now, SECOND));
            let long = health.failed(now, true, || true).unwrap();
            assert_eq!(long, (2 * last).min(LONGEST));
            (now, last) = (now + long, long);
        }
        assert_eq!(last, LONGEST);
        assert!(health.claim(now, SECOND) && health.succeeded(now));
        assert_eq!(health.standing(now, false), Standing::InUse);
        assert_eq!(fail(&health, now, 1), None);
    }

    #[test]
    fn a_trial_is_one_request_that_can_be_sent_again() {
        let health = Health::default();
        fail(&health, SECOND, 5);
        assert!(!health.claim(10 * SECOND, SECOND), "too early");
        assert_eq!(health.standing(11 * SECOND, false), Standing::Aside);
        assert_eq!(health.standing(21 * SECOND, false), Standing::OnTrial, "after as long again");
        assert!(health.claim(11 * SECOND, SECOND));
        assert_eq!(health.standing(11 * SECOND, true), Standing::Aside);
        assert!(!health.claim(11 * SECOND, SECOND), "one at a time");
        assert!(health.claim(12 * SECOND, SECOND), "who says nothing in time has lost it");
    }

    #[test]
    fn nobody_is_set_aside_where_there_is_no_room() {
        let health = Health::default();
        assert_eq!((0..9).filter_map(|_| health.failed(SECOND, false, || false)).next(), None);
        assert_eq!(fail(&health, SECOND, 1), Some(10 * SECOND));
    }

    #[test]
    fn probes_take_it_out_of_use_and_bring_it_back() {
        let health = Health::default();
        assert!(!health.probed(true, SECOND), "no news");
        assert!(health.probed(false, SECOND) && !health.probed(false, SECOND));
        assert!(!health.is_in_use() && health.is_unhealthy());
        assert_eq!(health.standing(1000 * SECOND, true), Standing::Aside);
        assert!(health.probed(true, SECOND) && health.is_in_use());
        fail(&health, SECOND, 5);
        assert!(health.probed(true, 2 * SECOND), "also from being set aside");
        assert_eq!(health.standing(2 * SECOND, false), Standing::InUse);
    }

    #[test]
    fn without_probes_only_requests_count() {
        let health = Health::default();
        fail(&health, SECOND, 5);
        health.probed(false, SECOND);
        health.forget_probes(2 * SECOND);
        assert_eq!(health.standing(2 * SECOND, true), Standing::Aside);
        assert!(health.succeeded(3 * SECOND) && health.is_in_use());
        health.probed(false, SECOND);
        health.forget_probes(4 * SECOND);
        assert!(health.is_in_use() && health.part(4 * SECOND, 10 * SECOND) == 10);
    }

    #[test]
    fn the_next_generation_is_the_newest() {
        let first = Generation::next(Arc::default());
        assert!(first.is_newest());
        let second = Generation::next(Arc::clone(first.count()));
        assert!(second.is_newest() && !first.is_newest());
    }

    #[test]
    fn who_comes_back_starts_slowly() {
        let health = Health::default();
        assert_eq!(health.part(SECOND, 10 * SECOND), 100, "who was never away does not");
        health.probed(false, SECOND);
        health.probed(true, 5 * SECOND);
        let parts = [5, 6, 10, 14, 15, 99].map(|now| health.part(now * SECOND, 10 * SECOND));
        assert_eq!(parts, [10, 10, 50, 90, 100, 100]);
    }
}
