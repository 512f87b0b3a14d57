//! Fuzzing: every target of fuzz/ runs for a minute, guided by coverage. The build is instrumented
//! with flags of the compiler's code generator, so that the pinned stable toolchain is enough.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::run;

const SECONDS: u32 = 60;
/// Coverage as libFuzzer reads it.
const INSTRUMENTATION: &str = "--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

pub(super) fn run(seed: u64) -> Result<String> {
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
    for name in &names {
        let corpus = built.join("corpus").join(name);
        fs::create_dir_all(&corpus)?;
        let mut fuzzer = Command::new(built.join(&host).join("release").join(name));
        fuzzer.arg(&corpus).arg(folder.join("seeds").join(name));
        fuzzer.args([
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
            "-close_fd_mask=1",
        ]);
        fuzzer.arg(format!("-max_total_time={SECONDS}")).arg(format!("-seed={}", seed.max(1)));
        fuzzer.arg(format!("-artifact_prefix={}/{name}-", built.display()));
        run::loudly(&mut fuzzer).with_context(|| format!("the target {name} found something"))?;
    }
    if names.is_empty() {
        bail!("fuzz/targets is empty")
    }
    Ok(format!("{} for {SECONDS} s each: nothing found", names.join(", ")))
}

/// The triple of the machine, as the compiler names it.
fn host() -> Result<String> {
    let said = run::output(Command::new("rustc").arg("-vV"))?;
    let line = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc -vV names no host")?.to_owned())
}
