//! Tokens that were verified and may come again: a returning client costs no signature.
//!
//! Each worker remembers its own, so nobody waits for a lock. Room is bounded: when it is full, the
//! hand of a clock goes round and forgets the first that was not asked for since it last came by
//! (second chance, Corbató 1968), so that clients who return stay and those who came once make room.

use std::cell::RefCell;
use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::verify::Verified;

/// What a worker remembers at most, counting a token for [`WEIGHT`] times its length: its claims are
/// there as well.
const ROOM: usize = 32 * 1024 * 1024;
const WEIGHT: usize = 4;

#[derive(Default)]
pub(crate) struct Remembered(RefCell<Clock>);

#[derive(Default)]
struct Clock {
    slots: Vec<Slot>,
    /// Places in `slots`, by the token's hash.
    table: HashTable<usize>,
    hash: DefaultHashBuilder,
    hand: usize,
    used: usize,
}

struct Slot {
    token: Box<str>,
    verified: Verified,
    /// Asked for since the hand last came by.
    returned: bool,
}

impl Remembered {
    /// What a token was found to be, while it is still that: not past its end, and by a key that is
    /// still there.
    pub(crate) fn find(&self, token: &str, now: u64) -> Option<Verified> {
        let mut clock = self.0.borrow_mut();
        let place = clock.place(token)?;
        let slot = clock.slots.get_mut(place)?;
        let found = &slot.verified;
        if now >= found.until || found.generation != found.keys.generation() {
            return None;
        }
        slot.returned = true;
        Some(found.clone())
    }

    pub(crate) fn remember(&self, token: &str, verified: &Verified) {
        self.0.borrow_mut().keep(token, verified.clone());
    }
}

impl Clock {
    fn place(&self, token: &str) -> Option<usize> {
        let same = |place: &usize| self.slots.get(*place).is_some_and(|slot| *slot.token == *token);
        self.table.find(self.hash.hash_one(token), same).copied()
    }

    fn keep(&mut self, token: &str, verified: Verified) {
        if let Some(slot) = self.place(token).and_then(|place| self.slots.get_mut(place)) {
            slot.verified = verified;
            return;
        }
        let weight = token.len() * WEIGHT;
        while self.used + weight > ROOM && !self.slots.is_empty() {
            self.make_room();
        }
        self.used += weight;
        let place = self.slots.len();
        let (slots, hash) = (&self.slots, &self.hash);
        let again =
            |place: &usize| hash.hash_one(slots.get(*place).map_or("", |slot| &*slot.token));
        self.table.insert_unique(hash.hash_one(token), place, again);
        self.slots.push(Slot { token: token.into(), verified, returned: false });
    }

    /// Moves the hand by one slot, and forgets what is there if nobody came back for it.
    fn make_room(&mut self) {
        if self.hand >= self.slots.len() {
            self.hand = 0;
        }
        let Some(slot) = self.slots.get_mut(self.hand) else { return };
        if std::mem::take(&mut slot.returned) {
            self.hand += 1;
            return;
        }
        self.move_in_table(self.hand, None);
        let last = self.slots.len() - 1;
        if last != self.hand {
            self.move_in_table(last, Some(self.hand)); // it takes the place of the one that goes
        }
        let gone = self.slots.swap_remove(self.hand);
        self.used -= gone.token.len() * WEIGHT;
    }

    /// The token at a place is to be found at another one, or nowhere.
    fn move_in_table(&mut self, from: usize, to: Option<usize>) {
        let Some(slot) = self.slots.get(from) else { return };
        let hash = self.hash.hash_one(&*slot.token);
        if let Ok(mut entry) = self.table.find_entry(hash, |place| *place == from) {
            match to {
                Some(to) => *entry.get_mut() = to,
                None => drop(entry.remove()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use portcullis_core::metrics::Gauge;
    use portcullis_core::{Claims, Clock};

    use super::*;
    use crate::issuers::{Budget, KeySet, keys};

    fn verified(until: u64) -> Verified {
        let budget = Budget { most: 1, per: Duration::from_secs(1) };
        let clock = Clock::manual(std::time::UNIX_EPOCH);
        let keys = Arc::new(KeySet::new(budget, clock, Gauge::default(), Default::default()));
        let claims = Arc::new(Claims::new("shop".into(), serde_json::Map::new()));
        Verified { claims, until, generation: keys.generation(), keys }
    }

    #[test]
    fn nothing_is_remembered_past_its_end_or_its_key() {
        let (remembered, good) = (Remembered::default(), verified(100));
        assert!(remembered.find("a", 0).is_none());
        remembered.remember("a", &good);
        assert!(remembered.find("a", 99).is_some());
        assert!(remembered.find("a", 100).is_none());
        assert!(remembered.find("A", 99).is_none());
        good.keys.settle(Some(vec![keys::secret(b"new", Vec::new())]));
        assert!(remembered.find("a", 99).is_none());
    }

    #[test]
    fn room_is_bounded_and_what_returns_stays() {
        let (remembered, good) = (Remembered::default(), verified(100));
        let token = |number: usize| format!("{number:01000}");
        remembered.remember("returns", &good);
        for number in 0..20_000 {
            remembered.remember(&token(number), &good);
            assert!(remembered.find("returns", 0).is_some(), "{number}");
        }
        assert!(remembered.find(&token(0), 0).is_none());
        assert!(remembered.find(&token(19_999), 0).is_some());
        let clock = remembered.0.borrow();
        assert_eq!(clock.slots.len(), clock.table.len());
        assert!(clock.used <= ROOM && clock.slots.len() <= ROOM / (1000 * WEIGHT) + 1);
        for (place, slot) in clock.slots.iter().enumerate() {
            assert_eq!(clock.place(&slot.token), Some(place));
        }
    }

    #[test]
    fn a_token_of_its_own_size_finds_room_again_and_again() {
        let (remembered, good) = (Remembered::default(), verified(100));
        for number in 0..5000 {
            let token = format!("{number:0width$}", width = 1 + number * 97 % 8000);
            remembered.remember(&token, &good);
            remembered.remember(&token, &good);
            assert!(remembered.find(&token, 0).is_some());
        }
        assert!(remembered.0.borrow().used <= ROOM);
    }
}
