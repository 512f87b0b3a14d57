//! What jaq asks of a value: construction, paths into it, and updates along them. Where jaq and jq
//! differ (a member set in null, slices of null), this is jq.

use std::rc::Rc;

use jaq_core::path::Opt;
use jaq_core::val::{Range, ValX};
use jaq_json::Num;

use super::arithmetic::Outcome;
use super::budget::{self, STEP, charge};
use super::members::Members;
use super::number;
use super::value::{Array, DEPTH_MADE, Data, Error, Object, Text, Value};
use super::write;

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::boolean(value)
    }
}

impl From<isize> for Value {
    fn from(number: isize) -> Self {
        Self(Data::Number(Num::Int(number)))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self(Data::Number(Num::from_integral(number)))
    }
}

impl From<f64> for Value {
    fn from(float: f64) -> Self {
        Self(Data::Number(Num::Float(float)))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::made(text)
    }
}

/// How a slice stands in a path: `{"start": 1, "end": 2}`.
impl From<Range<Self>> for Value {
    fn from(range: Range<Self>) -> Self {
        let ends = [("start", range.start), ("end", range.end)];
        Self::object(ends.into_iter().filter_map(|(name, end)| Some((name, end?))))
    }
}

/// Collects until the budget is spent; the run then fails.
impl FromIterator<Self> for Value {
    fn from_iter<T: IntoIterator<Item = Self>>(items: T) -> Self {
        let paid = items.into_iter().take_while(|_| budget::spend(STEP));
        let value = Self::from_items(paid.collect());
        value.checked().unwrap_or_else(|_| {
            budget::exhaust();
            Self::NULL
        })
    }
}

type Pairs = Box<dyn Iterator<Item = Result<(Value, Value), Error>>>;

