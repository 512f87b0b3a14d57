//! Changes in place: `path = f`, `path |= f`, `path += f`, `path //= f` and `del(path)`, on paths from
//! `.` on.

use std::cell::{Cell, RefCell};

use jaq_core::ValT as _;
use jaq_core::ops::Math;
use jaq_core::val::ValX;

use super::place::{Place, Way, follow, places};
use super::run::{Env, each, one};
use super::stop::Failure;
use super::{One, Plan, Step, Stop};
use crate::mapping::budget::{STEP, charge};
use crate::mapping::pointer::Key;
use crate::mapping::value::{Data, Value};

/// What becomes of a value at a path.
pub(in crate::mapping) enum Change {
    /// Each is replaced by what the plan makes of it; of none, it is removed.
    Each(Box<Plan>),
    /// Each is removed, and what is not there leaves everything as it is.
    Remove,
    /// All become what is computed once from the whole input.
    Set(Box<One>),
    Math(Math, Box<One>),
    Otherwise(Box<One>),
}

pub(super) fn update(
    steps: &[Step],
    change: &Change,
    env: Env<'_>,
    input: Value,
) -> Result<Value, Stop> {
    let computed = match change {
        Change::Each(_) | Change::Remove => Value::NULL,
        Change::Set(one_) | Change::Math(_, one_) | Change::Otherwise(one_) => {
            one(one_, env, input.clone())?
        }
    };
    let places = places(steps, env, &input)?;
    let takes_all = places.last().is_some_and(Place::takes_all);
    if matches!(change, Change::Remove) {
        // All that is meant is looked for first: a path that cannot be followed fails as a path.
        follow(&places, input.clone(), &mut |_| Ok(()))?;
    }
    let walk = Walk { removes: matches!(change, Change::Remove), at: RefCell::default() };
    let result = walk.along(&places, input, &|old| match change {
        Change::Each(plan) => walk.outcomes(plan, env, old, takes_all),
        Change::Remove => Vec::new(),
        Change::Set(_) => vec![Ok(computed.clone())],
        Change::Math(math, _) => vec![math.run(old, computed.clone()).map_err(Into::into)],
        Change::Otherwise(_) => {
            vec![Ok(if old.as_bool() { old } else { computed.clone() })]
        }
    });
    result.map_err(|stop| match stop.get_err() {
        Ok(error) => Stop::Failed(Box::new(Failure { error, at: walk.at.take() })),
        Err(_) => Stop::Enough,
    })
}

type Changed = ValX<'static, Value>;

/// One update, and where it failed: the innermost part of the way first. jaq's errors have no room for it.
struct Walk {
    removes: bool,
    at: RefCell<Vec<Key>>,
}

impl Walk {
    /// What a plan gives for a value, all or the first, with the error last that ended it.
    fn outcomes(&self, plan: &Plan, env: Env<'_>, old: Value, all: bool) -> Vec<Changed> {
        let mut values = Vec::new();
        let ended = each(plan, env, old, &mut |value| {
            charge(STEP)?;
            values.push(Ok(value));
            if all { Ok(()) } else { Err(Stop::Enough) }
        });
        if let Err(Stop::Failed(failure)) = ended {
            self.at.replace(failure.at);
            values.push(Err(failure.error.into()));
        }
        values
    }

    fn along(
        &self,
        places: &[Place<'_>],
        value: Value,
        change: &dyn Fn(Value) -> Vec<Changed>,
    ) -> Changed {
        let Some((place, rest)) = places.split_first() else {
            return Ok(value);
        };
        if self.removes && place.is_missing(&value, rest) {
            return Ok(value);
        }
        let is_array = matches!(value.0, Data::Array(_));
        let begun = Cell::new(0);
        let result = place.update(value, |old| {
            begun.set(begun.get() + 1);
            self.at.borrow_mut().clear();
            let changed =
                if rest.is_empty() { change(old) } else { vec![self.along(rest, old, change)] };
            changed.into_iter()
        });
        if result.is_err() {
            self.leave(place, begun.get(), is_array);
        }
        result
    }

    /// What went wrong at a place, at the last item of those that were begun.
    #[cold]
    fn leave(&self, place: &Place<'_>, begun: usize, is_array: bool) {
        let mut at = self.at.borrow_mut();
        match (begun.checked_sub(1), place.way()) {
            (Some(last), _) if place.takes_all() && is_array => at.push(Key::Item(last)),
            (Some(_), Way::Key(key)) => at.push(key),
            (Some(_), Way::Same) => {}
            // What is there cannot be changed, or nobody knows which of its members could not.
            (None, _) | (_, Way::Unknown) => at.clear(),
        }
    }
}
