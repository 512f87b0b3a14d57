//! One canonical path per request: routed, seen by policies, logged and sent are the same.
//!
//! What breaks gateways is two parsers that read one path differently. So a path is put into one
//! form at the door, and what could be read in two ways is refused:
//!
//! * percent-encoded unreserved characters are decoded, other triplets are written in upper case,
//!   bytes that may not stand in a path are encoded (RFC 3986 sections 2.3, 2.1, 3.3);
//! * `.` and `..` segments are resolved (RFC 3986 section 5.2.4), also when they were encoded;
//! * refused: a backslash, plain or encoded, an empty segment (`//`), an encoded percent sign in
//!   front of two hex digits (double encoding), control characters, bytes that are not UTF-8 once
//!   decoded, a broken triplet, a `..` above the root;
//! * refused unless [`PathRules`] keep them: an encoded slash, and a semicolon, plain or encoded,
//!   behind which some services read parameters (RFC 3986 section 3.3). Where one is kept, no part that it sets off may
//!   be empty or dots, and [`CanonicalPath::other_readings`] says what else the path could mean.
//!
//! `canonical(canonical(x)) == canonical(x)` is a property test.

use std::fmt;

/// Whether a shape that services read in different ways is let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doubtful {
    #[default]
    Refuse,
    Keep,
}

/// What is let through of what can be read in two ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathRules {
    /// `%2F`: part of a segment, or a slash.
    pub encoded_slash: Doubtful,
    /// `;`, also as `%3B`: part of a segment, or the begin of its parameters.
    pub parameters: Doubtful,
}

impl PathRules {
    /// Nothing that can be read in two ways.
    pub const STRICT: Self = Self { encoded_slash: Doubtful::Refuse, parameters: Doubtful::Refuse };
    pub const KEEP: Self = Self { encoded_slash: Doubtful::Keep, parameters: Doubtful::Keep };
}

/// A path in its one form. Begins with `/`, has no query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CanonicalPath(Box<str>);

/// Why a path has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path must begin with a slash")]
    NotAbsolute,
    #[error("the path has a percent sign that two hex digits do not follow")]
    BrokenTriplet,
    #[error("the path has an encoded slash or a backslash")]
    Separator,
    #[error("the path has parameters (a semicolon)")]
    Parameters,
    #[error("the path has an empty or a dot segment beside an encoded slash or a semicolon")]
    HiddenSegment,
    #[error("the path has an empty segment (two slashes in a row)")]
    EmptySegment,
    #[error("the path is encoded twice")]
    DoubleEncoding,
    #[error("the path has a control character")]
    Control,
    #[error("the path is not UTF-8 once decoded")]
    NotUtf8,
    #[error("the path leads above its root")]
    AboveRoot,
}

impl CanonicalPath {
    /// By the strict rules.
    pub fn parse(raw: &str) -> Result<Self, PathError> {
        Self::parse_by(raw, PathRules::STRICT)
    }

    pub fn parse_by(raw: &str, rules: PathRules) -> Result<Self, PathError> {
        if !raw.starts_with('/') {
            return Err(PathError::NotAbsolute);
        }
        if is_plain(raw.as_bytes()) {
            return Ok(Self(raw.into()));
        }
        let decoded = decode_unreserved(raw.as_bytes(), rules)?;
        let path = remove_dots(&decoded)?;
        check_utf8(&path)?;
        Ok(Self(path.into_boxed_str()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a service may take the path for that reads an encoded slash as a slash, or a segment
    /// without its parameters, or both, in either order. Only what differs; empty by strict rules.
    pub fn other_readings(&self) -> impl Iterator<Item = String> {
        let doubtful = [";", ENCODED_SEMICOLON, ENCODED_SLASH].iter().any(|it| self.0.contains(it));
        let own = if doubtful { &*self.0 } else { "" };
        let (split, cut) = (own.replace(ENCODED_SLASH, "/"), without_parameters(own));
        let (split_cut, cut_split) = (without_parameters(&split), cut.replace(ENCODED_SLASH, "/"));
        [split, cut, split_cut, cut_split].into_iter().filter(move |reading| *reading != own)
    }
}

impl Default for CanonicalPath {
    /// The root.
    fn default() -> Self {
        Self("/".into())
    }
}

impl fmt::Display for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As they are written in a canonical path.
const ENCODED_SLASH: &str = "%2F";
const ENCODED_SEMICOLON: &str = "%3B";

/// RFC 3986 `pchar` without `%`, plus the slash.
const fn may_stand(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'/' | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
        )
}

pub(crate) const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// True for a path that is canonical as it stands: the usual case, one pass, nothing built.
fn is_plain(path: &[u8]) -> bool {
    let mut previous = 0;
    for &byte in path {
        let after_slash = previous == b'/' && (byte == b'/' || byte == b'.');
        if after_slash || byte == b';' || !may_stand(byte) {
            return false;
        }
        previous = byte;
    }
    true
}

fn decode_unreserved(raw: &[u8], rules: PathRules) -> Result<String, PathError> {
    let mut out = String::with_capacity(raw.len() + 8);
    let mut bytes = raw.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'%' => {
                let value = triplet(bytes.as_slice()).ok_or(PathError::BrokenTriplet)?;
                bytes.nth(1);
                match value {
                    b'/' if rules.encoded_slash == Doubtful::Keep => push_triplet(&mut out, b'/'),
                    b'/' | b'\\' => return Err(PathError::Separator),
                    0..=0x1f | 0x7f => return Err(PathError::Control),
                    b';' if rules.parameters == Doubtful::Refuse => {
                        return Err(PathError::Parameters);
                    }
                    value if is_unreserved(value) => out.push(char::from(value)),
                    value => push_triplet(&mut out, value),
                }
            }
            b'\\' => return Err(PathError::Separator),
            b';' if rules.parameters == Doubtful::Refuse => return Err(PathError::Parameters),
            0..=0x1f | 0x7f => return Err(PathError::Control),
            byte if may_stand(byte) => out.push(char::from(byte)),
            byte => push_triplet(&mut out, byte),
        }
    }
    if is_encoded_twice(&out) { Err(PathError::DoubleEncoding) } else { Ok(out) }
}

