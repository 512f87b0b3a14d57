//! The access log for a person at a terminal: time, status, method, path, route, duration, and why
//! it failed.

use std::io::Write as _;
use std::time::Duration;

use portcullis_core::Record;

use super::line::{Dial, micros};

/// Appends one line, newline included.
pub fn write(
    out: &mut Vec<u8>,
    dial: &mut Dial,
    record: &Record,
    duration: Duration,
    aborted: bool,
) {
    dial.write(out, record.time);
    let colour = match record.status {
        0..=299 => 32,
        300..=399 => 36,
        400..=499 => 33,
        _ => 31,
    };
    let _ = write!(
        out,
        " \x1b[{colour}m{}\x1b[0m {} {}{}",
        record.status,
        record.method,
        record.host.escape_debug(),
        record.path.escape_debug()
    );
    if let Some(query) = &record.query {
        let _ = write!(out, "?{}", query.escape_debug());
    }
    let route = record.route.as_deref().unwrap_or("-");
    let millis = micros(duration) / 1000;
    let rest = micros(duration) % 1000;
    let _ = write!(out, " \x1b[2m{route} {millis}.{rest:03}ms {}\x1b[0m", record.client_ip);
    if aborted {
        out.extend_from_slice(b" aborted");
    }
    if let Some(failure) = &record.failure {
        let why = if failure.private.is_empty() { &failure.detail } else { &failure.private };
        let _ = write!(out, " {}: {}", failure.code, why.escape_debug());
    }
    out.push(b'\n');
}
