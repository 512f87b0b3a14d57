//! Laws about single files: their length, their first line, and what must not stand in them.

use crate::Findings;
use crate::tree::{self, Source};

const LONGEST_FILE: usize = 500;

#[test]
fn no_file_is_longer_than_500_lines() {
    let mut found = Findings::default();
    for source in tree::rust() {
        let lines = source.text.lines().count();
        if lines > LONGEST_FILE {
            let cure = "move one of its concerns into a module of its own";
            found.add(
                &source.path,
                lines,
                format!("{lines} lines, {LONGEST_FILE} allowed; {cure}"),
            );
        }
    }
    found.expect_none();
}

#[test]
fn every_module_says_why_it_exists() {
    let mut found = Findings::default();
    for source in tree::rust() {
        if !source.text.starts_with("//! ") {
            found.add(&source.path, 1, "begin with `//! ` and one sentence: why this file exists");
        }
    }
    found.expect_none();
}

/// Clippy denies both calls; this law adds that whoever allows them says why.
#[test]
fn time_comes_from_the_clock() {
    const READS: usize = 25;
    let mut found = Findings::default();
    for source in tree::rust() {
        if source.path == "crates/core/src/clock.rs" {
            continue;
        }
        let lines: Vec<&str> = source.text.lines().collect();
        // Tokio's Instant is a clock that a test can stop and set.
        let imports =
            |line: &&str| line.starts_with("use tokio::time::") && line.contains("Instant");
        let tokio = lines.iter().any(imports);
        for (number, line) in (1_usize..).zip(source.code().lines()) {
            let reads = line.contains("Instant::now(") || line.contains("SystemTime::now(");
            if !reads || line.contains("tokio::time::Instant::now(") || tokio {
                continue;
            }
            let above = &lines[number.saturating_sub(READS)..number];
            let allows = |line: &&str| line.contains("disallowed_methods") && gives_reason(line);
            let whole_file = lines.iter().any(|line| line.starts_with("#![allow") && allows(line));
            if !whole_file && !above.iter().any(allows) {
                let cure = "or `#[allow(clippy::disallowed_methods)] // the reason`";
                found.add(&source.path, number, format!("take the time from a Clock, {cure}"));
            }
        }
    }
    found.expect_none();
}

fn gives_reason(line: &str) -> bool {
    line.contains("// ") || line.contains("reason = ")
}

#[test]
fn whoever_allows_a_lint_says_why() {
    let mut found = Findings::default();
    for source in tree::rust() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (number, line) in (1..).zip(source.code().lines()) {
            let attribute = line.trim_start().starts_with('#') || line.contains(" allow(");
            if !attribute || !line.contains("allow(") || !line.contains("clippy::") {
                continue;
            }
            if line.contains("too_many_lines") {
                found.add(&source.path, number, "a long function is split, not allowed");
            }
            let above = number.checked_sub(2).and_then(|at| lines.get(at)).unwrap_or(&"");
            let commented = gives_reason(above) && above.trim_start().starts_with(['/', '#']);
            let below = lines[number - 1..].iter().take(4).any(|line| gives_reason(line));
            if !commented && !below {
                found.add(&source.path, number, "say why: `// the reason` behind the attribute");
            }
        }
    }
    found.expect_none();
}

#[test]
fn nothing_is_left_undone() {
    const UNDONE: [&str; 4] = ["todo!(", "unimplemented!(", "#[ignore", "dbg!("];
    let mut found = Findings::default();
    for source in tree::rust() {
        for (number, line) in (1..).zip(source.code().lines()) {
            for word in UNDONE.iter().filter(|word| line.contains(**word)) {
                found.add(&source.path, number, format!("`{word}`: finish it or remove it"));
            }
        }
    }
    found.expect_none();
}

#[test]
fn tests_wait_for_events_and_do_not_sleep() {
    const SLEEPS: [&str; 3] = ["thread::sleep(", "time::sleep(", "time::sleep_until("];
    let mut found = Findings::default();
    for source in tree::rust() {
        let code = source.code();
        let first = first_line_of_tests(&source, &code);
        for (number, line) in (1..).zip(code.lines()) {
            if number >= first && SLEEPS.iter().any(|sleep| line.contains(sleep)) {
                let cure =
                    "await the event itself (a line, a connection, a condition with a bound)";
                found.add(&source.path, number, format!("a test sleeps; {cure}"));
            }
        }
    }
    found.expect_none();
}

/// Test modules stand at a file's end, so everything from the first one on is test code.
fn first_line_of_tests(source: &Source, code: &str) -> usize {
    if source.is_test() {
        return 1;
    }
    let starts = |line: &str| line.contains("#[cfg(test)]") || line.contains("#[test]");
    code.lines().position(starts).map_or(usize::MAX, |at| at + 1)
}

#[test]
fn no_path_of_a_machine_is_written_down() {
    // In halves, so that this list does not find itself.
    let places = [("/ho", "me/"), ("/ro", "ot/"), ("/Use", "rs/"), ("/wo", "rk/"), ("/tm", "p/br")];
    let places = places.map(|(a, b)| format!("{a}{b}"));
    let mut found = Findings::default();
    for source in tree::sources() {
        for (number, line) in source.lines() {
            for place in places.iter().filter(|place| begins_a_path(line, place)) {
                let cure = "use a path from the project's root or std::env::temp_dir()";
                found.add(&source.path, number, format!("`{place}` is one machine's; {cure}"));
            }
        }
    }
    found.expect_none();
}

/// `https://example.com/home/` is an address; only a path that starts there is a machine's.
fn begins_a_path(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | '/'))
    })
}
