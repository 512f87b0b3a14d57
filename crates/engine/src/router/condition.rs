//! What a route asks of a request besides host and path, and which of two routes asks for more.

use std::cmp::Reverse;
use std::fmt;

use http::Method;
use http::header::{HOST, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use portcullis_core::mask;

use super::Query;
use super::host::HostPattern;
use super::pattern::{Pattern, PatternError};

/// What a header or a query parameter must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// There, whatever its value: `*`.
    Present,
    /// This value, byte by byte.
    Exactly(Box<str>),
}

impl Wanted {
    pub fn parse(text: &str) -> Self {
        if text == "*" { Self::Present } else { Self::Exactly(text.into()) }
    }

    fn accepts(&self, value: impl Iterator<Item = u8>) -> bool {
        match self {
            Self::Present => true,
            Self::Exactly(wanted) => value.eq(wanted.bytes()),
        }
    }

    fn is_exact(&self) -> bool {
        matches!(self, Self::Exactly(_))
    }
}

/// A header whose first line must be as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderCondition {
    pub name: HeaderName,
    pub wanted: Wanted,
}

impl HeaderCondition {
    /// The offset of an error counts from the name's start.
    pub fn parse(name: &str, value: &str) -> Result<Self, PatternError> {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| PatternError::new(0, format!("{name:?} is no header name")))?;
        if parsed == HOST {
            return Err(PatternError::new(0, "a route's host is no header condition")
                .hint("write it in `host`, beside `path`"));
        }
        Ok(Self { name: parsed, wanted: Wanted::parse(value) })
    }

    fn holds(&self, request: &Query<'_>) -> bool {
        match request.headers.get(&self.name) {
            Some(value) => self.wanted.accepts(value.as_bytes().iter().copied()),
            None => request.announced.is_some_and(|names| self.is_among(names)),
        }
    }

    fn is_among(&self, names: &HeaderValue) -> bool {
        let mut names = names.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.any(|name| name.eq_ignore_ascii_case(self.name.as_str().as_bytes()))
    }
}

/// A query parameter whose first value, decoded, must be as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueryCondition {
    pub name: Box<str>,
    pub wanted: Wanted,
}

impl QueryCondition {
    pub fn parse(name: &str, value: &str) -> Self {
        Self { name: name.into(), wanted: Wanted::parse(value) }
    }

    fn holds(&self, query: &str) -> bool {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        match pairs.find(|(name, _)| decoded(name).eq(self.name.bytes())) {
            Some((_, value)) => self.wanted.accepts(decoded(value)),
            None => false,
        }
    }
}

/// The bytes of a query's name or value, decoded as `Exchange::query` decodes them. Nothing is
/// built, so that a long query costs no more than the reading.
fn decoded(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.split('+').enumerate().flat_map(|(at, part)| {
        let space = (at > 0).then_some(b' ');
        space.into_iter().chain(percent_decode_str(part))
    })
}

/// A method as a route lists it (RFC 9110 section 9.1: methods are case-sensitive).
pub fn parse_method(text: &str) -> Result<Method, PatternError> {
    let method = Method::from_bytes(text.as_bytes())
        .map_err(|_| PatternError::new(0, format!("{text:?} is no method")))?;
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(PatternError::new(0, "methods are written in capitals")
            .hint(format!("write {}", text.to_ascii_uppercase())));
    }
    Ok(method)
}

/// Which requests a route serves.
#[derive(Clone, Debug)]
pub struct Match {
    pub host: HostPattern,
    pub path: Pattern,
    /// Any when empty.
    pub methods: Vec<Method>,
    /// All must hold.
    pub headers: Vec<HeaderCondition>,
    /// All must hold.
    pub query: Vec<QueryCondition>,
}

