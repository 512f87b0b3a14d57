//! One canonical path per request: routed, seen by policies, logged and sent are the same.
//!
//! What breaks gateways is two parsers that read one path differently. So a path is put into one
//! form at the door, and what could be read in two ways is refused:
//!
//! * percent-encoded unreserved characters are decoded, other triplets are written in upper case,
//!   bytes that may not stand in a path are encoded (RFC 3986 sections 2.3, 2.1, 3.3);
//! * `.` and `..` segments are resolved (RFC 3986 section 5.2.4), also when they were encoded;
//! * refused: an encoded slash or backslash, a backslash, an empty segment (`//`), an encoded
//!   percent sign in front of two hex digits (double encoding), control characters, bytes that are
//!   not UTF-8 once decoded, a broken triplet, a `..` above the root.
//!
//! `canonical(canonical(x)) == canonical(x)` is a property test.

use std::fmt;

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
    pub fn parse(raw: &str) -> Result<Self, PathError> {
        if !raw.starts_with('/') {
            return Err(PathError::NotAbsolute);
        }
        if is_plain(raw.as_bytes()) {
            return Ok(Self(raw.into()));
        }
        let decoded = decode_unreserved(raw.as_bytes())?;
        let path = remove_dots(&decoded)?;
        check_utf8(&path)?;
        Ok(Self(path.into_boxed_str()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
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
        if after_slash || !may_stand(byte) {
            return false;
        }
        previous = byte;
    }
    true
}

fn decode_unreserved(raw: &[u8]) -> Result<String, PathError> {
    let mut out = String::with_capacity(raw.len() + 8);
    let mut bytes = raw.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'%' => {
                let value = triplet(bytes.as_slice()).ok_or(PathError::BrokenTriplet)?;
                bytes.nth(1);
                match value {
                    b'/' | b'\\' => return Err(PathError::Separator),
                    0..=0x1f | 0x7f => return Err(PathError::Control),
                    value if is_unreserved(value) => out.push(char::from(value)),
                    value => push_triplet(&mut out, value),
                }
            }
            b'\\' => return Err(PathError::Separator),
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
            ("/a;v=1/b", "/a;v=1/b"),
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

    proptest! {
        #[test]
        fn canonical_is_a_fixed_point(raw in "/([a-c./%25eE2fé;]|%2e|%41|%25|%36|%c3%a9){0,24}") {
            if let Ok(path) = CanonicalPath::parse(&raw) {
                prop_assert_eq!(CanonicalPath::parse(path.as_str()), Ok(path));
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
