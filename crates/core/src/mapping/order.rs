//! Sorting that ends when the budget does. A comparison whose budget is spent answers anything, which
//! the standard library's sorts take for a mistake and panic; this one stops.

use std::cmp::Ordering;

use jaq_core::box_iter::box_once;
use jaq_core::native::{Fun, bome};
use jaq_core::{Bind, Exn};

use super::budget::{STEP, charge};
use super::native::{Plain, native};
use super::value::{Data, Error, Value};

/// An item, and the values by which it is ordered.
pub(super) type Keyed = (Vec<Value>, Value);

/// Merge sort: equal items keep their order.
pub(super) fn sorted<T>(
    mut items: Vec<T>,
    compare: &impl Fn(&T, &T) -> Ordering,
) -> Result<Vec<T>, Error> {
    if items.len() < 2 {
        return Ok(items);
    }
    let right = sorted(items.split_off(items.len() / 2), compare)?;
    let left = sorted(items, compare)?;
    let mut out = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(first), Some(second)) = (left.peek(), right.peek()) {
        let order = compare(first, second);
        charge(1)?;
        out.extend(if order == Ordering::Greater { right.next() } else { left.next() });
    }
    out.extend(left.chain(right));
    Ok(out)
}

/// Sorted by their values.
pub(super) fn by_keys(items: Vec<Keyed>) -> Result<Vec<Keyed>, Error> {
    sorted(items, &|(x, _), (y, _)| x.cmp(y))
}

/// Arrays of those items, sorted by them, whose values are the same.
pub(super) fn grouped(items: Vec<Keyed>) -> Result<Vec<Vec<Value>>, Error> {
    let items = by_keys(items)?;
    let groups = items.chunk_by(|(x, _), (y, _)| x == y);
    Ok(groups.map(|group| group.iter().map(|(_, item)| item.clone()).collect()).collect())
}

/// The items of an array, to be ordered.
pub(super) fn items(value: &Value) -> Result<&[Value], Error> {
    let Data::Array(array) = &value.0 else {
        return Err(Error::typ(value.clone(), "array"));
    };
    charge(array.items.len() * STEP)?;
    Ok(&array.items)
}

pub(super) fn sort(value: &Value) -> Result<Value, Error> {
    Ok(Value::from_items(sorted(items(value)?.to_vec(), &Value::cmp)?))
}

/// What jaq calls, in place of its own.
pub(super) fn functions() -> impl Iterator<Item = Fun<Plain>> {
    let by: fn() -> Box<[Bind]> = || [Bind::Fun(())].into();
    let sort_by: Fun<Plain> = jaq_core::native::run(("sort_by", by(), |mut cv| {
        let (program, context) = cv.0.pop_fun();
        let keyed = keyed(&cv.1, |item| program.run((context.clone(), item)).collect());
        let sorted = keyed.and_then(|keyed| Ok(by_keys(keyed)?));
        box_once(sorted.map(|items| Value::array(items.into_iter().map(|(_, item)| item))))
    }));
    let group_by: Fun<Plain> = jaq_core::native::run(("group_by", by(), |mut cv| {
        let (program, context) = cv.0.pop_fun();
        let keyed = keyed(&cv.1, |item| program.run((context.clone(), item)).collect());
        let grouped = keyed.and_then(|keyed| Ok(grouped(keyed)?));
        box_once(grouped.map(|groups| Value::array(groups.into_iter().map(Value::array))))
    }));
    [native("sort", 0, |cv| bome(sort(&cv.1))), sort_by, group_by].into_iter()
}

fn keyed<'a>(
    value: &Value,
    keys: impl Fn(Value) -> Result<Vec<Value>, Exn<'a, Value>>,
) -> Result<Vec<Keyed>, Exn<'a, Value>> {
    let keyed = items(value)?.iter().map(|item| Ok((keys(item.clone())?, item.clone())));
    keyed.collect()
}
