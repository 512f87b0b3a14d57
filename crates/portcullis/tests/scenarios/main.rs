//! Runs every scenario below scenarios/ against the real binary. Each is one test, named by its file
//! and its sentence: `cargo test --test scenarios -- routing` runs those of a folder.

#![allow(unreachable_pub)] // a test has no outside: `pub` is for the modules beside

mod act;
mod check;
mod collect;
mod compare;
mod convert;
mod fill;
mod itself;
#[path = "../kit/mod.rs"]
mod kit;
mod language;
mod metrics;
mod outside;
mod scene;
mod shapes;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::collect::Found;

/// No scenario takes longer.
const LONGEST: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(4); // they wait more than they work
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let trials = match collect::all(&root) {
        Ok(found) => itself::trials().into_iter().chain(found.into_iter().map(trial)).collect(),
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(found: Found) -> Trial {
    let name = format!("{}: {}", found.file, found.name);
    Trial::test(name, move || run(&found).map_err(|error| Failed::from(format!("{error:#}"))))
}

/// One scenario on a runtime of its own: when it ends, so does everything that it started.
fn run(found: &Found) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        kit::pause::within(LONGEST, "the scenario", scene::play(found)).await?
    })
}
