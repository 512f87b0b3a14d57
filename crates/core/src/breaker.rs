//! The circuit breaker: when something that keeps failing is left alone, and how it is tried again.
//!
//! ```text
//!                 `failures` in a row
//!      ┌────────┐ ─────────────────────▶ ┌──────┐
//!      │ closed │                        │ open │ ◀────────────┐
//!      └────────┘                        └──────┘              │
//!          ▲                                 │ `reset_after`   │ one probe
//!          │                                 ▼ is over         │ fails
//!          │  `probes` probes succeed  ┌───────────┐           │
//!          └────────────────────────── │ half-open │ ──────────┘
//!                                      └───────────┘
//! ```
//!
//! - closed: everyone is admitted; a success sets the count of failures back to zero.
//! - open: nobody is admitted until `reset_after` has passed. Whoever asks first after that is the
//!   first probe: nothing but a request moves a breaker on, so it needs no timer.
//! - half-open: at most `probes` are out *at once*; everyone else is refused as if it were open.
//!
//! Every state has an epoch, and so has every permit. A result whose epoch is over says nothing
//! about the present and is ignored: a request that was sent before the breaker opened can neither
//! close it nor open it again.
//!
//! The rules are [`State`]'s two pure functions. A whole state fits into one 64-bit word, so the
//! form that all workers share ([`Breaker`]) is one atomic: a closed breaker without failures costs
//! two loads of it per request, and nobody ever waits for a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When to open and how to close again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Failures in a row that open it; at least 1, at most [`MOST`].
    pub failures: u32,
    /// How long it stays open. Counted in whole milliseconds, rounded up.
    pub reset_after: Duration,
    /// Probes that may be out at once in half-open, and successes that close it; at least 1, at
    /// most [`MOST`].
    pub probes: u32,
}

/// The largest count that a state can hold.
pub const MOST: u32 = (1 << 19) - 1;

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Closed,
    HalfOpen,
    Open,
}

impl Phase {
    pub const ALL: [Self; 3] = [Self::Closed, Self::HalfOpen, Self::Open];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }
}

/// A step from one phase to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    pub from: Phase,
    pub to: Phase,
}

/// Why nobody may try now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When asking again makes sense: what remains of `reset_after`, or a second while probes are
    /// out.
    pub retry_after: Duration,
    /// True in half-open: all probes are out.
    pub probing: bool,
}

/// How long to wait while probes are out: nobody knows, so soon.
const WHILE_PROBING: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Success,
    Failure,
    /// It was never known whether it would have worked.
    None,
}

/// Everything that a breaker knows. Times are milliseconds since the breaker was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    epoch: u32,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Closed { failures: u32 },
    Open { until: u64 },
    HalfOpen { out: u32, successes: u32 },
}

impl State {
    const NEW: Self = Self { epoch: 0, mode: Mode::Closed { failures: 0 } };

    /// The state after one more was admitted, whose permit has that state's epoch.
    fn admit(self, now: Duration, settings: &Settings) -> Result<Self, Refused> {
        match self.mode {
            Mode::Closed { .. } => Ok(self),
            Mode::Open { until } => match remaining(until, now, settings) {
                Duration::ZERO => Ok(self.next(Mode::HalfOpen { out: 1, successes: 0 })),
                retry_after => Err(Refused { retry_after, probing: false }),
            },
            Mode::HalfOpen { out, .. } if out >= settings.probes => {
                Err(Refused { retry_after: WHILE_PROBING, probing: true })
            }
            Mode::HalfOpen { out, successes } => {
                Ok(Self { mode: Mode::HalfOpen { out: out + 1, successes }, ..self })
            }
        }
    }

