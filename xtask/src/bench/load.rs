//! Load as fast as answers come, by wrk. Any answer that is not a success ends the bench, because
//! errors are cheap and would flatter.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::rows::{CONNECTIONS, OTHER_CORE};
use crate::run;

pub(crate) struct Full {
    pub(crate) requests: u64,
    seconds: f64,
}

impl Full {
    pub(crate) fn per_second(&self) -> u64 {
        (self.requests as f64 / self.seconds.max(0.001)) as u64
    }
}

/// wrk for this many seconds.
pub(crate) fn flat_out(url: &str, seconds: u64) -> Result<Full> {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &OTHER_CORE.to_string(), "wrk"]);
    command.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), url]);
    let text = run::output(&mut command)?;
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        bail!("errors under load:\n{text}");
    }
    // "  123456 requests in 4.00s, 52.10MB read"
    let line = text.lines().find(|line| line.contains(" requests in ")).context("wrk's count")?;
    let (requests, rest) = line.trim().split_once(" requests in ").context("wrk's count")?;
    let time = rest.split(',').next().unwrap_or_default();
    Ok(Full { requests: requests.parse()?, seconds: in_seconds(time)? })
}

/// wrk writes `4.00s` or `1.50m`.
fn in_seconds(text: &str) -> Result<f64> {
    let parsed = match text.strip_suffix('m') {
        Some(minutes) => minutes.parse::<f64>().map(|it| it * 60.0),
        None => text.trim_end_matches('s').parse::<f64>(),
    };
    parsed.with_context(|| format!("wrk's time `{text}`"))
}
