//! A moment in time, as RFC 3339 writes it in UTC: `2027-01-31` or `2027-01-31T12:00:00Z`.

use serde_json::json;

use crate::decode::Decode;
use crate::diagnostic::Diagnostics;
use crate::node::Node;
use crate::schema::Definitions;

/// Seconds since 1970. A day alone is its first second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Decode for Timestamp {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let read = node.scalar_text().and_then(parse).map(Self);
        if read.is_none() {
            node.expected(
                "a day or a time in UTC, such as 2027-01-31 or 2027-01-31T12:00:00Z",
                out,
            );
        }
        read
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        let pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?$";
        definitions.or_variable(json!({
            "type": "string",
            "pattern": pattern,
            "description": "A time in UTC: 2027-01-31, 2027-01-31T12:00:00Z.",
        }))
    }
}

fn parse(text: &str) -> Option<u64> {
    let (day, time) = match text.split_once('T') {
        Some((day, time)) => (day, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let [year, month, day] = numbers(day, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    let fits =
        year >= 1970 && (1..=length).contains(&day) && hour < 24 && minute < 60 && second < 60;
    // Counted from March, leap days fall on a year's end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    fits.then_some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Three numbers of these lengths.
fn numbers(text: &str, between: char, lengths: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(between);
    let mut found = [0; 3];
    for (number, length) in found.iter_mut().zip(lengths) {
        let part = parts.next().filter(|part| part.len() == length)?;
        let digits = part.bytes().all(|byte| byte.is_ascii_digit());
        *number = part.parse().ok().filter(|_| digits)?;
    }
    parts.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        for (text, seconds) in [
            ("1970-01-01", Some(0)),
            ("2000-02-29T00:00:00Z", Some(951_782_400)),
            ("2026-11-24T09:18:38Z", Some(1_795_511_918)),
            ("2099-12-31T23:59:59Z", Some(4_102_444_799)),
            ("2026-02-29", None),
            ("2026-13-01", None),
            ("2026-1-01", None),
            ("2026-01-01T24:00:00Z", None),
            ("2026-01-01T00:00:00", None),
            ("1969-12-31", None),
            ("+026-01-01", None),
        ] {
            assert_eq!(parse(text), seconds, "{text}");
        }
    }
}