impl jaq_core::ValT for Value {
    fn from_num(text: &str) -> Outcome {
        Ok(Self(Data::Number(number::literal(text))))
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(pairs: I) -> Outcome {
        let mut members = Members::default();
        for (name, value) in pairs {
            charge(STEP)?;
            match name.0 {
                Data::Text(name) => members.insert(name, value),
                _ => return Err(Error::typ(name, "the name of a member")),
            };
        }
        Self::from_members(members).checked()
    }

    fn key_values(self) -> Pairs {
        match self.0 {
            Data::Array(array) => Box::new((0..array.items.len()).map(move |at| {
                charge(STEP)?;
                Ok((Self::from(at), array.items.get(at).cloned().unwrap_or_default()))
            })),
            Data::Object(object) => Box::new((0..object.members.len()).map(move |at| {
                charge(STEP)?;
                let member = object.members.get_index(at).map(|(k, v)| (k.clone(), v.clone()));
                let (name, value) = member.unwrap_or_default();
                Ok((Self(Data::Text(name)), value))
            })),
            other => Box::new(std::iter::once(Err(no_items(Self(other))))),
        }
    }

    fn values(self) -> Box<dyn Iterator<Item = Outcome>> {
        match self.0 {
            Data::Array(array) => Box::new((0..array.items.len()).map(move |at| {
                charge(STEP)?;
                Ok(array.items.get(at).cloned().unwrap_or_default())
            })),
            Data::Object(object) => {
                // `empty` is `{}[]`, so that going nowhere costs something too.
                budget::spend(STEP);
                Box::new((0..object.members.len()).map(move |at| {
                    charge(STEP)?;
                    Ok(object.members.get_index(at).map(|(_, v)| v.clone()).unwrap_or_default())
                }))
            }
            other => Box::new(std::iter::once(Err(no_items(Self(other))))),
        }
    }

    fn index(self, index: &Self) -> Outcome {
        Ok(self.find(index)?.unwrap_or_default())
    }

    fn range(self, range: Range<&Self>) -> Outcome {
        match &self.0 {
            Data::Null => Ok(Self::NULL),
            Data::Array(array) => {
                let (from, to) = bounds(&range, array.items.len())?;
                charge((to - from) * STEP)?;
                Ok(Self::from_items(array.items.get(from..to).unwrap_or_default().to_vec()))
            }
            Data::Text(text) => {
                charge(text.len())?;
                let (from, to) = bounds(&range, text.chars().count())?;
                Ok(Self::string(text.chars().skip(from).take(to - from).collect()))
            }
            _ => Err(Error::typ(self, "something to cut (array or string)")),
        }
    }

    fn map_values<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        match self.0 {
            Data::Array(array) => {
                let items = Rc::unwrap_or_clone(array).items;
                charge(items.len() * STEP)?;
                let items: Vec<_> = items.into_iter().flat_map(f).collect::<Result<_, _>>()?;
                Ok(Self::from_items(items).checked()?)
            }
            Data::Object(object) => {
                let members = Rc::unwrap_or_clone(object).members;
                charge(members.len() * STEP)?;
                let mapped = members
                    .into_iter()
                    .filter_map(|(name, value)| Some(f(value).next()?.map(|value| (name, value))));
                Ok(Self::from_members(mapped.collect::<Result<_, _>>()?).checked()?)
            }
            other => opt.fail(Self(other), |value| no_items(value).into()),
        }
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        index: &Self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        charge(STEP)?;
        match (self.0, &index.0) {
            (Data::Object(object), Data::Text(name)) => set_member(object, name, f),
            (Data::Null, Data::Text(name)) => set_member(Rc::default(), name, f),
            (Data::Array(array), Data::Number(at)) => {
                match position(at, array.items.len()).filter(|at| *at < array.items.len()) {
                    Some(at) => set_item(array, at, f),
                    None => opt.fail(Self(Data::Array(array)), |_| {
                        Error::str(format_args!("there is no item {index:#}")).into()
                    }),
                }
            }
            (data @ (Data::Array(_) | Data::Text(_)), Data::Object(slice)) => {
                let range = slice.members.get("start")..slice.members.get("end");
                Self(data).map_range(range, opt, f)
            }
            (other, _) => opt.fail(Self(other), |value| Error::index(value, index.clone()).into()),
        }
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        range: Range<&Self>,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        let Data::Array(mut array) = self.0 else {
            return opt.fail(self, |value| Error::typ(value, "array").into());
        };
        let (from, to) = match bounds(&range, array.items.len()) {
            Ok(bounds) => bounds,
            Err(error) => return opt.fail(Self(Data::Array(array)), |_| error.into()),
        };
        charge(array.items.len() * STEP)?;
        let part = Self::from_items(array.items.get(from..to).unwrap_or_default().to_vec());
        let new = match f(part).next().transpose()?.map(|value| value.0) {
            None => Rc::default(),
            Some(Data::Array(new)) => new,
            Some(other) => return Err(Error::typ(Self(other), "array").into()),
        };
        let own = Rc::make_mut(&mut array);
        own.items.splice(from..to, new.items.iter().cloned());
        own.depth = own.depth.max(new.depth);
        Ok(Self(Data::Array(array)))
    }

    fn as_bool(&self) -> bool {
        !matches!(self.0, Data::Null | Data::Bool(false))
    }

    fn into_string(self) -> Self {
        match self.0 {
            Data::Text(_) => self,
            _ => {
                let mut out = Vec::new();
                write::value(&self, &mut out);
                Self::made(String::from_utf8(out).unwrap_or_default()) // JSON is UTF-8
            }
        }
    }
}

impl jaq_std::ValT for Value {
    fn into_seq<S: FromIterator<Self>>(self) -> Result<S, Self> {
        match self.0 {
            Data::Array(array) if budget::spend(array.items.len() * STEP) => {
                Ok(Rc::unwrap_or_clone(array).items.into_iter().collect())
            }
            other => Err(Self(other)),
        }
    }

    fn is_int(&self) -> bool {
        matches!(&self.0, Data::Number(number) if number::is_whole(number))
    }

    fn as_isize(&self) -> Option<isize> {
        match &self.0 {
            Data::Number(number) => number.as_isize(),
            _ => None,
        }
    }

    fn as_f64(&self) -> Option<f64> {
        match &self.0 {
            Data::Number(number) => Some(number::float(number)),
            _ => None,
        }
    }

    fn is_utf8_str(&self) -> bool {
        matches!(self.0, Data::Text(_))
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        budget::spend(STEP);
        self.as_str().map(str::as_bytes)
    }

