//! The access log's JSON line. Every text is encoded, capped and already masked; fields stand in a
//! fixed order, and a field without a value is left out.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis_core::grpc::Rpc;
use portcullis_core::mapping::plain::plain;
use portcullis_core::record::{Event, Field};
use portcullis_core::{Call, Origin, Record};

/// A line that says nothing special has about this many bytes.
const USUAL: usize = 512;
/// No text in a line is longer than this many bytes.
const TEXT_LIMIT: usize = 2048;

/// Appends one line, newline included.
pub fn write(
    out: &mut Vec<u8>,
    dial: &mut Dial,
    record: &Record,
    duration: Duration,
    aborted: bool,
) {
    out.reserve(USUAL);
    out.extend_from_slice(b"{\"time\":\"");
    dial.write(out, record.time);
    out.push(b'"');
    text(out, r#","id":"#, &record.request_id);
    if let Some(trace) = &record.trace_id {
        text(out, r#","trace":"#, trace);
    }
    out.extend_from_slice(b",\"client\":\"");
    address(out, record.client_ip);
    out.push(b'"');
    text(out, r#","method":"#, record.method.as_str());
    text(out, r#","host":"#, &record.host);
    text(out, r#","path":"#, &record.path);
    if let Some(query) = &record.query {
        text(out, r#","query":"#, query);
    }
    text(out, r#","protocol":"#, protocol(record.version));
    if let Some(version) = record.tls {
        text(out, r#","tls":"#, version);
    }
    text(out, r#","listener":"#, &record.listener);
    if let Some(route) = &record.route {
        text(out, r#","route":"#, route);
    }
    number(out, r#","status":"#, u64::from(record.status));
    if let Some(status) = record.rpc.as_ref().and_then(Rpc::status) {
        text(out, r#","grpc_status":"#, status.name());
    }
    number(out, r#","duration_us":"#, micros(duration));
    number(out, r#","bytes_in":"#, record.bytes_in);
    number(out, r#","bytes_out":"#, record.bytes_out);
    if aborted {
        out.extend_from_slice(b",\"aborted\":true");
    }
    if let Some(ended) = record.ended {
        text(out, r#","ended":"#, ended);
    }
    if let Some(subject) = &record.subject {
        text(out, r#","subject":"#, subject);
    }
    if let Some(consumer) = &record.consumer {
        text(out, r#","consumer":"#, consumer);
    }
    if let Some(agent) = &record.user_agent {
        text(out, r#","user_agent":"#, &String::from_utf8_lossy(agent.as_bytes()));
    }
    write_failure(out, record);
    write_calls(out, &record.calls);
    write_events(out, &record.events);
    out.extend_from_slice(b"}\n");
}

fn write_failure(out: &mut Vec<u8>, record: &Record) {
    let Some(failure) = &record.failure else { return };
    text(out, r#","problem":"#, failure.code);
    text(out, r#","origin":"#, origin(failure.origin));
    text(out, r#","detail":"#, &failure.detail);
    if !failure.private.is_empty() {
        text(out, r#","reason":"#, &failure.private);
    }
}

fn write_calls(out: &mut Vec<u8>, calls: &[Call]) {
    if calls.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"calls\":[");
    for (index, call) in calls.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        let start = out.len();
        if !call.name.is_empty() {
            text(out, r#","call":"#, &call.name);
        }
        text(out, r#","upstream":"#, &call.upstream);
        if let Some(span) = &call.span {
            text(out, r#","span":"#, span);
        }
        if let Some(endpoint) = &call.endpoint {
            text(out, r#","endpoint":"#, endpoint);
        }
        number(out, r#","status":"#, u64::from(call.status));
        number(out, r#","attempts":"#, u64::from(call.attempts));
        number(out, r#","duration_us":"#, micros(call.duration));
        if let Some(code) = call.code {
            text(out, r#","problem":"#, code);
        }
        out.remove(start); // the comma before an object's first member
        out.push(b'}');
    }
    out.push(b']');
}

fn write_events(out: &mut Vec<u8>, events: &[Event]) {
    if events.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"policies\":[");
    for (index, event) in events.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{\"policy\":" } else { b",{\"policy\":" });
        string(out, event.policy);
        text(out, r#","outcome":"#, event.outcome.as_str());
        for (name, field) in &event.fields {
            for part in [",\"", name, "\":"] {
                out.extend_from_slice(part.as_bytes());
            }
            match field {
                Field::Text(value) => string(out, value),
                Field::Word(value) => string(out, value),
                Field::Number(value) => digits(out, *value),
            }
        }
        out.push(b'}');
    }
    out.push(b']');
}

/// A member: its comma, name and colon as they stand in the line, and its value.
fn text(out: &mut Vec<u8>, member: &str, value: &str) {
    out.extend_from_slice(member.as_bytes());
    string(out, value);
}

fn number(out: &mut Vec<u8>, member: &str, value: u64) {
    out.extend_from_slice(member.as_bytes());
    digits(out, value);
}

fn digits(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                digits(out, u64::from(octet));
            }
        }
        IpAddr::V6(address) => out.extend_from_slice(address.to_string().as_bytes()),
    }
}

/// A JSON string, capped at [`TEXT_LIMIT`].
fn string(out: &mut Vec<u8>, value: &str) {
    let value = cap(value);
    if plain(value.as_bytes()) == value.len() {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    } else if serde_json::to_writer(&mut *out, value).is_err() {
        out.extend_from_slice(b"\"\"");
    }
}

fn cap(value: &str) -> &str {
    let mut end = value.len().min(TEXT_LIMIT);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value.get(..end).unwrap_or_default()
}

pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

pub fn protocol(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_2 => "HTTP/2",
        http::Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Client => "client",
        Origin::Gateway => "gateway",
        Origin::Upstream => "upstream",
    }
}

/// Writes times as RFC 3339 in UTC with microseconds: `2026-11-24T09:18:38.000001Z`. Most lines are of the
/// same second as the one before: its text is kept.
#[derive(Default)]
pub struct Dial {
    /// Since 1970; the text is empty until there is one.
    second: u64,
    text: Vec<u8>,
}

impl Dial {
    pub fn write(&mut self, out: &mut Vec<u8>, time: SystemTime) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.text.is_empty() || self.second != since.as_secs() {
            self.turn(since.as_secs());
        }
        out.extend_from_slice(&self.text);
        pad(out, since.subsec_micros().into(), 6, b'Z');
    }

    fn turn(&mut self, second: u64) {
        let text = &mut self.text;
        text.clear();
        let (days, of_day) = (second / 86_400, second % 86_400);
        let (year, month, day) = civil(days);
        pad(text, year, 4, b'-');
        pad(text, month, 2, b'-');
        pad(text, day, 2, b'T');
        pad(text, of_day / 3600, 2, b':');
        pad(text, of_day / 60 % 60, 2, b':');
        pad(text, of_day % 60, 2, b'.');
        self.second = second;
    }
}

fn pad(out: &mut Vec<u8>, value: u64, width: usize, after: u8) {
    let end = out.len() + width;
    let mut rest = value;
    out.resize(end, b'0');
    for slot in out.iter_mut().rev().take(width) {
        *slot = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    out.push(after);
}

/// The civil date of a day since 1970-01-01 (the Gregorian calendar repeats every 146,097 days).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468; // days since 0000-03-01: leap days fall on a year's end
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(dial: &mut Dial, seconds: u64, micros: u32) -> String {
        let mut out = Vec::new();
        dial.write(&mut out, UNIX_EPOCH + Duration::new(seconds, micros * 1000));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_rfc_3339() {
        let dial = &mut Dial::default();
        assert_eq!(time(dial, 0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(time(dial, 951_782_400, 1), "2000-02-29T00:00:00.000001Z");
        assert_eq!(time(dial, 1_795_511_918, 250), "2026-11-24T09:18:38.000250Z");
        assert_eq!(time(dial, 1_795_511_918, 7), "2026-11-24T09:18:38.000007Z");
        assert_eq!(time(dial, 4_102_444_799, 999_999), "2099-12-31T23:59:59.999999Z");
        assert_eq!(time(dial, 951_782_400, 1), "2000-02-29T00:00:00.000001Z");
    }

    #[test]
    fn texts_cannot_break_out_of_the_line() {
        let mut out = Vec::new();
        string(&mut out, "a\"b\\c\nd\u{7f}é");
        let back: String = serde_json::from_slice(&out).unwrap();
        assert_eq!(back, "a\"b\\c\nd\u{7f}é");
        assert!(!out.contains(&b'\n'));
        out.clear();
        string(&mut out, &"é".repeat(TEXT_LIMIT));
        assert!(out.len() <= TEXT_LIMIT + 2);
    }
}
