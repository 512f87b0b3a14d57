//! When a request is sent again: after what, how often, after which wait, and within which budget.
//! Pure: who asks says what happened.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, Method};
use portcullis_core::breaker::Share;
use portcullis_core::sliding::Sliding;

use crate::attempt::Lost;
use crate::settings::Statuses;

/// Over this time the budget is kept.
const WINDOW: Duration = Duration::from_secs(10);
/// So many are within the budget in any case, over its window.
const FREE: u64 = 30;

/// What the settings say about sending again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Retries {
    /// Sends of one request, the first included.
    pub(crate) attempts: u32,
    pub(crate) when: When,
    pub(crate) budget: Option<Share>,
    pub(crate) replay_limit: u64,
    pub(crate) backoff: Duration,
    pub(crate) max_backoff: Duration,
}

/// After what a request is sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct When {
    pub(crate) connect: bool,
    pub(crate) timeout: bool,
    pub(crate) reset: bool,
    pub(crate) bad_answer: bool,
    pub(crate) statuses: Vec<Statuses>,
}

impl When {
    pub(crate) fn lost(&self, lost: &Lost) -> bool {
        match lost {
            Lost::Connect(_) | Lost::ConnectTimeout(_) => self.connect,
            Lost::Timeout(_) => self.timeout,
            Lost::Reset(_) | Lost::Refused(_) => self.reset,
            Lost::BadAnswer(_) => self.bad_answer,
            Lost::TooLarge(_)
            | Lost::Request(_)
            | Lost::Stalled(_)
            | Lost::TooSlow
            | Lost::Deadline(_) => false,
        }
    }

    pub(crate) fn answered(&self, status: u16) -> bool {
        self.statuses.iter().any(|statuses| statuses.contain(status))
    }
}

impl Retries {
    /// The longest wait before the attempt that follows this many: twice as long each time.
    fn longest(&self, attempts: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
        self.backoff.saturating_mul(doubled).min(self.max_backoff)
    }

    /// How long to wait before the next attempt: by chance, but at least as long as the service asked
    /// for. `chance` is any number.
    pub(crate) fn wait(&self, attempts: u32, asked: Option<Duration>, chance: u64) -> Duration {
        let most = u64::try_from(self.longest(attempts).as_micros()).unwrap_or(u64::MAX - 1);
        let drawn = Duration::from_micros(chance % (most + 1));
        asked.unwrap_or_default().max(drawn)
    }
}

/// Whether sending a request twice does no harm (RFC 9110 section 9.2.2), or is wanted.
pub(crate) fn may_repeat(method: &Method, retry_non_idempotent: bool) -> bool {
    retry_non_idempotent || method.is_idempotent()
}

/// For how long the service wants to be left alone: whole seconds (RFC 9110 section 10.2.3). A date
/// is beyond every wait of ours.
pub fn asked_for(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = value.parse().ok().filter(|_| value.bytes().all(|byte| byte.is_ascii_digit()));
    Some(seconds.map_or(Duration::MAX, Duration::from_secs))
}

/// Keeps what is sent again below a share of what is sent: a sick service gets little more than its
/// clients ask for. All workers share it; two that ask at the same moment may both get the last one.
pub(crate) struct Budget {
    share: Share,
    /// First attempts, and those beside them.
    counts: Sliding<2>,
}

impl Budget {
    pub(crate) fn new(share: Share) -> Self {
        Self { share, counts: Sliding::new(WINDOW) }
    }

    pub(crate) fn first(&self, now: Duration) {
        self.counts.add(now, [1, 0]);
    }

    /// Takes one more attempt out of the budget, if there is one.
    pub(crate) fn take(&self, now: Duration) -> bool {
        let [first, more] = self.counts.sum(now);
        let allowed = first.saturating_mul(self.share.into()) / 10_000 + FREE;
        let has_room = more < allowed;
        if has_room {
            self.counts.add(now, [0, 1]);
        }
        has_room
    }

    /// For /status: first attempts and those beside them, of the window.
    pub(crate) fn spent(&self, now: Duration) -> [u64; 2] {
        self.counts.sum(now)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn retries() -> Retries {
        Retries {
            attempts: 3,
            when: When::default(),
            budget: None,
            replay_limit: 0,
            backoff: 25 * MS,
            max_backoff: 250 * MS,
        }
    }

    #[test]
    fn waits_are_drawn_from_a_span_that_doubles() {
        let spans: Vec<_> = (1..7).map(|attempts| retries().longest(attempts)).collect();
        assert_eq!(spans, [25 * MS, 50 * MS, 100 * MS, 200 * MS, 250 * MS, 250 * MS]);
        assert!((0..1000).all(|chance| retries().wait(1, None, chance * 7919) <= 25 * MS));
        assert_eq!(retries().wait(1, Some(2000 * MS), 5), 2000 * MS, "as long as it was asked for");
    }

    #[test]
    fn a_wait_that_is_asked_for_is_whole_seconds() {
        let asked = |value| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            asked_for(&headers)
        };
        assert_eq!(asked("2"), Some(Duration::from_secs(2)));
        for never in ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "1.5", ""] {
            assert_eq!(asked(never), Some(Duration::MAX), "{never}");
        }
        assert_eq!(asked_for(&HeaderMap::new()), None);
    }

    #[test]
    fn the_budget_is_a_share_and_three_per_second() {
        let budget = Budget::new(2_000);
        let now = 1000 * MS;
        let taken = |now| (0..1000).take_while(|_| budget.take(now)).count();
        assert_eq!(taken(now), 30);
        (0..100).for_each(|_| budget.first(now));
        assert_eq!(taken(now), 20);
        assert_eq!(taken(now + WINDOW - MS), 0);
        assert_eq!(taken(now + WINDOW), 30, "ten seconds later it is as new");
    }
}
