//! Counts over the last while, which all workers add to without a lock: a ring of slices of time,
//! each one atomic word.
//!
//! What leaves the window leaves it a slice at a time, so that it covers between nine tenths and
//! all of its length. A count that outgrows its slice halves that slice's counts together: their
//! shares stay what they were.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SLICES: usize = 10;
/// A word's upper bits say which slice of time it counts.
const TAG_BITS: u32 = 22;
const COUNT_BITS: u32 = u64::BITS - TAG_BITS;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;

/// `N` counts that belong together. Times are since any fixed moment.
#[derive(Debug)]
pub struct Sliding<const N: usize> {
    /// Of one slice, in milliseconds.
    length: u64,
    slices: [AtomicU64; SLICES],
}

impl<const N: usize> Sliding<N> {
    const BITS: u32 = COUNT_BITS / N as u32;
    const MOST: u64 = (1 << Self::BITS) - 1;

    /// Over `window`, of at least 10 ms.
    pub fn new(window: Duration) -> Self {
        let length = u64::try_from(window.as_millis()).unwrap_or(u64::MAX) / SLICES as u64;
        Self { length: length.max(1), slices: Default::default() }
    }

    pub fn add(&self, now: Duration, counts: [u32; N]) {
        let number = self.number(now);
        let Some(slice) = self.slices.get((number % SLICES as u64) as usize) else { return };
        let mut word = slice.load(Ordering::Relaxed);
        loop {
            // Whoever looked at the clock up to a window ago adds to what is there now. What seems to lie
            // further ahead was left behind so long ago that the tags came round.
            let is_old = word == 0 || (1..=TAG_MASK - SLICES as u64).contains(&age(number, word));
            let (tag, known) =
                if is_old { (number, [0; N]) } else { (word >> COUNT_BITS, Self::unpack(word)) };
            let next = Self::pack(tag, known, counts);
            let (seen, order) = (Ordering::Relaxed, Ordering::Relaxed);
            match slice.compare_exchange_weak(word, next, seen, order) {
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
    }

    pub fn sum(&self, now: Duration) -> [u64; N] {
        let number = self.number(now);
        let mut sums = [0; N];
        for slice in &self.slices {
            let word = slice.load(Ordering::Relaxed);
            if age(number, word) < SLICES as u64 {
                for (sum, count) in sums.iter_mut().zip(Self::unpack(word)) {
                    *sum += count;
                }
            }
        }
        sums
    }

    pub fn clear(&self) {
        for slice in &self.slices {
            slice.store(0, Ordering::Relaxed);
        }
    }

    /// The present slice. Not 0, which an empty word has.
    fn number(&self, now: Duration) -> u64 {
        u64::try_from(now.as_millis()).unwrap_or(u64::MAX) / self.length + 1
    }

    fn pack(tag: u64, known: [u64; N], more: [u32; N]) -> u64 {
        let mut counts = known;
        for (count, more) in counts.iter_mut().zip(more) {
            *count = (*count + u64::from(more)).min(2 * Self::MOST);
        }
        if counts.iter().any(|count| *count > Self::MOST) {
            counts = counts.map(|count| count / 2);
        }
        let word = counts.iter().fold(0, |word, count| word << Self::BITS | count);
        (tag & TAG_MASK) << COUNT_BITS | word
    }

    fn unpack(word: u64) -> [u64; N] {
        let mut rest = word;
        let mut counts = [0; N];
        for count in counts.iter_mut().rev() {
            *count = rest & Self::MOST;
            rest >>= Self::BITS;
        }
        counts
    }
}

/// How many slices ago a word was counted, as far as its tag tells.
fn age(number: u64, word: u64) -> u64 {
    number.wrapping_sub(word >> COUNT_BITS) & TAG_MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let sliding = Sliding::<2>::new(10 * SECOND);
        sliding.add(SECOND, [3, 1]);
        sliding.add(5 * SECOND, [4, 0]);
        assert_eq!(sliding.sum(5 * SECOND), [7, 1]);
        assert_eq!(sliding.sum(10 * SECOND), [7, 1], "nine seconds ago still counts");
        assert_eq!(sliding.sum(11 * SECOND), [4, 0]);
        assert_eq!(sliding.sum(15 * SECOND), [0, 0]);
        sliding.add(15 * SECOND, [1, 1]);
        assert_eq!(sliding.sum(15 * SECOND), [1, 1], "a slice is used again from nothing");
        sliding.clear();
        assert_eq!(sliding.sum(15 * SECOND), [0, 0]);
    }

    /// The tags come round after 48 days of a window of ten seconds.
    #[test]
    fn it_counts_on_whatever_the_age_of_the_process_and_of_what_was_there() {
        for began in [0, 1 << 20, (1 << 21) + 1, 3 << 20, (1 << 22) - 1, (1 << 22) + 5] {
            for quiet in [0, 9, 10, 1 << 20, (1 << 21) + 1, 3 << 20, (1 << 22) - 20] {
                let sliding = Sliding::<2>::new(10 * SECOND);
                let (then, now) = (SECOND * began, SECOND * (began + quiet));
                sliding.add(then, [1, 1]);
                let before = sliding.sum(now);
                sliding.add(now, [2, 3]);
                let sum = sliding.sum(now);
                assert_eq!(sum, [before[0] + 2, before[1] + 3], "{began} {quiet}");
                sliding.clear();
                sliding.add(now, [1, 0]);
                assert_eq!(sliding.sum(now), [1, 0], "{began} {quiet}, cleared");
            }
        }
    }

    #[test]
    fn a_count_that_outgrows_its_slice_keeps_its_share() {
        let sliding = Sliding::<3>::new(10 * SECOND);
        for _ in 0..100_000 {
            sliding.add(SECOND, [4, 2, 1]);
        }
        let [all, half, quarter] = sliding.sum(SECOND);
        assert!(all > 8_000, "{all}");
        assert!(all.abs_diff(half * 2) < 50 && all.abs_diff(quarter * 4) < 50, "{all} {half}");
    }

    #[test]
    fn threads_lose_nothing() {
        let sliding = Sliding::<2>::new(10 * SECOND);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| sliding.add(SECOND, [1, 2])));
            }
        });
        assert_eq!(sliding.sum(SECOND), [40_000, 80_000]);
    }
}
