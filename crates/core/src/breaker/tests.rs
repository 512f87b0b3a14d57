//! A breaker under a clock that the test moves, step by step.

use super::state::{EPOCH_MASK, OPENINGS, REST_MASK};
use super::*;
use crate::clock::Clock;

const RESET: Duration = Duration::from_secs(30);
const SETTINGS: Settings = Settings {
    failures: Some(3),
    rates: None,
    reset_after: RESET,
    max_reset_after: Duration::from_secs(300),
    probes: 2,
};
const RATES: Rates = Rates {
    failure_rate: Some(5_000),
    slow_rate: None,
    slow_after: Duration::from_secs(1),
    window: Duration::from_secs(10),
    minimum: 20,
};

fn broken(clock: &Clock, seed: Option<u64>) -> Breaker {
    let breaker = Breaker::new(SETTINGS, seed, clock.now());
    fail(&breaker, clock, 3);
    breaker
}

/// The last step of so many failures.
fn fail(breaker: &Breaker, clock: &Clock, times: usize) -> Option<Transition> {
    let attempt = |_| breaker.admit(clock.now()).unwrap().failure(clock.now());
    (0..times).map(attempt).last().flatten()
}

fn manual() -> Clock {
    Clock::manual(std::time::UNIX_EPOCH)
}

fn step(from: Phase, to: Phase, reason: Reason) -> Option<Transition> {
    Some(Transition { from, to, reason })
}

#[test]
fn failures_in_a_row_open_it_and_a_success_starts_the_count_again() {
    let clock = manual();
    let breaker = Breaker::new(SETTINGS, None, clock.now());
    let mut steps = Vec::new();
    for worked in [false, false, true, false, false, false] {
        let permit = breaker.admit(clock.now()).unwrap();
        steps.extend(match worked {
            true => permit.success(clock.now()),
            false => permit.failure(clock.now()),
        });
    }
    assert_eq!(steps.first().copied(), step(Phase::Closed, Phase::Open, Reason::Failures));
    let refused = breaker.admit(clock.now()).unwrap_err();
    assert_eq!(refused, Refused { retry_after: RESET, why: Why::Open });
    clock.advance(Duration::from_millis(29_400));
    let refused = breaker.admit(clock.now()).unwrap_err();
    assert_eq!(refused.retry_after, Duration::from_millis(600), "what really remains");
}

#[test]
fn a_fraction_of_a_millisecond_never_adds_a_second_to_the_wait() {
    let clock = manual();
    let breaker = Breaker::new(SETTINGS, None, clock.now());
    clock.advance(Duration::from_nanos(1_000_001));
    fail(&breaker, &clock, 3);
    let refused = breaker.admit(clock.now()).unwrap_err();
    assert_eq!(refused.retry_after, RESET);
    assert_eq!(breaker.status(clock.now()).retry_after, Some(RESET));
    clock.advance(RESET);
    assert!(breaker.admit(clock.now()).is_err(), "and it never opens too early");
    clock.advance(Duration::from_millis(1));
    breaker.admit(clock.now()).unwrap().none();
}

#[test]
fn probes_are_capped_at_once_and_close_it_together() {
    let clock = manual();
    let breaker = broken(&clock, None);
    clock.advance(RESET);
    let first = breaker.admit(clock.now()).unwrap();
    assert_eq!(first.transition(), step(Phase::Open, Phase::HalfOpen, Reason::ResetAfter));
    let second = breaker.admit(clock.now()).unwrap();
    let refused = breaker.admit(clock.now()).unwrap_err();
    assert_eq!(refused, Refused { retry_after: Duration::from_secs(1), why: Why::Probing });
    assert_eq!(first.success(clock.now()), None);
    drop(second); // its client went away: the permit is back, and nothing was learned
    assert_eq!(breaker.status(clock.now()).probing, 0);
    let third = breaker.admit(clock.now()).unwrap().success(clock.now());
    assert_eq!(third, step(Phase::HalfOpen, Phase::Closed, Reason::ProbesSucceeded));
}

