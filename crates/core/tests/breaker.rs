//! Thousands of random histories of a breaker, each from a seed that a failure names, against a
//! plain model of what must hold; and the same promise under threads.

#![allow(clippy::expect_used, clippy::indexing_slicing)] // a test may say what it relies on

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use portcullis_core::Clock;
use portcullis_core::breaker::{Breaker, Permit, Phase, Settings, Transition, Why};

/// Random numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }
}

/// What has to hold, written down in the plainest way: a list of who is out, tagged by the number
/// of transitions that had happened when they were let through.
struct History<'b> {
    breaker: &'b Breaker,
    settings: Settings,
    clock: Clock,
    transitions: Vec<Transition>,
    out: VecDeque<(Permit<'b>, usize)>,
    opened: Option<std::time::Instant>,
    /// How often it opened since it was closed.
    openings: u32,
    failures_in_a_row: u32,
    successes: u32,
}

impl<'b> History<'b> {
    fn note(&mut self, transition: Option<Transition>) {
        let Some(transition) = transition else { return };
        let last = self.transitions.last().map_or(Phase::Closed, |last| last.to);
        assert_eq!(transition.from, last, "transitions follow each other");
        self.opened = (transition.to == Phase::Open).then(|| self.clock.now());
        match transition.to {
            Phase::Open => self.openings += 1,
            Phase::Closed => self.openings = 0,
            Phase::HalfOpen => {}
        }
        (self.failures_in_a_row, self.successes) = (0, 0);
        self.transitions.push(transition);
    }

    /// How long it stays open: twice as long each time, up to the most.
    fn wait(&self) -> Duration {
        let wait = self.settings.reset_after * 2_u32.pow(self.openings.min(20) - 1);
        wait.min(self.settings.max_reset_after)
    }

    fn ask(&mut self) {
        let (before, now) = (self.breaker.phase(), self.clock.now());
        let age = self.transitions.len();
        let probing = self.out.iter().filter(|(_, of)| *of == age).count();
        match self.breaker.admit(now) {
            Ok(permit) => {
                if before == Phase::Open {
                    let waited = now - self.opened.expect("an open breaker was opened");
                    assert!(waited >= self.wait(), "let through after {waited:?}");
                }
                assert!(before != Phase::HalfOpen || probing < self.settings.probes as usize);
                self.note(permit.transition());
                self.out.push_back((permit, self.transitions.len()));
            }
            Err(refused) if refused.why == Why::Probing => {
                assert_eq!(before, Phase::HalfOpen);
                assert_eq!(probing, self.settings.probes as usize, "refused with room left");
                assert_eq!(refused.retry_after, Duration::from_secs(1));
            }
            Err(refused) => {
                assert_eq!(before, Phase::Open);
                let waited = now - self.opened.expect("an open breaker was opened");
                assert_eq!(refused.retry_after, self.wait() - waited);
            }
        }
    }

    fn answer(&mut self, dice: &mut Dice) {
        let Some(at) = (!self.out.is_empty()).then(|| dice.below(self.out.len() as u64)) else {
            return;
        };
        let (permit, of) = self.out.remove(at as usize).expect("within the list");
        let (current, now) = (of == self.transitions.len(), self.clock.now());
        let phase = self.breaker.phase();
        let (failed, transition) = match dice.below(4) {
            0 => (Some(false), permit.success(now)),
            1 | 2 => (Some(true), permit.failure(now)),
            _ => {
                permit.none();
                (None, None)
            }
        };
        if !current {
            assert_eq!(transition, None, "an earlier epoch had a say");
            return;
        }
        let step = match (phase, failed) {
            (Phase::Closed, Some(failed)) => {
                self.failures_in_a_row = if failed { self.failures_in_a_row + 1 } else { 0 };
                (Some(self.failures_in_a_row) == self.settings.failures).then_some(Phase::Open)
            }
            (Phase::HalfOpen, Some(true)) => Some(Phase::Open),
            (Phase::HalfOpen, Some(false)) => {
                self.successes += 1;
                (self.successes == self.settings.probes).then_some(Phase::Closed)
            }
            (_, None) => None,
            (Phase::Open, _) => unreachable!("an open breaker has nobody out"),
        };
        assert_eq!(transition.map(|step| step.to), step);
        self.note(transition);
    }

