//! Tokens that were verified and may come again: a returning client costs no signature.
//!
//! Each worker remembers its own, so nobody waits for a lock. Room is bounded: when it is full, the
//! hand of a clock goes round and forgets the first that was not asked for since it last came by
//! (second chance, Corbató 1968), so that clients who return stay and those who came once make room.

use std::cell::RefCell;

use super::verify::Verified;
use crate::slots::Slots;

/// What a worker remembers at most, counting a token for [`WEIGHT`] times its length: its claims are
/// there as well.
const ROOM: usize = 32 * 1024 * 1024;
const WEIGHT: usize = 4;

#[derive(Default)]
pub(crate) struct Remembered(RefCell<Clock>);

#[derive(Default)]
struct Clock {
    tokens: Slots<Token>,
    hand: usize,
    used: usize,
}

struct Token {
    verified: Verified,
    /// Asked for since the hand last came by.
    returned: bool,
}

impl Remembered {
    /// What a token was found to be, while it is still that: not past its end, and by a key that is
    /// still there.
    pub(crate) fn find(&self, token: &str, now: u64) -> Option<Verified> {
        let tokens = &mut self.0.borrow_mut().tokens;
        let place = tokens.find(tokens.hash(token.as_bytes()), token.as_bytes())?;
        let token = tokens.get_mut(place)?;
        let found = &token.verified;
        if now >= found.until || found.generation != found.keys.generation() {
            return None;
        }
        token.returned = true;
        Some(found.clone())
    }

    pub(crate) fn remember(&self, token: &str, verified: &Verified) {
        self.0.borrow_mut().keep(token.as_bytes(), verified.clone());
    }
}

impl Clock {
    fn keep(&mut self, token: &[u8], verified: Verified) {
        let hash = self.tokens.hash(token);
        let place = self.tokens.find(hash, token);
        if let Some(known) = place.and_then(|place| self.tokens.get_mut(place)) {
            known.verified = verified;
            return;
        }
        let weight = token.len() * WEIGHT;
        while self.used + weight > ROOM && !self.tokens.is_empty() {
            self.make_room();
        }
        self.used += weight;
        self.tokens.insert(hash, token, Token { verified, returned: false });
    }

    /// Moves the hand on, or forgets what is there if nobody came back for it.
    fn make_room(&mut self) {
        if self.hand >= self.tokens.len() {
            self.hand = 0;
        }
        let Some(token) = self.tokens.get_mut(self.hand) else { return };
        if std::mem::take(&mut token.returned) {
            self.hand += 1;
        } else if let Some(gone) = self.tokens.remove(self.hand) {
            self.used -= gone.key.len() * WEIGHT;
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
        assert!(clock.used <= ROOM && clock.tokens.len() <= ROOM / (1000 * WEIGHT) + 1);
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
