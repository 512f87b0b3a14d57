//! What docs/security.md promises is held by tests: every file that it names is there, and has the
//! names that stand in quotes behind it.

use std::fs;

use crate::Findings;
use crate::tree;

const PAGE: &str = "docs/security.md";

#[test]
fn every_promise_is_held_by_what_it_names() {
    let text = fs::read_to_string(tree::root().join(PAGE)).unwrap();
    let (mut found, mut rows) = (Findings::default(), 0);
    for (number, line) in (1..).zip(text.lines()) {
        let Some((_, held)) = line.strip_prefix("| **").and_then(|row| row.split_once(" | "))
        else {
            continue;
        };
        rows += 1;
        let pieces: Vec<&str> = held.split('`').collect();
        let named = pieces.iter().skip(1).step_by(2).zip(pieces.iter().skip(2).step_by(2));
        let mut count = 0;
        for (path, behind) in named {
            count += 1;
            let Ok(test) = fs::read_to_string(tree::root().join(path)) else {
                found.add(PAGE, number, format!("there is no {path}"));
                continue;
            };
            for name in behind.split('"').skip(1).step_by(2).filter(|name| !test.contains(name)) {
                found.add(PAGE, number, format!("{path} has no test that is called so: {name}"));
            }
        }
        if count == 0 {
            found.add(PAGE, number, "nothing holds this promise: name a test");
        }
    }
    assert!(rows >= 20, "only {rows} promises: this law has gone blind");
    found.expect_none();
}
