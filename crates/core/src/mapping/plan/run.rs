//! Walking a plan.

use jaq_core::ValT as _;

use super::functions::text as literal;
use super::items::ordered;
use super::place::{around, follow, member, places};
use super::update::update;
use super::{Literal, Many, Name, One, Part, Plan, Sink, Step, Stop, Variable};
use crate::mapping::arithmetic::join;
use crate::mapping::budget::{STEP, charge};
use crate::mapping::members::Members;
use crate::mapping::program::jaq;
use crate::mapping::value::{Data, Error, Text, Value};

/// The variables that a plan may read.
#[derive(Clone, Copy)]
pub(super) struct Env<'e> {
    given: &'e [Value],
    bound: Option<&'e Binding<'e>>,
}

struct Binding<'e> {
    value: Value,
    outer: Option<&'e Binding<'e>>,
}

impl Env<'_> {
    fn get(&self, variable: &Variable) -> Value {
        match variable {
            Variable::Given(at) => self.given.get(*at).cloned().unwrap_or_default(),
            Variable::Bound(ago) => {
                let mut binding = self.bound;
                for _ in 0..*ago {
                    binding = binding.and_then(|binding| binding.outer);
                }
                binding.map(|binding| binding.value.clone()).unwrap_or_default()
            }
        }
    }

    fn with<T>(self, value: Value, work: impl FnOnce(Env<'_>) -> T) -> T {
        let binding = Binding { value, outer: self.bound };
        work(Env { given: self.given, bound: Some(&binding) })
    }
}

/// Runs a program; `sink` takes its values, and may say that it has enough.
pub(in crate::mapping) fn run(
    plan: &Plan,
    given: &[Value],
    input: Value,
    sink: Sink<'_>,
) -> Result<(), Stop> {
    each(plan, Env { given, bound: None }, input, sink)
}

/// All values of a plan.
pub(super) fn collected(plan: &Plan, env: Env<'_>, input: Value) -> Result<Vec<Value>, Stop> {
    let mut values = Vec::new();
    each(plan, env, input, &mut |value| {
        charge(STEP)?;
        values.push(value);
        Ok(())
    })?;
    Ok(values)
}

/// Whether a plan gives a value for which `wanted` holds; what comes after it is not computed.
fn finds(
    plan: &Plan,
    env: Env<'_>,
    input: Value,
    mut wanted: impl FnMut(Value) -> Result<bool, Stop>,
) -> Result<bool, Stop> {
    let mut found = false;
    let ended = each(plan, env, input, &mut |value| {
        found = wanted(value)?;
        if found { Err(Stop::Enough) } else { Ok(()) }
    });
    if found { Ok(true) } else { ended.map(|()| false) }
}

pub(super) fn each(plan: &Plan, env: Env<'_>, input: Value, sink: Sink<'_>) -> Result<(), Stop> {
    match plan {
        Plan::One(plan) => sink(one(plan, env, input)?).map_err(|stop| stop.below(plan)),
        Plan::Many(plan) => many(plan, env, input, sink),
    }
}

fn many(plan: &Many, env: Env<'_>, input: Value, sink: Sink<'_>) -> Result<(), Stop> {
    match plan {
        Many::Empty => Ok(charge(STEP)?),
        Many::Path(base, steps) => {
            let whole = input.clone();
            each(base, env, input, &mut |value| {
                let places = places(steps, env, &whole).map_err(Stop::somewhere)?;
                follow(&places, value, sink)
            })
        }
        Many::Comma(left, right) => {
            charge(STEP)?;
            each(left, env, input.clone(), sink)?;
            each(right, env, input, sink)
        }
        Many::Pipe(left, right) => {
            each(left, env, input, &mut |value| each(right, env, value, sink))
        }
        Many::Bind(left, right) => beside(left, env, &input, &mut |value| {
            env.with(value, |env| each(right, env, input.clone(), sink))
        }),
        Many::Alternative(left, right) => {
            let mut found = false;
            each(left, env, input.clone(), &mut |value| {
                found |= value.as_bool();
                if value.as_bool() { sink(value) } else { Ok(charge(STEP)?) }
            })?;
            if found { Ok(()) } else { each(right, env, input, sink) }
        }
        Many::If(condition, then, otherwise) => beside(condition, env, &input, &mut |holds| {
            let next = if holds.as_bool() { then } else { otherwise };
            each(next, env, input.clone(), sink)
        }),
        Many::Try(plan, catch) => attempt(plan, catch, env, input, sink),
        Many::Select(condition) => beside(condition, env, &input, &mut |holds| {
            if holds.as_bool() { sink(input.clone()) } else { Ok(charge(STEP)?) }
        }),
        Many::First(plan) => {
            let mut first = None;
            finds(plan, env, input, |value| {
                first = Some(value);
                Ok(true)
            })?;
            first.map_or(Ok(()), sink).map_err(Stop::somewhere)
        }
        Many::Last(plan) => {
            let mut last = None;
            each(plan, env, input, &mut |value| {
                charge(STEP)?;
                last = Some(value);
                Ok(())
            })?;
            last.map_or(Ok(()), sink).map_err(Stop::somewhere)
        }
        Many::Combined(operands, node) => combined(operands, node, (env, env), &input, sink),
        Many::Leaf(leaf) => jaq(leaf, Vec::new(), input, sink).map_err(Stop::somewhere),
    }
}

