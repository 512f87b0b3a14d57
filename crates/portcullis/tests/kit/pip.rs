//! Programs in Python that tests run as clients and services that are not ours, and what PyPI brings
//! for them, installed once below the target folder.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};

use super::BOUND;
use super::lines::Lines;

/// One test installs at a time: several may want the same.
static INSTALLING: Mutex<()> = Mutex::new(());

/// The folder that holds a package (`NAME==VERSION`) and what it needs.
pub fn package(name: &str) -> Result<PathBuf> {
    let _turn = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name.replace("==", "-"));
    let whole = folder.join("installed");
    if !whole.is_file() {
        let mut pip = std::process::Command::new("pip3");
        pip.args(["install", "--quiet", "--upgrade", "--target"]).arg(&folder).arg(name);
        let output = pip.output().context("pip3; see `cargo xtask test`")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        std::fs::write(whole, name)?;
    }
    Ok(folder)
}

/// A program below `tests`, with a package that it wants. It ends with its value.
pub fn python(script: &str, wants: &str) -> Result<Command> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let mut python = Command::new("python3");
    python.arg(script).env("PYTHONPATH", package(wants)?).kill_on_drop(true);
    Ok(python)
}

/// A service in Python, which prints its port first.
pub struct Service {
    pub port: u16,
    pub lines: Rc<Lines>,
    _child: Child,
}

impl Service {
    pub async fn start(script: &str, wants: &str) -> Result<Self> {
        Self::run(python(script, wants)?).await
    }

    pub async fn run(mut program: Command) -> Result<Self> {
        let mut child = program.stdout(Stdio::piped()).spawn()?;
        let lines = Lines::follow(child.stdout.take().context("no standard output")?);
        let first = |lines: &[String]| lines.first().and_then(|line| line.parse().ok());
        let port = lines.wait_for(BOUND, "the service's port", 0, first).await?;
        Ok(Self { port, lines, _child: child })
    }
}
