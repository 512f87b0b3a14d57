//! Frames however they are cut, and what is too much of them.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const ALLOWANCE: Allowance = Allowance { control: 100, resets: 10 };
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

/// A frame with an empty payload of so many bytes.
fn frame(kind: u8, flags: u8, stream: u8, length: u8) -> Vec<u8> {
    let mut bytes = vec![0, 0, length, kind, flags, 0, 0, 0, stream];
    bytes.extend(vec![0; usize::from(length)]);
    bytes
}

fn open() -> Budget {
    let mut budget = Budget::new(ALLOWANCE);
    assert!(budget.receive(PREFACE));
    budget
}

/// How many of these there can be, one behind the other.
fn many(budget: &mut Budget, bytes: &[u8]) -> usize {
    (0..10_000).take_while(|_| budget.receive(bytes)).count()
}

#[test]
fn what_carries_nothing_is_counted() {
    for flood in [
        frame(PING, 0, 0, 8),
        frame(4, 0, 0, 0),
        frame(WINDOW_UPDATE, 0, 1, 4),
        frame(2, 0, 1, 5),
        frame(kind::DATA, 0, 1, 0),
        frame(kind::CONTINUATION, 0, 1, 0),
        frame(0xfe, 0, 0, 0),
    ] {
        assert_eq!(many(&mut open(), &flood), 100, "{flood:?}");
    }
    assert_eq!(many(&mut open(), &frame(kind::DATA, 0, 1, 1)), 10_000);
    assert_eq!(many(&mut open(), &frame(kind::HEADERS, END_HEADERS, 1, 1)), 10_000);
}

#[test]
fn it_grows_back_with_time() {
    let mut budget = open();
    assert_eq!(many(&mut budget, &frame(PING, 0, 0, 8)), 100);
    let mut budget = open();
    for _ in 0..100 {
        assert!(budget.receive(&frame(PING, 0, 0, 8)));
        budget.refill(Duration::from_millis(100));
    }
    budget.refill(Duration::from_secs(3600));
    assert_eq!(many(&mut budget, &frame(PING, 0, 0, 8)), 100, "but never beyond the allowance");
}

#[test]
fn honest_work_earns_what_it_needs() {
    let mut budget = open();
    for _ in 0..1000 {
        let request = [frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, 10), frame(2, 0, 1, 5)];
        assert!(budget.receive(&request.concat()));
        assert!(budget.send(&frame(kind::HEADERS, END_HEADERS, 1, 10)));
        for _ in 0..50 {
            assert!(budget.send(&frame(kind::DATA, 0, 1, 100)));
            assert!(budget.receive(&frame(WINDOW_UPDATE, 0, 1, 4)));
            assert!(budget.receive(&frame(WINDOW_UPDATE, 0, 0, 4)));
        }
        assert!(budget.send(&frame(kind::DATA, END_STREAM, 1, 0)));
    }
    assert_eq!(budget.data_sent(), 51_000);
}

#[test]
fn resets_are_counted_whoever_sends_them() {
    let opened = frame(kind::HEADERS, END_HEADERS, 1, 10);
    let reset = frame(kind::RST_STREAM, 0, 1, 4);
    assert_eq!(many(&mut open(), &[opened.clone(), reset.clone()].concat()), 10);
    let mut budget = open();
    let made = (0..1000).take_while(|_| budget.receive(&opened) && budget.send(&reset)).count();
    assert_eq!(made, 10);
    let mut budget = open();
    let answer = frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, 10);
    for _ in 0..1000 {
        // Every second request is given up: that is a client's right.
        assert!(budget.receive(&[&*opened, &*opened, &*reset].concat()));
        assert!(budget.send(&answer));
    }
}

#[test]
fn a_head_is_awaited_until_it_is_whole() {
    let mut budget = Budget::new(ALLOWANCE);
    assert!(budget.waits_for_head());
    budget.receive(PREFACE);
    assert!(!budget.waits_for_head());
    for bytes in frame(kind::HEADERS, 0, 3, 5).chunks(1) {
        budget.receive(bytes);
        assert!(budget.waits_for_head());
    }
    budget.receive(&frame(kind::CONTINUATION, END_HEADERS, 3, 0));
    assert!(!budget.waits_for_head());
    let data = frame(kind::DATA, 0, 3, 50);
    budget.receive(&data[..20]);
    assert!(!budget.waits_for_head());
    budget.receive(&data[20..]);
    budget.receive(&frame(PING, 0, 0, 8)[..3]);
    assert!(budget.waits_for_head());
    assert_eq!(budget.goaway(11).unwrap(), [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 11]);
    budget.send(&data[..20]);
    assert_eq!(budget.goaway(11), None);
}

proptest! {
    #[test]
    fn it_does_not_matter_how_the_bytes_are_cut(
        frames in prop::collection::vec((0..12_u8, any::<u8>(), any::<u8>(), 0..40_u8), 0..20),
        cuts in prop::collection::vec(1_usize..30, 1..20),
    ) {
        let bytes: Vec<u8> =
            frames.iter().flat_map(|(kind, flags, stream, length)| frame(*kind, *flags, *stream, *length)).collect();
        let heads = |cuts: &[usize]| {
            let (mut parser, mut seen, mut rest) = (Frames::behind(0), Vec::new(), &*bytes);
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                parser.feed(now, |frame| seen.push(frame));
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert!(parser.is_between());
            Ok(seen)
        };
        let whole = heads(&[usize::MAX])?;
        prop_assert_eq!(whole.len(), frames.len());
        prop_assert_eq!(whole, heads(&cuts)?);
    }
}
