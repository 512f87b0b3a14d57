//! Fuzzing: every target of fuzz/ runs for a while, guided by coverage. The build is instrumented
//! with flags of the compiler's code generator, so that the pinned stable toolchain is enough.

use std::fs;
use std::num::NonZero;
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context as _, Result, anyhow, bail};

use super::Wish;
use crate::run;

const LIMITS: [&str; 4] =
    ["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1", "-close_fd_mask=1"];
/// Coverage as libFuzzer reads it.
const INSTRUMENTATION: &str = "--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

pub(super) fn run(wish: &Wish) -> Result<String> {
    let (folder, built) = (run::root().join("fuzz"), run::root().join("target/fuzz"));
    let host = host()?;
    // Naming the target keeps build scripts and macros out of the instrumentation.
    let mut build = run::cargo();
    build.args(["build", "--release", "--target", &host, "--target-dir"]).arg(&built);
    build.current_dir(&folder).env("RUSTFLAGS", INSTRUMENTATION);
    run::loudly(&mut build)?;
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(folder.join("targets"))? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    if names.is_empty() {
        bail!("fuzz/targets is empty")
    }
    // As many at a time as there are cores.
    let (seconds, left) = (wish.fuzz_seconds, Mutex::new(names.iter()));
    let next = || left.lock().ok()?.next();
    let work = || {
        while let Some(name) = next() {
            let mut fuzzer = Command::new(built.join(&host).join("release").join(name));
            let corpus = built.join("corpus").join(name);
            fs::create_dir_all(&corpus)?;
            fuzzer.arg(&corpus).arg(folder.join("seeds").join(name));
            fuzzer.args(LIMITS).arg(format!("-max_total_time={seconds}"));
            fuzzer.arg(format!("-seed={}", wish.seed.max(1)));
            fuzzer.arg(format!("-artifact_prefix={}/{name}-", built.display()));
            run::loudly(&mut fuzzer)
                .with_context(|| format!("the target {name} found something"))?;
        }
        anyhow::Ok(())
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow!("a panic"))?)
    })?;
    Ok(format!("{} for {seconds} s each: nothing found", names.join(", ")))
}

/// The triple of the machine, as the compiler names it.
fn host() -> Result<String> {
    let said = run::output(Command::new("rustc").arg("-vV"))?;
    let line = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc -vV names no host")?.to_owned())
}
