//! A stranger's slow clients: slowhttptest in its four modes, with limits of connections out of its way.
//! Healthy clients must not notice it, and a second round must not need more memory than the first.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::healthy::Healthy;
use super::house::{House, ensure_flat};
use super::slow::rested;

const CONNECTIONS: &str = "1000";
const RATE: &str = "200";
const SECONDS: &str = "40";
const P99: Duration = Duration::from_millis(250);

/// A mode: its name, and what it wants beside what all have.
const MODES: [(&str, &[&str]); 4] = [
    ("slow heads", &["-H", "-i", "5", "-x", "24"]),
    ("slow bodies", &["-B", "-i", "5", "-s", "8192", "-x", "10"]),
    ("many ranges", &["-R", "-t", "HEAD", "-a", "10", "-b", "3000"]),
    ("slow reading", &["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"]),
];

pub(crate) fn run(house: &House, _seed: u64) -> Result<String> {
    let first = round(house)?;
    let after_first = rested(house, 0)?;
    let second = round(house)?;
    let memory = ensure_flat(after_first, rested(house, after_first)?)?;
    Ok(format!("{first}; again {second}; memory after each {memory}"))
}

/// All modes, one after the other. What a second round adds to memory is what would be lost with each.
fn round(house: &House) -> Result<String> {
    let mut told = Vec::new();
    for (name, arguments) in MODES {
        let healthy = Healthy::start(house.port, 8);
        let mut command = Command::new("slowhttptest");
        command.args(arguments).args(["-c", CONNECTIONS, "-r", RATE, "-l", SECONDS, "-p", "3"]);
        command.arg("-u").arg(format!("http://127.0.0.1:{}/large", house.port));
        let said = command.output().context("running slowhttptest")?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let seen = healthy.finish()?;
        if seen.p99 > P99 {
            bail!("{name}: healthy clients waited: p99 {:?}, worst {:?}", seen.p99, seen.worst);
        }
        if said.contains("service available: NO") {
            bail!("{name}: slowhttptest could not reach it:\n{said}");
        }
        told.push(format!("{name}: p99 {:?}", seen.p99));
    }
    Ok(told.join(", "))
}
