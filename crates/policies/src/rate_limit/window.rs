//! A sliding window that never admits more than `requests` in any stretch of time `per` long.
//!
//! It is a log of runs. An admitted request joins the newest run if it comes within `per`/64 of that
//! run's first request, else it begins one; a run counts until `per` after its last request. So a
//! request is never forgotten too early, at most 65 runs are kept, and what is forgotten late is
//! late by at most `per`/64 (or two of them). With at most 64 requests every request can have a run of its own.
//!
//! Times are whole microseconds from any fixed moment. `script.lua` does the same arithmetic.

use std::time::Duration;

/// Runs that may begin within one `per`.
const SHARES: u64 = 64;

/// A time in microseconds.
pub type Micros = u64;

pub fn micros(time: Duration) -> Micros {
    time.as_secs().saturating_mul(1_000_000).saturating_add(time.subsec_micros().into())
}

/// One line of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    pub requests: u64,
    pub per: Micros,
}

impl Line {
    /// How long a run may go on after its first request.
    pub fn share(self) -> Micros {
        if self.requests <= SHARES { 0 } else { self.per.div_ceil(SHARES) }
    }
}

/// So many runs are kept beside the newest. One more (65 can begin within `per` and one share) is
/// laid on the one before it, which is then forgotten late, never early.
const OLDER: usize = 64;

/// A run that has ended, in 12 bytes: there may be 64 of them for each of a million keys.
#[derive(Clone, Copy, Debug)]
struct Run {
    last: [u32; 2],
    count: u32,
}

impl Run {
    fn new(last: Micros, count: u32) -> Self {
        let [high, low] = [last >> 32, last & 0xFFFF_FFFF].map(|half| half as u32);
        Self { last: [high, low], count }
    }

    fn last(self) -> Micros {
        let [high, low] = self.last.map(u64::from);
        high << 32 | low
    }
}

/// What one key has used of one line.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// The newest run; none when its count is 0.
    first: Micros,
    last: Micros,
    count: u32,
    total: u32,
    /// Where the runs in `older` begin that still count.
    head: u32,
    /// The runs before the newest, oldest first.
    older: Vec<Run>,
}

impl Window {
    /// The time as this window counts it: a clock that steps back must not shorten what was admitted.
    pub fn now(&self, now: Micros) -> Micros {
        now.max(self.last)
    }

    /// Forgets runs whose last request is at least `per` ago.
    pub fn forget(&mut self, line: Line, now: Micros) {
        while let Some(run) = self.older.get(self.head as usize)
            && now.saturating_sub(run.last()) >= line.per
        {
            self.total -= run.count;
            self.head += 1;
        }
        if self.head as usize == self.older.len() && self.head > 0 {
            self.older.clear();
            self.head = 0;
        }
        if self.count > 0 && now.saturating_sub(self.last) >= line.per {
            (self.total, self.count) = (0, 0);
        }
    }

    /// How much more is admitted now. Call [`Window::forget`] first.
    pub fn remaining(&self, line: Line) -> u64 {
        line.requests.saturating_sub(self.total.into())
    }

    pub fn total(&self) -> u64 {
        self.total.into()
    }

    /// How long until so much is admitted, if nothing else is; `None`: never.
    pub fn wait(&self, line: Line, cost: u64, now: Micros) -> Option<Micros> {
        if cost > line.requests {
            return None;
        }
        let mut over = (u64::from(self.total) + cost).saturating_sub(line.requests);
        let older = self.older.iter().skip(self.head as usize);
        let older = older.map(|run| (run.last(), run.count));
        for (last, count) in older.chain([(self.last, self.count)]) {
            if over == 0 {
                break;
            }
            over = over.saturating_sub(count.into());
            if over == 0 {
                return Some((last + line.per).saturating_sub(now));
            }
        }
        Some(0)
    }

    /// How long until everything is admitted again.
    pub fn reset(&self, line: Line, now: Micros) -> Micros {
        if self.count == 0 { 0 } else { (self.last + line.per).saturating_sub(now) }
    }

    /// Charges an admitted request: `cost` is at most what remains.
    pub fn charge(&mut self, line: Line, cost: u64, now: Micros) {
        let cost = u32::try_from(cost).unwrap_or(u32::MAX - self.total);
        if cost == 0 {
            return;
        }
        let now = self.now(now);
        self.total += cost;
        if self.count > 0 && (now == self.last || now - self.first < line.share()) {
            self.last = now;
            self.count += cost;
            return;
        }
        if self.count > 0 {
            self.keep(Run::new(self.last, self.count));
        }
        (self.first, self.last, self.count) = (now, now, cost);
    }

