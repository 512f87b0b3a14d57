//! An issuer's keys as requests see them: an immutable set, read without a lock, refreshed beside
//! the requests.
//!
//! ```text
//! known kid ─────────────────────────────────────────▶ verify
//! unknown kid ─▶ absent for sure? ─▶ budget left? ─▶ wait for one fetch (500 ms) ─▶ verify, or
//!                     │                  │                                          remember that
//!                     ▼                  ▼                                          it is absent
//!               401, or 503 while the last fetch failed or has not ended
//! ```
//!
//! A failing issuer takes no good key away: an error, an empty set and garbage replace nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use jsonwebtoken::Algorithm;
use portcullis_core::Clock;
use portcullis_core::metrics::{Counter, Gauge};
use tokio::sync::{Notify, watch};

use super::keys::Key;

/// How long a request waits for a key that is not known yet.
const WAIT: Duration = Duration::from_millis(500);
/// So many requests wait at a time; the rest is answered at once.
const WAITING: usize = 1000;
/// So many absent kids are remembered, for so long.
const ABSENT: usize = 10_000;
const ABSENT_FOR: Duration = Duration::from_secs(30);
/// So many keys are tried for a token that names none.
const TRIED: usize = 4;

/// How many fetches unknown keys may cause: a budget that scheduled fetches do not draw on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    pub most: u64,
    pub per: Duration,
}

/// The keys of one issuer, shared by all workers.
pub struct KeySet {
    keys: ArcSwap<Vec<Key>>,
    /// Goes up whenever the keys change: what was verified before may have lost its key.
    generation: AtomicU64,
    state: Mutex<State>,
    /// Counts fetches that have ended; waiting requests watch it.
    rounds: watch::Sender<u64>,
    waiting: AtomicUsize,
    wake: Arc<Notify>,
    budget: Budget,
    clock: Clock,
    gauge: Gauge,
    fetches: [Counter; 2],
}

/// What only requests with unknown keys, and the fetch, look at.
struct State {
    /// True while a fetch is under way. True from the start: the first begins with the snapshot.
    fetching: bool,
    /// The last fetch was answered with a set.
    good: bool,
    caused: VecDeque<Instant>,
    absent: HashMap<Box<str>, Instant>,
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKey {
    /// The issuer was asked, and knows none of this name.
    Absent,
    /// The issuer could not be asked, or has not answered yet.
    Unavailable,
}

/// What a request with an unknown key does.
enum Next {
    /// The key has come meanwhile.
    Known,
    Answer(NoKey),
    /// Wait for the fetch under way. True when this request caused it: it began after the token.
    Wait(bool),
}

impl KeySet {
    pub fn new(budget: Budget, clock: Clock, gauge: Gauge, fetches: [Counter; 2]) -> Self {
        let state =
            State { fetching: true, good: false, caused: VecDeque::new(), absent: HashMap::new() };
        Self {
            keys: ArcSwap::default(),
            generation: AtomicU64::new(0),
            state: Mutex::new(state),
            rounds: watch::Sender::new(0),
            waiting: AtomicUsize::new(0),
            wake: Arc::default(),
            budget,
            clock,
            gauge,
            fetches,
        }
    }

    /// Woken when a request needs a fetch.
    pub fn wake(&self) -> &Arc<Notify> {
        &self.wake
    }

    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// What one of the keys that may have signed says; `None` when no such key is known.
    pub fn verify(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        good: impl Fn(&Key) -> bool,
    ) -> Option<bool> {
        let keys: Guard<_> = self.keys.load();
        let (mut known, mut tried) = (false, 0);
        // A key without a name may be the one that any kid means (RFC 7515 section 4.1.4).
        for key in
            keys.iter().filter(|key| kid.is_none() || key.id.is_none() || key.id.as_deref() == kid)
        {
            known |= kid.is_none() || key.id.is_some();
            if key.fits.contains(&algorithm) && tried < TRIED {
                tried += 1;
                if good(key) {
                    return Some(true);
                }
            }
        }
        known.then_some(false)
    }

