//! Which headers of a client go no further: those that belong to its connection (RFC 9110 section
//! 7.6.1), and every alias of a header by which upstreams learn who asks.

use std::collections::HashSet;

use http::header::{CONNECTION, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, header};

const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// Names in `Connection` that mean the connection itself, not a header.
const OPTIONS: [&str; 2] = ["close", "keep-alive"];

/// Removes what belongs to the client's connection. `TE: trailers` is kept: it is true end to end,
/// since trailers pass.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if let Some(nominated) = nominated(headers) {
        for name in nominated {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if headers.contains_key(TE) {
        let trailers = headers.get_all(TE).iter().any(asks_for_trailers);
        headers.remove(TE);
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
    }
}

fn nominated(headers: &HeaderMap) -> Option<Vec<String>> {
    headers.get(CONNECTION)?;
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).map(|name| name.trim().to_owned());
    Some(names.filter(|name| is_nominable(name)).collect())
}

/// What may be nominated: not the options themselves, and not what the request cannot do without.
fn is_nominable(name: &str) -> bool {
    let fixed = ["host", "content-length", "content-type", "te"];
    !name.is_empty() && !OPTIONS.iter().chain(&fixed).any(|fixed| name.eq_ignore_ascii_case(fixed))
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

    /// Removes all of them, under every alias.
    pub fn strip(&self, headers: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        let aliases: Vec<HeaderName> =
            headers.keys().filter(|name| self.contains(name.as_str())).cloned().collect();
        for name in aliases {
            headers.remove(name);
        }
    }

    fn contains(&self, name: &str) -> bool {
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

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn what_belongs_to_the_connection_goes() {
        let mut headers = map(&[
            ("connection", "close, X-Debug"),
            ("x-debug", "1"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "websocket"),
            ("te", "gzip, trailers"),
            ("proxy-authorization", "Basic x"),
            ("accept", "*/*"),
        ]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("te", "trailers"), ("accept", "*/*")]));
    }

    #[test]
    fn what_a_request_needs_cannot_be_nominated() {
        let mut headers =
            map(&[("connection", "Host, Content-Length"), ("host", "a"), ("content-length", "3")]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("host", "a"), ("content-length", "3")]));
    }

    #[test]
    fn identity_goes_under_every_alias() {
        let identity = IdentityHeaders::new([HeaderName::from_static("x-user-id")]);
        let mut headers = map(&[
            ("x-user-id", "1"),
            ("x_user_id", "1"),
            ("x-user_id", "1"),
            ("x.user.id", "1"),
            ("x-user-ident", "kept"),
            ("x_other", "kept"),
        ]);
        identity.strip(&mut headers);
        assert_eq!(headers, map(&[("x-user-ident", "kept"), ("x_other", "kept")]));
    }
}
