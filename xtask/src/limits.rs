//! `cargo xtask limits`: what one decision of a limit costs in instructions, beside a bare look-up in a
//! table, and how many bytes a client needs.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::{needs, run};

/// Clients in the table: a few that are hot, and many.
const KEYS: [u64; 2] = [1000, 1_000_000];
/// How often the calls are made, in a short run and in a long one.
const COUNTS: [u64; 2] = [1000, 101_000];
/// The runs that a log holds when it is full.
const FULL: u64 = 66;

pub(crate) fn run() -> Result<()> {
    needs::provide(needs::INSTRUCTIONS)?;
    let build = ["build", "--release", "--package", "portcullis-policies", "--example", "limits"];
    run::loudly(run::cargo().args(build))?;
    let program = run::root().join("target/release/examples/limits");
    for keys in KEYS {
        let cost = |what: &str| run::instructions(&program, &[what, &keys.to_string()], COUNTS);
        let (bare, decide) = (cost("bare")?, cost("decide")?);
        let ratio = decide as f64 / bare.max(1) as f64;
        println!("{keys} clients: a look-up {bare}, a decision {decide} instructions: {ratio:.2}");
    }
    for (keys, runs) in [(1_000_000, 1), (100_000, FULL)] {
        let mut command = Command::new(&program);
        command.arg("memory").arg(keys.to_string()).arg(runs.to_string());
        println!(
            "{keys} clients, {runs} runs each: {} bytes a client",
            run::output(&mut command)?.trim()
        );
    }
    shared()
}

/// What a store's decision adds to a request.
fn shared() -> Result<()> {
    needs::provide(needs::TEST)?;
    let build = ["build", "--release", "--package", "portcullis-policies", "--example", "store"];
    run::loudly(run::cargo().args(build))?;
    let room = run::Room::new("limits")?;
    let port = run::free_port()?.to_string();
    let mut redis = Command::new("redis-server");
    redis.args(["--port", &port, "--save", "", "--appendonly", "no"]);
    let mut guest = run::Guest::start("redis", Some(1), &redis, &room)?;
    guest.wait_for(port.parse()?, Duration::from_secs(10))?;
    let program = run::root().join("target/release/examples/store");
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "0"]).arg(program);
    command.arg(format!("redis://127.0.0.1:{port}")).arg("20000");
    print!("{}", run::output(&mut command)?);
    Ok(())
}