    fn check(&self) {
        let status = self.breaker.status(self.clock.now());
        let age = self.transitions.len();
        let current = self.out.iter().filter(|(_, of)| *of == age).count();
        if status.phase == Phase::HalfOpen {
            assert_eq!(status.probing as usize, current, "every probe's permit is accounted for");
            assert!(current <= self.settings.probes as usize);
            assert!(status.successes < self.settings.probes);
        }
        let counted = if status.phase == Phase::Closed { self.failures_in_a_row } else { 0 };
        assert_eq!(status.failures, counted);
    }
}

#[test]
fn random_histories_keep_the_promises() {
    let mut seen = [0_usize; 3];
    for seed in 0..3_000 {
        let mut dice = Dice(seed);
        let reset_after = Duration::from_millis(1 + dice.below(50));
        let settings = Settings {
            failures: Some(1 + dice.below(5) as u32),
            rates: None,
            reset_after,
            max_reset_after: reset_after * 5,
            probes: 1 + dice.below(4) as u32,
        };
        let clock = Clock::manual(UNIX_EPOCH);
        let breaker = Breaker::new(settings, None, clock.now());
        let mut history = History {
            breaker: &breaker,
            settings,
            clock: clock.clone(),
            transitions: Vec::new(),
            out: VecDeque::new(),
            opened: None,
            openings: 0,
            failures_in_a_row: 0,
            successes: 0,
        };
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..200 {
                match dice.below(10) {
                    0 => clock.advance(Duration::from_millis(dice.below(30))),
                    1..=5 => history.ask(),
                    _ => history.answer(&mut dice),
                }
                history.check();
            }
        }));
        assert!(ran.is_ok(), "seed {seed} with {settings:?}");
        for transition in &history.transitions {
            seen[Phase::ALL
                .iter()
                .position(|phase| *phase == transition.to)
                .expect("one of them")] += 1;
        }
        history.out.clear();
        assert_eq!(breaker.status(clock.now()).probing, 0, "all permits came back (seed {seed})");
    }
    assert!(seen.iter().all(|count| *count > 1_000), "the histories go everywhere: {seen:?}");
}

#[test]
fn threads_never_send_more_probes_than_allowed() {
    const PROBES: u32 = 3;
    let clock = Clock::manual(UNIX_EPOCH);
    for round in 0..200 {
        let second = Duration::from_secs(1);
        let settings = Settings {
            failures: Some(1),
            rates: None,
            reset_after: second,
            max_reset_after: second,
            probes: PROBES,
        };
        let breaker = Breaker::new(settings, None, clock.now());
        breaker.admit(clock.now()).expect("closed").failure(clock.now());
        clock.advance(Duration::from_secs(1));
        let (out, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let transitions = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (breaker, out, most, transitions) = (&breaker, &out, &most, &transitions);
                let now = clock.now();
                scope.spawn(move || {
                    let mut dice = Dice(round * 4 + thread);
                    for _ in 0..50 {
                        let Ok(permit) = breaker.admit(now) else { continue };
                        most.fetch_max(out.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        let opened = permit.transition().is_some();
                        transitions.fetch_add(usize::from(opened), Ordering::SeqCst);
                        std::hint::spin_loop();
                        out.fetch_sub(1, Ordering::SeqCst);
                        match dice.below(3) {
                            // One success at most: the third would close it and let all through.
                            0 if breaker.status(now).successes == 0 && thread == 0 => {
                                permit.success(now);
                            }
                            _ => permit.none(),
                        }
                    }
                });
            }
        });
        assert!(most.into_inner() <= PROBES as usize);
        assert_eq!(transitions.into_inner(), 1, "one thread sent the first probe");
        assert_eq!(breaker.status(clock.now()).probing, 0);
        assert_eq!(breaker.phase(), Phase::HalfOpen);
    }
}
