//! The circuit breaker: when something that keeps failing is left alone, and how it is tried again.
//!
//! ```text
//!            `failures` in a row, or a share
//!            of failures or of slow attempts
//!      ┌────────┐ ─────────────────────▶ ┌──────┐
//!      │ closed │                        │ open │ ◀────────────┐
//!      └────────┘                        └──────┘              │
//!          ▲                                 │ the wait is     │ one probe
//!          │                                 ▼ over            │ fails
//!          │  `probes` probes succeed  ┌───────────┐           │
//!          └────────────────────────── │ half-open │ ──────────┘
//!                                      └───────────┘
//! ```
//!
//! - closed: everyone is admitted; a success sets the count of failures back to zero. With shares,
//!   outcomes are counted over a sliding window, and it takes `minimum` of them to judge.
//! - open: nobody is admitted until the wait is over: `reset_after` at first, twice as long after each
//!   probe that failed, up to `max_reset_after`; jitter only lengthens it. Whoever asks first after
//!   that is the first probe: nothing but a request moves a breaker on, so it needs no timer.
//! - half-open: at most `probes` are out *at once*; everyone else is refused as if it were open.
//!
//! An operator may hold it open or closed ([`Breaker::force`]).
//!
//! Every state has an epoch, and so has every permit. A result whose epoch is over says nothing
//! about the present and is ignored: a request that was sent before the breaker opened can neither
//! close it nor open it again.
//!
//! The rules are pure functions of one state (`state.rs`). A whole state fits into one 64-bit word,
//! so the form that all workers share ([`Breaker`]) is one atomic: a closed breaker without failures
//! costs two loads of it per request, and nobody ever waits for a lock.

mod rates;
mod state;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rates::Window;
pub use rates::{Rates, Seen, Share};
use state::{Mode, Outcome, Rules, State};

/// When to open and how to close again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Failures in a row that open it; from 1 to [`MOST`]. `None`: however many.
    pub failures: Option<u32>,
    /// Shares of failures or slow attempts that open it.
    pub rates: Option<Rates>,
    /// How long it stays open at first. Counted in whole milliseconds, rounded up.
    pub reset_after: Duration,
    /// How long it stays open at most, jitter aside.
    pub max_reset_after: Duration,
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

/// Why it went from one phase to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// So many failures in a row.
    Failures,
    FailureRate,
    SlowRate,
    /// The wait was over, and somebody asked.
    ResetAfter,
    ProbeFailed,
    ProbesSucceeded,
    /// An operator holds it.
    Forced,
    /// An operator let it go.
    Auto,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::FailureRate => "failure_rate",
            Self::SlowRate => "slow_rate",
            Self::ResetAfter => "reset_after",
            Self::ProbeFailed => "probe_failed",
            Self::ProbesSucceeded => "probes_succeeded",
            Self::Forced => "forced",
            Self::Auto => "auto",
        }
    }
}

/// A step from one phase to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transition {
    pub from: Phase,
    pub to: Phase,
    pub reason: Reason,
}

/// Why nobody may try now, and when asking again makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What remains of the wait, or a second while probes are out.
    pub retry_after: Duration,
    pub why: Why,
}

/// Why nobody may try now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Open,
    /// It is half-open, and all probes are out.
    Probing,
    /// An operator holds it open.
    Forced,
}

/// A breaker that all workers share.
#[derive(Debug)]
pub struct Breaker {
    rules: Rules,
    /// Outcomes while it is closed, where shares matter.
    window: Option<Window>,
    /// What the state's times count from.
    born: Instant,
    word: AtomicU64,
}

/// What `/status` shows of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub phase: Phase,
    /// An operator holds it where it is.
    pub forced: bool,
    /// Failures in a row, while it is closed.
    pub failures: u32,
    /// Outcomes of the window, where shares matter.
    pub seen: Option<Seen>,
    /// Probes that are out, while it is half-open.
    pub probing: u32,
    /// Probes that succeeded, while it is half-open.
    pub successes: u32,
    /// How long it stays open yet.
    pub retry_after: Option<Duration>,
}

impl Breaker {
    /// A closed breaker. Counts out of range are brought into it. Jitter is drawn from `seed`;
    /// without one there is none.
    pub fn new(settings: Settings, seed: Option<u64>, now: Instant) -> Self {
        let settings = Settings {
            failures: settings.failures.map(|failures| failures.clamp(1, MOST)),
            probes: settings.probes.clamp(1, MOST),
            ..settings
        };
        Self {
            rules: Rules { settings, seed },
            window: settings.rates.map(Window::new),
            born: now,
            word: AtomicU64::new(State::NEW.pack()),
        }
    }

    pub fn settings(&self) -> &Settings {
        &self.rules.settings
    }

