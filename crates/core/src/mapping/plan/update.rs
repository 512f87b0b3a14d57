//! Changes in place: `path = f`, `path |= f`, `path += f`, `path //= f` and `del(path)`, on paths
//! whose parts are constants or variables.

use jaq_core::ValT as _;
use jaq_core::ops::Math;
use jaq_core::path::Opt;
use jaq_core::val::ValX;

use super::run::{Env, each, one};
use super::{One, Part, Plan, Step, Stop};
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

/// A part of a path with its index computed.
struct Place {
    part: Known,
    opt: Opt,
}

enum Known {
    Index(Value),
    Slice(Option<Value>, Option<Value>),
    Items,
}

pub(super) fn update(
    steps: &[Step],
    change: &Change,
    env: Env<'_>,
    input: Value,
) -> Result<Value, Stop> {
    let places = steps.iter().map(|step| place(step, env)).collect::<Result<Vec<_>, Stop>>()?;
    let computed = match change {
        Change::Each(_) => Value::NULL,
        Change::Set(one_) | Change::Math(_, one_) | Change::Otherwise(one_) => {
            one(one_, env, input.clone())?
        }
    };
    let result = walk(&places, input, &|old| match change {
        Change::Each(plan) => outcomes(plan, env, old),
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

/// What a plan gives for a value, with the error last that ended it.
fn outcomes(plan: &Plan, env: Env<'_>, old: Value) -> Vec<ValX<'static, Value>> {
    let mut values = Vec::new();
    let ended = each(plan, env, old, &mut |value| {
        values.push(Ok(value));
        Ok(())
    });
    if let Err(Stop::Failed(error)) = ended {
        values.push(Err(error.into()));
    }
    values
}

/// Constants and variables do not read their input.
fn place(step: &Step, env: Env<'_>) -> Result<Place, Stop> {
    let known = |index: &One| one(index, env, Value::NULL);
    let end = |end: &Option<One>| end.as_ref().map(known).transpose();
    let part = match &step.part {
        Part::Member(name) => Known::Index(Value::text(name)),
        Part::Index(index) => Known::Index(known(index)?),
        Part::Slice(from, to) => Known::Slice(end(from)?, end(to)?),
        Part::Items => Known::Items,
    };
    Ok(Place { part, opt: step.opt })
}

fn walk(
    places: &[Place],
    value: Value,
    change: &dyn Fn(Value) -> Vec<ValX<'static, Value>>,
) -> ValX<'static, Value> {
    let Some((place, rest)) = places.split_first() else {
        return Ok(value);
    };
    let inner =
        |old| if rest.is_empty() { change(old) } else { vec![walk(rest, old, change)] }.into_iter();
    match &place.part {
        Known::Index(index) => value.map_index(index, place.opt, inner),
        Known::Slice(from, to) => value.map_range(from.as_ref()..to.as_ref(), place.opt, inner),
        Known::Items => value.map_values(place.opt, inner),
    }
}