/// Which condition a request that has the right host and path does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'r> {
    Header(&'r HeaderCondition),
    Query(&'r QueryCondition),
    /// Everything else holds.
    Method(&'r [Method]),
}

impl Match {
    /// Any host, any method, no conditions.
    pub fn path(path: Pattern) -> Self {
        let (methods, headers, query) = Default::default();
        Self { host: HostPattern::Any, path, methods, headers, query }
    }

    /// Whether the conditions hold for a request whose host and path match. The method comes last,
    /// so that `Refusal::Method` means that another method would be served.
    pub(super) fn test(&self, request: &Query<'_>) -> Result<(), Refusal<'_>> {
        if let Some(broken) = self.headers.iter().find(|wanted| !wanted.holds(request)) {
            return Err(Refusal::Header(broken));
        }
        let query = request.query.unwrap_or_default();
        if let Some(broken) = self.query.iter().find(|wanted| !wanted.holds(query)) {
            return Err(Refusal::Query(broken));
        }
        let taken = self.takes(request.method);
        if taken { Ok(()) } else { Err(Refusal::Method(&self.methods)) }
    }

    /// GET stands for HEAD too (RFC 9110 section 9.3.2).
    pub(super) fn takes(&self, method: &Method) -> bool {
        self.methods.is_empty()
            || self.lists(method)
            || *method == Method::HEAD && self.lists(&Method::GET)
    }

    pub(super) fn lists(&self, method: &Method) -> bool {
        self.methods.contains(method)
    }

    /// One order for what has none, so that equal conditions are equal slices.
    pub(super) fn normalize(&mut self) {
        self.methods.sort_by(|left, right| left.as_str().cmp(right.as_str()));
        self.methods.dedup();
        let header = |condition: &HeaderCondition| condition.name.as_str().to_owned();
        self.headers
            .sort_by_cached_key(|condition| (header(condition), wanted_key(&condition.wanted)));
        self.headers.dedup();
        self.query.sort_by_cached_key(|condition| {
            (condition.name.clone(), wanted_key(&condition.wanted))
        });
        self.query.dedup();
    }

    /// The order among routes of the same host and path: the smallest is asked first.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let exact_headers = self.headers.iter().filter(|header| header.wanted.is_exact()).count();
        let exact_query = self.query.iter().filter(|query| query.wanted.is_exact()).count();
        (
            self.methods.is_empty(),
            Reverse((self.headers.len(), exact_headers)),
            Reverse((self.query.len(), exact_query)),
            self.methods.len(),
        )
    }
}

fn wanted_key(wanted: &Wanted) -> Option<Box<str>> {
    match wanted {
        Wanted::Present => None,
        Wanted::Exactly(value) => Some(value.clone()),
    }
}

impl fmt::Display for HeaderCondition {
    /// `x-a: 1` or `x-a`. A secret is masked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_str())?;
        match &self.wanted {
            Wanted::Present => Ok(()),
            Wanted::Exactly(_) if mask::is_secret_header(self.name.as_str()) => {
                write!(f, ": {}", mask::MASK)
            }
            Wanted::Exactly(value) => write!(f, ": {value}"),
        }
    }
}

impl fmt::Display for QueryCondition {
    /// `q=1` or `q`. A secret is masked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.wanted {
            Wanted::Present => f.write_str(&self.name),
            Wanted::Exactly(value) => f.write_str(&mask::query(&format!("{}={value}", self.name))),
        }
    }
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(header) => write!(f, "it wants the header {header}"),
            Self::Query(query) => write!(f, "it wants the query parameter {query}"),
            Self::Method(methods) => {
                let methods: Vec<_> = methods.iter().map(Method::as_str).collect();
                write!(f, "it takes {} only", methods.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_in_capitals_and_host_is_no_header_condition() {
        assert_eq!(parse_method("PURGE").unwrap().as_str(), "PURGE");
        assert_eq!(parse_method("get").unwrap_err().hint.as_deref(), Some("write GET"));
        assert!(parse_method("G T").is_err());
        assert!(HeaderCondition::parse("Host", "a").unwrap_err().hint.is_some());
        assert!(HeaderCondition::parse("x y", "a").is_err());
        assert_eq!(HeaderCondition::parse("X-A", "*").unwrap().name.as_str(), "x-a");
    }

    #[test]
    fn what_is_wanted_is_shown_unless_it_is_a_secret() {
        let header = |name, value| HeaderCondition::parse(name, value).unwrap().to_string();
        assert_eq!(header("X-A", "1"), "x-a: 1");
        assert_eq!(header("Authorization", "Bearer x"), "authorization: ***");
        assert_eq!(header("Authorization", "*"), "authorization");
        let query = |name, value| QueryCondition::parse(name, value).to_string();
        assert_eq!(query("q", "1"), "q=1");
        assert_eq!(query("token", "x"), "token=***");
        assert_eq!(query("token", "*"), "token");
    }
}
