//! Changes in place: `path = f`, `path |= f`, `path += f`, `path //= f` and `del(path)`, on paths
//! whose parts are constants or variables.

use jaq_core::ValT as _;
use jaq_core::ops::Math;
use jaq_core::val::ValX;

use super::place::{Place, places};
use super::run::{Env, each, one};
use super::{One, Plan, Step, Stop};
use crate::mapping::budget::{STEP, charge};
use crate::mapping::value::Value;

/// What becomes of a value at a path.
pub(in crate::mapping) enum Change {
    /// Each is replaced by what the plan makes of it; of none, it is removed.
    Each(Box<Plan>),
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
    let places = places(steps, env, &input)?;
    let takes_all = places.last().is_some_and(Place::takes_all);
    let computed = match change {
        Change::Each(_) => Value::NULL,
        Change::Set(one_) | Change::Math(_, one_) | Change::Otherwise(one_) => {
            one(one_, env, input.clone())?
        }
    };
    let result = walk(&places, input, &|old| match change {
        Change::Each(plan) => outcomes(plan, env, old, takes_all),
        Change::Set(_) => vec![Ok(computed.clone())],
        Change::Math(math, _) => vec![math.run(old, computed.clone()).map_err(Into::into)],
        Change::Otherwise(_) => {
            vec![Ok(if old.as_bool() { old } else { computed.clone() })]
        }
    });
    result.map_err(|stop| match stop.get_err() {
        Ok(error) => Stop::Failed(error),
        Err(_) => Stop::Enough,
    })
}

/// What a plan gives for a value, all or the first, with the error last that ended it.
fn outcomes(plan: &Plan, env: Env<'_>, old: Value, all: bool) -> Vec<ValX<'static, Value>> {
    let mut values = Vec::new();
    let ended = each(plan, env, old, &mut |value| {
        charge(STEP)?;
        values.push(Ok(value));
        if all { Ok(()) } else { Err(Stop::Enough) }
    });
    if let Err(Stop::Failed(error)) = ended {
        values.push(Err(error.into()));
    }
    values
}

fn walk(
    places: &[Place<'_>],
    value: Value,
    change: &dyn Fn(Value) -> Vec<ValX<'static, Value>>,
) -> ValX<'static, Value> {
    let Some((place, rest)) = places.split_first() else {
        return Ok(value);
    };
    place.update(value, |old| {
        if rest.is_empty() { change(old) } else { vec![walk(rest, old, change)] }.into_iter()
    })
}
