//! Shares, turns and loads of every way to choose.

use super::*;

const NAMES: [&str; 3] = ["a:80", "b:80", "c:80"];
const WEIGHTS: [u32; 3] = [1, 2, 5];

/// All that is chosen among, in a test.
struct Scene<'s> {
    loads: &'s [Load],
    usable: &'s dyn Fn(usize) -> bool,
    is_whole: bool,
}

impl View for Scene<'_> {
    fn is_usable(&self, place: usize) -> bool {
        (self.usable)(place)
    }

    fn load(&self, place: usize) -> Option<&Load> {
        self.loads.get(place)
    }

    fn part(&self, _: usize) -> u32 {
        100
    }

    fn is_whole(&self) -> bool {
        self.is_whole
    }
}

/// Every endpoint may be chosen.
fn all(loads: &[Load]) -> Scene<'_> {
    Scene { loads, usable: &|_| true, is_whole: true }
}

fn picker(balance: &Balance) -> Picker {
    Picker::new(balance, NAMES.into_iter().zip(WEIGHTS), 7)
}

fn by_header() -> Balance {
    Balance::Hash(Reference::Header("x-user".into()))
}

/// How often each is chosen, by so many requests that end at once.
fn counts(picker: &Picker, requests: u64, usable: impl Fn(usize) -> bool) -> Vec<f64> {
    let loads: [Load; 3] = Default::default();
    let mut counts = vec![0.0; 3];
    for number in 0..requests {
        let key = hash(format!("user {number}").as_bytes());
        let scene = Scene { loads: &loads, usable: &usable, is_whole: false };
        let place = picker.pick(&scene, Some(key)).unwrap();
        counts[place] += 1.0 / requests as f64;
    }
    counts
}

#[test]
fn weights_are_kept_within_two_percent() {
    for balance in [Balance::RoundRobin, Balance::Random, by_header()] {
        let counts = counts(&picker(&balance), 100_000, |_| true);
        for (count, weight) in counts.iter().zip(WEIGHTS) {
            // A ring of 100 points per weight is itself some percent off: it is judged as a share.
            assert!((count - f64::from(weight) / 8.0).abs() < 0.02, "{balance:?}: {counts:?}");
        }
    }
}

#[test]
fn turns_are_spread_evenly_and_skip_what_is_not_usable() {
    let (picker, loads) = (picker(&Balance::RoundRobin), <[Load; 3]>::default());
    let turn = |usable: &dyn Fn(usize) -> bool| {
        picker.pick(&Scene { loads: &loads, usable, is_whole: false }, None).unwrap()
    };
    let turns: Vec<_> = (0..8).map(|_| turn(&|_| true)).collect();
    assert_eq!(turns, [2, 1, 2, 0, 2, 2, 1, 2]);
    assert!((0..20).all(|_| turn(&|place| place != 2) != 2));
    assert_eq!(
        picker.pick(&Scene { loads: &loads, usable: &|_| false, is_whole: false }, None),
        None
    );
}

#[test]
fn who_has_less_to_do_gets_the_request() {
    let names = ["a:80", "b:80"].into_iter().zip([1, 1]);
    let (picker, loads) = (Picker::new(&Balance::LeastRequests, names, 1), <[Load; 2]>::default());
    for _ in 0..1000 {
        let place = picker.pick(&all(&loads), None).unwrap();
        loads[place].begin();
        let [one, two] = loads.each_ref().map(|load| i64::from(load.in_flight()));
        assert!((one - two).abs() <= 1, "{one} {two}");
    }
}

#[test]
fn weights_count_in_what_is_less() {
    let (picker, loads) = (picker(&Balance::LeastRequests), <[Load; 3]>::default());
    for _ in 0..8000 {
        loads[picker.pick(&all(&loads), None).unwrap()].begin();
    }
    for (load, weight) in loads.iter().zip(WEIGHTS) {
        let share = f64::from(load.in_flight()) / 8000.0;
        assert!((share - f64::from(weight) / 8.0).abs() < 0.02, "{share} of {weight}");
    }
}

#[test]
fn a_slow_endpoint_gets_less_and_its_peak_fades() {
    let names = ["a:80", "b:80"].into_iter().zip([1, 1]);
    let (picker, loads) = (Picker::new(&Balance::PeakEwma, names, 1), <[Load; 2]>::default());
    let second = Duration::from_secs(1);
    loads[0].took(second, second);
    loads[1].took(second / 100, second);
    let pick = || picker.pick(&all(&loads), None).unwrap();
    assert!((0..100).all(|_| pick() == 1));
    for later in 2..120 {
        loads[0].took(second / 1000, second * later);
    }
    assert!((0..100).all(|_| pick() == 0));
}

#[test]
fn a_value_keeps_its_endpoint_and_losing_one_moves_only_its_own() {
    let (picker, loads) = (picker(&by_header()), <[Load; 3]>::default());
    let pick = |number: u32, usable: &dyn Fn(usize) -> bool| {
        let key = hash(&number.to_be_bytes());
        picker.pick(&Scene { loads: &loads, usable, is_whole: false }, Some(key)).unwrap()
    };
    for number in 0..1000 {
        let home = pick(number, &|_| true);
        assert_eq!(pick(number, &|_| true), home);
        let without = pick(number, &|place| place != 1);
        assert!(without != 1 && (home == 1 || without == home));
    }
}

#[test]
fn no_endpoint_of_a_ring_gets_much_more_than_its_part() {
    let (picker, loads) = (picker(&by_header()), <[Load; 3]>::default());
    let key = hash(b"everybody wants the same");
    for _ in 0..800 {
        loads[picker.pick(&all(&loads), Some(key)).unwrap()].begin();
    }
    for (load, weight) in loads.iter().zip(WEIGHTS) {
        assert!(load.in_flight() <= 800 * weight * 5 / 32 + 1, "{}", load.in_flight());
    }
}
