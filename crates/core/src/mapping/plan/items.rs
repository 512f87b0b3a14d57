//! `sort_by` and its like: what orders the items of an array by what a program makes of each.

use super::run::{Env, collected};
use super::{Plan, Stop};
use crate::mapping::order::{Keyed, by_keys, grouped, items};
use crate::mapping::pointer::Key;
use crate::mapping::value::Value;

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

pub(super) fn ordered(order: Order, by: &Plan, env: Env<'_>, input: &Value) -> Result<Value, Stop> {
    let items = items(input)?.iter().enumerate();
    let keyed = items.map(|(at, item)| {
        let keys = collected(by, env, item.clone());
        Ok((keys.map_err(|stop| stop.inside(|| Key::Item(at)))?, item.clone()))
    });
    let keyed: Vec<Keyed> = keyed.collect::<Result<_, Stop>>()?;
    let best = match order {
        Order::Min => {
            keyed.into_iter().reduce(|best, next| if next.0 < best.0 { next } else { best })
        }
        Order::Max => {
            keyed.into_iter().reduce(|best, next| if next.0 >= best.0 { next } else { best })
        }
        Order::Sort => {
            return Ok(Value::array(by_keys(keyed)?.into_iter().map(|(_, item)| item)));
        }
        Order::Group => {
            return Ok(Value::array(grouped(keyed)?.into_iter().map(Value::array)).checked()?);
        }
        Order::Unique => {
            let groups = grouped(keyed)?.into_iter();
            return Ok(Value::array(groups.filter_map(|group| group.into_iter().next())));
        }
    };
    Ok(best.map(|(_, item)| item).unwrap_or_default())
}
