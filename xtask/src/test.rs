//! `cargo xtask test`: what the README promises. One command on a fresh machine provides what the
//! tests need and runs them all.

use anyhow::Result;

use crate::{needs, run};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    needs::provide(needs::TEST)?;
    // Plain `cargo test`: unit, scenario, process and tidy tests, then the examples in the docs.
    run::loudly(run::cargo().args(["test", "--workspace", "--no-fail-fast"]).args(arguments))
}