    /// Waits for a key that is not known, if a fetch may bring it. `Ok`: look again.
    pub async fn missing(&self, kid: Option<&str>) -> Result<(), NoKey> {
        let end = tokio::time::Instant::now() + WAIT;
        loop {
            let mut rounds = self.rounds.subscribe();
            let own = match self.next(kid, self.clock.now()) {
                Next::Known => return Ok(()),
                Next::Answer(no_key) => return Err(no_key),
                Next::Wait(own) => own,
            };
            // Until the fetch has ended nobody can say that the key is not there.
            let Some(_place) = Place::take(&self.waiting) else { return Err(NoKey::Unavailable) };
            if tokio::time::timeout_at(end, rounds.changed()).await.is_err() {
                return Err(NoKey::Unavailable);
            }
            if self.knows(kid) {
                return Ok(());
            }
            if own || self.verdict() == NoKey::Unavailable {
                self.remember_absent(kid);
                return Err(self.verdict());
            } // The fetch that ended had begun before the token came: one more may know it.
        }
    }

    fn next(&self, kid: Option<&str>, now: Instant) -> Next {
        let mut state = self.state();
        if self.knows(kid) {
            return Next::Known; // a fetch ended between the look for the key and this one
        }
        if let Some(kid) = kid
            && state.absent.get(kid).is_some_and(|until| *until > now)
        {
            return Next::Answer(state.verdict());
        }
        if state.fetching {
            return Next::Wait(false);
        }
        let per = self.budget.per;
        while state.caused.front().is_some_and(|at| now.saturating_duration_since(*at) >= per) {
            state.caused.pop_front();
        }
        if state.caused.len() as u64 >= self.budget.most {
            return Next::Answer(state.verdict());
        }
        state.caused.push_back(now);
        state.fetching = true;
        self.wake.notify_one();
        Next::Wait(true)
    }

    fn knows(&self, kid: Option<&str>) -> bool {
        self.keys.load().iter().any(|key| kid.is_none() || key.id.as_deref() == kid)
    }

    /// Remembered only while the issuer answers: what could not be asked may be there.
    fn remember_absent(&self, kid: Option<&str>) {
        let now = self.clock.now();
        let mut state = self.state();
        let Some(kid) = kid.filter(|_| state.good) else { return };
        if state.absent.len() >= ABSENT {
            state.absent.retain(|_, until| *until > now);
        }
        if state.absent.len() < ABSENT {
            state.absent.insert(kid.into(), now + ABSENT_FOR);
        }
    }

    fn verdict(&self) -> NoKey {
        self.state().verdict()
    }

    /// A fetch begins that no request has asked for.
    pub fn begin(&self) {
        self.state().fetching = true;
    }

    /// A fetch has ended with these keys, or with none because it failed.
    pub fn settle(&self, fetched: Option<Vec<Key>>) {
        let mut state = self.state();
        let [good, failed] = &self.fetches;
        state.fetching = false;
        state.good = fetched.is_some();
        match fetched {
            // It was reached and knows no key: what is known stays.
            Some(keys) if keys.is_empty() => failed.inc(),
            Some(keys) => {
                good.inc();
                let ids = |keys: &[Key]| keys.iter().map(|key| key.id.clone()).collect::<Vec<_>>();
                if ids(&keys) != ids(&self.keys.load()) {
                    state.absent.clear();
                }
                self.gauge.set(i64::try_from(keys.len()).unwrap_or(0));
                self.keys.store(Arc::new(keys));
                self.generation.fetch_add(1, Ordering::Release);
            }
            None => failed.inc(),
        }
        drop(state);
        self.rounds.send_modify(|round| *round += 1);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn verdict(&self) -> NoKey {
        if self.good { NoKey::Absent } else { NoKey::Unavailable }
    }
}

impl Drop for KeySet {
    /// Its task has nothing to refresh any more.
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

/// One of the places for waiting requests.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::issuers::keys;

    fn named(ids: &[&str]) -> Vec<Key> {
        let key = |id: &&str| Key { id: Some((*id).into()), ..keys::secret(b"x", Vec::new()) };
        ids.iter().map(key).collect()
    }

    /// A set of an issuer that was fetched once, with the key `a`.
    fn set(most: u64) -> KeySet {
        let budget = Budget { most, per: Duration::from_secs(60) };
        let clock = Clock::manual(std::time::UNIX_EPOCH);
        let set = KeySet::new(budget, clock, Gauge::default(), <[Counter; 2]>::default());
        set.settle(Some(named(&["a"])));
        set
    }

    fn run(test: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap().block_on(test);
    }

