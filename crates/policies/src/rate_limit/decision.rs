//! What is asked of a store, and what it says: pure arithmetic over the windows of one key.

use smallvec::SmallVec;

use super::window::{Line, Micros, Window};
use crate::stores::Gateways;

/// One limit's question about one request.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Tier and client; the limit itself is the store's business.
    pub key: &'a [u8],
    pub lines: &'a [Line],
    pub cost: u64,
    /// False: it is counted and told, and refuses nothing.
    pub enforced: bool,
    /// This gateway decides by itself, and keeps to its share.
    pub share: Option<Gateways>,
}

/// One limit's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// This limit has room for the request.
    pub fits: bool,
    /// The line that is nearest to its end, by its place in the tier.
    pub line: usize,
    pub remaining: u64,
    /// Until the request would fit, when it does not; `None`: it never will.
    pub wait: Option<Micros>,
    /// Until the line is whole again.
    pub reset: Micros,
}

/// The answers to one request, in the order of its limits.
pub type Decisions = SmallVec<[Decision; 2]>;

/// True when every limit that is enforced has room.
pub fn is_admitted(asked: &[Asked<'_>], decisions: &[Decision]) -> bool {
    asked.iter().zip(decisions).all(|(asked, decision)| decision.fits || !asked.enforced)
}

/// The windows of one key, one for each line.
pub type Windows = SmallVec<[Window; 1]>;

/// Makes windows fit for a question: as many as there are lines, and nothing that has expired.
pub fn prepare(windows: &mut Windows, lines: &[Line], now: Micros) {
    windows.resize_with(lines.len(), Window::default);
    for (window, line) in windows.iter_mut().zip(lines) {
        let now = window.now(now);
        window.forget(*line, now);
    }
}

/// What these windows say to the request, without charging it.
pub fn look(windows: &Windows, lines: &[Line], cost: u64, now: Micros) -> Decision {
    let lines = windows.iter().zip(lines).enumerate();
    let mut nearest: Option<Decision> = None;
    for (at, (window, line)) in lines {
        let remaining = window.remaining(*line);
        let fits = cost <= remaining;
        let wait = if fits { Some(0) } else { window.wait(*line, cost, now) };
        let here = Decision { fits, line: at, remaining, wait, reset: window.reset(*line, now) };
        if nearest.is_none_or(|known| is_nearer(&here, &known)) {
            nearest = Some(here);
        }
    }
    nearest.unwrap_or(Decision { fits: true, line: 0, remaining: 0, wait: Some(0), reset: 0 })
}

/// A line that refuses comes before one that does not, then the longest wait, then the least left.
pub fn is_nearer(one: &Decision, other: &Decision) -> bool {
    let wait = |decision: &Decision| decision.wait.unwrap_or(Micros::MAX);
    match (one.fits, other.fits) {
        (false, false) => wait(one) > wait(other),
        (true, true) => one.remaining < other.remaining,
        (fits, _) => !fits,
    }
}

/// Charges the request at `at`, which is not before now.
pub fn charge(windows: &mut Windows, lines: &[Line], cost: u64, at: Micros) {
    for (window, line) in windows.iter_mut().zip(lines) {
        window.charge(*line, cost, at);
    }
}

/// Decides and charges a request on one line.
pub fn take(window: &mut Window, line: Line, cost: u64, now: Micros) -> Decision {
    window.forget(line, window.now(now));
    let remaining = window.remaining(line);
    if cost > remaining {
        let (wait, reset) = (window.wait(line, cost, now), window.reset(line, now));
        return Decision { fits: false, line: 0, remaining, wait, reset };
    }
    window.charge(line, cost, now);
    let reset = window.reset(line, now);
    Decision { fits: true, line: 0, remaining: remaining - cost, wait: Some(0), reset }
}
