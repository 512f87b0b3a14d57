//! Which hosts a route serves, and how the tree of a request's host is found: by hash, never by
//! trying one pattern after the other.

use std::fmt;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::pattern::PatternError;
use super::tree::Node;

/// The longest host name (RFC 1035 section 2.3.4), in bytes.
const MAX_HOST: usize = 253;

/// Which hosts: all in lower case, without port and without a trailing dot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostPattern {
    #[default]
    Any,
    /// This name only.
    Exact(Box<str>),
    /// Every name below this one, any number of labels deep, but not this one.
    Suffix(Box<str>),
}

impl HostPattern {
    /// `shop.example.com` or `*.example.com`, in any case.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Err(
                PatternError::new(0, "* alone is no host").hint("leave `host` out for any host")
            );
        }
        let lower = text.to_ascii_lowercase();
        match lower.strip_prefix("*.") {
            Some(suffix) => Ok(Self::Suffix(name(suffix, 2)?)),
            None => Ok(Self::Exact(name(&lower, 0)?)),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any host"),
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(name) => write!(f, "*.{name}"),
        }
    }
}

fn name(text: &str, offset: usize) -> Result<Box<str>, PatternError> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if inner.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()) && offset == 0 {
        return Ok(text.into());
    }
    if text.is_empty() {
        return Err(
            PatternError::new(offset, "a host has a name").hint("leave `host` out for any host")
        );
    }
    if text.len() > MAX_HOST {
        let message = format!("a host name has at most {MAX_HOST} bytes");
        return Err(PatternError::new(offset, message));
    }
    if let Some((at, wrong)) = text.char_indices().find(|&(_, c)| !is_host_char(c)) {
        let error =
            PatternError::new(offset + at, format!("{wrong:?} does not stand in a host name"));
        return Err(match wrong {
            ':' => error.hint("routes compare the name only: write it without port or scheme"),
            '*' => error.hint("write *.example.com for every name below example.com"),
            wrong if !wrong.is_ascii() => error.hint("write the name in its ASCII form (xn--...)"),
            _ => error,
        });
    }
    let mut at = offset;
    for label in text.split('.') {
        if label.is_empty() {
            let error = PatternError::new(at, "a host name has no empty label");
            return Err(match text.strip_suffix('.') {
                Some(without) => error.hint(format!("write {without}")),
                None => error,
            });
        }
        at += label.len() + 1;
    }
    Ok(text.into())
}

const fn is_host_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// The trees of all hosts.
#[derive(Default)]
pub(super) struct Hosts {
    exact: HashMap<Box<str>, Node>,
    suffix: HashMap<Box<str>, Node>,
    any: Node,
    /// Labels of the longest suffix: no more of a request's labels are looked at.
    labels: usize,
}

impl Hosts {
    /// The tree of a pattern, made when it is new.
    pub(super) fn tree(&mut self, host: &HostPattern) -> &mut Node {
        match host {
            HostPattern::Any => &mut self.any,
            HostPattern::Exact(name) => self.exact.entry(name.clone()).or_default(),
            HostPattern::Suffix(name) => {
                self.labels = self.labels.max(name.split('.').count());
                self.suffix.entry(name.clone()).or_default()
            }
        }
    }

    pub(super) fn trees(&self) -> impl Iterator<Item = &Node> {
        self.exact.values().chain(self.suffix.values()).chain([&self.any])
    }

    pub(super) fn trees_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.exact.values_mut().chain(self.suffix.values_mut()).chain([&mut self.any])
    }

    /// The trees that serve a host, the most specific first.
    pub(super) fn matching<'r>(&'r self, host: &'r str) -> impl Iterator<Item = &'r Node> {
        let dots = host.rmatch_indices('.').map(|(at, _)| at).filter(|&at| at > 0);
        // Longest suffix first, which is the leftmost of the dots that can matter.
        let dots: SmallVec<[usize; 8]> = dots.take(self.labels).collect();
        let below = dots
            .into_iter()
            .rev()
            .filter_map(move |at| host.get(at + 1..).and_then(|suffix| self.suffix.get(suffix)));
        self.exact.get(host).into_iter().chain(below).chain([&self.any])
    }
}

impl HostPattern {
    /// Whether a request's host is one of these.
    pub fn takes(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => **name == *host,
            Self::Suffix(name) => host
                .strip_suffix(&**name)
                .and_then(|below| below.strip_suffix('.'))
                .is_some_and(|labels| !labels.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_in_lower_case() {
        let parse = |text: &str| HostPattern::parse(text).map(|host| host.to_string());
        for (text, host) in
            [("Shop.Example.com", "shop.example.com"), ("*.A_b.c", "*.a_b.c"), ("[::1]", "[::1]")]
        {
            assert_eq!(parse(text).unwrap(), host);
        }
        for (text, offset, hint) in [
            ("", 0, "leave `host` out for any host"),
            ("*", 0, "leave `host` out for any host"),
            ("*.", 2, "leave `host` out for any host"),
            ("a.com:80", 5, "routes compare the name only: write it without port or scheme"),
            ("https://a.com", 5, "routes compare the name only: write it without port or scheme"),
            ("a.*.com", 2, "write *.example.com for every name below example.com"),
            ("*a.com", 0, "write *.example.com for every name below example.com"),
            ("a.com.", 6, "write a.com"),
            ("caf\u{e9}.fr", 3, "write the name in its ASCII form (xn--...)"),
        ] {
            let error = HostPattern::parse(text).unwrap_err();
            assert_eq!((error.offset, error.hint.as_deref()), (offset, Some(hint)), "{text}");
        }
        assert!(HostPattern::parse("a..b").is_err());
        assert!(HostPattern::parse("[::1").is_err());
        assert!(HostPattern::parse(&"a".repeat(254)).is_err());
    }

    #[test]
    fn a_suffix_takes_names_below_itself_only() {
        let below = HostPattern::parse("*.a.b").unwrap();
        for (host, taken) in
            [("x.a.b", true), ("y.x.a.b", true), ("a.b", false), (".a.b", false), ("xa.b", false)]
        {
            assert_eq!(below.takes(host), taken, "{host}");
            let mut hosts = Hosts::default();
            hosts.tree(&below);
            assert_eq!(hosts.matching(host).count() == 2, taken, "{host}");
        }
    }
}
