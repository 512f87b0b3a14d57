//! `+ - * / %` and unary `-` on values, as jq defines them. Every operation is paid for before it
//! allocates.

use std::ops::{Add, Div, Mul, Neg, Rem, Sub};
use std::rc::Rc;

use jaq_core::ops::Math;
use jaq_json::Num;

use super::budget::{STEP, charge};
use super::number;
use super::order::sorted;
use super::value::{Array, Data, Error, Object, Text, Value};

pub(super) type Outcome = Result<Value, Error>;

fn number(number: Num) -> Outcome {
    Ok(Value(Data::Number(number::computed(number))))
}

fn mismatch(left: Data, operation: Math, right: Data) -> Outcome {
    Err(Error::math(Value(left), operation, Value(right)))
}

impl Add for Value {
    type Output = Outcome;

    /// Numbers add, strings and arrays join, objects merge (the right one's members win), null
    /// changes nothing.
    fn add(self, right: Self) -> Outcome {
        charge(STEP)?;
        match (self.0, right.0) {
            (Data::Null, other) | (other, Data::Null) => Ok(Self(other)),
            (Data::Number(x), Data::Number(y)) => number(x + y),
            (Data::Text(x), Data::Text(y)) => join(x, &y).map(|text| Self(Data::Text(text))),
            (Data::Array(x), Data::Array(y)) => append(x, &y),
            (Data::Object(x), Data::Object(y)) => merge(x, &y),
            (x, y) => mismatch(x, Math::Add, y),
        }
    }
}

/// What of `own` has to be copied, because somebody else still holds it.
fn copied<T>(own: &Rc<T>, length: usize) -> usize {
    if Rc::strong_count(own) == 1 { 0 } else { length }
}

pub(super) fn join(mut left: Text, right: &str) -> Result<Text, Error> {
    charge(left.copied() + right.len())?;
    left.push_str(right);
    Ok(left)
}

fn append(mut left: Rc<Array>, right: &Array) -> Outcome {
    charge((copied(&left, left.items.len()) + right.items.len()) * STEP)?;
    let array = Rc::make_mut(&mut left);
    array.items.extend_from_slice(&right.items);
    array.depth = array.depth.max(right.depth);
    Ok(Value(Data::Array(left)))
}

fn merge(mut left: Rc<Object>, right: &Object) -> Outcome {
    charge((copied(&left, left.members.len()) + right.members.len()) * STEP)?;
    let object = Rc::make_mut(&mut left);
    object.members.extend(right.members.iter().map(|(name, value)| (name.clone(), value.clone())));
    object.depth = object.depth.max(right.depth);
    Ok(Value(Data::Object(left)))
}

/// `*` on objects: members that are objects on both sides merge in turn.
fn merge_deep(mut left: Rc<Object>, right: &Object) -> Outcome {
    charge((copied(&left, left.members.len()) + right.members.len()) * STEP)?;
    let object = Rc::make_mut(&mut left);
    for (name, value) in right.members.iter() {
        let own = object.members.get_mut(name).map(std::mem::take);
        let value = match (own.map(|value| value.0), &value.0) {
            (Some(Data::Object(own)), Data::Object(other)) => merge_deep(own, other)?,
            _ => value.clone(),
        };
        object.members.insert(name.clone(), value);
    }
    object.depth = object.depth.max(right.depth);
    Ok(Value(Data::Object(left)))
}

impl Sub for Value {
    type Output = Outcome;

    /// Numbers subtract; from an array every item that stands in the right one is removed.
    fn sub(self, right: Self) -> Outcome {
        charge(STEP)?;
        match (self.0, right.0) {
            (Data::Number(x), Data::Number(y)) => number(x - y),
            (Data::Array(x), Data::Array(y)) => {
                charge((x.items.len() + y.items.len()) * STEP)?;
                let removed = sorted(y.items.to_vec(), &Self::cmp)?;
                let kept = x.items.iter().filter(|item| removed.binary_search(item).is_err());
                Ok(Self::from_items(kept.cloned().collect()))
            }
            (x, y) => mismatch(x, Math::Sub, y),
        }
    }
}

impl Mul for Value {
    type Output = Outcome;

    /// Numbers multiply, a string repeats (0 times or fewer: null), objects merge deeply.
    fn mul(self, right: Self) -> Outcome {
        charge(STEP)?;
        match (self.0, right.0) {
            (Data::Number(x), Data::Number(y)) => number(x * y),
            (Data::Text(text), Data::Number(n)) | (Data::Number(n), Data::Text(text))
                if number::is_whole(&n) =>
            {
                let times = n.as_isize().unwrap_or(isize::MAX);
                match usize::try_from(times) {
                    Err(_) | Ok(0) => Ok(Self::NULL),
                    Ok(times) => {
                        charge(text.len().saturating_mul(times))?;
                        Ok(Self::string(text.repeat(times)))
                    }
                }
            }
            (Data::Object(x), Data::Object(y)) => merge_deep(x, &y),
            (x, y) => mismatch(x, Math::Mul, y),
        }
    }
}

impl Div for Value {
    type Output = Outcome;

    /// Numbers divide, a string is split at each place where the right one stands.
    fn div(self, right: Self) -> Outcome {
        charge(STEP)?;
        match (self.0, right.0) {
            (Data::Number(x), Data::Number(y)) => number(x / y),
            (Data::Text(x), Data::Text(y)) => split(&x, &y),
            (x, y) => mismatch(x, Math::Div, y),
        }
    }
}

/// An empty separator splits between characters; nothing splits into nothing.
fn split(text: &str, separator: &str) -> Outcome {
    let pieces: Box<dyn Iterator<Item = &str>> = match (text, separator) {
        ("", _) => Box::new(std::iter::empty()),
        (_, "") => Box::new(text.split_inclusive(|_| true)),
        _ => Box::new(text.split(separator)),
    };
    charge(text.len())?;
    pieces.map(|piece| charge(STEP * 2).map(|()| Value::text(piece))).collect()
}

impl Rem for Value {
    type Output = Outcome;

    fn rem(self, right: Self) -> Outcome {
        charge(STEP)?;
        match (self.0, right.0) {
            (Data::Number(x), Data::Number(y))
                if !(number::is_whole(&x) && number::is_whole(&y) && y == Num::Int(0)) =>
            {
                number(x % y)
            }
            (x, y) => mismatch(x, Math::Rem, y),
        }
    }
}

impl Neg for Value {
    type Output = Outcome;

    fn neg(self) -> Outcome {
        charge(STEP)?;
        match self.0 {
            Data::Number(n) => number(-n),
            other => Err(Error::typ(Self(other), "number")),
        }
    }
}