    /// The state after a permit of `epoch` came back.
    fn report(self, epoch: u32, outcome: Outcome, now: Duration, settings: &Settings) -> Self {
        if epoch != self.epoch {
            return self;
        }
        let open = || self.next(Mode::Open { until: millis_up(now + settings.reset_after) });
        match (self.mode, outcome) {
            (Mode::Closed { failures }, Outcome::Failure) if failures + 1 >= settings.failures => {
                open()
            }
            (Mode::Closed { failures }, Outcome::Failure) => {
                Self { mode: Mode::Closed { failures: failures + 1 }, ..self }
            }
            (Mode::Closed { .. }, Outcome::Success) => {
                Self { mode: Mode::Closed { failures: 0 }, ..self }
            }
            (Mode::HalfOpen { .. }, Outcome::Failure) => open(),
            (Mode::HalfOpen { successes, .. }, Outcome::Success)
                if successes + 1 >= settings.probes =>
            {
                self.next(Mode::Closed { failures: 0 })
            }
            (Mode::HalfOpen { out, successes }, outcome) => {
                let successes = successes + u32::from(outcome == Outcome::Success);
                Self { mode: Mode::HalfOpen { out: out.saturating_sub(1), successes }, ..self }
            }
            // An open state has admitted nobody.
            (Mode::Closed { .. }, Outcome::None) | (Mode::Open { .. }, _) => self,
        }
    }

    fn next(self, mode: Mode) -> Self {
        Self { epoch: (self.epoch + 1) & EPOCH_MASK, mode }
    }

    fn phase(self) -> Phase {
        match self.mode {
            Mode::Closed { .. } => Phase::Closed,
            Mode::Open { .. } => Phase::Open,
            Mode::HalfOpen { .. } => Phase::HalfOpen,
        }
    }

    /// 24 bits of epoch, 2 of phase, 38 of what the phase knows: a time (8 years of milliseconds)
    /// or two counts of 19 bits.
    fn pack(self) -> u64 {
        let pair = |one: u32, two: u32| u64::from(one.min(MOST)) << 19 | u64::from(two.min(MOST));
        let (phase, rest) = match self.mode {
            Mode::Closed { failures } => (0, pair(0, failures)),
            Mode::HalfOpen { out, successes } => (1, pair(out, successes)),
            Mode::Open { until } => (2, until.min(REST_MASK)),
        };
        u64::from(self.epoch & EPOCH_MASK) << 40 | phase << 38 | rest
    }

    #[allow(clippy::cast_possible_truncation)] // every part is masked to less than 32 bits
    fn unpack(word: u64) -> Self {
        let rest = word & REST_MASK;
        let (one, two) = ((rest >> 19) as u32, rest as u32 & MOST);
        let mode = match (word >> 38) & 3 {
            0 => Mode::Closed { failures: two },
            1 => Mode::HalfOpen { out: one, successes: two },
            _ => Mode::Open { until: rest },
        };
        Self { epoch: (word >> 40) as u32, mode }
    }
}

const EPOCH_MASK: u32 = (1 << 24) - 1;
const REST_MASK: u64 = (1 << 38) - 1;

/// Rounded up, so that an open breaker never asks too early.
fn millis_up(time: Duration) -> u64 {
    let whole = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    whole.saturating_add(u64::from(!time.subsec_nanos().is_multiple_of(1_000_000)))
}

/// How long it stays open yet. The end was rounded up to a millisecond: nobody is told to wait for
/// longer than `reset_after` because of that.
fn remaining(until: u64, now: Duration, settings: &Settings) -> Duration {
    Duration::from_millis(until).saturating_sub(now).min(settings.reset_after)
}

/// A breaker that all workers share.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    /// What the state's times count from.
    born: Instant,
    word: AtomicU64,
}

/// What `/status` shows of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub phase: Phase,
    /// Failures in a row, while it is closed.
    pub failures: u32,
    /// Probes that are out, while it is half-open.
    pub probing: u32,
    /// Probes that succeeded, while it is half-open.
    pub successes: u32,
    /// How long it stays open yet.
    pub retry_after: Option<Duration>,
}

impl Breaker {
    /// A closed breaker. Counts out of range are brought into it.
    pub fn new(settings: Settings, now: Instant) -> Self {
        let settings = Settings {
            failures: settings.failures.clamp(1, MOST),
            probes: settings.probes.clamp(1, MOST),
            ..settings
        };
        Self { settings, born: now, word: AtomicU64::new(State::NEW.pack()) }
    }

