//! How a walk ends early, and where.
//!
//! An error begins at the input of the node that fails. On its way out, every node that had handed on a
//! part of its own input says which part that was; where it had handed on something that it made, the
//! place is the node's own input. So a place may be coarse, and is never wrong.

use super::{Literal, One, Part, Step};
use crate::mapping::pointer::Key;
use crate::mapping::value::Error;

/// Why a walk ended early.
pub(in crate::mapping) enum Stop {
    Failed(Box<Failure>),
    /// Whoever takes the values has enough of them.
    Enough,
}

/// An error, and where in the input it began: the innermost part of the way first.
pub(in crate::mapping) struct Failure {
    pub error: Error,
    pub at: Vec<Key>,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(Box::new(Failure { error, at: Vec::new() }))
    }
}

#[cold]
fn moved(stop: Stop, how: impl FnOnce(&mut Vec<Key>)) -> Stop {
    match stop {
        Stop::Failed(mut failure) => {
            how(&mut failure.at);
            Stop::Failed(failure)
        }
        Stop::Enough => Stop::Enough,
    }
}

impl Stop {
    /// What went wrong in a part of the input.
    pub(super) fn inside(self, key: impl FnOnce() -> Key) -> Self {
        moved(self, |at| at.push(key()))
    }

    /// What went wrong in something that was made of the input.
    pub(super) fn somewhere(self) -> Self {
        moved(self, Vec::clear)
    }

    /// What went wrong in the value that a plan gave.
    pub(super) fn below(self, plan: &One) -> Self {
        moved(self, |at| lead_to(plan, at))
    }

    /// What went wrong between the values of two plans: in what is around both.
    pub(super) fn between(self, left: &One, right: &One) -> Self {
        moved(self, |at| {
            let [mut left_at, mut right_at] = [Vec::new(), Vec::new()];
            lead_to(left, &mut left_at);
            lead_to(right, &mut right_at);
            *at = match (left, right) {
                (One::Literal(_), _) => right_at,
                (_, One::Literal(_)) => left_at,
                _ => {
                    let both = left_at.iter().rev().zip(right_at.iter().rev());
                    let shared = both.take_while(|(left, right)| left == right).count();
                    left_at.split_off(left_at.len() - shared)
                }
            };
        })
    }
}

/// The way from the input to the value that a plan gives, put around `at`.
fn lead_to(plan: &One, at: &mut Vec<Key>) {
    match plan {
        One::Input => {}
        One::Path(base, steps) => {
            walk(steps, at);
            lead_to(base, at);
        }
        One::Pipe(left, right) => {
            lead_to(right, at);
            lead_to(left, at);
        }
        _ => at.clear(),
    }
}

fn walk(steps: &[Step], at: &mut Vec<Key>) {
    for step in steps.iter().rev() {
        match &step.part {
            Part::Member(name) => at.push(Key::Member((&**name).into())),
            Part::Index(One::Literal(Literal::Integer(place))) if *place >= 0 => {
                at.push(Key::Item(place.unsigned_abs()));
            }
            // The first items stand where they stood.
            Part::Slice(None, _) => {}
            Part::Index(_) | Part::Slice(..) | Part::Items => at.clear(),
        }
    }
}
