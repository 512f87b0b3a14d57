//! The rules of a breaker, as pure functions of one state that fits into a 64-bit word.

use std::time::Duration;

use crate::chance::Chance;

use super::{MOST, Phase, Reason, Refused, Settings};

/// How long to wait while probes are out: nobody knows, so soon.
const WHILE_PROBING: Duration = Duration::from_secs(1);
/// An open state waits for up to this part longer than it has to, so that gateways do not all try
/// at the same moment.
const JITTER: u64 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    Failure,
    /// It was never known whether it would have worked.
    None,
}

/// What the rules are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) settings: Settings,
    /// What jitter is drawn from; without it there is none.
    pub(super) seed: Option<u64>,
}

/// Everything that a breaker knows of itself. Times are milliseconds since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) epoch: u32,
    /// How often it opened since it was closed.
    pub(super) openings: u8,
    pub(super) mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Closed { failures: u32 },
    Open { until: u64 },
    HalfOpen { out: u32, successes: u32 },
    Forced { open: bool },
}

/// The state after a step, and the reason if it was one into another phase.
pub(super) type Next = (State, Option<Reason>);

impl State {
    pub(super) const NEW: Self = Self { epoch: 0, openings: 0, mode: Mode::Closed { failures: 0 } };

    /// The state after one more was admitted, whose permit has that state's epoch.
    pub(super) fn admit(self, now: Duration, rules: &Rules) -> Result<Next, Refused> {
        let refuse = |retry_after, why| Err(Refused { retry_after, why });
        match self.mode {
            Mode::Closed { .. } | Mode::Forced { open: false } => Ok((self, None)),
            Mode::Forced { open: true } => refuse(rules.settings.reset_after, super::Why::Forced),
            Mode::Open { .. } => match self.remaining(now, rules) {
                Duration::ZERO => {
                    let next = self.next(Mode::HalfOpen { out: 1, successes: 0 });
                    Ok((next, Some(Reason::ResetAfter)))
                }
                left => refuse(left, super::Why::Open),
            },
            Mode::HalfOpen { out, .. } if out >= rules.settings.probes => {
                refuse(WHILE_PROBING, super::Why::Probing)
            }
            Mode::HalfOpen { out, successes } => {
                Ok((Self { mode: Mode::HalfOpen { out: out + 1, successes }, ..self }, None))
            }
        }
    }

    /// The state after a permit of `epoch` came back. `tripped` is what the window of outcomes says,
    /// this one included.
    pub(super) fn report(
        self,
        epoch: u32,
        outcome: Outcome,
        tripped: Option<Reason>,
        now: Duration,
        rules: &Rules,
    ) -> Next {
        if epoch != self.epoch {
            return (self, None);
        }
        match (self.mode, outcome) {
            (Mode::Closed { .. }, Outcome::Success | Outcome::Failure) if tripped.is_some() => {
                (self.open(now, rules), tripped)
            }
            (Mode::Closed { failures }, Outcome::Failure) => {
                let failures = (failures + 1).min(MOST);
                match rules.settings.failures.is_some_and(|most| failures >= most) {
                    true => (self.open(now, rules), Some(Reason::Failures)),
                    false => (Self { mode: Mode::Closed { failures }, ..self }, None),
                }
            }
            (Mode::Closed { .. }, Outcome::Success) => {
                (Self { mode: Mode::Closed { failures: 0 }, ..self }, None)
            }
            (Mode::HalfOpen { .. }, Outcome::Failure) => {
                (self.open(now, rules), Some(Reason::ProbeFailed))
            }
            (Mode::HalfOpen { successes, .. }, Outcome::Success)
                if successes + 1 >= rules.settings.probes =>
            {
                let closed = self.next(Mode::Closed { failures: 0 });
                (Self { openings: 0, ..closed }, Some(Reason::ProbesSucceeded))
            }
            (Mode::HalfOpen { out, successes }, outcome) => {
                let successes = successes + u32::from(outcome == Outcome::Success);
                let mode = Mode::HalfOpen { out: out.saturating_sub(1), successes };
                (Self { mode, ..self }, None)
            }
            // An open state has admitted nobody, and a forced one does not listen.
            (Mode::Closed { .. }, Outcome::None) | (Mode::Open { .. } | Mode::Forced { .. }, _) => {
                (self, None)
            }
        }
    }

