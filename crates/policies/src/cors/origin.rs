//! Which origins are meant. An origin is compared as a whole, or part by part where a pattern leaves a
//! part open: nothing is searched for in it, so that what only looks like it is another one.

use std::collections::HashSet;

use http::header::ORIGIN;
use http::{HeaderMap, HeaderValue};

/// A mistake in an origin, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    pub message: String,
    pub hint: String,
}

/// The origins that may read.
#[derive(Debug)]
pub enum Origins {
    Any,
    Listed(Listed),
}

#[derive(Debug, Default)]
pub struct Listed {
    exact: HashSet<String>,
    patterns: Vec<Pattern>,
}

/// `https://*.example.com`, `http://localhost:*`, or both.
#[derive(Debug, PartialEq, Eq)]
struct Pattern {
    /// With its `://`.
    scheme: String,
    host: Host,
    port: Port,
}

#[derive(Debug, PartialEq, Eq)]
enum Host {
    Exact(String),
    /// Every name below: `.example.com`.
    Below(String),
}

#[derive(Debug, PartialEq, Eq)]
enum Port {
    Any,
    /// As it stands in an origin: not at all where it is the scheme's own.
    Exact(Option<String>),
}

impl Origins {
    /// What `Access-Control-Allow-Origin` says to this request; `None` where it says nothing.
    pub fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut all = headers.get_all(ORIGIN).iter();
        let only = all.next().filter(|_| all.next().is_none())?;
        match self {
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::Listed(listed) => listed.has(only.to_str().ok()?).then(|| only.clone()),
        }
    }
}

impl Listed {
    /// Takes one more origin or pattern, as a file says it.
    pub fn add(&mut self, written: &str) -> Result<(), Mistake> {
        let pattern = Pattern::parse(written)?;
        match (&pattern.host, &pattern.port) {
            (Host::Exact(host), Port::Exact(port)) => {
                let port = port.iter().map(|port| format!(":{port}")).collect::<String>();
                self.exact.insert(format!("{}{host}{port}", pattern.scheme));
            }
            _ => self.patterns.push(pattern),
        }
        Ok(())
    }

    fn has(&self, origin: &str) -> bool {
        self.exact.contains(origin) || self.patterns.iter().any(|pattern| pattern.takes(origin))
    }
}

impl Pattern {
    fn parse(written: &str) -> Result<Self, Mistake> {
        let text = written.to_ascii_lowercase();
        if text == "null" {
            return mistake(
                "`null` is nobody's origin: any sandboxed frame says it",
                "name the origins that are meant",
            );
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return mistake("an origin has a scheme", format!("write https://{text}"));
        };
        if !is_scheme(scheme) {
            return mistake(format!("`{scheme}` is no scheme"), "write https:// or http://");
        }
        if let Some(end) = rest.find(['/', '?', '#']) {
            let origin = rest.get(..end).unwrap_or_default();
            return mistake("an origin has no path", format!("write {scheme}://{origin}"));
        }
        let (name, port) = split_port(rest);
        let host = Host::parse(name)?;
        let port = match port {
            None => Port::Exact(None),
            Some("*") => Port::Any,
            Some(port) if is_port(port) => {
                let own = matches!((scheme, port), ("https", "443") | ("http", "80"));
                Port::Exact((!own).then(|| port.to_owned()))
            }
            Some(port) => {
                return mistake(format!("`{port}` is no port"), "write :8080, or :* for any");
            }
        };
        Ok(Self { scheme: format!("{scheme}://"), host, port })
    }

    fn takes(&self, origin: &str) -> bool {
        let Some(rest) = origin.strip_prefix(&self.scheme) else { return false };
        let (name, port) = split_port(rest);
        let host = match &self.host {
            Host::Exact(host) => host == name,
            Host::Below(suffix) => name.strip_suffix(suffix.as_str()).is_some_and(is_name),
        };
        let port = match &self.port {
            Port::Any => port.is_none_or(is_port),
            Port::Exact(wanted) => wanted.as_deref() == port,
        };
        host && port
    }
}

impl Host {
    fn parse(name: &str) -> Result<Self, Mistake> {
        if let Some(below) = name.strip_prefix("*.") {
            let narrow = below.contains('.') || below == "localhost";
            return match is_name(below) {
                true if narrow => Ok(Self::Below(format!(".{below}"))),
                true => mistake(
                    format!("`*.{below}` takes the names of strangers, too"),
                    format!("name whose they are, such as *.example.{below}"),
                ),
                false => mistake(format!("`{below}` is no host name"), STAR),
            };
        }
        let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let is_address = address.is_some_and(|it| it.parse::<std::net::Ipv6Addr>().is_ok());
        match is_name(name) || is_address {
            true => Ok(Self::Exact(name.to_owned())),
            false => mistake(format!("`{name}` is no host name"), STAR),
        }
    }
}

const STAR: &str = "write a name such as shop.example.com, or *.example.com for every name below";

fn mistake<T>(message: impl Into<String>, hint: impl Into<String>) -> Result<T, Mistake> {
    Err(Mistake { message: message.into(), hint: hint.into() })
}

/// What stands in front of a port, and the port. The colons of an address in brackets are its own.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (authority, None),
    }
}

/// RFC 3986 section 3.1, in lower case.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
}

/// Labels with dots between them, in lower case, as browsers write them.
fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    text.split('.').all(|label| !label.is_empty() && label.bytes().all(fits))
}

