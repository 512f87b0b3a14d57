//! Who the client is, and what upstreams are told about it.
//!
//! `X-Forwarded-*` and `Forwarded` (RFC 7239) are believed only from `trusted_proxies`; from anyone
//! else they are replaced. The client's address is found from the right: the first address that no
//! trusted proxy has.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderName, HeaderValue};
use http::{HeaderMap, header};
use ipnet::IpNet;

pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Other names by which services learn an address or a path: from a stranger they are lies.
const HINTS: [HeaderName; 9] = [
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("x-cluster-client-ip"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
];

/// Addresses in a chain beyond these many are not looked at.
const CHAIN_LIMIT: usize = 32;

/// The networks whose word counts.
#[derive(Clone, Debug, Default)]
pub struct Trusted(pub Vec<IpNet>);

impl Trusted {
    fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// An IPv4 address that came through an IPv6 socket is an IPv4 address.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Sets the forwarding headers and returns the client's address. `authority` is the request's host
/// as the client wrote it.
pub fn apply(
    headers: &mut HeaderMap,
    peer: SocketAddr,
    trusted: &Trusted,
    authority: &str,
) -> IpAddr {
    let peer = canonical(peer.ip());
    let believed = trusted.contains(peer);
    let (client, chain) = if believed { chain(headers, peer, trusted) } else { (peer, None) };
    let for_value = match chain {
        Some(chain) => format!("{chain}, {peer}"),
        None => peer.to_string(),
    };
    if !believed {
        for name in HINTS {
            headers.remove(name);
        }
    }
    let kept =
        |headers: &HeaderMap, name: &HeaderName| headers.get(name).filter(|_| believed).cloned();
    let proto = kept(headers, &X_FORWARDED_PROTO).unwrap_or(HeaderValue::from_static("http"));
    let host = kept(headers, &X_FORWARDED_HOST).or_else(|| HeaderValue::from_str(authority).ok());
    if let Ok(value) = forwarded(client, &proto, host.as_ref()) {
        headers.insert(FORWARDED, value);
    } else {
        headers.remove(FORWARDED);
    }
    if let Ok(value) = HeaderValue::from_str(&for_value) {
        headers.insert(X_FORWARDED_FOR, value);
    }
    headers.insert(X_FORWARDED_PROTO, proto);
    if let Some(host) = host {
        headers.insert(X_FORWARDED_HOST, host);
    }
    client
}

/// The client and the chain so far, as a trusted peer tells them.
fn chain(headers: &HeaderMap, peer: IpAddr, trusted: &Trusted) -> (IpAddr, Option<String>) {
    let mut hops: Vec<&str> = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        hops.extend(value.to_str().unwrap_or_default().split(',').map(str::trim));
    }
    hops.retain(|hop| !hop.is_empty());
    let mut client = peer;
    for hop in hops.iter().rev().take(CHAIN_LIMIT) {
        let Some(address) = address(hop) else { break };
        client = address;
        if !trusted.contains(address) {
            break;
        }
    }
    let first = hops.len().saturating_sub(CHAIN_LIMIT);
    let chain = hops.get(first..).unwrap_or_default().join(", ");
    (client, (!chain.is_empty()).then_some(chain))
}

/// An address as proxies write it: bare, with a port, or in brackets.
fn address(hop: &str) -> Option<IpAddr> {
    let parsed = hop.parse::<IpAddr>().ok();
    let parsed = parsed.or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()));
    let bare = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    parsed.or_else(bare).map(canonical)
}

fn forwarded(
    client: IpAddr,
    proto: &HeaderValue,
    host: Option<&HeaderValue>,
) -> Result<HeaderValue, header::InvalidHeaderValue> {
    let mut out = String::with_capacity(64);
    let _ = match client {
        IpAddr::V4(address) => write!(out, "for={address}"),
        IpAddr::V6(address) => write!(out, "for=\"[{address}]\""),
    };
    if let Some(host) = host.and_then(|host| host.to_str().ok())
        && !host.contains(['"', '\\'])
    {
        let _ = write!(out, ";host=\"{host}\"");
    }
    let _ = write!(out, ";proto={}", if proto == "https" { "https" } else { "http" });
    HeaderValue::from_str(&out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(peer: &str, trusted: &[&str], headers: &[(&'static str, &str)]) -> (String, HeaderMap) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let trusted = Trusted(trusted.iter().map(|net| net.parse().unwrap()).collect());
        let client = apply(&mut map, peer.parse().unwrap(), &trusted, "shop.example:8080");
        (client.to_string(), map)
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let lies = [
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("forwarded", "for=1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("x-original-url", "/admin"),
        ];
        let (client, headers) = run("9.9.9.9:1000", &["10.0.0.0/8"], &lies);
        assert_eq!(client, "9.9.9.9");
        assert_eq!(headers["x-forwarded-for"], "9.9.9.9");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "shop.example:8080");
        assert_eq!(headers["forwarded"], "for=9.9.9.9;host=\"shop.example:8080\";proto=http");
        assert!(!headers.contains_key("x-real-ip") && !headers.contains_key("x-original-url"));
    }

    #[test]
    fn a_trusted_chain_is_read_from_the_right() {
        let chain =
            [("x-forwarded-for", "6.6.6.6, 7.7.7.7, 10.0.0.2"), ("x-forwarded-proto", "https")];
        let (client, headers) = run("10.0.0.1:1000", &["10.0.0.0/8"], &chain);
        assert_eq!(client, "7.7.7.7");
        assert_eq!(headers["x-forwarded-for"], "6.6.6.6, 7.7.7.7, 10.0.0.2, 10.0.0.1");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["forwarded"], "for=7.7.7.7;host=\"shop.example:8080\";proto=https");
    }

    #[test]
    fn mapped_ipv4_and_garbage() {
        let (client, _) =
            run("[::ffff:10.0.0.1]:1000", &["10.0.0.0/8"], &[("x-forwarded-for", "garbage")]);
        assert_eq!(client, "10.0.0.1");
        let (client, _) =
            run("10.0.0.1:1", &["10.0.0.0/8"], &[("x-forwarded-for", "[2001:db8::1]:443")]);
        assert_eq!(client, "2001:db8::1");
        let (_, headers) = run("[2001:db8::2]:1", &[], &[]);
        assert!(headers["forwarded"].to_str().unwrap().starts_with("for=\"[2001:db8::2]\";"));
    }
}