    /// Looks for a kid until it has to wait.
    macro_rules! waits {
        ($future:expr) => {
            assert!($future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending())
        };
    }

    #[test]
    fn a_new_key_heals_within_one_fetch_that_all_wait_for() {
        run(async {
            let set = set(10);
            let (mut one, mut two) = (pin!(set.missing(Some("b"))), pin!(set.missing(Some("b"))));
            waits!(one);
            waits!(two);
            set.settle(Some(named(&["a", "b"])));
            assert_eq!((one.await, two.await), (Ok(()), Ok(())));
            assert_eq!(set.state().caused.len(), 1);
        });
    }

    #[test]
    fn a_key_that_has_come_meanwhile_causes_no_fetch() {
        run(async {
            let set = set(10);
            assert_eq!(set.missing(Some("a")).await, Ok(()));
            assert!(set.state().caused.is_empty());
        });
    }

    #[test]
    fn a_fetch_that_began_before_the_token_came_is_not_the_last_word() {
        run(async {
            let set = set(10);
            set.begin();
            let mut asked = pin!(set.missing(Some("b")));
            waits!(asked);
            set.settle(Some(named(&["a"])));
            waits!(asked);
            set.settle(Some(named(&["b"])));
            assert_eq!(asked.await, Ok(()));
        });
    }

    #[test]
    fn what_is_absent_is_remembered_until_the_set_changes() {
        run(async {
            let set = set(10);
            let mut asked = pin!(set.missing(Some("b")));
            waits!(asked);
            set.settle(Some(named(&["a"])));
            assert_eq!(asked.await, Err(NoKey::Absent));
            assert_eq!(set.missing(Some("b")).await, Err(NoKey::Absent));
            assert_eq!(set.state().caused.len(), 1, "it is known to be absent");
            set.settle(Some(named(&["a", "c"])));
            let mut again = pin!(set.missing(Some("b")));
            waits!(again);
            set.settle(None);
            assert_eq!(again.await, Err(NoKey::Unavailable));
        });
    }

    #[test]
    fn a_flood_causes_no_more_fetches_than_allowed() {
        run(async {
            let set = set(3);
            for round in 0..100 {
                let kid = format!("random-{round}");
                let mut asked = pin!(set.missing(Some(&kid)));
                let cx = &mut Context::from_waker(Waker::noop());
                if asked.as_mut().poll(cx).is_pending() {
                    set.settle(Some(named(&["a"])));
                    assert_eq!(asked.await, Err(NoKey::Absent));
                }
            }
            assert_eq!(set.state().caused.len(), 3);
            set.clock.advance(Duration::from_secs(60));
            let mut healed = pin!(set.missing(Some("b")));
            waits!(healed);
            set.settle(Some(named(&["b"])));
            assert_eq!(healed.await, Ok(()));
        });
    }

    #[test]
    fn nobody_waits_for_long_and_not_too_many_do() {
        run(async {
            let set = set(10);
            assert_eq!(
                set.missing(Some("b")).await,
                Err(NoKey::Unavailable),
                "after half a second"
            );
            let mut waiting: Vec<_> =
                (0..WAITING).map(|_| Box::pin(set.missing(Some("c")))).collect();
            for one in &mut waiting {
                waits!(one);
            }
            assert_eq!(set.missing(Some("c")).await, Err(NoKey::Unavailable), "answered at once");
            drop(waiting);
            assert_eq!(set.waiting.load(Ordering::Relaxed), 0);
        });
    }

    #[test]
    fn a_key_without_a_name_is_tried_for_every_kid_and_settles_none() {
        let set = set(10);
        set.settle(Some(vec![keys::secret(b"x", vec![Algorithm::HS256])]));
        assert_eq!(set.verify(Some("any"), Algorithm::HS256, |_| true), Some(true));
        assert_eq!(set.verify(Some("any"), Algorithm::HS256, |_| false), None);
        assert_eq!(set.verify(None, Algorithm::HS256, |_| false), Some(false));
    }

    #[test]
    fn nothing_takes_a_good_key_away() {
        let set = set(10);
        for bad in [None, Some(Vec::new())] {
            set.settle(bad);
            assert_eq!(set.verify(Some("a"), Algorithm::HS256, |_| true), Some(false));
        }
        assert_eq!(set.verify(Some("b"), Algorithm::HS256, |_| true), None);
    }
}