#[test]
fn a_permit_may_be_away_while_nobody_knows_how_it_went() {
    let clock = manual();
    let breaker = broken(&clock, None);
    clock.advance(RESET);
    let (first, second) = (breaker.admit(clock.now()), breaker.admit(clock.now()));
    let (first, second) = (first.unwrap().put_off(), second.unwrap().put_off());
    assert_eq!(breaker.status(clock.now()).probing, 2, "it keeps its place");
    breaker.redeem(first).none();
    assert_eq!(breaker.status(clock.now()).probing, 1);
    let failed = breaker.redeem(second).failure(clock.now());
    assert_eq!(failed, step(Phase::HalfOpen, Phase::Open, Reason::ProbeFailed));
}

#[test]
fn one_failed_probe_opens_it_and_the_others_are_ignored() {
    let clock = manual();
    let breaker = broken(&clock, None);
    clock.advance(RESET);
    let (first, second) = (breaker.admit(clock.now()), breaker.admit(clock.now()));
    let failed = first.unwrap().failure(clock.now());
    assert_eq!(failed, step(Phase::HalfOpen, Phase::Open, Reason::ProbeFailed));
    assert_eq!(second.unwrap().success(clock.now()), None);
    assert_eq!(breaker.status(clock.now()).phase, Phase::Open);
}

#[test]
fn waits_grow_until_it_closes_again() {
    let clock = manual();
    let breaker = broken(&clock, None);
    let wait = || breaker.status(clock.now()).retry_after.unwrap();
    for seconds in [30, 60, 120, 240, 300, 300, 300] {
        assert_eq!(wait(), Duration::from_secs(seconds));
        clock.advance(wait());
        fail(&breaker, &clock, 1);
    }
    clock.advance(wait());
    for _ in 0..2 {
        breaker.admit(clock.now()).unwrap().success(clock.now());
    }
    fail(&breaker, &clock, 3);
    assert_eq!(wait(), RESET, "closing it forgets how long it was open");
}

#[test]
fn jitter_only_lengthens_a_wait_and_differs_between_gateways() {
    let clock = manual();
    let waits: Vec<Duration> = (0..50)
        .map(|seed| broken(&clock, Some(seed)).status(clock.now()).retry_after.unwrap())
        .collect();
    assert!(waits.iter().all(|wait| (RESET..=RESET + RESET / 10).contains(wait)), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait > RESET + RESET / 20), "{waits:?}");
    let breaker = broken(&clock, Some(7));
    clock.advance(breaker.status(clock.now()).retry_after.unwrap() - Duration::from_millis(1));
    assert!(breaker.admit(clock.now()).is_err(), "what is told is when it is tried");
    clock.advance(Duration::from_millis(1));
    breaker.admit(clock.now()).unwrap().none();
}

#[test]
fn a_share_of_failures_opens_it_once_there_are_enough_attempts() {
    let clock = manual();
    let settings = Settings { failures: None, rates: Some(RATES), ..SETTINGS };
    let breaker = Breaker::new(settings, None, clock.now());
    assert_eq!(fail(&breaker, &clock, 19), None, "failures in a row do not count here");
    let success = || breaker.admit(clock.now()).unwrap().success(clock.now());
    let opened = step(Phase::Closed, Phase::Open, Reason::FailureRate);
    assert_eq!(success(), opened, "19 of 20, whatever came last");
    clock.advance(RESET);
    assert_eq!((success(), success().map(|step| step.to)), (None, Some(Phase::Closed)));
    assert_eq!(breaker.status(clock.now()).seen, Some(Seen { attempts: 0, failed: 0, slow: 0 }));
    for _ in 0..20 {
        assert_eq!(success(), None);
    }
    assert_eq!(fail(&breaker, &clock, 19), None, "19 of 39");
    assert_eq!(fail(&breaker, &clock, 1), opened, "20 of 40");
}

#[test]
fn what_is_older_than_the_window_is_forgotten() {
    let clock = manual();
    let settings = Settings { failures: None, rates: Some(RATES), ..SETTINGS };
    let breaker = Breaker::new(settings, None, clock.now());
    for _ in 0..10 {
        assert_eq!(fail(&breaker, &clock, 19), None);
        clock.advance(Duration::from_secs(10));
    }
    assert_eq!(fail(&breaker, &clock, 20).map(|step| step.to), Some(Phase::Open));
}

