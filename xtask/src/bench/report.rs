//! What a bench leaves: a table for people, and a file with every raw round, every version, the
//! machine and all configurations, so that a number can be doubted and repeated.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::rows::{Peer, Row};
use super::stage;
use crate::run;

/// One peer in one round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    /// Requests at full load, and how many that were in a second.
    pub(crate) requests: u64,
    pub(crate) per_second: u64,
    /// Microseconds of processor time per request, user and system, at full load.
    pub(crate) cpu_us: f64,
    /// Microseconds until the end of the response, at a quarter of full load.
    pub p50_us: u64,
    pub p99_us: u64,
    /// KiB (Pss) of the process tree before the first request, and after the load.
    pub(crate) idle_kib: u64,
    pub(crate) loaded_kib: u64,
    /// KiB that a connection at rest costs.
    pub(crate) connection_kib: f64,
    /// User-space instructions per request.
    pub(crate) instructions: u64,
}

impl Sample {
    /// What was not measured stays out.
    fn json(&self) -> Value {
        let all = json!({
            "requests": self.requests, "requests_per_second": self.per_second, "cpu_us_per_request": self.cpu_us,
            "p50_us_paced": self.p50_us, "p99_us_paced": self.p99_us, "idle_pss_kib": self.idle_kib,
            "loaded_pss_kib": self.loaded_kib, "connection_kib": self.connection_kib,
            "instructions_per_request": self.instructions,
        });
        let Value::Object(mut all) = all else { return all };
        all.retain(|_, value| value.as_f64() != Some(0.0));
        Value::Object(all)
    }
}

/// A line of the printed table.
#[derive(Clone, Copy)]
pub(crate) struct Measure {
    title: &'static str,
    key: &'static str,
    of: fn(&Sample) -> f64,
}

impl Measure {
    pub(crate) const CPU: Self =
        Self { title: "CPU us a request", key: "cpu_us_per_request", of: |sample| sample.cpu_us };
    pub(crate) const P99: Self = Self {
        title: "p99 us, quarter load",
        key: "p99_us_paced",
        of: |sample| sample.p99_us as f64,
    };
    pub(crate) const MEMORY: Self =
        Self { title: "idle KiB (Pss)", key: "idle_pss_kib", of: |sample| sample.idle_kib as f64 };
    pub(crate) const CONNECTION: Self = Self {
        title: "KiB a connection",
        key: "connection_kib",
        of: |sample| sample.connection_kib,
    };
    pub(crate) const INSTRUCTIONS: Self = Self {
        title: "instructions a request",
        key: "instructions_per_request",
        of: |sample| sample.instructions as f64,
    };
}

pub(crate) struct Report<'a> {
    name: String,
    row: &'a Row,
    peers: &'a [&'static Peer],
    measures: &'a [Measure],
    notes: Map<String, Value>,
    /// Samples in the order of the peers.
    rounds: Vec<Vec<Sample>>,
    date: String,
}

