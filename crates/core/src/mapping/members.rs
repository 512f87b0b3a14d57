//! The members of an object, in the order in which they came. Most objects have few: those are looked
//! through, which is cheaper than to hash their names. What many names are found by is made when there
//! are many.

use std::hash::BuildHasher as _;
use std::mem;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::value::{Text, Value};

/// As many members as are looked through.
const FEW: usize = 16;

#[derive(Clone, Default)]
pub(super) struct Members {
    entries: Vec<(Text, Value)>,
    /// Once there have been more than [`FEW`].
    index: Option<Box<Index>>,
}

/// Where names stand.
#[derive(Clone, Default)]
struct Index {
    places: HashTable<usize>,
    hasher: DefaultHashBuilder,
}

impl Members {
    pub(super) fn with_capacity(count: usize) -> Self {
        Self { entries: Vec::with_capacity(count), index: None }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Text, &Value)> {
        self.entries.iter().map(|(name, value)| (name, value))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Value> {
        self.entries.iter().map(|(_, value)| value)
    }

    pub(super) fn get_index(&self, place: usize) -> Option<(&Text, &Value)> {
        self.entries.get(place).map(|(name, value)| (name, value))
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let place = self.place(name)?;
        self.entries.get(place).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        let place = self.place(name)?;
        self.entries.get_mut(place).map(|(_, value)| value)
    }

    /// Puts a value where the name stands, or at the end; gives what stood there.
    pub(super) fn insert(&mut self, name: Text, value: Value) -> Option<Value> {
        match self.get_mut(&name) {
            Some(old) => Some(mem::replace(old, value)),
            None => {
                self.push(name, value);
                None
            }
        }
    }

    /// Adds a member, unless there is one of this name.
    pub(super) fn add(&mut self, name: Text, value: Value) -> Result<(), Text> {
        if self.place(&name).is_some() {
            return Err(name);
        }
        self.push(name, value);
        Ok(())
    }

    /// The others keep their order.
    pub(super) fn remove(&mut self, name: &str) {
        let Some(place) = self.place(name) else { return };
        self.entries.remove(place);
        if let Some(index) = &mut self.index {
            **index = Index::of(&self.entries);
        }
    }

    fn place(&self, name: &str) -> Option<usize> {
        match &self.index {
            None => self.entries.iter().position(|(known, _)| **known == *name),
            Some(index) => index.place(&self.entries, name),
        }
    }

    /// The name is a new one.
    fn push(&mut self, name: Text, value: Value) {
        self.entries.push((name, value));
        match &mut self.index {
            Some(index) => index.note(&self.entries, self.entries.len() - 1),
            None if self.entries.len() > FEW => {
                self.index = Some(Box::new(Index::of(&self.entries)));
            }
            None => {}
        }
    }
}

impl Index {
    fn of(entries: &[(Text, Value)]) -> Self {
        let mut index = Self::default();
        (0..entries.len()).for_each(|place| index.note(entries, place));
        index
    }

    fn place(&self, entries: &[(Text, Value)], name: &str) -> Option<usize> {
        let is_it = |place: &usize| entries.get(*place).is_some_and(|(known, _)| **known == *name);
        self.places.find(self.hasher.hash_one(name), is_it).copied()
    }

    fn note(&mut self, entries: &[(Text, Value)], place: usize) {
        let hash = |place: &usize| {
            self.hasher.hash_one(entries.get(*place).map_or("", |(name, _)| &**name))
        };
        self.places.insert_unique(hash(&place), place, hash);
    }
}

/// The order of members does not count.
impl PartialEq for Members {
    fn eq(&self, other: &Self) -> bool {
        let same = |(name, value): (&Text, &Value)| other.get(name) == Some(value);
        self.len() == other.len() && self.iter().all(same)
    }
}

/// Of two with one name the later value stands, where the first one stood.
impl Extend<(Text, Value)> for Members {
    fn extend<I: IntoIterator<Item = (Text, Value)>>(&mut self, members: I) {
        for (name, value) in members {
            self.insert(name, value);
        }
    }
}

impl FromIterator<(Text, Value)> for Members {
    fn from_iter<I: IntoIterator<Item = (Text, Value)>>(members: I) -> Self {
        let members = members.into_iter();
        let mut all = Self::with_capacity(members.size_hint().0.min(FEW));
        all.extend(members);
        all
    }
}

impl IntoIterator for Members {
    type Item = (Text, Value);
    type IntoIter = std::vec::IntoIter<(Text, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(count: i64) -> Members {
        (0..count).map(|n| (Text::from(&*n.to_string()), Value::integer(n))).collect()
    }

    fn names(members: &Members) -> Vec<String> {
        members.iter().map(|(name, _)| name.to_string()).collect()
    }

    #[test]
    fn few_and_many_are_found_replaced_and_removed_alike() {
        for count in [1, 2, 15, 16, 17, 40, 1000] {
            let mut members = numbered(count);
            for n in 0..count {
                assert_eq!(members.get(&n.to_string()), Some(&Value::integer(n)), "{count}");
            }
            assert_eq!(members.get(&count.to_string()), None);
            let old = members.insert("0".into(), Value::NULL);
            assert_eq!((old, members.len()), (Some(Value::integer(0)), count as usize));
            assert!(members.add("0".into(), Value::NULL).is_err());
            assert!(members.add("new".into(), Value::integer(7)).is_ok());
            members.remove("0");
            members.remove("nobody");
            let wanted = (1..count).map(|n| n.to_string()).chain(["new".to_owned()]);
            assert_eq!(names(&members), wanted.collect::<Vec<_>>());
            assert_eq!(members.get("new"), Some(&Value::integer(7)));
            assert_eq!(members.get("0"), None);
        }
    }

    #[test]
    fn their_order_does_not_count() {
        for count in [3, 30] {
            let members = numbered(count);
            let mut turned: Vec<_> = members.clone().into_iter().collect();
            turned.reverse();
            let turned: Members = turned.into_iter().collect();
            assert!(members == turned);
            let mut other = turned.clone();
            other.insert("0".into(), Value::NULL);
            assert!(members != other);
        }
    }
}
