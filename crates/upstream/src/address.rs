//! Where an endpoint is, as it was written: `http://HOST[:PORT]`, or the same with `https`.

use std::fmt;
use std::net::IpAddr;

use crate::tls::Secure;

/// Why a URL is not an endpoint, and what would be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) message: &'static str,
    pub(crate) hint: Option<String>,
}

/// Where an endpoint is, as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) is_https: bool,
    /// How it is connected to, once that is known; there for https and for nothing else.
    pub(crate) secure: Option<Secure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    Ip(IpAddr),
    /// In lower case.
    Name(String),
}

impl Address {
    /// From `http://HOST[:PORT]` or `https://HOST[:PORT]`.
    pub(crate) fn parse(url: &str) -> Result<Self, Refusal> {
        let refuse = |message, hint: Option<String>| Err(Refusal { message, hint });
        let Some((scheme, rest)) = url.split_once("://") else {
            return refuse("an endpoint is a URL", Some(format!("write http://{url}")));
        };
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return refuse("an endpoint's URL begins with http:// or https://", None),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if !matches!(path, "" | "/") {
            let hint = "what is asked for belongs to the route: `forward: { to: …, path: … }`";
            return refuse("an endpoint has neither path nor query", Some(hint.to_owned()));
        }
        if authority.contains('@') {
            return refuse("an endpoint has no user name and no password", None);
        }
        let (host, port) = split_port(authority);
        let port = match port.map(str::parse::<u16>) {
            None => default_port(is_https),
            Some(Ok(port)) if port > 0 => port,
            Some(_) => return refuse("an endpoint's port is a number from 1 to 65535", None),
        };
        match Host::parse(host) {
            Some(host) => Ok(Self { host, port, is_https, secure: None }),
            None => refuse("an endpoint's host is a name or an IP address", None),
        }
    }

    /// As it stands in a `Host` header: the default port is left out (RFC 9110 section 4.2.3).
    pub(crate) fn authority(&self) -> String {
        let host = match &self.host {
            Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
            host => host.to_string(),
        };
        let is_default = self.port == default_port(self.is_https);
        if is_default { host } else { format!("{host}:{}", self.port) }
    }
}

/// What is meant when a URL names no port.
pub(crate) fn default_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

/// A port is what stands behind the last colon outside of brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    let after_bracket = authority.rfind(']').unwrap_or(0);
    match authority.rfind(':').filter(|colon| *colon >= after_bracket) {
        Some(colon) => {
            let (host, port) = authority.split_at(colon);
            (host, port.get(1..))
        }
        None => (authority, None),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            return inner.strip_suffix(']')?.parse().ok().map(|ip| Self::Ip(IpAddr::V6(ip)));
        }
        if let Ok(ip) = text.parse() {
            return Some(Self::Ip(IpAddr::V4(ip)));
        }
        let label = |label: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            (1..=63).contains(&label.len()) && label.bytes().all(fits)
        };
        let name = text.strip_suffix('.').unwrap_or(text);
        // A last label of digits would be one of the old ways to write an IP address.
        let last = name.rsplit('.').next()?;
        let numeric = last.bytes().all(|byte| byte.is_ascii_digit());
        let is_name = name.len() <= 253 && name.split('.').all(label) && !numeric;
        is_name.then(|| Self::Name(text.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(url: &str) -> Result<String, &'static str> {
        Address::parse(url).map(|address| address.authority()).map_err(|refusal| refusal.message)
    }

    #[test]
    fn urls_of_endpoints() {
        assert_eq!(authority("http://127.0.0.1:8101").as_deref(), Ok("127.0.0.1:8101"));
        assert_eq!(authority("HTTP://Orders.Internal/").as_deref(), Ok("orders.internal"));
        assert_eq!(authority("http://orders:80").as_deref(), Ok("orders"));
        assert_eq!(authority("https://orders:443").as_deref(), Ok("orders"));
        assert_eq!(authority("https://orders:80").as_deref(), Ok("orders:80"));
        assert_eq!(authority("http://[::1]:8080").as_deref(), Ok("[::1]:8080"));
        assert_eq!(authority("http://[::1]").as_deref(), Ok("[::1]"));
        assert_eq!(authority("http://a_b.example.:81").as_deref(), Ok("a_b.example.:81"));
        let host = "an endpoint's host is a name or an IP address";
        let port = "an endpoint's port is a number from 1 to 65535";
        let path = "an endpoint has neither path nor query";
        for (url, message) in [
            ("127.0.0.1:8101", "an endpoint is a URL"),
            ("ftp://a", "an endpoint's URL begins with http:// or https://"),
            ("http://a/b", path),
            ("http://a?b", path),
            ("http://a#b", path),
            ("http://u:p@a", "an endpoint has no user name and no password"),
            ("http://a:0", port),
            ("http://a:65536", port),
            ("http://a:", port),
            ("http://", host),
            ("http://a b", host),
            ("http://127.1", host),
            ("http://999.1.1.1", host),
            ("http://[::1", host),
            ("http://::1", host),
            ("http://a..b", host),
            ("http://ä", host),
        ] {
            assert_eq!(authority(url), Err(message), "{url}");
        }
    }
}
