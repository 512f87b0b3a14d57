//! `cargo xtask mapping`: what the shop's order mapping costs in instructions (parse, map, write), by
//! the plan, by jaq, and written by hand on `serde_json`.

use anyhow::Result;

use crate::{needs, run};

/// How often the calls are made, in a short run and in a long one.
const COUNTS: [u64; 2] = [100, 1_100];

pub(crate) fn run() -> Result<()> {
    needs::provide(needs::INSTRUCTIONS)?;
    let build = ["build", "--release", "--package", "portcullis-core", "--example", "mapping"];
    run::loudly(run::cargo().args(build))?;
    let program = run::root().join("target/release/examples/mapping");
    for side in ["request", "response"] {
        let cost = |engine: &str| run::instructions(&program, &[side, engine], COUNTS);
        let (hand, plan, jaq) = (cost("hand")?, cost("plan")?, cost("jaq")?);
        let ratio = |count: u64| count as f64 / hand.max(1) as f64;
        println!(
            "{side}: by hand {hand}, plan {plan} ({:.2}), jaq {jaq} ({:.2}) instructions",
            ratio(plan),
            ratio(jaq),
        );
    }
    Ok(())
}
