//! The JSON value that programs run on: our own, because jaq's has no budget, prints `19.0` for
//! `19`, and knows byte strings and keys that are no strings, none of which JSON has.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

use arrayvec::ArrayString;
use jaq_json::Num;

use super::members::Members;
use super::{budget, number, write};

/// What a program's steps fail with.
pub(super) type Error = jaq_core::Error<Value>;

/// How deep a value that a program makes may nest.
pub(super) const DEPTH_MADE: usize = 256;
pub(super) const TOO_DEEP: &str = "the mapping nests values too deep";

/// A JSON value. Keeps the order of members and the text of numbers. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Value(pub(super) Data);

#[derive(Clone, Default)]
pub(super) enum Data {
    #[default]
    Null,
    Bool(bool),
    Number(Num),
    Text(Text),
    Array(Rc<Array>),
    Object(Rc<Object>),
}

/// Items, and how deep they nest at most: 1 for an array of scalars.
#[derive(Clone, Default)]
pub(super) struct Array {
    pub depth: usize,
    pub items: Vec<Value>,
}

/// Members, and how deep they nest at most.
#[derive(Clone, Default)]
pub(super) struct Object {
    pub depth: usize,
    pub members: Members,
}

/// The longest string that stands in place, in bytes: most names of members are shorter.
const SHORT: usize = 16;

/// A string: a short one in place, a longer one shared, which can grow while nobody else holds it.
/// Every member that is looked up or put somewhere compares its name: hence `inline`.
#[derive(Clone)]
pub(super) enum Text {
    Short(ArrayString<SHORT>),
    Shared(Rc<String>),
}

impl Text {
    /// How many bytes of it have to be copied when it grows.
    pub(super) fn copied(&self) -> usize {
        match self {
            Self::Short(_) => 0,
            Self::Shared(text) if Rc::strong_count(text) == 1 => 0,
            Self::Shared(text) => text.len(),
        }
    }

    pub(super) fn push_str(&mut self, more: &str) {
        match self {
            Self::Short(text) => {
                if text.try_push_str(more).is_err() {
                    let mut grown = String::with_capacity(2 * (text.len() + more.len()));
                    grown.push_str(text);
                    grown.push_str(more);
                    *self = Self::Shared(Rc::new(grown));
                }
            }
            Self::Shared(text) => Rc::make_mut(text).push_str(more),
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::Short(ArrayString::new_const())
    }
}

impl PartialEq for Text {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl Deref for Text {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        match self {
            Self::Short(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self
    }
}

impl Hash for Text {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        ArrayString::from(text).map_or_else(|_| Self::Shared(Rc::new(text.to_owned())), Self::Short)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        match ArrayString::from(&text) {
            Ok(text) => Self::Short(text),
            Err(_) => Self::Shared(Rc::new(text)),
        }
    }
}

impl Value {
    pub const NULL: Self = Self(Data::Null);

    pub fn text(text: &str) -> Self {
        Self(Data::Text(text.into()))
    }

    pub fn boolean(value: bool) -> Self {
        Self(Data::Bool(value))
    }

    pub fn integer(number: i64) -> Self {
        Self(Data::Number(number::read(&number.to_string())))
    }

    /// An array of the items, in their order.
    pub fn array(items: impl IntoIterator<Item = Self>) -> Self {
        Self::from_items(items.into_iter().collect())
    }

    /// An object of the members, in their order; of two with one name the later value stands.
    pub fn object<N: AsRef<str>>(members: impl IntoIterator<Item = (N, Self)>) -> Self {
        let members = members.into_iter().map(|(name, value)| (Text::from(name.as_ref()), value));
        Self::from_members(members.collect())
    }

    /// The same value as `serde_json` holds it.
    pub fn json(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::NULL,
            serde_json::Value::Bool(value) => Self::boolean(*value),
            serde_json::Value::Number(number) => {
                Self(Data::Number(number::read(&number.to_string())))
            }
            serde_json::Value::String(text) => Self::text(text),
            serde_json::Value::Array(items) => Self::array(items.iter().map(Self::json)),
            serde_json::Value::Object(members) => {
                Self::object(members.iter().map(|(name, value)| (name.as_str(), Self::json(value))))
            }
        }
    }

    /// The member of an object.
    pub fn get(&self, name: &str) -> Option<Self> {
        match &self.0 {
            Data::Object(object) => object.members.get(name).cloned(),
            _ => None,
        }
    }

    /// The items of an array.
    pub fn items(&self) -> Option<Vec<Self>> {
        match &self.0 {
            Data::Array(array) => Some(array.items.to_vec()),
            _ => None,
        }
    }

    /// The value at a dotted path of members and places, such as `items.0.id`.
    pub fn at(&self, path: &str) -> Option<Self> {
        let mut parts = path.split('.').filter(|part| !part.is_empty());
        parts.try_fold(self.clone(), |value, part| match &value.0 {
            Data::Object(object) => object.members.get(part).cloned(),
            Data::Array(array) => array.items.get(part.parse::<usize>().ok()?).cloned(),
            _ => None,
        })
    }

