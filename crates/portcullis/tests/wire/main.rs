//! What comes over the wire, byte by byte: requests that no library would send, answers that no
//! service should give, paths in every spelling, and HTTP/2 frame by frame, against the real binary.
//!
//! Each file of cases beside this one is a test; `cases.rs` says how they are written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a failed step is a failed test

#[path = "../kit/mod.rs"]
mod kit;

mod cases;
mod frames;
mod http2;
mod paths;
mod run;
mod time;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let mut trials = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "txt") {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        if name == paths::FILE {
            trials.extend(paths::trials(&text));
            continue;
        }
        let file = cases::parse(&text).unwrap_or_else(|why| panic!("{name}.txt: {why}"));
        count += file.cases.len();
        trials.push(trial(format!("cases: {name}"), async move || run::all(&file).await));
    }
    trials.extend(http2::trials());
    trials.extend(time::trials());
    assert!(count >= 150, "only {count} cases: some are gone");
    trials.sort_by(|one, other| one.name().cmp(other.name()));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A test on a runtime of its own.
fn trial(
    name: impl Into<String>,
    test: impl AsyncFnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let result = tokio::task::LocalSet::new().block_on(&runtime, test());
        result.map_err(|error| Failed::from(format!("{error:#}")))
    })
}
