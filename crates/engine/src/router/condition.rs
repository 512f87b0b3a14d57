//! What a route asks of a request besides host and path, and which of two routes asks for more.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt;

use http::header::{HOST, HeaderName};
use http::{HeaderMap, Method};
use portcullis_core::exchange::query_pairs;

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

    fn accepts(&self, value: Option<&[u8]>) -> bool {
        match (self, value) {
            (_, None) => false,
            (Self::Present, Some(_)) => true,
            (Self::Exactly(wanted), Some(value)) => wanted.as_bytes() == value,
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

    fn holds(&self, headers: &HeaderMap) -> bool {
        self.wanted.accepts(headers.get(&self.name).map(|value| value.as_bytes()))
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
        let value = first_value(query, &self.name);
        self.wanted.accepts(value.as_deref().map(str::as_bytes))
    }
}

/// The first value of a name, read as `Exchange::query` reads it. Borrowed unless it is encoded.
fn first_value<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    query.split('&').filter(|pair| !pair.is_empty()).find_map(|pair| {
        if pair.contains(['%', '+']) {
            let (key, value) = query_pairs(pair).next()?;
            return (key == name).then_some(Cow::Owned(value));
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(Cow::Borrowed(value))
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
        if let Some(broken) = self.headers.iter().find(|wanted| !wanted.holds(request.headers)) {
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

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => f.write_str("any value"),
            Self::Exactly(value) => write!(f, "{value:?}"),
        }
    }
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(header) => {
                write!(f, "it wants the header {} with {}", header.name, header.wanted)
            }
            Self::Query(query) => {
                write!(f, "it wants the query parameter {} with {}", query.name, query.wanted)
            }
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
}
