//! Instructions per request, counted by callgrind: the steadiest number on a noisy machine. The count
//! of a short run is taken from that of a long one, so that start and end cancel out.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::paced::{self, Requests};
use super::report::Sample;
use super::rows::{Peer, Row};
use super::stage::Stage;

/// Requests of the short and of the long run.
pub(crate) const COUNTS: [u32; 2] = [1000, 5000];

pub(crate) fn count(row: &Row, peer: &Peer) -> Result<Sample> {
    let [short, long] = COUNTS;
    println!("{}: counting {}", row.name, peer.name);
    let (few, many) = (total(row, peer, short)?, total(row, peer, long)?);
    let instructions = many.checked_sub(few).context("fewer instructions for more requests")?;
    Ok(Sample {
        requests: u64::from(long - short),
        instructions: instructions / u64::from(long - short),
        ..Sample::default()
    })
}

/// All instructions of a process tree that lived for this many requests.
fn total(row: &Row, peer: &Peer, requests: u32) -> Result<u64> {
    let stage = Stage::new(row)?;
    let _services = stage.start_services(peer)?;
    let traced = stage.command(row, peer)?;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--trace-children=yes"]);
    command.arg(format!("--callgrind-out-file={}/callgrind.%p", stage.room.path().display()));
    command.arg(traced.get_program()).args(traced.get_args());
    let mut guest = stage.start(peer.name, &command)?;
    stage.try_once(row, peer)?;
    let status = if peer.refuses { 503 } else { 200 };
    paced::exactly(Requests { status, ..stage.requests(row) }, requests)?;
    guest.end();
    let mut sum = 0_u64;
    for entry in fs::read_dir(stage.room.path())? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("callgrind.")) {
            sum = sum.saturating_add(totals(&fs::read_to_string(&path)?)?);
        }
    }
    if sum == 0 { bail!("callgrind counted nothing; it said:\n{}", guest.tail()) } else { Ok(sum) }
}

/// A callgrind file ends in `totals: N`; a file of several dumps has several.
fn totals(text: &str) -> Result<u64> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("totals:"));
    lines.map(|number| Ok(number.trim().parse::<u64>()?)).sum()
}