    /// Held open or closed, or as new and on its own again.
    pub(super) fn force(self, open: Option<bool>) -> Next {
        match (open, self.mode) {
            (Some(open), Mode::Forced { open: before }) if open == before => (self, None),
            (None, Mode::Forced { .. }) => {
                let mode = Mode::Closed { failures: 0 };
                (Self { openings: 0, ..self.next(mode) }, Some(Reason::Auto))
            }
            (None, _) => (self, None),
            (Some(open), _) => (self.next(Mode::Forced { open }), Some(Reason::Forced)),
        }
    }

    fn open(self, now: Duration, rules: &Rules) -> Self {
        let next = self.next(Mode::Open { until: 0 });
        let next = Self { openings: (self.openings + 1).min(OPENINGS), ..next };
        let until = millis_up(now + next.wait(rules)).min(REST_MASK);
        Self { mode: Mode::Open { until }, ..next }
    }

    /// For how long this open state stays open: twice as long each time, up to the settings' most,
    /// and a little longer by chance.
    fn wait(self, rules: &Rules) -> Duration {
        let times = 1_u32 << self.openings.saturating_sub(1).min(OPENINGS);
        let settings = &rules.settings;
        let longest = settings.max_reset_after.max(settings.reset_after);
        let wait = settings.reset_after.saturating_mul(times).min(longest);
        let Some(seed) = rules.seed else { return wait };
        let drawn = Chance::new(seed ^ u64::from(self.epoch)).draw();
        let most = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) / JITTER;
        wait + Duration::from_millis(drawn % (most + 1))
    }

    /// How long it stays open yet. The end was rounded up to a millisecond: nobody is told to wait
    /// for longer than the whole wait because of that.
    pub(super) fn remaining(self, now: Duration, rules: &Rules) -> Duration {
        let Mode::Open { until } = self.mode else { return Duration::ZERO };
        Duration::from_millis(until).saturating_sub(now).min(self.wait(rules))
    }

    fn next(self, mode: Mode) -> Self {
        Self { epoch: (self.epoch + 1) & EPOCH_MASK, openings: self.openings, mode }
    }

    pub(super) fn phase(self) -> Phase {
        match self.mode {
            Mode::Closed { .. } | Mode::Forced { open: false } => Phase::Closed,
            Mode::Open { .. } | Mode::Forced { open: true } => Phase::Open,
            Mode::HalfOpen { .. } => Phase::HalfOpen,
        }
    }

    /// 20 bits of epoch, 4 of openings, 2 of mode, 38 of what the mode knows: a time (8 years of
    /// milliseconds) or two counts of 19 bits.
    pub(super) fn pack(self) -> u64 {
        let pair = |one: u32, two: u32| u64::from(one.min(MOST)) << 19 | u64::from(two.min(MOST));
        let (mode, rest) = match self.mode {
            Mode::Closed { failures } => (0, pair(0, failures)),
            Mode::HalfOpen { out, successes } => (1, pair(out, successes)),
            Mode::Open { until } => (2, until.min(REST_MASK)),
            Mode::Forced { open } => (3, u64::from(open)),
        };
        let openings = u64::from(self.openings.min(OPENINGS));
        u64::from(self.epoch & EPOCH_MASK) << 44 | openings << 40 | mode << 38 | rest
    }

    #[allow(clippy::cast_possible_truncation)] // every part is masked to less than its type has
    pub(super) fn unpack(word: u64) -> Self {
        let rest = word & REST_MASK;
        let (one, two) = ((rest >> 19) as u32, rest as u32 & MOST);
        let mode = match (word >> 38) & 3 {
            0 => Mode::Closed { failures: two },
            1 => Mode::HalfOpen { out: one, successes: two },
            2 => Mode::Open { until: rest },
            _ => Mode::Forced { open: rest == 1 },
        };
        Self { epoch: (word >> 44) as u32, openings: (word >> 40) as u8 & OPENINGS, mode }
    }
}

/// More openings than this wait no longer.
pub(super) const OPENINGS: u8 = (1 << 4) - 1;
pub(super) const EPOCH_MASK: u32 = (1 << 20) - 1;
pub(super) const REST_MASK: u64 = (1 << 38) - 1;

/// Rounded up, so that an open breaker never asks too early.
fn millis_up(time: Duration) -> u64 {
    let whole = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    whole.saturating_add(u64::from(!time.subsec_nanos().is_multiple_of(1_000_000)))
}
