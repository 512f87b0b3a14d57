//! Requests for a WebSocket: over HTTP/1.1 an Upgrade (RFC 6455 section 4.2.1), over HTTP/2 an extended
//! CONNECT (RFC 8441). Further in both are the same GET, and what answers decides whether it becomes one.

use http::header::{CONNECTION, HeaderMap, SEC_WEBSOCKET_KEY, UPGRADE};
use http::request::Parts;
use http::{Method, Version};
use hyper::ext::Protocol;
use portcullis_core::Exchange;
use portcullis_core::headers::lists;

const WEBSOCKET: &[u8] = b"websocket";

/// Marks a request that asks for a WebSocket and may be given one.
#[derive(Clone, Copy, Debug)]
struct AskedFor;

/// True for a request of HTTP/1.1 behind which nothing is read before it is answered.
pub fn is_awaited(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| *name == UPGRADE) && lists(headers, &UPGRADE, WEBSOCKET)
}

/// Marks a request that asks for one, before what is the connection's is gone. `is_empty`: it has no
/// body.
pub fn mark(request: &mut Parts, is_empty: bool) {
    let asked_for = match request.version {
        Version::HTTP_2 => {
            let protocol = || request.extensions.get::<Protocol>().map(AsRef::as_ref);
            let asked_for = request.method == Method::CONNECT && protocol() == Some(WEBSOCKET);
            if asked_for {
                request.method = Method::GET;
            }
            asked_for
        }
        Version::HTTP_11 => {
            is_empty && request.method == Method::GET && is_upgrade(&request.headers)
        }
        _ => false,
    };
    if asked_for {
        request.extensions.insert(AskedFor);
    }
}

/// Exactly this one protocol, and what a service proves by that it knows it.
fn is_upgrade(headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(UPGRADE).iter();
    let only = (protocols.next(), protocols.next());
    let is_only = |name: &http::HeaderValue| name.as_bytes().eq_ignore_ascii_case(WEBSOCKET);
    matches!(only, (Some(name), None) if is_only(name))
        && lists(headers, &CONNECTION, b"upgrade")
        && headers.get_all(SEC_WEBSOCKET_KEY).iter().count() == 1
}

/// Whether a request may become a WebSocket.
pub fn is_asked_for(exchange: &Exchange) -> bool {
    exchange.request.extensions.get::<AskedFor>().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_for(
        version: Version,
        method: Method,
        fields: &[(&str, &str)],
        is_empty: bool,
    ) -> bool {
        let mut request = http::Request::builder().version(version).method(method);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        mark(&mut parts, is_empty);
        parts.extensions.get::<AskedFor>().is_some()
    }

    #[test]
    fn only_a_plain_handshake_is_one() {
        let (key, upgrade) = (("sec-websocket-key", "x"), ("upgrade", "WebSocket"));
        let connection = ("connection", "keep-alive, Upgrade");
        let all = [key, upgrade, connection];
        let asks = |fields: &[_]| asked_for(Version::HTTP_11, Method::GET, fields, true);
        assert!(asks(&all));
        assert!(!asked_for(Version::HTTP_10, Method::GET, &all, true));
        assert!(!asked_for(Version::HTTP_2, Method::GET, &all, true));
        assert!(!asked_for(Version::HTTP_11, Method::POST, &all, true));
        assert!(!asked_for(Version::HTTP_11, Method::GET, &all, false));
        assert!(!asks(&[key, upgrade]));
        assert!(!asks(&[upgrade, connection]));
        assert!(!asks(&[key, key, upgrade, connection]));
        assert!(!asks(&[key, ("upgrade", "h2c"), connection]));
        assert!(!asks(&[key, ("upgrade", "websocket, h2c"), connection]));
        assert!(!asks(&[key, upgrade, upgrade, connection]));
    }

    #[test]
    fn an_extended_connect_becomes_a_get() {
        let ask = |protocol: &'static str| {
            let mut request = http::Request::builder().version(Version::HTTP_2);
            request = request.method(Method::CONNECT).extension(Protocol::from_static(protocol));
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            mark(&mut parts, true);
            (parts.method, parts.extensions.get::<AskedFor>().is_some())
        };
        assert_eq!(ask("websocket"), (Method::GET, true));
        assert_eq!(ask("connect-udp"), (Method::CONNECT, false));
        assert!(!asked_for(Version::HTTP_2, Method::CONNECT, &[], true));
    }
}