impl<'a> Report<'a> {
    pub(crate) fn new(
        row: &'a Row,
        name: String,
        peers: &'a [&'static Peer],
        measures: &'a [Measure],
    ) -> Result<Self> {
        let date = run::output(Command::new("date").args(["-u", "+%F"]))?.trim().to_owned();
        Ok(Self { name, row, peers, measures, notes: Map::new(), rounds: Vec::new(), date })
    }

    /// A circumstance that belongs to the numbers.
    pub(crate) fn note(&mut self, key: &str, value: impl Into<Value>) {
        self.notes.insert(key.to_owned(), value.into());
    }

    pub(crate) fn round(&mut self, samples: Vec<Sample>) {
        self.rounds.push(samples);
    }

    /// Prints the table and writes the file.
    pub(crate) fn finish(self) -> Result<()> {
        println!("\n{}", self.table());
        let folder = stage::folder().join("results");
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}-{}.json", self.date, self.name));
        let text = serde_json::to_string_pretty(&self.json()?)?;
        fs::write(&path, text + "\n").with_context(|| path.display().to_string())?;
        println!("raw rounds: bench/results/{}-{}.json\n", self.date, self.name);
        Ok(())
    }

    fn table(&self) -> String {
        let mut lines = vec![format!("{} ({} rounds, medians)", self.row.what, self.rounds.len())];
        let mut head = format!("{:24}", "");
        for (at, peer) in self.peers.iter().enumerate() {
            head.push_str(&format!("{:>12}", peer.name));
            if at > 0 {
                head.push_str(&format!("{:>20}", format!("ratio to {}", peer.name)));
            }
        }
        lines.push(head);
        for measure in self.measures {
            let mut line = format!("{:24}", measure.title);
            for at in 0..self.peers.len() {
                line.push_str(&format!("{:>12}", number(median(self.values(at, measure)))));
                if at > 0 {
                    let ratios = self.ratios(at, measure);
                    let (low, high) = ends(&ratios);
                    let text = format!("{:.2} ({low:.2}-{high:.2})", median(ratios));
                    line.push_str(&format!("{text:>20}"));
                }
            }
            lines.push(line);
        }
        lines.join("\n")
    }

    fn values(&self, at: usize, measure: &Measure) -> Vec<f64> {
        self.rounds.iter().filter_map(|round| round.get(at)).map(measure.of).collect()
    }

    /// The first peer's value over this one's, round by round.
    fn ratios(&self, at: usize, measure: &Measure) -> Vec<f64> {
        let pairs = self.values(0, measure).into_iter().zip(self.values(at, measure));
        pairs.filter(|(_, other)| *other > 0.0).map(|(own, other)| own / other).collect()
    }

    fn json(&self) -> Result<Value> {
        let mut ratios = Map::new();
        for (at, peer) in self.peers.iter().enumerate().skip(1) {
            let of = self.measures.iter().map(|measure| {
                let ratios = self.ratios(at, measure);
                let (low, high) = ends(&ratios);
                let ratio = json!({ "median": median(ratios), "lowest": low, "highest": high });
                (measure.key.to_owned(), ratio)
            });
            ratios.insert(format!("to {}", peer.name), of.collect::<Map<_, _>>().into());
        }
        let rounds: Vec<Value> = self
            .rounds
            .iter()
            .map(|round| {
                let named = self.peers.iter().zip(round);
                named.map(|(peer, sample)| (peer.name.to_owned(), sample.json())).collect()
            })
            .collect();
        Ok(json!({
            "row": self.row.name, "what": self.row.what, "path": self.row.path, "date": self.date,
            "ratios": ratios, "circumstances": self.notes, "machine": machine(),
            "versions": self.versions(), "rounds": rounds, "configurations": self.configurations()?,
        }))
    }

    fn versions(&self) -> Value {
        let mut versions = Map::new();
        for peer in self.peers {
            versions.insert(peer.name.to_owned(), (peer.version)().into());
        }
        let mut add = |name: &str, text: String| versions.insert(name.to_owned(), text.into());
        let commit = run::output(
            Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).current_dir(run::root()),
        );
        add("commit", commit.map_or_else(|_| "unknown".to_owned(), |it| it.trim().to_owned()));
        add("rustc", run::version("rustc", "--version"));
        add("wrk", run::version("wrk", "-v"));
        add("valgrind", run::version("valgrind", "--version"));
        versions.into()
    }

    fn configurations(&self) -> Result<Value> {
        let mut texts = Map::new();
        let upstream = stage::folder().join("upstream.conf");
        let own = self.peers.iter().map(|peer| (peer.name, stage::configuration(self.row, peer)));
        for (name, path) in own.chain([("upstream", upstream)]) {
            texts.insert(name.to_owned(), fs::read_to_string(path)?.into());
        }
        Ok(texts.into())
    }
}

fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once(':').map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let cores: BTreeSet<String> = read("/proc/cpuinfo")
        .lines()
        .filter(|line| line.starts_with("processor"))
        .map(str::to_owned)
        .collect();
    json!({
        "processor": field(&read("/proc/cpuinfo"), "model name"), "cores": cores.len(),
        "memory": field(&read("/proc/meminfo"), "MemTotal"), "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2).copied().unwrap_or_default();
    if values.len() % 2 == 1 {
        return upper;
    }
    let lower = (values.len() / 2).checked_sub(1).and_then(|at| values.get(at));
    lower.map_or(upper, |lower| f64::midpoint(*lower, upper))
}

fn ends(values: &[f64]) -> (f64, f64) {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    (if low.is_finite() { low } else { 0.0 }, high)
}

/// Two decimals for small values, none for large ones.
fn number(value: f64) -> String {
    if value < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

#[test]
fn medians_of_odd_even_and_nothing() {
    assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    assert_eq!(median(Vec::new()), 0.0);
}
