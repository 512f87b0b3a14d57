//! Where counters live: this process's memory, bounded. Short locks per shard, never across an
//! await; a key has one entry with a window per line, so all lines are decided at once.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::window::{Line, Window};

const SHARDS: usize = 64;
/// Keys that are remembered, over all shards.
const MAX_KEYS: usize = 1_000_000;

/// What was decided, with the numbers of the line that is nearest to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub admitted: bool,
    pub line: Line,
    pub remaining: u64,
    /// Until one more is admitted (refused), or until the line is whole again (admitted).
    pub wait: Duration,
}

/// The counters of one limit.
pub struct Memory {
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<String, Vec<Window>>>>,
    start: Instant,
}

impl Memory {
    /// `start` is the moment from which windows count; nothing is asked about a time before it.
    pub fn new(start: Instant) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { hasher: RandomState::new(), shards, start }
    }

    /// A moment as windows count it.
    pub fn time(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }

    /// Decides one request of `key` against all `lines`: all are charged, or none.
    pub fn decide(&self, key: &str, lines: &[Line], now: Duration) -> Option<Decision> {
        let shard = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).ok()?;
        let mut shard = self.shards.get(shard)?.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= MAX_KEYS / SHARDS && !shard.contains_key(key) {
            make_room(&mut shard, lines, now);
        }
        let windows = shard.entry_ref(key).or_default();
        windows.resize_with(lines.len(), Window::default);
        for (window, line) in windows.iter_mut().zip(lines) {
            window.forget(*line, now);
        }
        let both = || windows.iter().zip(lines);
        let refusing = both().filter(|(window, line)| window.remaining(**line) == 0);
        if let Some((wait, line)) = refusing
            .map(|(window, line)| (window.wait(*line, now), *line))
            .max_by_key(|(wait, _)| *wait)
        {
            return Some(Decision { admitted: false, line, remaining: 0, wait });
        }
        for (window, line) in windows.iter_mut().zip(lines) {
            window.charge(*line, now);
        }
        let (window, line) =
            windows.iter().zip(lines).min_by_key(|(w, line)| w.remaining(**line))?;
        let (remaining, wait) = (window.remaining(*line), window.reset(*line, now));
        Some(Decision { admitted: true, line: *line, remaining, wait })
    }
}

/// Forgets what has expired; if nothing has, any one key.
fn make_room(shard: &mut HashMap<String, Vec<Window>>, lines: &[Line], now: Duration) {
    shard.retain(|_, windows| {
        windows.iter_mut().zip(lines).any(|(window, line)| {
            window.forget(*line, now);
            !window.is_empty()
        })
    });
    if shard.len() >= MAX_KEYS / SHARDS
        && let Some(any) = shard.keys().next().cloned()
    {
        shard.remove(&any);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lines_are_charged_or_none() {
        let store = Memory::new(portcullis_core::Clock::system().now());
        let lines = [
            Line { requests: 3, per: Duration::from_secs(60) },
            Line { requests: 1, per: Duration::from_secs(1) },
        ];
        let at = |millis| store.decide("k", &lines, Duration::from_millis(millis)).unwrap();
        assert!(at(0).admitted);
        assert!(!at(1).admitted && !at(2).admitted && !at(999).admitted);
        assert!(at(1000).admitted && at(2000).admitted);
        let refused = at(3000);
        assert_eq!((refused.admitted, refused.line.requests), (false, 3));
        assert_eq!(refused.wait, Duration::from_secs(57));
        assert!(store.decide("other", &lines, Duration::ZERO).unwrap().admitted);
    }
}
