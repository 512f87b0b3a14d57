//! Exactly one valid Host per request (RFC 9112 section 3.2, RFC 9113 section 8.3.1): who has a target
//! with a host in it says the same in its Host header, to the byte but for case.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use http::Version;
use http::header::{HOST, HeaderValue};
use http::request::Parts;

/// Of a name (RFC 1035 section 3.1, without what frames it).
const LONGEST_NAME: usize = 253;

/// A host in the form that routes compare: lower case, without port and without a trailing dot,
/// and the authority as the client wrote it.
#[derive(Debug, PartialEq, Eq)]
pub struct Host {
    pub name: Arc<str>,
    pub authority: HeaderValue,
    /// What a stranger's requests to it say as `Forwarded`.
    pub(super) forwarded: OnceCell<Option<HeaderValue>>,
}

/// The host that a connection's last request asked for: most ask for the same one again.
#[derive(Debug, Default)]
pub struct Last(RefCell<Option<Rc<Host>>>);

impl Last {
    /// The host of this authority, or nothing when it is none.
    fn or_parse(&self, authority: &[u8]) -> Option<Rc<Host>> {
        let mut last = self.0.borrow_mut();
        if let Some(host) = last.as_ref().filter(|host| host.authority.as_bytes() == authority) {
            return Some(Rc::clone(host));
        }
        // A copy: the request's own would hold the buffer that it was read into.
        let authority = HeaderValue::from_bytes(authority).ok()?;
        let name = parse(authority.to_str().ok()?)?;
        let host = Rc::new(Host { name, authority, forwarded: OnceCell::new() });
        Some(Rc::clone(last.insert(host)))
    }
}

/// The request's host, or what is wrong with it.
pub fn of(request: &Parts, last: &Last) -> Result<Rc<Host>, &'static str> {
    let mut values = request.headers.get_all(HOST).iter();
    let header = match (values.next(), values.next()) {
        (_, Some(_)) => return Err("the request has more than one Host header"),
        (first, None) => first,
    };
    let target = request.uri.authority().map(http::uri::Authority::as_str);
    let must_say = request.version < Version::HTTP_2;
    let authority = match (target, header) {
        (None, None) => return Err("the request has no Host header"),
        (Some(_), None) if must_say => return Err("the request has no Host header"),
        (Some(target), Some(header))
            if !header.as_bytes().eq_ignore_ascii_case(target.as_bytes()) =>
        {
            return Err("the Host header and the request's target name different hosts");
        }
        (_, Some(header)) => header.as_bytes(),
        (Some(target), None) => target.as_bytes(),
    };
    last.or_parse(authority).ok_or("the Host header is not a host name, optionally with a port")
}

fn parse(authority: &str) -> Option<Arc<str>> {
    let (name, port) = split_port(authority)?;
    let digits = port.bytes().all(|byte| byte.is_ascii_digit()); // a sign would be parsed as well
    if !digits || !port.is_empty() && port.parse::<u16>().is_err() {
        return None;
    }
    let name = if name.starts_with('[') { name } else { name.strip_suffix('.').unwrap_or(name) };
    let ip6 = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let valid = match ip6 {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.len() <= LONGEST_NAME && name.split('.').all(is_label),
    };
    valid.then(|| match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Arc::from(name.to_ascii_lowercase()),
        false => Arc::from(name),
    })
}

fn split_port(authority: &str) -> Option<(&str, &str)> {
    let after_name = if authority.starts_with('[') { authority.find(']')? + 1 } else { 0 };
    let colon = authority.get(after_name..)?.find(':').map(|at| at + after_name);
    match colon {
        Some(at) => Some((authority.get(..at)?, authority.get(at + 1..)?)),
        None => Some((authority, "")),
    }
}

/// One part of a name between its dots.
fn is_label(label: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !label.is_empty() && label.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(authority: &str) -> Option<String> {
        parse(authority).map(|name| name.to_string())
    }

    #[test]
    fn names_are_lowered_and_lose_port_and_dot() {
        for (authority, want) in [
            ("Shop.Example.com", "shop.example.com"),
            ("shop.example.com:8080", "shop.example.com"),
            ("shop.example.com.:80", "shop.example.com"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]:80", "[::1]"),
            ("a_b:", "a_b"),
        ] {
            assert_eq!(name(authority).as_deref(), Some(want), "{authority}");
        }
        for bad in [
            "", ":80", "a b", "a@b", "a/b", "a:99999", "a:8x", "a:+8", "[::1", "[x]", "a,b",
            "a:1:2",
        ] {
            assert_eq!(name(bad), None, "{bad}");
        }
        for dots in [".", "..", "a..", ".a", "a..b", "[::1]."] {
            assert_eq!(name(dots), None, "{dots}");
        }
    }

    fn request(uri: &str, hosts: &[&str]) -> Result<Rc<Host>, &'static str> {
        request_of(Version::HTTP_11, uri, hosts)
    }

    fn request_of(version: Version, uri: &str, hosts: &[&str]) -> Result<Rc<Host>, &'static str> {
        let mut builder = http::Request::builder().version(version).uri(uri);
        for host in hosts {
            builder = builder.header(HOST, *host);
        }
        of(&builder.body(()).unwrap().into_parts().0, &Last::default())
    }

    #[test]
    fn the_last_one_stands_for_the_same_text_only() {
        let last = Last::default();
        let mut names = Vec::new();
        for authority in ["A.com:80", "A.com:80", "a.com", "b.com", "a@b.com", "b.com", "B.com."] {
            let host = last.or_parse(authority.as_bytes());
            if let Some(host) = &host {
                assert_eq!(host.authority, authority);
            }
            names.push(host.map_or(String::new(), |host| host.name.to_string()));
        }
        assert_eq!(names, ["a.com", "a.com", "a.com", "b.com", "", "b.com", "b.com"]);
    }

    #[test]
    fn there_is_exactly_one_and_it_agrees_with_the_target() {
        assert_eq!(&*request("/", &["a.com"]).unwrap().name, "a.com");
        assert_eq!(&*request("http://a.com/", &["A.com"]).unwrap().name, "a.com");
        let two = request_of(Version::HTTP_2, "http://a.com/", &[]).unwrap();
        assert_eq!((&*two.name, two.authority.as_bytes()), ("a.com", b"a.com".as_slice()));
        assert!(request("/", &[]).is_err());
        assert!(request("http://a.com/", &[]).is_err());
        assert!(request("http://u@a.com/", &["a.com"]).is_err());
        assert!(request("http://u@a.com/", &["u@a.com"]).is_err());
        assert!(request("/", &["a.com", "a.com"]).is_err());
        assert!(request("http://a.com/", &["b.com"]).is_err());
    }
}
