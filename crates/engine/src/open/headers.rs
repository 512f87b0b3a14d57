//! Which headers of a client go no further: those that belong to its connection, every alias of a
//! header by which upstreams learn who asks, and from a stranger what only a proxy may say.

use std::cell::Cell;
use std::collections::HashSet;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue, TE, TRAILER};
use portcullis_core::headers;

use super::forwarded::{is_hint, is_told};
use super::present::Present;

/// What may pass that does not by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passing {
    /// What only a proxy may say: it comes from one that is trusted.
    pub hints: bool,
    /// Names that services could take for others.
    pub odd_names: bool,
    /// Headers that name another method.
    pub method_override: bool,
    /// `TE: trailers`: it is true end to end, since trailers pass.
    pub te: bool,
}

/// Removes what stays here. `Expect` goes because hyper has said 100 Continue by the time the body is
/// read. Tells how many headers had odd names; they go as well unless they may pass.
pub fn strip(
    headers: &mut HeaderMap,
    identity: &IdentityHeaders,
    passing: Passing,
    present: Present,
) -> u64 {
    let odd = Cell::new(0);
    let trailers = passing.te && present.te && headers.get_all(TE).iter().any(asks_for_trailers);
    headers::strip(headers, |name| {
        let is_odd = !passing.odd_names && is_odd(name);
        odd.set(odd.get() + u64::from(is_odd));
        is_odd
            || name == "expect"
            || (!passing.hints && is_hint(name))
            || (passing.odd_names && is_alias(name))
            || (!passing.method_override && is_method_override(name))
            || identity.contains(name)
    });
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if present.trailer && headers.contains_key(TRAILER) {
        announce(headers, identity, passing.odd_names);
    }
    odd.get()
}

/// Services that read CGI-style names take `_` and others for `-`: one header would be another.
fn is_odd(name: &str) -> bool {
    !name.bytes().fold(true, |plain, byte| plain & (byte.is_ascii_alphanumeric() | (byte == b'-')))
}

/// What a service that reads CGI-style names would take for what only this gateway or a connection says.
fn is_alias(name: &str) -> bool {
    name.contains(['_', '.']) && {
        let name = plain(name);
        is_told(&name)
            || is_hint(&name)
            || headers::is_hop_by_hop(&name)
            || name == "content-length"
    }
}

/// Another method than the request's, under every alias.
fn is_method_override(name: &str) -> bool {
    const NAMES: [&str; 3] = ["x-http-method", "x-method-override", "x-http-method-override"];
    let plain = |byte: u8| if matches!(byte, b'_' | b'.') { b'-' } else { byte };
    name.starts_with('x') && NAMES.iter().any(|one| one.bytes().eq(name.bytes().map(plain)))
}

/// Trailers that are announced travel on: none of them may say who asks and from where, or frame a
/// message.
fn announce(headers: &mut HeaderMap, identity: &IdentityHeaders, odd_names: bool) {
    let values = headers.get_all(TRAILER).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).map(|name| name.trim().to_lowercase());
    let harmless = |name: &String| {
        !headers::is_hop_by_hop(name)
            && !matches!(name.as_str(), "" | "host" | "content-length" | "authorization" | "cookie")
            && !is_told(name)
            && !is_hint(name)
            && !(is_odd(name) && (!odd_names || is_alias(name)))
            && !is_method_override(name)
            && !identity.contains(name)
    };
    let kept = names.filter(harmless).collect::<Vec<_>>().join(", ");
    match HeaderValue::try_from(kept).ok().filter(|kept| !kept.is_empty()) {
        Some(kept) => drop(headers.insert(TRAILER, kept)),
        None => drop(headers.remove(TRAILER)),
    }
}

fn asks_for_trailers(value: &HeaderValue) -> bool {
    let text = value.to_str().unwrap_or_default();
    text.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

/// The headers by which upstreams learn who asks. Nobody but the gateway may set them, under no
/// alias: services that read CGI-style names take `X_User_Id` and `X.User.Id` for `X-User-Id`.
#[derive(Debug, Default)]
pub struct IdentityHeaders(HashSet<String>);

impl IdentityHeaders {
    pub fn new(names: impl IntoIterator<Item = HeaderName>) -> Self {
        Self(names.into_iter().map(|name| plain(name.as_str())).collect())
    }

    fn contains(&self, name: &str) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let known = |name: &str| self.0.contains(name);
        if name.contains(['_', '.']) { known(&plain(name)) } else { known(name) }
    }
}

fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Passing =
        Passing { hints: false, odd_names: false, method_override: false, te: false };

    fn strip_all(headers: &mut HeaderMap, identity: &IdentityHeaders, passing: Passing) -> u64 {
        let present = Present::of(headers);
        strip(headers, identity, passing, present)
    }

    fn left(believed: bool, pairs: &[(&'static str, &'static str)]) -> Vec<String> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut headers: HeaderMap = pairs.collect();
        let identity = IdentityHeaders::new([HeaderName::from_static("x-user-id")]);
        let passing = Passing { hints: believed, odd_names: true, te: true, ..NOTHING };
        strip_all(&mut headers, &identity, passing);
        let mut left: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        left.sort();
        left
    }

    #[test]
    fn what_belongs_to_the_connection_goes() {
        let headers = [
            ("connection", "close, X-Debug"),
            ("x-debug", "1"),
            ("te", "gzip, trailers"),
            ("expect", "100-continue"),
            ("accept", "*/*"),
        ];
        assert_eq!(left(false, &headers), ["accept: */*", "te: trailers"]);
        assert_eq!(left(false, &[("te", "gzip")]), [""; 0]);
    }

    #[test]
    fn identity_goes_under_every_alias() {
        let headers = [
            ("x-user-id", "1"),
            ("x_user_id", "1"),
            ("x-user_id", "1"),
            ("x.user.id", "1"),
            ("x-user-ident", "kept"),
            ("x_other", "kept"),
        ];
        assert_eq!(left(true, &headers), ["x-user-ident: kept", "x_other: kept"]);
    }

    #[test]
    fn where_a_client_is_goes_under_every_alias() {
        let headers = [
            ("x_forwarded_for", "6.6.6.6"),
            ("x-forwarded_proto", "https"),
            ("x.forwarded.host", "evil"),
            ("x_real_ip", "6.6.6.6"),
            ("transfer_encoding", "chunked"),
            ("content_length", "6"),
            ("x_forwarded", "kept"),
        ];
        for believed in [false, true] {
            assert_eq!(left(believed, &headers), ["x_forwarded: kept"]);
        }
        let trailers =
            "X-Forwarded-For, x_forwarded_for, Forwarded, X-Forwarded-Proto, x_real_ip, x_a";
        assert_eq!(left(true, &[("trailer", trailers)]), ["trailer: x_a"]);
        let mut headers: HeaderMap =
            [(TRAILER, HeaderValue::from_static("x_a, x-b"))].into_iter().collect();
        strip_all(&mut headers, &IdentityHeaders::default(), NOTHING);
        assert_eq!(headers[TRAILER], "x-b");
    }

    #[test]
    fn odd_names_are_counted_and_go() {
        let names = ["x_a", "x.b", "x+c", "x-d"].map(HeaderName::from_static);
        let mut headers: HeaderMap =
            names.map(|name| (name, HeaderValue::from_static("1"))).into_iter().collect();
        let nobody = IdentityHeaders::default();
        assert_eq!(strip_all(&mut headers, &nobody, Passing { odd_names: true, ..NOTHING }), 0);
        assert_eq!(headers.len(), 4);
        assert_eq!(strip_all(&mut headers, &nobody, NOTHING), 3);
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn another_method_goes_under_every_alias() {
        let headers = [
            ("x-http-method", "DELETE"),
            ("x-http-method-override", "DELETE"),
            ("x_http.method_override", "DELETE"),
            ("x-method-override", "DELETE"),
            ("x-http-methods", "kept"),
        ];
        assert_eq!(left(true, &headers), ["x-http-methods: kept"]);
        let mut headers: HeaderMap =
            [(HeaderName::from_static("x-http-method"), HeaderValue::from_static("PUT"))]
                .into_iter()
                .collect();
        let passing = Passing { method_override: true, ..NOTHING };
        strip_all(&mut headers, &IdentityHeaders::default(), passing);
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn nobody_is_announced_behind_the_body() {
        let headers = [("trailer", "X-Sum, X_User_Id,, Content-Length, X-Real-IP, te")];
        assert_eq!(left(true, &headers), ["trailer: x-sum"]);
        assert_eq!(left(true, &[("trailer", "x-user-id")]), [""; 0]);
    }

    #[test]
    fn a_strangers_hints_go() {
        let headers = [("x-real-ip", "1.2.3.4"), ("x-original-url", "/admin")];
        assert_eq!(left(false, &headers), [""; 0]);
        assert_eq!(left(true, &headers).len(), 2);
    }
}
