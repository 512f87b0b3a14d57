//! `cargo xtask soak`: jobs that are too long for every run, each with a bound, against the release
//! binary. They look for what only shows after a thousand times: leaks, stalls, deaths.

mod floods;
mod frames;
mod fuzz;
mod garbage;
mod healthy;
mod house;
mod idle;
mod kids;
mod memory;
mod reloads;
mod slow;
mod slowhttp;
mod stores;
mod tls;

use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use self::house::{House, Upstream};
use crate::{client, needs, run};

/// One long job. It says what it saw, or what went wrong.
struct Job {
    name: &'static str,
    what: &'static str,
    /// When it counts as hung.
    bound: Duration,
    work: Work,
}

/// What a job needs.
enum Work {
    /// A gateway of its own.
    Gateway(fn(&House, u64) -> Result<String>),
    /// Nothing but itself.
    Alone(fn(&Wish) -> Result<String>),
}

/// What the command line says of jobs.
struct Wish {
    /// Of all chance.
    seed: u64,
    /// How long each parser is fuzzed.
    fuzz_seconds: u64,
}

const JOBS: &[Job] = &[
    Job {
        name: "reloads",
        what: "1,000 reloads under load: no request fails, memory stays flat",
        bound: Duration::from_secs(600),
        work: Work::Gateway(reloads::run),
    },
    Job {
        name: "slow",
        what: "5,000 clients that never finish their head, beside healthy ones",
        bound: Duration::from_secs(180),
        work: Work::Gateway(slow::run),
    },
    Job {
        name: "slowhttp",
        what: "slowhttptest in its four modes, 1,000 connections each, beside healthy clients",
        bound: Duration::from_secs(400),
        work: Work::Gateway(slowhttp::run),
    },
    Job {
        name: "idle",
        what: "5,000 connections at rest, beside healthy clients",
        bound: Duration::from_secs(180),
        work: Work::Gateway(idle::run),
    },
    Job {
        name: "floods",
        what: "2,400 floods of HTTP/2 frames, of six kinds: all are ended, memory stays flat",
        bound: Duration::from_secs(600),
        work: Work::Gateway(floods::run),
    },
    Job {
        name: "garbage",
        what: "20,000 connections with random bytes and broken requests",
        bound: Duration::from_secs(600),
        work: Work::Gateway(garbage::run),
    },
    Job {
        name: "memory",
        what: "400,000 requests and 20,000 connections: memory stays flat",
        bound: Duration::from_secs(300),
        work: Work::Gateway(memory::run),
    },
    Job {
        name: "kids",
        what: "100,000 tokens with unknown keys, beside a good one",
        bound: Duration::from_secs(300),
        work: Work::Alone(kids::run),
    },
    Job {
        name: "stores",
        what: "a shared limit whose store is killed, stopped and emptied under floods",
        bound: Duration::from_secs(600),
        work: Work::Alone(stores::run),
    },
    Job {
        name: "tls",
        what: "testssl.sh against a listener as it is without a word: nothing of severity MEDIUM or higher",
        bound: Duration::from_secs(600),
        work: Work::Alone(tls::run),
    },
    Job {
        name: "fuzz",
        what: "every parser of foreign bytes, a minute each (--fuzz-seconds N)",
        bound: Duration::from_secs(1800),
        work: Work::Alone(fuzz::run),
    },
];

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (jobs, wish) = parse(arguments)?;
    let seed = wish.seed;
    if jobs.is_empty() {
        for job in JOBS {
            println!("{:10}{} (at most {:?})", job.name, job.what, job.bound);
        }
        return Ok(());
    }
    if !cfg!(target_os = "linux") {
        bail!("the soak reads /proc: it runs on Linux only");
    }
    needs::provide(needs::TEST)?;
    needs::provide(needs::SOAK)?;
    run::loudly(run::cargo().args(["build", "--release", "--package", "portcullis"]))?;
    house::raise_file_limit()?;
    println!("seed {seed}");
    let upstream = Upstream::start()?;
    let mut lines = Vec::new();
    let mut failed = 0;
    for job in &jobs {
        println!("{}: {}", job.name, job.what);
        let begun = client::now();
        let outcome = perform(job, &upstream, &wish);
        let seconds = begun.elapsed().as_secs();
        let (word, detail) = match outcome {
            Ok(detail) => ("ok", detail),
            Err(error) => ("FAILED", format!("{error:#}")),
        };
        failed += u32::from(word != "ok");
        lines.push(format!("{:10}{word:8}{seconds:>5} s  {detail}", job.name));
    }
    println!("\n{}", lines.join("\n"));
    if failed == 0 { Ok(()) } else { bail!("{failed} of {} jobs failed (seed {seed})", jobs.len()) }
}

/// The jobs to do (none for `--list`), and how.
fn parse(arguments: &[String]) -> Result<(Vec<&'static Job>, Wish)> {
    let mut jobs = Vec::new();
    let mut wish = Wish { seed: u64::from(std::process::id()), fuzz_seconds: 60 };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => return Ok((Vec::new(), wish)),
            "--seed" => wish.seed = words.next().context("--seed wants a number")?.parse()?,
            "--fuzz-seconds" => {
                let count = words.next().context("--fuzz-seconds wants a number")?;
                wish.fuzz_seconds = count.parse()?;
            }
            name => {
                let found = JOBS.iter().find(|job| job.name == name);
                jobs.push(found.with_context(|| format!("no job `{name}`; see --list"))?);
            }
        }
    }
    if jobs.is_empty() {
        jobs = JOBS.iter().collect();
    }
    Ok((jobs, wish))
}

fn perform(job: &Job, upstream: &Upstream, wish: &Wish) -> Result<String> {
    match job.work {
        Work::Gateway(work) => on_gateway(job, work, upstream, wish.seed),
        Work::Alone(work) => work(wish),
    }
}

/// A fresh gateway, the job within its bound, and a look at how the gateway is afterwards.
fn on_gateway(
    job: &Job,
    work: fn(&House, u64) -> Result<String>,
    upstream: &Upstream,
    seed: u64,
) -> Result<String> {
    let house = House::start(upstream)?;
    let (done, outcome) = mpsc::channel();
    let result = std::thread::scope(|scope| {
        scope.spawn(|| done.send(work(&house, seed)));
        outcome.recv_timeout(job.bound).unwrap_or_else(|_| {
            // Whatever the job waits for, it gets an error now and comes to its end.
            let said = house.guest.tail();
            let _ = house.guest.signal("KILL");
            bail!("not done within {:?}; the gateway said:\n{said}", job.bound)
        })
    });
    let detail = result?;
    house.ensure_well()?;
    Ok(detail)
}