    /// Asks to try once. The permit says afterwards how it went; dropped without a word, it comes
    /// back as "no outcome".
    pub fn admit(&self, now: Instant) -> Result<Permit<'_>, Refused> {
        let since = self.since(now);
        let (before, after) = self.step(|state| state.admit(since, &self.settings))?;
        let transition = transition(before, after);
        Ok(Permit { breaker: self, epoch: after.epoch, transition, spent: false })
    }

    pub fn phase(&self) -> Phase {
        self.state().phase()
    }

    pub fn status(&self, now: Instant) -> Status {
        let state = self.state();
        let still = |until| remaining(until, self.since(now), &self.settings);
        let blank = Status {
            phase: state.phase(),
            failures: 0,
            probing: 0,
            successes: 0,
            retry_after: None,
        };
        match state.mode {
            Mode::Closed { failures } => Status { failures, ..blank },
            Mode::Open { until } => Status { retry_after: Some(still(until)), ..blank },
            Mode::HalfOpen { out, successes } => Status { probing: out, successes, ..blank },
        }
    }

    fn report(&self, epoch: u32, outcome: Outcome, now: Duration) -> Option<Transition> {
        let report = |state: State| Ok(state.report(epoch, outcome, now, &self.settings));
        match self.step::<std::convert::Infallible>(report) {
            Ok((before, after)) => transition(before, after),
            Err(never) => match never {},
        }
    }

    /// Takes one step of the rules: the states before and after it. The word holds everything and
    /// guards nothing else, so its order among other memory does not matter.
    fn step<E>(&self, next: impl Fn(State) -> Result<State, E>) -> Result<(State, State), E> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let before = State::unpack(word);
            let after = next(before)?;
            if after == before {
                return Ok((before, after));
            }
            let (order, packed) = (Ordering::Relaxed, after.pack());
            match self.word.compare_exchange_weak(word, packed, order, order) {
                Ok(_) => return Ok((before, after)),
                Err(seen) => word = seen,
            }
        }
    }

    fn state(&self) -> State {
        State::unpack(self.word.load(Ordering::Relaxed))
    }

    fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.born)
    }
}

fn transition(before: State, after: State) -> Option<Transition> {
    let (from, to) = (before.phase(), after.phase());
    (from != to).then_some(Transition { from, to })
}

/// Leave to try once. Comes back by one of its three methods or by being dropped.
#[derive(Debug)]
#[must_use = "dropping it says that the attempt had no outcome"]
pub struct Permit<'b> {
    breaker: &'b Breaker,
    epoch: u32,
    transition: Option<Transition>,
    spent: bool,
}