    /// As text, when it is a string, a number or a boolean.
    pub fn scalar(&self) -> Option<String> {
        match &self.0 {
            Data::Text(text) => Some(text.to_string()),
            Data::Number(_) | Data::Bool(_) => Some(self.to_string()),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.0 {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Exactly `true`: neither 1 nor "true".
    pub fn is_true(&self) -> bool {
        matches!(self.0, Data::Bool(true))
    }

    /// `null`, `boolean`, `number`, `string`, `array` or `object`.
    pub fn kind(&self) -> &'static str {
        match &self.0 {
            Data::Null => "null",
            Data::Bool(_) => "boolean",
            Data::Number(_) => "number",
            Data::Text(_) => "string",
            Data::Array(_) => "array",
            Data::Object(_) => "object",
        }
    }

    pub(super) fn string(text: String) -> Self {
        Self(Data::Text(text.into()))
    }

    /// A string that a run made: paid for, or nothing.
    pub(super) fn made(text: String) -> Self {
        if budget::spend(text.len()) { Self::string(text) } else { Self::NULL }
    }

    pub(super) fn from_items(items: Vec<Self>) -> Self {
        let depth = 1 + items.iter().map(Self::depth).max().unwrap_or_default();
        Self(Data::Array(Rc::new(Array { depth, items })))
    }

    pub(super) fn from_members(members: Members) -> Self {
        let depth = 1 + members.values().map(Self::depth).max().unwrap_or_default();
        Self(Data::Object(Rc::new(Object { depth, members })))
    }

    /// How deep it nests at most: 0 for a scalar.
    pub(super) fn depth(&self) -> usize {
        match &self.0 {
            Data::Array(array) => array.depth,
            Data::Object(object) => object.depth,
            _ => 0,
        }
    }

    /// The value, unless it nests deeper than the walks over it (writing, dropping) can go.
    pub(super) fn checked(self) -> Result<Self, Error> {
        if self.depth() > DEPTH_MADE {
            return Err(Error::str(TOO_DEEP));
        }
        Ok(self)
    }
}

/// Compared by content, numbers by what they stand for. In a run a comparison costs what it reads.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Data::Null, Data::Null) => true,
            (Data::Bool(x), Data::Bool(y)) => x == y,
            (Data::Number(x), Data::Number(y)) => x == y,
            (Data::Text(x), Data::Text(y)) => {
                x.len() == y.len() && budget::spend(x.len()) && x == y
            }
            (Data::Array(x), Data::Array(y)) => {
                Rc::ptr_eq(x, y) || (budget::spend(budget::STEP) && x.items == y.items)
            }
            (Data::Object(x), Data::Object(y)) => {
                Rc::ptr_eq(x, y) || (budget::spend(budget::STEP) && x.members == y.members)
            }
            _ => false,
        }
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// jq's order: null, false, true, numbers, strings, arrays, objects; objects first by their sorted
/// names, then by the values in that order.
impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        if !budget::spend(1) {
            return Ordering::Equal;
        }
        match (&self.0, &other.0) {
            (Data::Number(x), Data::Number(y)) => x.cmp(y),
            (Data::Text(x), Data::Text(y)) => {
                budget::spend(x.len().min(y.len()));
                x.cmp(y)
            }
            (Data::Array(x), Data::Array(y)) => x.items.cmp(&y.items),
            (Data::Object(x), Data::Object(y)) => sorted(&x.members, &y.members),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl Value {
    fn rank(&self) -> u8 {
        match &self.0 {
            Data::Null => 0,
            Data::Bool(false) => 1,
            Data::Bool(true) => 2,
            Data::Number(_) => 3,
            Data::Text(_) => 4,
            Data::Array(_) => 5,
            Data::Object(_) => 6,
        }
    }
}

fn sorted(x: &Members, y: &Members) -> Ordering {
    budget::spend((x.len() + y.len()) * budget::STEP);
    let by_name = |members: &Members| {
        let mut members: Vec<_> = members.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        members.sort_by(|(x, _), (y, _)| x.cmp(y));
        members
    };
    let (x, y) = (by_name(x), by_name(y));
    let names = x.iter().map(|(name, _)| name).cmp(y.iter().map(|(name, _)| name));
    names.then_with(|| x.iter().map(|(_, value)| value).cmp(y.iter().map(|(_, value)| value)))
}

/// `{}` is the value's JSON text. `{:#}` is fit for a message to a client: a short scalar as it
/// is, a longer one cut, and no content of arrays and objects. `{:-#}` says of what kind it is.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (f.alternate(), f.sign_minus()) {
            (true, true) => return f.write_str(write::kind(self)),
            (true, false) => return f.write_str(&write::short(self)),
            (false, _) => {}
        }
        let mut out = Vec::new();
        write::value(self, &mut out);
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
