//! A sliding window that never admits more than `requests` in any stretch of time `per` long.
//!
//! It is a log of runs. An admitted request joins the newest run if it comes within `per`/64 of that
//! run's first request, else it begins one; a run counts until `per` after its last request. So a
//! request is never forgotten too early, at most 66 runs are kept, and what is forgotten late is
//! late by at most `per`/64. With at most 64 requests every request can have a run of its own.

use std::collections::VecDeque;
use std::time::Duration;

/// Runs that may begin within one `per`.
const SHARES: u32 = 64;

/// One line of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    pub requests: u64,
    pub per: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    first: Duration,
    last: Duration,
    count: u64,
}

/// What one key has used of one line. Times count from any fixed moment.
#[derive(Clone, Debug, Default)]
pub struct Window {
    runs: VecDeque<Run>,
    total: u64,
}

impl Window {
    /// Forgets runs whose last request is at least `per` ago.
    pub fn forget(&mut self, line: Line, now: Duration) {
        while let Some(run) = self.runs.front()
            && now.saturating_sub(run.last) >= line.per
        {
            self.total -= run.count;
            self.runs.pop_front();
        }
    }

    /// How many more are admitted now. Call [`Window::forget`] first.
    pub fn remaining(&self, line: Line) -> u64 {
        line.requests.saturating_sub(self.total)
    }

    /// How long until one more is admitted, if nothing else is.
    pub fn wait(&self, line: Line, now: Duration) -> Duration {
        let frees = |run: &Run| (run.last + line.per).saturating_sub(now);
        self.runs.front().map_or(Duration::ZERO, frees)
    }

    /// How long until everything is admitted again.
    pub fn reset(&self, line: Line, now: Duration) -> Duration {
        self.runs.back().map_or(Duration::ZERO, |run| (run.last + line.per).saturating_sub(now))
    }

    /// Charges one admitted request.
    pub fn charge(&mut self, line: Line, now: Duration) {
        self.total += 1;
        // A clock that steps back must not shorten what was admitted.
        let now = self.runs.back().map_or(now, |run| now.max(run.last));
        let share =
            if line.requests <= u64::from(SHARES) { Duration::ZERO } else { line.per / SHARES };
        match self.runs.back_mut() {
            Some(run) if now == run.last || now.saturating_sub(run.first) < share => {
                run.last = now;
                run.count += 1;
            }
            _ => self.runs.push_back(Run { first: now, last: now, count: 1 }),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Admits or refuses at each time; returns the admitted times.
    fn drive(line: Line, gaps: &[u64]) -> Vec<Duration> {
        let (mut window, mut now, mut admitted) = (Window::default(), Duration::ZERO, Vec::new());
        for gap in gaps {
            now += Duration::from_millis(*gap);
            window.forget(line, now);
            if window.remaining(line) > 0 {
                window.charge(line, now);
                admitted.push(now);
            }
            assert!(window.runs.len() <= 66);
        }
        admitted
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_in_any_window(
            requests in 1_u64..200, per in 50_u64..2000, gaps in prop::collection::vec(0_u64..40, 1..2000),
        ) {
            let line = Line { requests, per: Duration::from_millis(per) };
            let admitted = drive(line, &gaps);
            for (index, start) in admitted.iter().enumerate() {
                let inside = admitted[index..].iter().take_while(|time| **time - *start < line.per).count();
                prop_assert!(inside as u64 <= requests);
            }
        }

        #[test]
        fn a_lasting_demand_gets_at_least_98_percent_of_what_a_plain_log_admits(
            requests in 1_u64..500, gap in 1_u64..20,
        ) {
            let line = Line { requests, per: Duration::from_millis(2_000) };
            let gaps = vec![gap; 20_000 / usize::try_from(gap).unwrap()];
            let mut log: VecDeque<u64> = VecDeque::new();
            let (mut plain, mut now) = (0_u64, 0_u64);
            for gap in &gaps {
                now += gap;
                while log.front().is_some_and(|first| now - first >= 2_000) {
                    log.pop_front();
                }
                if (log.len() as u64) < requests {
                    log.push_back(now);
                    plain += 1;
                }
            }
            let admitted = drive(line, &gaps).len() as u64;
            prop_assert!(admitted * 100 >= plain * 98, "{admitted} of {plain}");
        }
    }

    #[test]
    fn waiting_as_long_as_told_is_long_enough() {
        let line = Line { requests: 2, per: Duration::from_secs(10) };
        let mut window = Window::default();
        window.charge(line, Duration::from_secs(1));
        window.charge(line, Duration::from_secs(3));
        let now = Duration::from_secs(4);
        window.forget(line, now);
        assert_eq!(window.remaining(line), 0);
        let later = now + window.wait(line, now);
        window.forget(line, later);
        assert_eq!((later, window.remaining(line)), (Duration::from_secs(11), 1));
    }
}