#[test]
fn attempts_that_take_too_long_open_it_and_are_no_good_as_probes() {
    let clock = manual();
    let rates = Rates { failure_rate: None, slow_rate: Some(8_000), minimum: 5, ..RATES };
    let settings = Settings { failures: None, rates: Some(rates), ..SETTINGS };
    let breaker = Breaker::new(settings, None, clock.now());
    let attempt = |took| {
        let permit = breaker.admit(clock.now()).unwrap();
        clock.advance(took);
        permit.success(clock.now())
    };
    let (quick, slow) = (Duration::from_secs(1), Duration::from_millis(1001));
    assert_eq!([quick, slow, slow, slow].map(attempt), [None; 4]);
    assert_eq!(attempt(slow), step(Phase::Closed, Phase::Open, Reason::SlowRate));
    clock.advance(RESET);
    assert_eq!(attempt(slow), step(Phase::HalfOpen, Phase::Open, Reason::ProbeFailed));
}

#[test]
fn an_operator_holds_it_and_lets_it_go() {
    let clock = manual();
    let breaker = broken(&clock, None);
    let held = step(Phase::Open, Phase::Closed, Reason::Forced);
    assert_eq!(breaker.force(Some(false)), held);
    assert_eq!(fail(&breaker, &clock, 10), None, "held closed, whatever happens");
    assert!(breaker.status(clock.now()).forced);
    let under_way = breaker.admit(clock.now()).unwrap();
    let opened = step(Phase::Closed, Phase::Open, Reason::Forced);
    assert_eq!(breaker.force(Some(true)), opened);
    assert_eq!(breaker.force(Some(true)), None);
    clock.advance(10 * RESET);
    let refused = breaker.admit(clock.now()).unwrap_err();
    assert_eq!(refused, Refused { retry_after: RESET, why: Why::Forced });
    assert_eq!(breaker.force(None), step(Phase::Open, Phase::Closed, Reason::Auto));
    assert_eq!(breaker.force(None), None);
    assert_eq!(under_way.failure(clock.now()), None);
    let status = breaker.status(clock.now());
    assert_eq!((status.phase, status.forced, status.failures), (Phase::Closed, false, 0));
}

#[test]
fn what_an_operator_lets_go_begins_with_no_shares() {
    let clock = manual();
    let settings = Settings { failures: None, rates: Some(RATES), ..SETTINGS };
    let breaker = Breaker::new(settings, None, clock.now());
    assert_eq!(fail(&breaker, &clock, 19), None);
    breaker.force(Some(false));
    breaker.force(None);
    assert_eq!(breaker.status(clock.now()).seen.map(|seen| seen.attempts), Some(0));
    assert_eq!(fail(&breaker, &clock, 19), None);
    assert!(fail(&breaker, &clock, 1).is_some());
}

#[test]
fn what_was_sent_before_it_opened_changes_nothing() {
    let clock = manual();
    let breaker = Breaker::new(SETTINGS, None, clock.now());
    let late: Vec<_> = (0..6).map(|_| breaker.admit(clock.now()).unwrap()).collect();
    fail(&breaker, &clock, 3);
    clock.advance(RESET);
    let probe = breaker.admit(clock.now()).unwrap();
    for (index, permit) in late.into_iter().enumerate() {
        match index % 3 {
            0 => assert_eq!(permit.success(clock.now()), None),
            1 => assert_eq!(permit.failure(clock.now()), None),
            _ => permit.none(),
        }
    }
    let status = breaker.status(clock.now());
    assert_eq!((status.phase, status.probing, status.successes), (Phase::HalfOpen, 1, 0));
    probe.none();
}

#[test]
fn every_state_fits_into_a_word() {
    let modes = [
        Mode::Closed { failures: 0 },
        Mode::Closed { failures: MOST },
        Mode::Open { until: 0 },
        Mode::Open { until: REST_MASK },
        Mode::HalfOpen { out: MOST, successes: 0 },
        Mode::HalfOpen { out: 1, successes: MOST },
        Mode::Forced { open: true },
        Mode::Forced { open: false },
    ];
    for mode in modes {
        for epoch in [0, 1, EPOCH_MASK] {
            for openings in [0, 1, OPENINGS] {
                let state = State { epoch, openings, mode };
                assert_eq!(State::unpack(state.pack()), state);
            }
        }
    }
}
