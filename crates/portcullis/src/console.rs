//! What is said to whoever started us. A terminal that is gone, or a pipe that nobody reads any
//! more, is never a reason to end: `println!` and `eprintln!` would panic.

use std::io::Write as _;
use std::process::ExitCode;

/// To standard output; a reader that has seen enough (`| head`) is no failure.
pub fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

/// A line to standard error.
pub fn tell(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
