//! The binary: CLI verbs, signals, exit codes. 0: done; 1: failed; 2: bad configuration or usage.

#![deny(clippy::print_stdout, clippy::print_stderr)] // they panic: `console` does not

mod console;
mod demo;
mod import;
mod map;
mod reference;
mod run;
mod verbs;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SMALLEST: &str = "A configuration in six lines (portcullis.yaml):

listeners: [{ address: 127.0.0.1:8080 }]
upstreams:
  users: { endpoints: [http://127.0.0.1:8101] }
routes:
  - { name: users, match: { path: /users/* }, forward: { to: users } }
admin: { address: 127.0.0.1:9901 }";

/// An API gateway: one binary and one readable YAML file between clients and services.
#[derive(Parser)]
#[command(version, after_help = SMALLEST, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve.
    Run(verbs::Files),
    /// Run the shop: an issuer, three services, and the gateway in front of them.
    Demo {
        /// The gateway's port; the others follow from it.
        #[arg(long, default_value_t = 8080)]
        port: u16,
    },
    /// Say everything that is wrong with a configuration, and serve nothing.
    Check(verbs::Check),
    /// Say which route serves a request, and why not the nearest others.
    Explain(verbs::Explain),
    /// Run a route's transform on a body from standard input.
    Map(map::Map),
    /// Write a configuration for the description of an API.
    #[command(subcommand)]
    Import(import::Import),
    /// Print the JSON Schema of the configuration language, for editors.
    Schema,
    /// Write the generated pages of the reference into a folder.
    #[command(hide = true)]
    Reference { folder: std::path::PathBuf },
    /// Keys of consumers.
    Key {
        #[command(subcommand)]
        verb: KeyVerb,
    },
    /// Print the version.
    Version,
}

#[derive(Subcommand)]
enum KeyVerb {
    /// Print a new key once, and the line that belongs into `consumers`.
    New,
}

fn main() -> ExitCode {
    match Cli::parse().verb {
        Verb::Run(files) => run::run(&files.source()),
        Verb::Demo { port } => demo::demo(port),
        Verb::Check(asked) => verbs::check(&asked),
        Verb::Explain(explain) => verbs::explain(&explain),
        Verb::Map(asked) => map::map(&asked),
        Verb::Import(asked) => import::import(&asked),
        Verb::Schema => verbs::schema(),
        Verb::Reference { folder } => reference::write(&folder),
        Verb::Key { verb: KeyVerb::New } => verbs::new_key(),
        Verb::Version => verbs::version(),
    }
}