/// Hands on the values of a plan, and keeps apart what fails beyond them.
fn apart(
    plan: &Plan,
    env: Env<'_>,
    input: Value,
    sink: Sink<'_>,
) -> (Result<(), Stop>, Option<Stop>) {
    let mut beyond = None;
    let ended = each(plan, env, input, &mut |value| {
        sink(value).map_err(|stop| {
            beyond = Some(stop);
            Stop::Enough
        })
    });
    (ended, beyond)
}

/// Hands on the values of a plan to what reads the same input.
fn beside(plan: &Plan, env: Env<'_>, input: &Value, sink: Sink<'_>) -> Result<(), Stop> {
    let (ended, beyond) = apart(plan, env, input.clone(), sink);
    beyond.map_or(ended, Err)
}

/// Runs `node` for every combination of what the operands give, the last changing fastest: those that
/// are `bound` already, and those that are still to run, in `env`. Without a combination there is no
/// error either: `error("x") + empty` is empty.
fn combined(
    operands: &[Plan],
    node: &Plan,
    (env, bound): (Env<'_>, Env<'_>),
    input: &Value,
    sink: Sink<'_>,
) -> Result<(), Stop> {
    let Some((first, rest)) = operands.split_first() else {
        return each(node, bound, input.clone(), sink);
    };
    let (ended, beyond) = apart(first, env, input.clone(), &mut |value| {
        bound.with(value, |bound| combined(rest, node, (env, bound), input, sink))
    });
    let nothing = |plan| matches!(finds(plan, env, input.clone(), |_| Ok(true)), Ok(false));
    match (ended, beyond) {
        (_, Some(stop)) => Err(stop),
        (Err(Stop::Failed(_)), None) if rest.iter().any(nothing) => Ok(()),
        (ended, None) => ended,
    }
}

/// Only what `plan` fails with is caught, not what fails in those who take its values.
fn attempt(
    plan: &Plan,
    catch: &Plan,
    env: Env<'_>,
    input: Value,
    sink: Sink<'_>,
) -> Result<(), Stop> {
    match apart(plan, env, input, sink) {
        (_, Some(stop)) => Err(stop.somewhere()),
        (Err(Stop::Failed(failure)), None) => {
            each(catch, env, failure.error.into_val(), sink).map_err(Stop::somewhere)
        }
        (ended, None) => ended,
    }
}

pub(super) fn one(plan: &One, env: Env<'_>, input: Value) -> Result<Value, Stop> {
    Ok(match plan {
        One::Input => input,
        One::Literal(literal) => literal.value()?,
        One::Variable(variable) => env.get(variable),
        One::Text(pieces) => text(pieces, env, &input)?,
        One::Array(items) => Value::from_items(collected(items, env, input)?).checked()?,
        One::Object(members) => object(members, env, &input)?,
        One::Path(base, steps) => {
            let mut value = one(base, env, input.clone())?;
            // Most paths have one part, which needs no computing.
            if let [Step { part: Part::Member(name), .. }] = steps.as_slice() {
                return member(name, value).map_err(|error| Stop::from(error).below(base));
            }
            let places = places(steps, env, &input)?;
            for (at, place) in places.iter().enumerate() {
                let before = || places.get(..at).unwrap_or_default();
                let found = place.take(value);
                value = found.map_err(|error| around(before(), error.into()).below(base))?;
            }
            value
        }
        One::Negated(plan) => {
            let negated = -one(plan, env, input)?;
            negated.map_err(|error| Stop::from(error).below(plan))?
        }
        One::Pipe(left, right) => {
            let value = one(left, env, input)?;
            one(right, env, value).map_err(|stop| stop.below(left))?
        }
        One::Bind(left, right) => {
            let value = one(left, env, input.clone())?;
            env.with(value, |env| one(right, env, input))?
        }
        One::Alternative(left, right) => {
            let value = one(left, env, input.clone())?;
            if value.as_bool() { value } else { one(right, env, input)? }
        }
        One::Math(left, operation, right) => {
            let result = operation.run(one(left, env, input.clone())?, one(right, env, input)?);
            result.map_err(|error| Stop::from(error).between(left, right))?
        }
        One::Compare(left, operation, right) => {
            let left = one(left, env, input.clone())?;
            Value::boolean(operation.run(&left, &one(right, env, input)?))
        }
        One::Logic(left, stop, right) => {
            let left = one(left, env, input.clone())?.as_bool();
            let holds = if left == *stop { left } else { one(right, env, input)?.as_bool() };
            Value::boolean(holds)
        }
        One::If(condition, then, otherwise) => {
            let holds = one(condition, env, input.clone())?.as_bool();
            one(if holds { then } else { otherwise }, env, input)?
        }
        _ => return whole(plan, env, input),
    })
}

