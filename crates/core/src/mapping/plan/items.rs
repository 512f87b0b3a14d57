//! `sort_by` and its like: what orders the items of an array by what a program makes of each.

use super::run::{Env, collected};
use super::{Plan, Stop};
use crate::mapping::budget::{STEP, charge};
use crate::mapping::value::{Data, Error, Value};

#[derive(Clone, Copy)]
pub(in crate::mapping) enum Order {
    Sort,
    Group,
    Unique,
    Min,
    Max,
}

impl Order {
    /// By the function's name, without its `_by`.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "sort" => Self::Sort,
            "group" => Self::Group,
            "unique" => Self::Unique,
            "min" => Self::Min,
            "max" => Self::Max,
            _ => return None,
        })
    }
}

/// An item, and the values by which it is ordered.
type Keyed = (Vec<Value>, Value);

pub(super) fn ordered(order: Order, by: &Plan, env: Env<'_>, input: Value) -> Result<Value, Stop> {
    let Data::Array(array) = &input.0 else {
        return Err(Error::typ(input, "array").into());
    };
    charge(array.items.len() * STEP)?;
    // As jaq does it: what is alone is not looked at.
    if let (Order::Sort, 0 | 1) = (order, array.items.len()) {
        return Ok(input);
    }
    let items = array.items.iter();
    let keyed = items.map(|item| Ok((collected(by, env, item.clone())?, item.clone())));
    let mut keyed: Vec<Keyed> = keyed.collect::<Result<_, Stop>>()?;
    let value = match order {
        Order::Min => {
            keyed.into_iter().reduce(|best, next| if next.0 < best.0 { next } else { best })
        }
        Order::Max => {
            keyed.into_iter().reduce(|best, next| if next.0 >= best.0 { next } else { best })
        }
        Order::Sort | Order::Group | Order::Unique => {
            keyed.sort_by(|(x, _), (y, _)| x.cmp(y));
            let groups = keyed.chunk_by(|(x, _), (y, _)| x == y);
            return Ok(match order {
                Order::Sort => Value::array(keyed.into_iter().map(|(_, item)| item)),
                Order::Group => Value::array(
                    groups.map(|group| Value::array(group.iter().map(|(_, item)| item.clone()))),
                )
                .checked()?,
                _ => Value::array(groups.filter_map(|group| Some(group.first()?.1.clone()))),
            });
        }
    };
    Ok(value.map(|(_, item)| item).unwrap_or_default())
}
