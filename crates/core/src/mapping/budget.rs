//! What one run may cost. jaq has neither fuel nor a memory cap, but every element it visits,
//! every sum it computes and every string it joins goes through [`Value`](super::Value); so the
//! value pays, and a run whose budget is spent ends with an error. What no value sees pays by
//! [`price`](super::price).
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

/// What a spent budget looks like, also to `catch`.
pub(super) const SPENT: &str = "the mapping needs more work than one request may cost";

thread_local! {
    static PURSE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Runs `work` on a fresh budget, and says whether it was enough.
pub(super) fn with<T>(units: usize, work: impl FnOnce() -> T) -> (T, bool) {
    let _outer = Outer(PURSE.replace(units));
    let result = work();
    (result, PURSE.get() > 0)
}

/// The budget of whoever began a run: theirs again after it, also when it panics.
struct Outer(usize);

impl Drop for Outer {
    fn drop(&mut self) {
        PURSE.set(self.0);
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

/// Ends the run where no error can be given.
pub(super) fn exhaust() {
    PURSE.set(0);
}
