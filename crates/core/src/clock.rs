//! The only place that asks what time it is, so that a test can set it.
//!
//! Production code uses [`Clock::system`]; a test uses [`Clock::manual`] and moves it with
//! [`Clock::advance`]. Every other call of `Instant::now` or `SystemTime::now` is a lint error.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time. Clones share the same time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Of(fn() -> Instant),
    Manual { base: Instant, wall: SystemTime, nanos: Arc<AtomicU64> },
}

impl Clock {
    /// The machine's clocks.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that shows what another one does, such as that of a runtime whose time a test holds.
    /// Its civil time is the system's.
    pub const fn of(now: fn() -> Instant) -> Self {
        Self(Source::Of(now))
    }

    /// A clock that stands still until [`Clock::advance`] moves it; `wall` is its civil time.
    #[allow(clippy::disallowed_methods)] // the base of a manual clock has to be some Instant
    pub fn manual(wall: SystemTime) -> Self {
        Self(Source::Manual { base: Instant::now(), wall, nanos: Arc::default() })
    }

    /// Moves a manual clock forward. The system's clock does not listen.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual { nanos, .. } = &self.0 {
            let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
            nanos.fetch_add(by, Ordering::SeqCst);
        }
    }

    /// Monotonic time, for durations and deadlines.
    #[allow(clippy::disallowed_methods)] // this is the one place
    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::System => Instant::now(),
            Source::Of(now) => now(),
            Source::Manual { base, nanos, .. } => {
                *base + Duration::from_nanos(nanos.load(Ordering::SeqCst))
            }
        }
    }

    /// Civil time, for tokens and logs.
    #[allow(clippy::disallowed_methods)] // this is the one place
    pub fn wall(&self) -> SystemTime {
        match &self.0 {
            Source::System | Source::Of(_) => SystemTime::now(),
            Source::Manual { wall, nanos, .. } => {
                *wall + Duration::from_nanos(nanos.load(Ordering::SeqCst))
            }
        }
    }

    /// Seconds since 1970-01-01T00:00:00Z, as JWT's NumericDate counts (RFC 7519 section 2).
    pub fn unix_seconds(&self) -> u64 {
        self.wall().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_it_is_told() {
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(100));
        let before = clock.now();
        assert_eq!(clock.now(), before);
        clock.clone().advance(Duration::from_secs(5));
        assert_eq!(clock.now() - before, Duration::from_secs(5));
        assert_eq!(clock.unix_seconds(), 105);
    }
}
