//! The parts of a path with their indices computed: once for a path, from the input of the whole, and
//! before anything is looked up, as jaq does it.

use jaq_core::ValT as _;
use jaq_core::path::Opt;
use jaq_core::val::ValX;
use smallvec::SmallVec;

use super::run::{Env, one};
use super::{One, Part, Sink, Step, Stop};
use crate::mapping::access::no_items;
use crate::mapping::arithmetic::Outcome;
use crate::mapping::budget::{STEP, charge};
use crate::mapping::pointer::Key;
use crate::mapping::value::{Data, Value};

pub(super) struct Place<'p> {
    part: Known<'p>,
    opt: Opt,
}

enum Known<'p> {
    Member(&'p str),
    Index(Value),
    Slice(Option<Value>, Option<Value>),
    Items,
}

/// Most paths are shorter.
pub(super) type Places<'p> = SmallVec<[Place<'p>; 4]>;

pub(super) fn places<'p>(
    steps: &'p [Step],
    env: Env<'_>,
    input: &Value,
) -> Result<Places<'p>, Stop> {
    let known = |index: &One| one(index, env, input.clone());
    let end = |end: &Option<One>| end.as_ref().map(known).transpose();
    let place = |step: &'p Step| {
        let part = match &step.part {
            Part::Member(name) => Known::Member(name),
            Part::Index(index) => Known::Index(known(index)?),
            Part::Slice(from, to) => Known::Slice(end(from)?, end(to)?),
            Part::Items => Known::Items,
        };
        Ok(Place { part, opt: step.opt })
    };
    steps.iter().map(place).collect()
}

/// `.name`
pub(super) fn member(name: &str, value: Value) -> Outcome {
    match &value.0 {
        Data::Object(object) => Ok(object.members.get(name).cloned().unwrap_or_default()),
        _ => value.index(&Value::text(name)),
    }
}

/// What a place adds to the way of what stands there.
pub(super) enum Way {
    Key(Key),
    /// It is a part that begins where the whole does.
    Same,
    Unknown,
}

impl Place<'_> {
    pub(super) fn way(&self) -> Way {
        match &self.part {
            Known::Member(name) => Way::Key(Key::Member((*name).into())),
            Known::Index(Value(Data::Text(name))) => Way::Key(Key::Member(name.clone())),
            Known::Index(Value(Data::Number(at))) => {
                let at = at.as_isize().and_then(|at| usize::try_from(at).ok());
                at.map_or(Way::Unknown, |at| Way::Key(Key::Item(at)))
            }
            Known::Slice(None, _) => Way::Same,
            Known::Index(_) | Known::Slice(..) | Known::Items => Way::Unknown,
        }
    }

    /// What stands there; of items, the whole.
    pub(super) fn take(&self, value: Value) -> Outcome {
        match &self.part {
            Known::Member(name) => member(name, value),
            Known::Index(index) => value.index(index),
            Known::Slice(from, to) => value.range(from.as_ref()..to.as_ref()),
            Known::Items => Ok(value),
        }
    }

    /// Whether it, or the rest of a path that can be followed, could be there and is not.
    pub(super) fn is_missing(&self, value: &Value, rest: &[Self]) -> bool {
        match &self.part {
            Known::Member(name) => matches!(value.find(&Value::text(name)), Ok(None)),
            Known::Index(index) => matches!(value.find(index), Ok(None)),
            Known::Slice(..) => match &value.0 {
                Data::Null => true,
                Data::Text(_) => !rest.iter().all(|place| matches!(place.part, Known::Slice(..))),
                _ => false,
            },
            Known::Items => false,
        }
    }

    /// Whether all that a change gives is taken, and not only the first.
    pub(super) fn takes_all(&self) -> bool {
        matches!(self.part, Known::Items)
    }

    pub(super) fn update<I: Iterator<Item = ValX<'static, Value>>>(
        &self,
        value: Value,
        change: impl Fn(Value) -> I,
    ) -> ValX<'static, Value> {
        match &self.part {
            Known::Member(name) => value.map_index(&Value::text(name), self.opt, change),
            Known::Index(index) => value.map_index(index, self.opt, change),
            Known::Slice(from, to) => value.map_range(from.as_ref()..to.as_ref(), self.opt, change),
            Known::Items => value.map_values(self.opt, change),
        }
    }
}

/// The way along these places, put around what went wrong behind them.
#[cold]
pub(super) fn around(places: &[Place<'_>], stop: Stop) -> Stop {
    places.iter().rev().fold(stop, |stop, place| match place.way() {
        Way::Key(key) => stop.inside(|| key),
        Way::Same => stop,
        Way::Unknown => stop.somewhere(),
    })
}

/// Hands on everything at a path below `value`. What is in the way of an optional part is passed over.
pub(super) fn follow(places: &[Place<'_>], value: Value, sink: Sink<'_>) -> Result<(), Stop> {
    let mut value = value;
    for (at, place) in places.iter().enumerate() {
        let before = || places.get(..at).unwrap_or_default();
        if !place.takes_all() {
            value = match (place.take(value), place.opt) {
                (Ok(found), _) => found,
                (Err(_), Opt::Optional) => return Ok(charge(STEP)?),
                (Err(error), Opt::Essential) => return Err(around(before(), error.into())),
            };
            continue;
        }
        let rest = places.get(at + 1..).unwrap_or_default();
        let ended = match (&value.0, place.opt) {
            (Data::Array(array), _) => array.items.iter().enumerate().try_for_each(|(at, item)| {
                charge(STEP)?;
                follow(rest, item.clone(), sink).map_err(|stop| stop.inside(|| Key::Item(at)))
            }),
            (Data::Object(object), _) => {
                // `empty` is `{}[]`, so that going nowhere costs something too.
                charge(STEP)?;
                object.members.iter().try_for_each(|(name, item)| {
                    charge(STEP)?;
                    let inside = || Key::Member(name.clone());
                    follow(rest, item.clone(), sink).map_err(|stop| stop.inside(inside))
                })
            }
            (_, Opt::Optional) => Ok(charge(STEP)?),
            (_, Opt::Essential) => Err(no_items(value.clone()).into()),
        };
        return ended.map_err(|stop| around(before(), stop));
    }
    sink(value).map_err(|stop| around(places, stop))
}