/// True for an encoded percent sign in front of two hex digits. Looked for after decoding, since the
/// digits may have been encoded as well.
fn is_encoded_twice(decoded: &str) -> bool {
    let digits =
        decoded.match_indices("%25").filter_map(|(at, _)| decoded.as_bytes().get(at + 3..));
    digits.filter_map(triplet).next().is_some()
}

/// The byte that two hex digits at the front stand for.
fn triplet(digits: &[u8]) -> Option<u8> {
    let &[high, low, ..] = digits else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

fn push_triplet(out: &mut String, byte: u8) {
    const HEX: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    out.push('%');
    for nibble in [byte >> 4, byte & 15] {
        out.push(HEX.get(usize::from(nibble)).copied().unwrap_or('0'));
    }
}

fn remove_dots(path: &str) -> Result<String, PathError> {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "" if !last => return Err(PathError::EmptySegment),
            "." | ".." => {
                if segment == ".." && kept.pop().is_none() {
                    return Err(PathError::AboveRoot);
                }
                if last {
                    kept.push("");
                }
            }
            "" => kept.push(segment),
            segment if hides_segment(segment) => return Err(PathError::HiddenSegment),
            segment => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in kept {
        out.push('/');
        out.push_str(segment);
    }
    Ok(out)
}

/// True when a part that an encoded slash or a semicolon sets off is empty or dots.
fn hides_segment(segment: &str) -> bool {
    let mut parts = segment.split(ENCODED_SLASH);
    parts.any(|part| matches!(name_of(part), "" | "." | ".."))
}

/// A segment without its parameters, as well for services that decode before they cut.
fn name_of(segment: &str) -> &str {
    let name = segment.split(';').next().unwrap_or_default();
    name.split(ENCODED_SEMICOLON).next().unwrap_or_default()
}

fn without_parameters(path: &str) -> String {
    path.split('/').map(name_of).collect::<Vec<_>>().join("/")
}

fn check_utf8(path: &str) -> Result<(), PathError> {
    match percent_encoding::percent_decode_str(path).decode_utf8() {
        Ok(_) => Ok(()),
        Err(_) => Err(PathError::NotUtf8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn table() {
        let ok = [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/%61%2D%7e", "/a-~"),
            ("/a%20b%c3%a9", "/a%20b%C3%A9"),
            ("/a/./b/../c", "/a/c"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/.well-known/x", "/.well-known/x"),
            ("/100%25", "/100%25"),
            ("/a\"b", "/a%22b"),
            ("/...", "/..."),
        ];
        for (raw, canonical) in ok {
            assert_eq!(CanonicalPath::parse(raw).unwrap().as_str(), canonical, "{raw}");
        }
        let refused = [
            ("a", PathError::NotAbsolute),
            ("", PathError::NotAbsolute),
            ("/a%2fb", PathError::Separator),
            ("/a%5Cb", PathError::Separator),
            ("/a\\b", PathError::Separator),
            ("/a;v=1/b", PathError::Parameters),
            ("/a%3bv=1/b", PathError::Parameters),
            ("/a//b", PathError::EmptySegment),
            ("//", PathError::EmptySegment),
            ("/a/..//b", PathError::EmptySegment),
            ("/%2561", PathError::DoubleEncoding),
            ("/%252e%252e/x", PathError::DoubleEncoding),
            ("/%25%361", PathError::DoubleEncoding),
            ("/%25%36%31", PathError::DoubleEncoding),
            ("/a%00", PathError::Control),
            ("/a%0d%0a", PathError::Control),
            ("/%zz", PathError::BrokenTriplet),
            ("/a%2", PathError::BrokenTriplet),
            ("/%ff", PathError::NotUtf8),
            ("/../a", PathError::AboveRoot),
            ("/%2e%2e/a", PathError::AboveRoot),
        ];
        for (raw, error) in refused {
            assert_eq!(CanonicalPath::parse(raw), Err(error), "{raw}");
        }
    }

    #[test]
    fn what_is_kept_hides_nothing() {
        let kept = |raw| CanonicalPath::parse_by(raw, PathRules::KEEP).map(|path| path.to_string());
        for (raw, canonical) in [
            ("/a%2fb;v=1/c;", "/a%2Fb;v=1/c;"),
            ("/a/%2e%2e/b%2F%63", "/b%2Fc"),
            ("/a%2Fb/", "/a%2Fb/"),
            ("/a%3bv", "/a%3Bv"),
        ] {
            assert_eq!(kept(raw).as_deref(), Ok(canonical), "{raw}");
        }
        for raw in [
            "/a/..%2fb",
            "/a%2f..",
            "/a%2f%2e/b",
            "/%2fa",
            "/a%2f/b",
            "/a%2f%2fb",
            "/a/..;/b",
            "/a/.;x=1/b",
            "/;x/b",
            "/a/;",
            "/a%2f..;v/b",
            "/a;v%2f..%2fb",
            "/a/..%3b/b",
        ] {
            assert_eq!(kept(raw), Err(PathError::HiddenSegment), "{raw}");
        }
        assert_eq!(kept("/a%5cb"), Err(PathError::Separator));
    }

    #[test]
    fn a_path_knows_what_else_it_could_mean() {
        let others = |raw| {
            let path = CanonicalPath::parse_by(raw, PathRules::KEEP).unwrap();
            path.other_readings().collect::<Vec<_>>()
        };
        assert_eq!(others("/a/b"), [""; 0]);
        assert_eq!(others("/a%2Fb"), ["/a/b", "/a/b", "/a/b"].map(str::to_owned));
        assert_eq!(others("/a;v/b"), ["/a/b", "/a/b", "/a/b"].map(str::to_owned));
        assert_eq!(others("/a%3Bv/b"), ["/a/b", "/a/b", "/a/b"].map(str::to_owned));
        let both = others("/a;v%2Fb/c");
        assert_eq!(both, ["/a;v/b/c", "/a/c", "/a/b/c", "/a/c"].map(str::to_owned));
    }

    /// Made of what paths can be read differently by.
    const SHAPES: &str = "/([a-c./%25eE2fé;]|%2e|%2f|%41|%25|%36|%c3%a9|;|%3b|/){0,24}";

    proptest! {
        #[test]
        fn canonical_is_a_fixed_point(raw in SHAPES) {
            for rules in [PathRules::STRICT, PathRules::KEEP] {
                if let Ok(path) = CanonicalPath::parse_by(&raw, rules) {
                    prop_assert_eq!(CanonicalPath::parse_by(path.as_str(), rules), Ok(path));
                }
            }
        }

        #[test]
        fn the_rest_of_a_path_is_canonical(raw in SHAPES) {
            let Ok(path) = CanonicalPath::parse(&raw) else { return Ok(()) };
            for (at, _) in path.as_str().match_indices('/') {
                let rest = path.as_str().get(at..).unwrap();
                prop_assert_eq!(CanonicalPath::parse(rest).map(|it| it.to_string()), Ok(rest.to_owned()));
            }
        }

        #[test]
        fn every_reading_of_a_kept_path_is_canonical(raw in SHAPES) {
            let Ok(path) = CanonicalPath::parse_by(&raw, PathRules::KEEP) else { return Ok(()) };
            for reading in path.other_readings() {
                let again = CanonicalPath::parse_by(&reading, PathRules::KEEP);
                prop_assert_eq!(again.map(|it| it.to_string()), Ok(reading));
            }
        }

        #[test]
        fn nothing_panics_and_no_dots_or_empty_segments_remain(raw in "\\PC{0,40}") {
            if let Ok(path) = CanonicalPath::parse(&format!("/{raw}")) {
                prop_assert!(!path.as_str().contains("//"));
                prop_assert!(!path.as_str().split('/').any(|s| s == "." || s == ".."));
                prop_assert!(path.as_str().bytes().all(|b| may_stand(b) || b == b'%'));
            }
        }
    }
}
