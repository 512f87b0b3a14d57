//! What PyPI brings for a test, installed once below the target folder.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The folder that holds a package (`NAME==VERSION`) and what it needs.
pub fn package(name: &str) -> Result<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name.replace("==", "-"));
    let whole = folder.join("installed");
    if !whole.is_file() {
        let mut pip = Command::new("pip3");
        pip.args(["install", "--quiet", "--upgrade", "--target"]).arg(&folder).arg(name);
        let output = pip.output().context("pip3; see `cargo xtask test`")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        std::fs::write(whole, name)?;
    }
    Ok(folder)
}
