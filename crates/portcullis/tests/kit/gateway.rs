//! The gateway as a child process. Its start banner says where it listens; its access log is its
//! standard output.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::process::{Child, Command};

use super::BOUND;
use super::lines::Lines;
use super::pause::within;

const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");

/// What a name in the environment is set to.
pub type Environment = [(String, String)];

/// A running gateway. It is killed and reaped when this value goes, whatever happened.
pub struct Gateway {
    child: Child,
    pub pid: u32,
    pub log: Rc<Lines>,
    pub stderr: Rc<Lines>,
    pub listeners: Vec<SocketAddr>,
    pub admin: Option<SocketAddr>,
}

/// How a command ended and what it wrote.
#[derive(Debug)]
pub struct Ended {
    pub exit: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Gateway {
    /// Starts `portcullis run` in `folder` and waits for its banner.
    pub async fn start(folder: &Path, file: &Path, environment: &Environment) -> Result<Self> {
        Self::start_with(folder, &[file.to_owned()], environment).await
    }

    /// The same with several files and folders.
    pub async fn start_with(
        folder: &Path,
        paths: &[PathBuf],
        environment: &Environment,
    ) -> Result<Self> {
        let mut command = command(folder, environment);
        command.arg("run").args(paths);
        Self::started(command).await
    }

    /// The same, with so many open files at most.
    pub async fn start_with_few_files(folder: &Path, file: &Path, files: usize) -> Result<Self> {
        let mut command = bare("sh", folder);
        command.args([
            "-c",
            "ulimit -n \"$0\" && exec \"$1\" run \"$2\"",
            &files.to_string(),
            BINARY,
        ]);
        command.arg(file);
        Self::started(command).await
    }

    async fn started(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting the gateway")?;
        let pid = child.id().context("the gateway ended at once")?;
        let log = Lines::follow(child.stdout.take().context("no standard output")?);
        let stderr = Lines::follow(child.stderr.take().context("no standard error")?);
        let mut gateway = Self { child, pid, log, stderr, listeners: Vec::new(), admin: None };
        let banner = gateway.stderr.wait_for(BOUND, "the start banner", 0, banner).await;
        match banner {
            Ok((listeners, admin)) => (gateway.listeners, gateway.admin) = (listeners, admin),
            Err(error) => {
                let said = gateway.stderr.tail(40);
                return Err(error.context(format!("the gateway did not start; it said:\n{said}")));
            }
        }
        Ok(gateway)
    }

    pub fn listener(&self, number: usize) -> Result<SocketAddr> {
        let count = self.listeners.len();
        self.listeners
            .get(number)
            .copied()
            .ok_or_else(|| anyhow!("no listener {number}: there are {count}"))
    }

    pub fn admin(&self) -> Result<SocketAddr> {
        self.admin.ok_or_else(|| anyhow!("this gateway has no admin address"))
    }

    /// Sends a signal, such as `TERM`.
    pub async fn signal(&mut self, name: &str) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            bail!("no signal {name}: the gateway has already ended");
        }
        // The shell's own `kill` is there on every system that has a shell.
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &self.pid.to_string()])
            .status()
            .await?;
        if status.success() { Ok(()) } else { Err(anyhow!("kill -s {name} failed")) }
    }

    /// How many bytes of memory it has made for itself: pages of code that run for the first time do not count.
    pub fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kib.context("no RssAnon")? * 1024)
    }

    /// Waits until the process has ended, and gives its exit code.
    pub async fn wait_exit(&mut self, bound: Duration) -> Result<i32> {
        let status = within(bound, "the gateway's end", self.child.wait()).await??;
        self.log.wait_for_end(bound).await?;
        self.stderr.wait_for_end(bound).await?;
        status.code().ok_or_else(|| anyhow!("ended by a signal: {status}"))
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        reap(&mut self.child);
    }
}

/// Waits for a process that was just killed. It ends as soon as the kernel comes to it.
#[allow(clippy::disallowed_methods)] // a bound on real time, for a real process
fn reap(child: &mut Child) {
    let end = Instant::now() + BOUND;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
        std::thread::yield_now();
    }
}

/// Runs the binary with these arguments to its end.
pub async fn run(folder: &Path, args: &[String], environment: &Environment) -> Result<Ended> {
    let mut command = command(folder, environment);
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    let what = format!("the end of `portcullis {}`", args.join(" "));
    let output = within(BOUND, &what, command.output()).await??;
    Ok(Ended {
        exit: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// The binary with an environment of the test's own: nothing of the machine's leaks in.
fn command(folder: &Path, environment: &Environment) -> Command {
    let mut command = bare(BINARY, folder);
    for (name, value) in environment {
        command.env(name, value);
    }
    command
}

fn bare(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// Reads the banner: `listening on http://...` or `https://...` for each listener, and last `admin on http://...`
/// or `admin off`.
fn banner(lines: &[String]) -> Option<(Vec<SocketAddr>, Option<SocketAddr>)> {
    let after = |line: &String, words: &str| {
        let rest = line.split_once(words)?.1;
        rest.split_whitespace().next()?.trim_end_matches('/').parse().ok()
    };
    let listener =
        |line| after(line, "listening on http://").or_else(|| after(line, "listening on https://"));
    let listeners = lines.iter().filter_map(listener).collect();
    let admin = lines.iter().find_map(|line| after(line, "admin on http://"));
    let off = lines.iter().any(|line| line.contains("admin off"));
    (admin.is_some() || off).then_some((listeners, admin))
}
