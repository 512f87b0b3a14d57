//! Numbers that look like chance, for choices and for jitter. Whoever knows one of them knows the next:
//! nothing that has to stay a secret is made of them.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};

/// What a source steps on by: 2^64 over the golden ratio.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// One thread's source of such numbers (SplitMix64: Steele, Lea and Flood, 2014).
#[derive(Debug)]
pub struct Chance(Cell<u64>);

impl Chance {
    /// The same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    pub fn draw(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(STEP));
        mixed(self.0.get())
    }
}

/// Another number each time, also in a process that began at the same moment.
pub fn seed() -> u64 {
    RandomState::new().hash_one(0_u8)
}

/// Every bit of a number spread over all of them.
pub fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_paper() {
        let chance = Chance::new(1_234_567);
        let drawn = [(); 3].map(|()| chance.draw());
        let known =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(drawn, known);
        assert_ne!(seed(), seed());
    }
}
