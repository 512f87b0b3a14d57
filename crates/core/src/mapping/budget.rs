//! What one run may cost. jaq has neither fuel nor a memory cap, but every element it visits,
//! every sum it computes and every string it joins goes through [`Value`](super::Value); so the
//! value pays, and a run whose budget is spent ends with an error. What no value sees pays by
//! [`price`](super::price).
//!
//! Where data says how deep jaq recurses, a run has also so much of its thread's stack, and no more.
//!
//! The purse is a thread's own because operators (`+`, `==`, `collect`) have no room for a context;
//! a run never leaves its thread and never waits.

use std::cell::Cell;

use super::value::Error;

/// What one run may spend: one unit for a byte that is made, [`STEP`] for an element that is
/// visited or a sum that is computed: a million steps (at most about half a second), or 64 MiB.
pub(super) const RUN: usize = 64 * 1024 * 1024;
/// The price of one step.
pub(super) const STEP: usize = 64;

/// How much of its thread's stack a run may use, in bytes: half of what a worker has. The deepest
/// programs fit in ([`programs`](super::program) are bounded), so only data is told by it.
const ROOM: usize = 1024 * 1024;

/// What a spent budget looks like, also to `catch`.
pub(super) const SPENT: &str = "the mapping needs more work than one request may cost";

thread_local! {
    static PURSE: Cell<usize> = const { Cell::new(usize::MAX) };
    /// Where the stack stood when the run began.
    static GROUND: Cell<usize> = const { Cell::new(0) };
}

/// Runs `work` on a fresh budget, and says whether it was enough.
pub(super) fn with<T>(units: usize, work: impl FnOnce() -> T) -> (T, bool) {
    let _outer = Outer(PURSE.replace(units), GROUND.replace(here()));
    let result = work();
    (result, PURSE.get() > 0)
}

/// The budget and the ground of whoever began a run: theirs again after it, also when it panics.
struct Outer(usize, usize);

impl Drop for Outer {
    fn drop(&mut self) {
        PURSE.set(self.0);
        GROUND.set(self.1);
    }
}

/// Takes `units`, or what is left of them; false once nothing is left.
pub(super) fn spend(units: usize) -> bool {
    PURSE.with(|purse| {
        let left = purse.get().saturating_sub(units);
        purse.set(left);
        left > 0
    })
}

/// As [`spend`], where an error can be given.
pub(super) fn charge(units: usize) -> Result<(), Error> {
    if spend(units) { Ok(()) } else { Err(Error::str(SPENT)) }
}

/// As [`charge`] for a step, where each may be a level deeper: running out of stack ends the process.
pub(super) fn descend() -> Result<(), Error> {
    if here().abs_diff(GROUND.get()) > ROOM {
        exhaust();
    }
    charge(STEP)
}

/// About where the stack stands.
fn here() -> usize {
    let mark = 0_u8;
    std::ptr::from_ref(&mark).addr()
}

/// Ends the run where no error can be given.
pub(super) fn exhaust() {
    PURSE.set(0);
}
