//! `cargo xtask bench`: this gateway beside its peers, in one run on one machine, as ratios. Absolute
//! numbers say more about the machine than about the gateway; bench/README.md tells the method.

mod instructions;
mod load;
mod paced;
mod report;
mod rows;
mod stage;
mod tokens;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use self::report::{Measure, Report, Sample};
use self::rows::{GATEWAY, Job, Peer, ROWS, Row};
use crate::{needs, run};

/// What the command line may say.
struct Options {
    rows: Vec<&'static Row>,
    rounds: usize,
    seconds: u64,
    /// Names of peers; empty: all.
    only: Vec<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self { rows: Vec::new(), rounds: 7, seconds: 4, only: Vec::new() };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a value"));
            match word.as_str() {
                "--rounds" => options.rounds = value()?.parse().context("--rounds")?,
                "--seconds" => options.seconds = value()?.parse().context("--seconds")?,
                "--only" => options.only.push(value()?.clone()),
                name => options.rows.push(row(name)?),
            }
        }
        if options.rounds == 0 || options.seconds == 0 {
            bail!("at least one round of one second");
        }
        if options.rows.is_empty() {
            options.rows = ROWS.iter().collect();
        }
        Ok(options)
    }

    fn peers(&self, row: &'static Row) -> Result<Vec<&'static Peer>> {
        let wanted =
            |peer: &&Peer| self.only.is_empty() || self.only.iter().any(|n| n == peer.name);
        let peers: Vec<_> = row.peers.iter().copied().filter(wanted).collect();
        if peers.is_empty() {
            let names: Vec<_> = row.peers.iter().map(|peer| peer.name).collect();
            bail!("no such peer; {} has {}", row.name, names.join(", "));
        }
        Ok(peers)
    }
}

fn row(name: &str) -> Result<&'static Row> {
    ROWS.iter().find(|row| row.name == name).with_context(|| {
        let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        format!("there is no row `{name}`; there is {}", names.join(", "))
    })
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    prepare(&options, needs::BENCH)?;
    for row in &options.rows {
        let peers = options.peers(row)?;
        let measures: &[Measure] = match row.job {
            Job::Http2 | Job::Json(_) | Job::Tls => &[Measure::CPU, Measure::MEMORY],
            Job::Rest(_) => &[Measure::CONNECTION, Measure::MEMORY],
            _ => &[Measure::CPU, Measure::P99, Measure::MEMORY],
        };
        let mut report = Report::new(row, row.name.to_owned(), &peers, measures)?;
        let rate = match row.job {
            Job::Rest(_) => 0,
            _ => stage::quarter_load(row, &peers)?,
        };
        report.note("paced_requests_per_second", rate);
        report.note("seconds_per_load", options.seconds);
        report.note("connections", rows::CONNECTIONS);
        for round in 0..options.rounds {
            report.round(one_round(row, &peers, round, rate, options.seconds)?);
            println!("{}: round {} of {}", row.name, round + 1, options.rounds);
        }
        report.finish()?;
    }
    Ok(())
}

/// Every peer once, in an order that turns with each round, so that neither always comes first.
fn one_round(
    row: &Row,
    peers: &[&'static Peer],
    round: usize,
    rate: u64,
    seconds: u64,
) -> Result<Vec<Sample>> {
    let mut order: Vec<usize> = (0..peers.len()).collect();
    order.rotate_left(round % peers.len().max(1));
    let mut samples = Vec::new();
    for at in order {
        let peer = peers.get(at).context("a peer of the row")?;
        samples.push((at, stage::measure(row, peer, rate, seconds)?));
    }
    samples.sort_by_key(|(at, _)| *at);
    Ok(samples.into_iter().map(|(_, sample)| sample).collect())
}

pub(crate) fn instructions(arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    prepare(&options, needs::INSTRUCTIONS)?;
    for row in &options.rows {
        let peers = options.peers(row)?;
        let name = format!("{}-instructions", row.name);
        let mut report = Report::new(row, name, &peers, &[Measure::INSTRUCTIONS])?;
        report.note("requests", instructions::COUNTS);
        let samples = peers.iter().map(|peer| instructions::count(row, peer));
        report.round(samples.collect::<Result<_>>()?);
        report.finish()?;
    }
    Ok(())
}

/// Everything that could fail for another reason than the measured thing comes first.
fn prepare(options: &Options, needs: &[needs::Need]) -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("the bench reads the kernel's own accounting in /proc: it runs on Linux only");
    }
    if std::thread::available_parallelism()?.get() < 2 {
        bail!("the bench wants two cores: one for the peer, one for load and upstream");
    }
    needs::provide(needs)?;
    if options.only.is_empty() || options.only.iter().any(|name| name == GATEWAY.name) {
        run::loudly(run::cargo().args(["build", "--profile", "dist", "--package", "portcullis"]))?;
    }
    // The paced load runs in this process: its threads belong beside the upstream.
    let core = rows::OTHER_CORE.to_string();
    let own = std::process::id().to_string();
    run::output(Command::new("taskset").args(["--cpu-list", "--pid", &core, &own])).map(|_| ())
}

/// The binary that is shipped, beside the folder that this program was built into.
fn gateway() -> Result<PathBuf> {
    let own = std::env::current_exe().context("where this program is")?;
    let target = own.parent().and_then(|folder| folder.parent()).context("no target folder")?;
    Ok(target.join("dist").join("portcullis"))
}