    /// Room for one more: first what is forgotten is given back, then there is half as much again.
    fn keep(&mut self, mut run: Run) {
        if self.older.len() == self.older.capacity() {
            self.older.drain(..self.head as usize);
            self.head = 0;
            if self.older.len() == OLDER
                && let Some(before) = self.older.pop()
            {
                run.count += before.count;
            } else if self.older.len() == self.older.capacity() {
                let more = (self.older.len() / 2).max(2).min(OLDER - self.older.len());
                self.older.reserve_exact(more);
            }
        }
        self.older.push(run);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// Admits or refuses at each time; returns what was admitted, with its cost.
    fn drive(line: Line, asked: &[(u64, u64)]) -> Vec<(Micros, u64)> {
        let (mut window, mut now, mut admitted) = (Window::default(), 0, Vec::new());
        for (gap, cost) in asked {
            now += gap;
            window.forget(line, now);
            if window.remaining(line) >= *cost {
                assert_eq!(window.wait(line, *cost, now), Some(0));
                window.charge(line, *cost, now);
                admitted.push((now, *cost));
            } else if let Some(wait) = window.wait(line, *cost, now) {
                let told = |wait| {
                    let mut later = window.clone();
                    later.forget(line, now + wait);
                    later.remaining(line) >= *cost
                };
                assert!(
                    told(wait) && !told(wait - 1),
                    "Retry-After is true, and no later than needed"
                );
            } else {
                assert!(*cost > line.requests);
            }
            assert!(window.older.len() - window.head as usize <= OLDER);
        }
        admitted
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_in_any_window(
            requests in 1_u64..200, per in 1_u64..2000,
            asked in prop::collection::vec((0_u64..40, 1_u64..5), 1..1500),
        ) {
            let line = Line { requests, per };
            let admitted = drive(line, &asked);
            for (index, (start, _)) in admitted.iter().enumerate() {
                let inside = admitted[index..].iter().take_while(|(time, _)| time - start < per);
                prop_assert!(inside.map(|(_, cost)| cost).sum::<u64>() <= requests);
            }
        }

        #[test]
        fn a_lasting_demand_gets_at_least_98_percent_of_what_a_plain_log_admits(
            requests in 1_u64..500, gap in 1_u64..20,
        ) {
            let line = Line { requests, per: 2_000 };
            let asked = vec![(gap, 1); 20_000 / usize::try_from(gap).unwrap()];
            let mut log: VecDeque<u64> = VecDeque::new();
            let (mut plain, mut now) = (0_u64, 0_u64);
            for (gap, _) in &asked {
                now += gap;
                while log.front().is_some_and(|first| now - first >= line.per) {
                    log.pop_front();
                }
                if (log.len() as u64) < requests {
                    log.push_back(now);
                    plain += 1;
                }
            }
            let admitted = drive(line, &asked).len() as u64;
            prop_assert!(admitted * 100 >= plain * 98, "{admitted} of {plain}");
        }

        #[test]
        fn up_to_64_requests_it_is_a_plain_log(
            requests in 1_u64..=64, asked in prop::collection::vec(0_u64..40, 1..600),
        ) {
            let line = Line { requests, per: 500 };
            let mut log: VecDeque<u64> = VecDeque::new();
            let (mut plain, mut now) = (Vec::new(), 0_u64);
            for gap in &asked {
                now += gap;
                while log.front().is_some_and(|first| now - first >= line.per) {
                    log.pop_front();
                }
                if (log.len() as u64) < requests {
                    log.push_back(now);
                    plain.push((now, 1));
                }
            }
            let asked: Vec<_> = asked.iter().map(|gap| (*gap, 1)).collect();
            prop_assert_eq!(drive(line, &asked), plain);
        }
    }

    #[test]
    fn a_clock_that_steps_back_shortens_nothing() {
        let line = Line { requests: 2, per: 100 };
        let mut window = Window::default();
        window.charge(line, 1, 1000);
        window.charge(line, 1, 10);
        window.forget(line, 1099);
        assert_eq!((window.remaining(line), window.wait(line, 1, 1099)), (0, Some(1)));
        window.forget(line, 1100);
        assert_eq!((window.remaining(line), window.reset(line, 1100)), (2, 0));
    }

    #[test]
    fn a_full_log_stays_below_its_bytes() {
        let line = Line { requests: 1_000_000, per: 64_000_000 };
        let mut window = Window::default();
        for second in 0..1000 {
            window.forget(line, second * 1_000_000);
            window.charge(line, 1, second * 1_000_000);
        }
        assert!(window.older.capacity() * size_of::<Run>() <= 768);
        assert_eq!(size_of::<Window>(), 56);
    }
}
