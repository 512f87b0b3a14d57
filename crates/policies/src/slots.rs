//! A table whose entries also have places, so that a hand can go round them: what bounded memories
//! (counters, verified tokens) stand on. An entry keeps its place until one before it is removed.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};

pub(crate) struct Entry<T> {
    pub(crate) key: Box<[u8]>,
    pub(crate) value: T,
}

pub(crate) struct Slots<T> {
    entries: Vec<Entry<T>>,
    /// Places in `entries`, by the key's hash.
    places: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self::new(DefaultHashBuilder::default())
    }
}

impl<T> Slots<T> {
    pub(crate) fn new(hasher: DefaultHashBuilder) -> Self {
        Self { entries: Vec::new(), places: HashTable::new(), hasher }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The place of a key whose hash is this.
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let same =
            |place: &u32| self.entries.get(*place as usize).is_some_and(|entry| *entry.key == *key);
        self.places.find(hash, same).map(|place| *place as usize)
    }

    pub(crate) fn get(&self, place: usize) -> Option<&Entry<T>> {
        self.entries.get(place)
    }

    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.entries.get_mut(place).map(|entry| &mut entry.value)
    }

    /// Adds a key that is not there yet.
    pub(crate) fn insert(&mut self, hash: u64, key: &[u8], value: T) -> usize {
        let place = self.entries.len();
        if place == self.entries.capacity() {
            self.entries.reserve_exact(place / 8 + 4); // doubling would leave half of it empty
        }
        let (entries, hasher) = (&self.entries, &self.hasher);
        let again = |place: &u32| {
            hasher.hash_one(entries.get(*place as usize).map_or(&[][..], |entry| &entry.key))
        };
        self.places.insert_unique(hash, u32::try_from(place).unwrap_or(u32::MAX), again);
        self.entries.push(Entry { key: key.into(), value });
        place
    }

    /// Takes an entry out; the last one gets its place.
    pub(crate) fn remove(&mut self, place: usize) -> Option<Entry<T>> {
        let last = self.entries.len().checked_sub(1)?;
        self.move_to(place, None)?;
        if last != place {
            self.move_to(last, Some(place));
        }
        Some(self.entries.swap_remove(place))
    }

    fn move_to(&mut self, from: usize, to: Option<usize>) -> Option<()> {
        let hash = self.hash(&self.entries.get(from)?.key);
        let mut entry = self.places.find_entry(hash, |place| *place as usize == from).ok()?;
        match to {
            Some(to) => *entry.get_mut() = u32::try_from(to).unwrap_or(u32::MAX),
            None => drop(entry.remove()),
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn what_was_put_in_is_found_until_it_is_taken_out() {
        let (mut slots, mut plain) = (Slots::default(), HashMap::new());
        for step in 0_u32..5000 {
            let key = (step.wrapping_mul(2_654_435_761) % 512).to_be_bytes();
            let hash = slots.hash(&key);
            match slots.find(hash, &key) {
                Some(place) if step % 3 == 0 => {
                    let gone = slots.remove(place).unwrap();
                    assert_eq!(plain.remove(&*gone.key), Some(gone.value));
                }
                Some(place) => {
                    assert_eq!(slots.get(place).map(|it| it.value), plain.get(&key[..]).copied())
                }
                None => {
                    assert_eq!(plain.insert(key.to_vec(), step), None);
                    slots.insert(hash, &key, step);
                }
            }
            assert_eq!(slots.len(), plain.len());
        }
        for (key, value) in &plain {
            let place = slots.find(slots.hash(key), key).unwrap();
            assert_eq!(slots.get(place).map(|entry| entry.value), Some(*value));
        }
        assert!(slots.remove(9999).is_none() && !slots.is_empty());
    }
}
