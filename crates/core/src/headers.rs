//! What belongs to one connection and goes no further, in either direction (RFC 9110 section 7.6.1).
//!
//! Names are looked for in one pass over what a message has, not by one look-up for each name that
//! it could have: most messages have none of them.

use std::fmt::Write as _;

use http::HeaderMap;
use http::header::{CONNECTION, HeaderName, HeaderValue, VARY};
use smallvec::SmallVec;

/// True for the headers that are about a connection, whoever sent them.
pub fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// What `Connection` cannot take away: without it the message would be another one.
fn is_essential(name: &str) -> bool {
    matches!(name, "host" | "content-length" | "content-type")
}

/// Removes what belongs to the connection, what its `Connection` header nominates, and whatever
/// `also` says. Names are lower case.
pub fn strip(headers: &mut HeaderMap, also: impl Fn(&str) -> bool) {
    let mut going = names_where(headers, |name| is_hop_by_hop(name) || also(name));
    if going.contains(&CONNECTION) {
        going.extend(nominated(headers));
    }
    remove_all(headers, going);
}

/// Removes every header of which `goes` is true.
pub fn remove_where(headers: &mut HeaderMap, goes: impl Fn(&str) -> bool) {
    remove_all(headers, names_where(headers, goes));
}

type Names = SmallVec<[HeaderName; 4]>;

fn names_where(headers: &HeaderMap, holds: impl Fn(&str) -> bool) -> Names {
    let mut names = Names::new();
    for name in headers.keys() {
        if holds(name.as_str()) {
            names.push(name.clone());
        }
    }
    names
}

fn remove_all(headers: &mut HeaderMap, names: Names) {
    for name in names {
        headers.remove(name);
    }
}

/// A text as a header's value: what is not visible ASCII or a space is percent-encoded, so that no
/// claim and no certificate's name ends a line.
pub fn visible(text: &str) -> Option<HeaderValue> {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            byte => drop(write!(out, "%{byte:02X}")),
        }
    }
    HeaderValue::try_from(out).ok()
}

/// Removes what headers say of a body's bytes, which are other ones now.
pub fn forget_bytes(headers: &mut HeaderMap) {
    remove_where(headers, |name| {
        matches!(
            name,
            "content-length"
                | "accept-ranges"
                | "digest"
                | "content-digest"
                | "repr-digest"
                | "content-md5"
        )
    });
}

/// Says in `Vary` that the answer depends on this header, unless that is said already; `*` says more.
pub fn vary(headers: &mut HeaderMap, name: &'static str) {
    let lines = headers.get_all(VARY).iter().filter_map(|value| value.to_str().ok());
    let mut names = lines.flat_map(|line| line.split(',')).map(str::trim);
    if !names.any(|known| known == "*" || known.eq_ignore_ascii_case(name)) {
        headers.append(VARY, HeaderValue::from_static(name));
    }
}

/// True when one of the header's lists has this word, in any case.
pub fn lists(headers: &HeaderMap, name: &HeaderName, word: &[u8]) -> bool {
    let values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let mut words = values.flat_map(|value| value.split(|byte| *byte == b','));
    words.any(|one| one.trim_ascii().eq_ignore_ascii_case(word))
}

fn nominated(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let values = headers.get_all(CONNECTION).iter().map(HeaderValue::as_bytes);
    let names = values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    // Most often it says no more than this, which names no header that is there.
    let names = names.filter(|name| !name.eq_ignore_ascii_case(b"keep-alive"));
    let names = names.filter_map(|name| HeaderName::from_bytes(name).ok());
    names.filter(|name| !is_essential(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(headers: &[(&str, &str)]) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            map.append(HeaderName::try_from(*name).unwrap(), value);
        }
        strip(&mut map, |name| name == "x-also");
        let mut left: Vec<String> = map.keys().map(|name| name.to_string()).collect();
        left.sort();
        left
    }

    #[test]
    fn what_belongs_to_the_connection_stays_behind() {
        let headers = [
            ("connection", "close, X-Hop"),
            ("connection", "content-length, , \u{e4}"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "h2c"),
            ("te", "trailers"),
            ("x-also", "1"),
            ("x-also", "2"),
            ("content-length", "3"),
            ("trailer", "x-sum"),
            ("etag", "\"1\""),
        ];
        assert_eq!(left(&headers), ["content-length", "etag", "trailer"].map(str::to_owned));
    }

    #[test]
    fn what_an_answer_depends_on_is_said_once_and_beside_the_rest() {
        for (before, after) in [
            (vec![], "Origin"),
            (vec!["accept-encoding"], "accept-encoding;Origin"),
            (vec!["accept, ORIGIN"], "accept, ORIGIN"),
            (vec!["accept", "*"], "accept;*"),
            (vec!["x-origin"], "x-origin;Origin"),
        ] {
            let mut headers = HeaderMap::new();
            for line in before {
                headers.append(VARY, HeaderValue::from_static(line));
            }
            vary(&mut headers, "Origin");
            vary(&mut headers, "Origin");
            let lines: Vec<_> =
                headers.get_all(VARY).iter().map(|it| it.to_str().unwrap()).collect();
            assert_eq!(lines.join(";"), after);
        }
    }

    #[test]
    fn what_a_message_needs_cannot_be_nominated() {
        let headers = [("connection", "Host, Content-Length, close"), ("host", "a")];
        assert_eq!(left(&headers), ["host"]);
    }
}