/// The nodes that walk over many values, and those that call functions.
fn whole(plan: &One, env: Env<'_>, input: Value) -> Result<Value, Stop> {
    Ok(match plan {
        One::Try(plan, catch) => match one(plan, env, input) {
            Err(Stop::Failed(failure)) => {
                one(catch, env, failure.error.into_val()).map_err(Stop::somewhere)?
            }
            ended => ended?,
        },
        One::Reduce(items, start, step) => {
            let mut state = one(start, env, input.clone())?;
            each(items, env, input, &mut |item| {
                charge(STEP)?;
                let before = std::mem::take(&mut state);
                // What fails in the state fails at the item.
                let after = env.with(item, |env| one(step, env, before));
                state = after.map_err(Stop::somewhere)?;
                Ok(())
            })?;
            state
        }
        One::Sum(items) => {
            let mut sum = Value::NULL;
            each(items, env, input, &mut |item| {
                sum = (std::mem::take(&mut sum) + item)?;
                Ok(())
            })?;
            sum
        }
        One::Quantified(items, stop, condition) => {
            let stopped = finds(items, env, input, |item| {
                finds(condition, env, item, |holds| {
                    charge(STEP)?;
                    Ok(holds.as_bool() == *stop)
                })
            })?;
            Value::boolean(stopped == *stop)
        }
        One::IsEmpty(plan) => Value::boolean(!finds(plan, env, input, |_| Ok(true))?),
        One::Ordered(order, by) => ordered(*order, by, env, &input)?,
        One::Update(path, change) => update(path, change, env, input)?,
        One::Fail(value) => return Err(Error::new(one(value, env, input)?).into()),
        One::Unary(function) => function(input)?,
        One::Binary(function, argument) => {
            let argument = one(argument, env, input.clone())?;
            function(input, argument)?
        }
        One::Leaf(leaf) => {
            let mut value = Value::NULL;
            jaq(leaf, Vec::new(), input, &mut |output| {
                value = output;
                Ok(())
            })?;
            value
        }
        _ => input,
    })
}

fn text(pieces: &[One], env: Env<'_>, input: &Value) -> Result<Value, Stop> {
    let mut out = Text::default();
    for piece in pieces {
        out = match piece {
            One::Literal(Literal::Text(text)) => join(out, text)?,
            piece => {
                let piece = one(piece, env, input.clone())?.into_string();
                join(out, piece.as_str().unwrap_or_default())?
            }
        };
    }
    Ok(Value(Data::Text(out)))
}

fn object(members: &[(Name, One)], env: Env<'_>, input: &Value) -> Result<Value, Stop> {
    let mut out = Members::with_capacity(members.len());
    for (name, value) in members {
        charge(STEP)?;
        // The value is computed before the name is looked at, as in jaq: the first error counts.
        let (name, value) = match name {
            Name::Fixed(name) => (literal(name)?, one(value, env, input.clone())?),
            Name::Computed(name) => {
                let name = one(name, env, input.clone())?;
                let value = one(value, env, input.clone())?;
                match name.0 {
                    Data::Text(name) => (name, value),
                    other => return Err(Error::typ(Value(other), "the name of a member").into()),
                }
            }
        };
        out.insert(name, value);
    }
    Ok(Value::from_members(out).checked()?)
}