    /// Asks to try once. The permit says afterwards how it went; dropped without a word, it comes
    /// back as "no outcome".
    pub fn admit(&self, now: Instant) -> Result<Permit<'_>, Refused> {
        let admitted = self.since(now);
        let (after, transition) = self.step(|state| state.admit(admitted, &self.rules))?;
        Ok(Permit { breaker: self, epoch: after.epoch, admitted, transition, spent: false })
    }

    /// The permit again that became this ticket.
    pub fn redeem(&self, ticket: Ticket) -> Permit<'_> {
        let Ticket { epoch, admitted } = ticket;
        Permit { breaker: self, epoch, admitted, transition: None, spent: false }
    }

    /// Holds it open or closed until it is let go with `None`; it then begins as new.
    pub fn force(&self, open: Option<bool>) -> Option<Transition> {
        let step = self.always(|state| state.force(open));
        self.window.iter().for_each(Window::clear);
        step
    }

    pub fn phase(&self) -> Phase {
        self.state().phase()
    }

    pub fn status(&self, now: Instant) -> Status {
        let state = self.state();
        let seen = self.window.as_ref().map(|window| window.seen(self.since(now)));
        let blank = Status {
            phase: state.phase(),
            forced: false,
            failures: 0,
            seen,
            probing: 0,
            successes: 0,
            retry_after: None,
        };
        match state.mode {
            Mode::Closed { failures } => Status { failures, ..blank },
            Mode::Open { .. } => {
                let left = state.remaining(self.since(now), &self.rules);
                Status { retry_after: Some(left), ..blank }
            }
            Mode::HalfOpen { out, successes } => Status { probing: out, successes, ..blank },
            Mode::Forced { .. } => Status { forced: true, ..blank },
        }
    }

    fn report(&self, permit: &Permit<'_>, outcome: Outcome, now: Duration) -> Option<Transition> {
        let (mut outcome, epoch) = (outcome, permit.epoch);
        let mut tripped = None;
        if let Some(window) = self.window.as_ref().filter(|_| outcome != Outcome::None) {
            let slow = window.is_slow(now.saturating_sub(permit.admitted));
            let state = self.state();
            if state.epoch == epoch && matches!(state.mode, Mode::Closed { .. }) {
                tripped = window.add(now, outcome == Outcome::Failure, slow);
            } else if slow {
                outcome = Outcome::Failure; // a probe that is as slow as what it is to end
            }
        }
        let step = self.always(|state| state.report(epoch, outcome, tripped, now, &self.rules));
        // Nothing is added until it is closed again: it then begins with nothing.
        if let (Some(window), Some(step)) = (&self.window, step)
            && step.to == Phase::Open
        {
            window.clear();
        }
        step
    }

    fn always(&self, next: impl Fn(State) -> state::Next) -> Option<Transition> {
        match self.step::<std::convert::Infallible>(|state| Ok(next(state))) {
            Ok((_, transition)) => transition,
            Err(never) => match never {},
        }
    }

    /// Takes one step of the rules: the state after it, and whether that is another phase. The word
    /// holds everything and guards nothing else, so its order among other memory does not matter.
    fn step<E>(
        &self,
        next: impl Fn(State) -> Result<state::Next, E>,
    ) -> Result<(State, Option<Transition>), E> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let before = State::unpack(word);
            let (after, reason) = next(before)?;
            if after == before {
                return Ok((after, None));
            }
            let (order, packed) = (Ordering::Relaxed, after.pack());
            if let Err(seen) = self.word.compare_exchange_weak(word, packed, order, order) {
                word = seen;
                continue;
            }
            let (from, to) = (before.phase(), after.phase());
            let step = reason.filter(|_| from != to);
            return Ok((after, step.map(|reason| Transition { from, to, reason })));
        }
    }

    fn state(&self) -> State {
        State::unpack(self.word.load(Ordering::Relaxed))
    }

    fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.born)
    }
}

/// Leave to try once. Comes back by one of its three methods or by being dropped.
#[derive(Debug)]
#[must_use = "dropping it says that the attempt had no outcome"]
pub struct Permit<'b> {
    breaker: &'b Breaker,
    epoch: u32,
    /// When it was given: what takes longer than `slow_after` since then is slow.
    admitted: Duration,
    transition: Option<Transition>,
    spent: bool,
}

/// A permit that is away from its breaker, while nobody knows how the attempt went. It has to come back:
/// a probe keeps its place until then.
#[derive(Debug)]
#[must_use = "a probe's place is lost with it"]
pub struct Ticket {
    epoch: u32,
    admitted: Duration,
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

    /// Nobody knows yet.
    pub fn put_off(mut self) -> Ticket {
        self.spent = true;
        Ticket { epoch: self.epoch, admitted: self.admitted }
    }

    fn spend(&mut self, outcome: Outcome, now: Instant) -> Option<Transition> {
        self.spent = true;
        self.breaker.report(self, outcome, self.breaker.since(now))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.spent {
            // No outcome takes no time into account.
            self.breaker.report(self, Outcome::None, Duration::ZERO);
        }
    }
}
