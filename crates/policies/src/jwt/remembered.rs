//! Tokens that were verified and may come again: a returning client costs no signature.
//!
//! Each worker remembers its own, so nobody waits for a lock. Two generations bound the room: when
//! the younger is full the older is forgotten, and what is asked for again moves to the younger.

use std::cell::RefCell;

use hashbrown::HashMap;

use super::verify::Verified;

/// What one generation may hold, counting a token for [`WEIGHT`] times its length: its claims are
/// there as well.
const ROOM: usize = 16 * 1024 * 1024;
const WEIGHT: usize = 4;

#[derive(Default)]
pub(crate) struct Remembered(RefCell<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<Box<str>, Verified>,
    old: HashMap<Box<str>, Verified>,
    used: usize,
}

impl Remembered {
    /// What a token was found to be, while it is still that: not past its end, and by a key that is
    /// still there.
    pub(crate) fn find(&self, token: &str, now: u64) -> Option<Verified> {
        let mut generations = self.0.borrow_mut();
        let is_good =
            |found: &Verified| now < found.until && found.generation == found.keys.generation();
        if let Some(found) = generations.young.get(token) {
            return is_good(found).then(|| found.clone());
        }
        let (token, found) = generations.old.remove_entry(token)?;
        let found = is_good(&found).then_some(found)?;
        generations.keep(token, found.clone());
        Some(found)
    }

    pub(crate) fn remember(&self, token: &str, verified: &Verified) {
        self.0.borrow_mut().keep(token.into(), verified.clone());
    }
}

impl Generations {
    fn keep(&mut self, token: Box<str>, verified: Verified) {
        let weight = token.len() * WEIGHT;
        if self.used + weight > ROOM {
            self.old = std::mem::take(&mut self.young);
            self.used = 0;
        }
        if self.young.insert(token, verified).is_none() {
            self.used += weight;
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
        let generations = remembered.0.borrow();
        let count = generations.young.len() + generations.old.len();
        assert!(count <= 2 * ROOM / (1000 * WEIGHT), "{count}");
    }
}