/// As browsers write it: without zeros in front.
fn is_port(text: &str) -> bool {
    !text.starts_with('0')
        && text.bytes().all(|b| b.is_ascii_digit())
        && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listed(all: &[&str]) -> Listed {
        let mut listed = Listed::default();
        all.iter().for_each(|one| listed.add(one).unwrap());
        listed
    }

    #[test]
    fn what_is_meant_may_read() {
        let origins = listed(&[
            "https://shop.example.com",
            "HTTPS://Upper.Example.com:443",
            "http://10.0.0.7:3000",
            "http://[::1]:3000",
            "https://*.example.org",
            "http://localhost:*",
            "https://*.apps.example.net:8443",
            "app://desktop",
        ]);
        for origin in [
            "https://shop.example.com",
            "https://upper.example.com",
            "http://10.0.0.7:3000",
            "http://[::1]:3000",
            "https://a.example.org",
            "https://a.b-c.example.org",
            "http://localhost",
            "http://localhost:5173",
            "https://x.apps.example.net:8443",
            "app://desktop",
        ] {
            assert!(origins.has(origin), "{origin}");
        }
    }

    #[test]
    fn what_only_looks_like_it_may_not() {
        let origins = listed(&[
            "https://shop.example.com",
            "https://*.example.org",
            "http://localhost:*",
            "http://[::1]:3000",
        ]);
        for origin in [
            "null",
            "",
            "*",
            "https://shop.example.com.evil.com",
            "https://evil-shop.example.com",
            "https://evilshop.example.com",
            "https://shop.example.com:8443",
            "https://shop.example.com:443",
            "https://shop.example.com/",
            "https://shop.example.com.",
            "http://shop.example.com",
            "HTTPS://SHOP.EXAMPLE.COM",
            "https://shop.example.co",
            "https://shopXexample.com",
            "https://shop.example.com, https://evil.com",
            "https://shop.example.com@evil.com",
            "shop.example.com",
            "https://example.org",
            "https://.example.org",
            "https://evilexample.org",
            "https://evil.com/.example.org",
            "https://evil.com?.example.org",
            "https://evil.com#.example.org",
            "https://evil.com\\.example.org",
            "https://user@a.example.org",
            "https://a..example.org",
            "https://a.example.org.evil.com",
            "https://a.example.org:8443",
            "https://evil.com:80.example.org",
            "https://b\u{fc}cher.example.org",
            "https://%65vil.example.org",
            "https://a b.example.org",
            "http://localhost:evil.com",
            "http://localhost:",
            "http://localhost:080",
            "http://localhost:99999",
            "http://localhost.evil.com:80",
            "http://user@localhost:80",
            "https://localhost:80",
            "http://[::1]:3001",
            "http://[::1]",
            "http://::1:3000",
        ] {
            assert!(!origins.has(origin), "{origin}");
        }
    }

    proptest! {
        /// Origins put together of what could make one look like another.
        #[test]
        fn whoever_may_read_is_written_as_browsers_write_one_that_is_listed(
            parts in prop::collection::vec(prop::sample::select(PARTS), 1..7),
        ) {
            let origins =
                listed(&["https://shop.example.com", "https://*.example.org", "http://localhost:*"]);
            let origin = parts.concat();
            if origins.has(&origin) {
                let below = origin.strip_prefix("https://").and_then(|it| it.strip_suffix(".example.org"));
                let port = origin.strip_prefix("http://localhost:");
                let all = |text: Option<&str>, fits: fn(char) -> bool| {
                    text.is_some_and(|text| text.starts_with(fits) && text.chars().all(|c| fits(c) || c == '.'))
                };
                prop_assert!(
                    origin == "https://shop.example.com"
                        || origin == "http://localhost"
                        || all(below, |c| c.is_ascii_alphanumeric() || c == '-')
                        || all(port, |c| c.is_ascii_digit()),
                    "{origin}"
                );
            }
        }
    }

    const PARTS: &[&str] = &[
        "https://",
        "http://",
        "shop.example.com",
        ".example.org",
        "example.org",
        "localhost",
        "a",
        "evil.com",
        "-",
        ".",
        ":",
        ":80",
        ":8443",
        "@",
        "/",
        "?",
        "#",
        "%2e",
        "\\",
        " ",
        ",",
        "null",
        "A",
        "\u{fc}",
        "[::1]",
    ];

    #[test]
    fn an_origin_that_says_too_much_or_too_little_is_refused_at_load() {
        let hint = |text: &str| Listed::default().add(text).unwrap_err().hint;
        assert_eq!(hint("null"), "name the origins that are meant");
        assert_eq!(hint("shop.example.com"), "write https://shop.example.com");
        assert_eq!(hint("https://shop.example.com/"), "write https://shop.example.com");
        assert_eq!(hint("https://a.b/c?d"), "write https://a.b");
        assert_eq!(hint("https://*.com"), "name whose they are, such as *.example.com");
        assert_eq!(hint("https://a.b:0"), "write :8080, or :* for any");
        assert_eq!(hint("*://a.b"), "write https:// or http://");
        for text in [
            "https://*",
            "https://a.*.com",
            "https://*a.com",
            "https://a@b.com",
            "https://",
            "https://[::1",
            "https://b\u{fc}cher.de",
        ] {
            assert_eq!(hint(text), STAR, "{text}");
        }
    }
}
