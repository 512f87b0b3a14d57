//! Load as fast as answers come, by wrk. Any answer that is not a success ends the bench, because
//! errors are cheap and would flatter.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::rows::{CONNECTIONS, OTHER_CORE};
use crate::run;

const SCRIPT: &str = "turn.lua";
const HEADERS: &str = "headers.txt";

pub(crate) struct Full {
    pub(crate) requests: u64,
    seconds: f64,
}

impl Full {
    pub(crate) fn per_second(&self) -> u64 {
        (self.requests as f64 / self.seconds.max(0.001)) as u64
    }
}

/// What wrk runs where requests take header lines in turn.
const IN_TURN: &str = r#"
local file = io.open(os.getenv("HEADERS") .. ".json")
local body = file and file:read("*a")
local method, media = body and "POST" or "GET", body and "application/json"
local requests = {}
for line in io.lines(os.getenv("HEADERS")) do
  local name, value = line:match("^([^:]+): (.+)$")
  requests[#requests + 1] = { [name] = value, ["content-type"] = media }
end
local number = 0
local made = {}
request = function()
  number = number % #requests + 1
  made[number] = made[number] or wrk.format(method, nil, requests[number], body)
  return made[number]
end
"#;

/// Has wrk send bodies of so many bytes, by a file in this folder.
pub(crate) fn with_body(folder: &Path, bytes: usize) -> Result<()> {
    let body = format!(r#"wrk.method = "POST"; wrk.body = string.rep("x", {bytes})"#);
    Ok(fs::write(folder.join(SCRIPT), body)?)
}

/// h2load for this many seconds, after one that does not count.
pub(crate) fn http2(url: &str, seconds: u64) -> Result<Full> {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &OTHER_CORE.to_string(), "h2load", "-t1", "-c16", "-m4"]);
    let text = run::output(command.args(["-D", &seconds.to_string(), url]))?;
    // "requests: 1234 total, 1234 started, 1234 done, 1234 succeeded, 0 failed, 0 errored, 0 timeout"
    let line = text.lines().find(|line| line.starts_with("requests:")).context("h2load's count")?;
    if !line.contains(" 0 failed, 0 errored, 0 timeout") {
        bail!("errors under load:\n{text}");
    }
    let done = line.split(", ").find_map(|part| part.strip_suffix(" succeeded"));
    Ok(Full { requests: done.context("h2load's count")?.parse()?, seconds: seconds as f64 })
}

/// Has wrk send this body with each request that [`in_turn`] makes.
pub(crate) fn with_json(folder: &Path, body: &str) -> Result<()> {
    Ok(fs::write(folder.join(HEADERS).with_extension("txt.json"), body)?)
}

/// Has wrk take the header lines in turn, by files in this folder.
pub(crate) fn in_turn(folder: &Path, headers: &[String]) -> Result<()> {
    fs::write(folder.join(HEADERS), headers.concat().replace('\r', ""))?;
    Ok(fs::write(folder.join(SCRIPT), IN_TURN)?)
}

/// wrk for this many seconds, with the script in `folder` if there is one. Are the answers to be
/// refusals?
pub(crate) fn flat_out(url: &str, folder: &Path, seconds: u64, refused: bool) -> Result<Full> {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &OTHER_CORE.to_string(), "wrk"]);
    command.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), url]);
    let script = folder.join(SCRIPT);
    if script.is_file() {
        command.arg("-s").arg(script).env("HEADERS", folder.join(HEADERS));
    }
    let text = run::output(&mut command)?;
    if text.contains("Non-2xx") != refused || text.contains("Socket errors") {
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