    fn as_sub_str(&self, part: &[u8]) -> Self {
        Self::from_utf8_bytes(part.to_vec())
    }

    fn from_utf8_bytes(bytes: impl AsRef<[u8]> + Send + 'static) -> Self {
        Self::from(String::from_utf8_lossy(bytes.as_ref()).into_owned())
    }
}

impl Value {
    /// `.[index]`, if it is there.
    pub(super) fn find(&self, index: &Self) -> Result<Option<Self>, Error> {
        match (&self.0, &index.0) {
            (Data::Null, Data::Null | Data::Text(_) | Data::Number(_) | Data::Object(_)) => {
                Ok(None)
            }
            (Data::Object(object), Data::Text(name)) => Ok(object.members.get(name).cloned()),
            (Data::Array(array), Data::Number(at)) if number::is_whole(at) => {
                let at = position(at, array.items.len());
                Ok(at.and_then(|at| array.items.get(at)).cloned())
            }
            (Data::Array(_), Data::Array(_)) => super::native::indices(self, index).map(Some),
            (Data::Array(_) | Data::Text(_), Data::Object(slice)) => {
                let range = slice.members.get("start")..slice.members.get("end");
                jaq_core::ValT::range(self.clone(), range).map(Some)
            }
            _ => Err(Error::index(self.clone(), index.clone())),
        }
    }
}

pub(super) fn no_items(value: Value) -> Error {
    Error::typ(value, "something with items (array or object)")
}

fn set_member<'a, I: Iterator<Item = ValX<'a, Value>>>(
    mut object: Rc<Object>,
    name: &Text,
    f: impl Fn(Value) -> I,
) -> ValX<'a, Value> {
    if Rc::strong_count(&object) > 1 {
        charge(object.members.len() * STEP)?;
    }
    let own = Rc::make_mut(&mut object);
    let old = own.members.get_mut(name).map(std::mem::take).unwrap_or_default();
    match f(old).next().transpose()? {
        Some(new) => {
            own.depth = own.depth.max(1 + new.depth());
            own.members.insert(name.clone(), new);
        }
        None => {
            charge(own.members.len())?;
            own.members.remove(name);
        }
    }
    Ok(Value(Data::Object(object)).checked()?)
}

fn set_item<'a, I: Iterator<Item = ValX<'a, Value>>>(
    mut array: Rc<Array>,
    at: usize,
    f: impl Fn(Value) -> I,
) -> ValX<'a, Value> {
    if Rc::strong_count(&array) > 1 {
        charge(array.items.len() * STEP)?;
    }
    let own = Rc::make_mut(&mut array);
    let old = own.items.get_mut(at).map(std::mem::take).unwrap_or_default();
    match f(old).next().transpose()? {
        Some(new) => {
            own.depth = own.depth.max(1 + new.depth());
            if let Some(item) = own.items.get_mut(at) {
                *item = new;
            }
        }
        None => {
            charge(own.items.len())?;
            own.items.remove(at);
        }
    }
    Ok(Value(Data::Array(array)).checked()?)
}

/// The place that a whole number names, from the end if it is negative.
pub(super) fn position(at: &Num, length: usize) -> Option<usize> {
    let at = at.as_isize()?;
    match usize::try_from(at) {
        Ok(at) => Some(at),
        Err(_) => length.checked_sub(at.unsigned_abs()),
    }
}

/// A slice's bounds within `length`, the first never behind the second. Fractions widen it.
fn bounds(range: &Range<&Value>, length: usize) -> Result<(usize, usize), Error> {
    let end = |end: Option<&Value>, open: usize, round: fn(f64) -> f64| match end.map(|v| &v.0) {
        None | Some(Data::Null) => Ok(open),
        Some(Data::Number(number)) => {
            let at = number.as_isize().unwrap_or_else(|| round(number::float(number)) as isize);
            Ok(position(&Num::Int(at), length).unwrap_or(0).min(length))
        }
        Some(_) => Err(Error::typ(end.cloned().unwrap_or_default(), "an end of a slice")),
    };
    let from = end(range.start, 0, f64::floor)?;
    let to = end(range.end, length, f64::ceil)?;
    Ok((from.min(to), to))
}

const _: () = assert!(DEPTH_MADE < 1024, "walks over a value recurse once a level");
