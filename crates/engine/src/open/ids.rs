//! Names for a request: its own id, the correlation id that a client may have given, and the trace
//! that it belongs to (W3C Trace Context).

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::present::Present;

pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

const LONGEST: usize = 128;

thread_local! {
    static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one("request id") | 1);
}

/// A client's id is kept when it is short and harmless.
fn acceptable(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?;
    let harmless = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'.' | b':' | b'/' | b'+' | b'=' | b'@')
    };
    (!text.is_empty() && text.len() <= LONGEST && text.bytes().all(harmless)).then_some(text)
}

/// Keeps or makes the request's id and its correlation id, and returns the former: as text, and as
/// the value of its header.
pub fn assign(
    headers: &mut HeaderMap,
    present: Present,
    time: SystemTime,
) -> (Arc<str>, HeaderValue) {
    let given = present.request_id.then(|| headers.get(&X_REQUEST_ID)).flatten();
    let given = given.and_then(|value| Some((value, acceptable(value)?)));
    let (id, mut value): (Arc<str>, _) = match given {
        Some((value, text)) => (Arc::from(text), value.clone()),
        None => {
            let made = make(time);
            // Hex digits are always a header's value.
            let value = HeaderValue::from_str(&made).unwrap_or(HeaderValue::from_static("-"));
            (made, value)
        }
    };
    // No other request has it: the table of HPACK is for what comes again (RFC 7541 section 6.2.3).
    value.set_sensitive(true);
    let has_correlation_id =
        present.correlation_id && headers.get(&X_CORRELATION_ID).and_then(acceptable).is_some();
    if !has_correlation_id {
        headers.insert(X_CORRELATION_ID, value.clone());
    }
    headers.insert(X_REQUEST_ID, value.clone());
    (id, value)
}

/// 32 hex digits: 12 of milliseconds since 1970, so that ids sort by time, and 20 of chance.
pub fn make(time: SystemTime) -> Arc<str> {
    let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let sorted = (millis & 0xffff_ffff_ffff) << 80;
    hex(sorted | u128::from(next()) << 16 | u128::from(next() & 0xffff))
}

fn hex(value: u128) -> Arc<str> {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    let mut out = [[0; 2]; 16];
    for (two, byte) in out.iter_mut().zip(value.to_be_bytes()) {
        *two = [digit(byte >> 4), digit(byte & 0xf)];
    }
    Arc::from(std::str::from_utf8(out.as_flattened()).unwrap_or_default())
}

/// SplitMix64 (Steele, Lea, Flood 2014), seeded per thread from the system's randomness.
fn next() -> u64 {
    STATE.with(|state| {
        let counter = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(counter);
        let mixed = (counter ^ (counter >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// The trace id of a valid `traceparent`: `00-<32 hex>-<16 hex>-<2 hex>`.
pub fn trace_id(headers: &HeaderMap) -> Option<Arc<str>> {
    trace(headers.get(TRACEPARENT)?).map(|(trace, _)| Arc::from(trace))
}

/// A new span within the trace of a valid `traceparent`: the header for it, and its id.
pub fn child_span(parent: &HeaderValue) -> Option<(HeaderValue, Arc<str>)> {
    let (trace, flags) = trace(parent)?;
    // Zero is no span id.
    let span = format!("{:016x}", next() | 1);
    let header = HeaderValue::try_from(format!("00-{trace}-{span}-{flags}")).ok()?;
    Some((header, Arc::from(span)))
}

/// The trace id and the flags of a `traceparent`. Versions after 00 may have more parts.
fn trace(parent: &HeaderValue) -> Option<(&str, &str)> {
    let mut parts = parent.to_str().ok()?.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let (span, flags) = (parts.next()?, parts.next()?);
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_set = |text: &str| text.bytes().any(|byte| byte != b'0');
    let valid = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    (valid && is_set(trace) && is_set(span)).then_some((trace, flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(headers: &mut HeaderMap) -> (Arc<str>, HeaderValue) {
        let present = Present::of(headers);
        assign(headers, present, UNIX_EPOCH)
    }

    #[test]
    fn ids_are_kept_or_made() {
        let mut headers = HeaderMap::new();
        let (made, value) = assigned(&mut headers);
        assert_eq!(value, *made);
        assert_eq!(made.len(), 32);
        assert_eq!(headers[X_REQUEST_ID], *made);
        assert_eq!(headers[X_CORRELATION_ID], *made);
        assert_ne!(made, assigned(&mut HeaderMap::new()).0);

        headers.insert(X_REQUEST_ID, HeaderValue::from_static("mine-1"));
        headers.insert(X_CORRELATION_ID, HeaderValue::from_static("order-7"));
        assert_eq!(&*assigned(&mut headers).0, "mine-1");
        assert_eq!(headers[X_CORRELATION_ID], "order-7");

        headers.insert(X_REQUEST_ID, HeaderValue::from_static("no \"quotes\""));
        assert_eq!(assigned(&mut headers).0.len(), 32);
    }

    #[test]
    fn a_trace_is_read_from_a_valid_traceparent() {
        let trace = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, HeaderValue::from_static(value));
            trace_id(&headers).map(|id| id.to_string())
        };
        let id = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(
            trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").as_deref(),
            Some(id)
        );
        assert_eq!(trace("00-00000000000000000000000000000000-b7ad6b7169203331-01"), None);
        assert_eq!(trace("garbage"), None);
        assert_eq!(trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"), None);

        let parent =
            HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let (child, span) = child_span(&parent).unwrap();
        assert_eq!(child, format!("00-{id}-{span}-01"));
        assert!(span.len() == 16 && *span != *"b7ad6b7169203331");
    }
}