impl Permit<'_> {
    /// The step that giving this permit was: the first probe's is from open to half-open.
    pub fn transition(&self) -> Option<Transition> {
        self.transition
    }

    /// It worked.
    pub fn success(mut self, now: Instant) -> Option<Transition> {
        self.spend(Outcome::Success, now)
    }

    /// It did not.
    pub fn failure(mut self, now: Instant) -> Option<Transition> {
        self.spend(Outcome::Failure, now)
    }

    /// Nobody knows: whoever asked went away, or was at fault.
    pub fn none(self) {}

    fn spend(&mut self, outcome: Outcome, now: Instant) -> Option<Transition> {
        self.spent = true;
        self.breaker.report(self.epoch, outcome, self.breaker.since(now))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.spent {
            // No outcome takes no time into account.
            self.breaker.report(self.epoch, Outcome::None, Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const SETTINGS: Settings =
        Settings { failures: 3, reset_after: Duration::from_secs(30), probes: 2 };

    fn broken(clock: &Clock) -> Breaker {
        let breaker = Breaker::new(SETTINGS, clock.now());
        for _ in 0..3 {
            breaker.admit(clock.now()).unwrap().failure(clock.now());
        }
        breaker
    }

    fn manual() -> Clock {
        Clock::manual(std::time::UNIX_EPOCH)
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_starts_the_count_again() {
        let clock = manual();
        let breaker = Breaker::new(SETTINGS, clock.now());
        let mut steps = Vec::new();
        for worked in [false, false, true, false, false, false] {
            let permit = breaker.admit(clock.now()).unwrap();
            steps.extend(match worked {
                true => permit.success(clock.now()),
                false => permit.failure(clock.now()),
            });
        }
        assert_eq!(steps, [Transition { from: Phase::Closed, to: Phase::Open }]);
        let refused = breaker.admit(clock.now()).unwrap_err();
        assert_eq!(refused, Refused { retry_after: Duration::from_secs(30), probing: false });
        clock.advance(Duration::from_millis(29_400));
        let refused = breaker.admit(clock.now()).unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_millis(600), "what really remains");
    }

    #[test]
    fn a_fraction_of_a_millisecond_never_adds_a_second_to_the_wait() {
        let clock = manual();
        let breaker = Breaker::new(SETTINGS, clock.now());
        clock.advance(Duration::from_nanos(1_000_001));
        for _ in 0..3 {
            breaker.admit(clock.now()).unwrap().failure(clock.now());
        }
        let refused = breaker.admit(clock.now()).unwrap_err();
        assert_eq!(refused.retry_after, SETTINGS.reset_after);
        assert_eq!(breaker.status(clock.now()).retry_after, Some(SETTINGS.reset_after));
        clock.advance(SETTINGS.reset_after);
        assert!(breaker.admit(clock.now()).is_err(), "and it never opens too early");
        clock.advance(Duration::from_millis(1));
        breaker.admit(clock.now()).unwrap().none();
    }

    #[test]
    fn probes_are_capped_at_once_and_close_it_together() {
        let clock = manual();
        let breaker = broken(&clock);
        clock.advance(Duration::from_secs(30));
        let first = breaker.admit(clock.now()).unwrap();
        assert_eq!(first.transition(), Some(Transition { from: Phase::Open, to: Phase::HalfOpen }));
        let second = breaker.admit(clock.now()).unwrap();
        let refused = breaker.admit(clock.now()).unwrap_err();
        assert_eq!(refused, Refused { retry_after: Duration::from_secs(1), probing: true });
        assert_eq!(first.success(clock.now()), None);
        drop(second); // its client went away: the permit is back, and nothing was learned
        assert_eq!(breaker.status(clock.now()).probing, 0);
        let third = breaker.admit(clock.now()).unwrap();
        assert_eq!(
            third.success(clock.now()),
            Some(Transition { from: Phase::HalfOpen, to: Phase::Closed })
        );
    }

    #[test]
    fn one_failed_probe_opens_it_and_the_others_are_ignored() {
        let clock = manual();
        let breaker = broken(&clock);
        clock.advance(Duration::from_secs(31));
        let (first, second) = (breaker.admit(clock.now()), breaker.admit(clock.now()));
        assert_eq!(
            first.unwrap().failure(clock.now()),
            Some(Transition { from: Phase::HalfOpen, to: Phase::Open })
        );
        assert_eq!(second.unwrap().success(clock.now()), None);
        let status = breaker.status(clock.now());
        assert_eq!(status.phase, Phase::Open);
        assert_eq!(status.retry_after, Some(Duration::from_secs(30)), "it waits in full again");
    }

    #[test]
    fn what_was_sent_before_it_opened_changes_nothing() {
        let clock = manual();
        let breaker = Breaker::new(SETTINGS, clock.now());
        let late: Vec<_> = (0..6).map(|_| breaker.admit(clock.now()).unwrap()).collect();
        for _ in 0..3 {
            breaker.admit(clock.now()).unwrap().failure(clock.now());
        }
        clock.advance(Duration::from_secs(30));
        let probe = breaker.admit(clock.now()).unwrap();
        for (index, permit) in late.into_iter().enumerate() {
            match index % 3 {
                0 => assert_eq!(permit.success(clock.now()), None),
                1 => assert_eq!(permit.failure(clock.now()), None),
                _ => permit.none(),
            }
        }
        let status = breaker.status(clock.now());
        assert_eq!((status.phase, status.probing, status.successes), (Phase::HalfOpen, 1, 0));
        probe.none();
    }

    #[test]
    fn every_state_fits_into_a_word() {
        let modes = [
            Mode::Closed { failures: 0 },
            Mode::Closed { failures: MOST },
            Mode::Open { until: 0 },
            Mode::Open { until: REST_MASK },
            Mode::HalfOpen { out: MOST, successes: 0 },
            Mode::HalfOpen { out: 1, successes: MOST },
        ];
        for mode in modes {
            for epoch in [0, 1, EPOCH_MASK] {
                let state = State { epoch, mode };
                assert_eq!(State::unpack(state.pack()), state);
            }
        }
        let last = State { epoch: EPOCH_MASK, mode: Mode::Closed { failures: 0 } };
        assert_eq!(last.next(last.mode).epoch, 0);
    }
}
