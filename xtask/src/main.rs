//! The project's own commands. They live in a crate, not in shell scripts, so that they run wherever
//! Rust does and are held to the same lints as the gateway.

mod bench;
mod client;
mod docs;
mod gauge;
mod limits;
mod mapping;
mod needs;
mod run;
mod soak;
mod test;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
cargo xtask test [ARGS]...      all tests; ARGS go to `cargo test`
cargo xtask docs [--check]      write the generated pages of docs/reference, or compare them
cargo xtask bench [ROW]...      side by side with peers: CPU, p99, memory   (--rounds N, --seconds N,
                                --only PEER)
cargo xtask instructions [ROW]  instructions a request, counted by callgrind          (--only PEER)
cargo xtask limits              instructions and bytes that a decision of a limit costs
cargo xtask mapping             instructions that a body mapping costs, beside jaq and code by hand
cargo xtask soak [JOB]...       what is too long for every run; `--list` says what
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let Some((verb, rest)) = arguments.split_first() else {
        print!("{USAGE}");
        return Ok(());
    };
    match verb.as_str() {
        "test" => test::run(rest),
        "docs" => docs::run(rest),
        "bench" => bench::run(rest),
        "instructions" => bench::instructions(rest),
        "limits" => limits::run(),
        "mapping" => mapping::run(),
        "soak" => soak::run(rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        other => bail!("there is no `cargo xtask {other}`\n\n{USAGE}"),
    }
}
