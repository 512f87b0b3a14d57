//! What a decision costs: the counters of a limit beside a bare table, for `cargo xtask limits`, which
//! counts this program's instructions.
//!
//! `limits bare|decide KEYS COUNT`: so many look-ups or decisions, over so many keys. `limits memory
//! KEYS RUNS`: prints the bytes that each of so many keys needs, with so many runs in its log.

#![allow(clippy::print_stdout, clippy::disallowed_methods)] // it is a program for people and tools

use std::hint::black_box;
use std::time::Instant;

use hashbrown::HashMap;
use portcullis_core::metrics::Counter;
use portcullis_policies::rate_limit::counting::{Asked, Line, Memory};

const LINES: [Line; 1] = [Line { requests: 1_000_000, per: 60_000_000 }];

/// A key as requests make it: tier, mark of its lines, kind, client.
fn key(number: u64) -> String {
    format!("premium:0123abcd:jwt:user-{number:08}")
}

fn main() {
    let mut words = std::env::args().skip(1);
    let what = words.next().unwrap_or_default();
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(1);
    let (keys, count) = (number(), number());
    let names: Vec<String> = (0..keys).map(key).collect();
    let turn = |at: u64| {
        let place = at.wrapping_mul(7_919) % keys;
        names.get(usize::try_from(place).unwrap_or(0)).map_or("", String::as_str)
    };
    match what.as_str() {
        "bare" => {
            let table: HashMap<Box<str>, u64> =
                names.iter().map(|name| (name.as_str().into(), 7)).collect();
            for at in 0..count {
                black_box(table.get(black_box(turn(at))));
            }
        }
        "decide" => {
            let memory = limit();
            for at in 0..keys {
                decide(&memory, turn(at), 0);
            }
            for at in 0..count {
                decide(&memory, black_box(turn(at)), 1000);
            }
        }
        "memory" => {
            let memory = limit();
            let before = resident();
            for run in 0..count {
                for at in 0..keys {
                    decide(&memory, turn(at), run * 938_000);
                }
            }
            println!("{}", resident().saturating_sub(before) * 1024 / keys);
        }
        _ => println!("limits bare|decide KEYS COUNT, or limits memory KEYS RUNS"),
    }
}

fn limit() -> Memory {
    Memory::new(Instant::now(), 2_000_000, Counter::default())
}

/// `now` in microseconds.
fn decide(memory: &Memory, key: &str, now: u64) {
    let asked = Asked { key: key.as_bytes(), lines: &LINES, cost: 1, enforced: true, share: None };
    black_box(memory.decide(&asked, now));
}

/// KiB of this process in memory.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}
