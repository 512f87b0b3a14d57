//! Who the client is, and what upstreams are told about it.
//!
//! `X-Forwarded-*` and `Forwarded` (RFC 7239) are believed only from `trusted_proxies`; from anyone
//! else they are replaced. The client's address is found from the right: the first address that no
//! trusted proxy has.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName, HeaderValue};
use portcullis_core::{Networks, Outer, Peer};

use super::host::Host;

pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// True for what [`apply`] writes: whatever a client says under these names, upstreams get ours.
pub fn is_told(name: &str) -> bool {
    matches!(name, "forwarded" | "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host")
}

/// Other names by which services learn an address or a path: from a stranger they are lies.
pub fn is_hint(name: &str) -> bool {
    matches!(
        name,
        "x-real-ip"
            | "x-client-ip"
            | "true-client-ip"
            | "x-cluster-client-ip"
            | "x-forwarded-port"
            | "x-forwarded-prefix"
            | "x-forwarded-server"
            | "x-original-url"
            | "x-rewrite-url"
    )
}

/// Addresses in a chain beyond these many are not looked at.
const CHAIN_LIMIT: usize = 32;

/// The networks whose word counts.
#[derive(Clone, Debug, Default)]
pub struct Trusted(pub Networks);

impl Trusted {
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(address)
    }
}

/// Sets the forwarding headers and returns the client's address, and what it calls this gateway;
/// `believed` says that the peer is a trusted proxy.
pub fn apply(
    headers: &mut HeaderMap,
    peer: &Peer,
    trusted: &Trusted,
    believed: bool,
    host: Option<&Host>,
) -> (IpAddr, Outer) {
    let asked_for = host;
    let own_host = || asked_for.map(|host| host.authority.clone());
    let (client, chain, proto, host) = if believed {
        let (client, chain) = chain(headers, peer.ip, trusted);
        let proto = headers.get(X_FORWARDED_PROTO).cloned();
        let host = headers.get(X_FORWARDED_HOST).cloned().or_else(own_host);
        (client, chain, proto, host)
    } else {
        (peer.ip, None, None, own_host())
    };
    let own = if peer.secure.is_some() { "https" } else { "http" };
    let proto = proto.unwrap_or(HeaderValue::from_static(own));
    let hops = match chain {
        Some(chain) => HeaderValue::try_from(format!("{chain}, {}", peer.ip)).ok(),
        None => Some(peer.ip_text.clone()),
    };
    let written = || forwarded(client, peer, &proto, host.as_ref());
    let value = match asked_for.filter(|_| !believed) {
        Some(asked_for) => asked_for.forwarded.get_or_init(written).clone(),
        None => written(),
    };
    match value {
        Some(value) => drop(headers.insert(FORWARDED, value)),
        None => drop(headers.remove(FORWARDED)),
    }
    if let Some(hops) = hops {
        headers.insert(X_FORWARDED_FOR, hops);
    }
    headers.insert(X_FORWARDED_PROTO, proto.clone());
    if let Some(host) = &host {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
    (client, Outer { proto, host })
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
    parsed.or_else(bare).map(|address| address.to_canonical())
}

fn forwarded(
    client: IpAddr,
    peer: &Peer,
    proto: &HeaderValue,
    host: Option<&HeaderValue>,
) -> Option<HeaderValue> {
    let mut out = String::with_capacity(96);
    let text = match client == peer.ip {
        true => Cow::Borrowed(peer.ip_text.to_str().unwrap_or("unknown")),
        false => Cow::Owned(client.to_string()),
    };
    let (open, close) = if client.is_ipv6() { ("for=\"[", "]\"") } else { ("for=", "") };
    for part in [open, &text, close] {
        out.push_str(part);
    }
    if let Some(host) = host.and_then(|host| host.to_str().ok())
        && !host.contains(['"', '\\'])
    {
        for part in [";host=\"", host, "\""] {
            out.push_str(part);
        }
    }
    out.push_str(if proto == "https" { ";proto=https" } else { ";proto=http" });
    HeaderValue::try_from(out).ok()
}

#[cfg(test)]
mod tests {
    use std::cell::OnceCell;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn shop() -> Host {
        let authority = HeaderValue::from_static("shop.example:8080");
        Host { name: Arc::from("shop.example"), authority, forwarded: OnceCell::new() }
    }

    fn run(peer: &str, trusted: &[&str], headers: &[(&'static str, &str)]) -> (String, HeaderMap) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let trusted =
            Trusted(trusted.iter().map(|net| net.parse::<ipnet::IpNet>().unwrap()).collect());
        let peer = Peer::new(peer.parse().unwrap(), "127.0.0.1:80".into());
        let believed = trusted.contains(peer.ip);
        let (client, _) = apply(&mut map, &peer, &trusted, believed, Some(&shop()));
        (client.to_string(), map)
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let lies = [
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("forwarded", "for=1.2.3.4"),
        ];
        let (client, headers) = run("9.9.9.9:1000", &["10.0.0.0/8"], &lies);
        assert_eq!(client, "9.9.9.9");
        assert_eq!(headers["x-forwarded-for"], "9.9.9.9");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "shop.example:8080");
        assert_eq!(headers["forwarded"], "for=9.9.9.9;host=\"shop.example:8080\";proto=http");
    }

    proptest! {
        #[test]
        fn no_word_of_a_stranger_makes_another_client(
            lies in prop::collection::vec(("x-forwarded-for|x-real-ip|forwarded", "[ -~]{0,40}"), 0..5),
        ) {
            let lies: Vec<(&'static str, &str)> = lies
                .iter()
                .map(|(name, value)| {
                    let names = ["x-forwarded-for", "x-real-ip", "forwarded"];
                    (names.into_iter().find(|known| known == name).unwrap(), value.as_str())
                })
                .collect();
            let (client, headers) = run("9.9.9.9:1000", &["10.0.0.0/8"], &lies);
            prop_assert_eq!(client, "9.9.9.9");
            prop_assert_eq!(&headers["x-forwarded-for"], "9.9.9.9");
            prop_assert!(headers["forwarded"].to_str().unwrap().starts_with("for=9.9.9.9;"));
        }
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
