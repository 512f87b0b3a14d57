//! What a route's `path` may say. A pattern is held against canonical paths only, so a literal that
//! no canonical path can contain is an error here rather than a route that never matches.

use std::fmt;
use std::sync::Arc;

use portcullis_core::template::RESERVED_NAMES;
use portcullis_core::{CanonicalPath, Doubtful, PathRules};

/// The most segments a pattern may have. It bounds the depth of a lookup.
pub const MAX_SEGMENTS: usize = 64;

/// Why a pattern, or another part of a `match` block, is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatternError {
    /// In bytes from the start of the text that was parsed.
    pub offset: usize,
    pub message: String,
    /// What to write instead, where that is known.
    pub hint: Option<String>,
}

impl PatternError {
    pub(super) fn new(offset: usize, message: impl Into<String>) -> Self {
        Self { offset, message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Equal to the path's segment, byte by byte. Empty only as the last one, for a trailing slash.
    Literal(Arc<str>),
    /// Any one segment that is not empty.
    Name(Arc<str>),
}

/// A path pattern: `/orders`, `/users/{id}`, `/files/*`.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Box<str>,
    segments: Box<[Segment]>,
    names: Box<[Arc<str>]>,
    tail: bool,
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let Some(relative) = text.strip_prefix('/') else {
            return Err(PatternError::new(0, "a path begins with a slash")
                .hint(format!("write /{}", text.trim_start())));
        };
        if let Some(offset) = text.find(['?', '#']) {
            let message = "a path has neither query nor fragment";
            return Err(
                PatternError::new(offset, message).hint("query conditions stand in `query`")
            );
        }
        let mut segments = Vec::new();
        let mut tail = false;
        let mut offset = 1;
        let mut parts = relative.split('/').peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            if last && part == "*" {
                tail = true;
                break;
            }
            if !last && part.is_empty() {
                let message = "two slashes in a row: no request's path has an empty segment inside";
                return Err(PatternError::new(offset, message).hint("write one slash"));
            }
            if segments.len() == MAX_SEGMENTS {
                let message = format!("a path has at most {MAX_SEGMENTS} segments");
                return Err(PatternError::new(offset, message));
            }
            let segment = segment(part, offset, last)?;
            if segments.contains(&segment) && matches!(segment, Segment::Name(_)) {
                let message = format!("{part} stands twice in one path");
                return Err(
                    PatternError::new(offset, message).hint("give each segment its own name")
                );
            }
            segments.push(segment);
            offset += part.len() + 1;
        }
        let names = segments.iter().filter_map(|segment| match segment {
            Segment::Name(name) => Some(Arc::clone(name)),
            Segment::Literal(_) => None,
        });
        let names = names.collect();
        Ok(Self { text: text.into(), segments: segments.into(), names, tail })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The `{name}`s, from left to right.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// The segments in front of the tail.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// True when the pattern ends in `/*`.
    pub fn has_tail(&self) -> bool {
        self.tail
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn segment(part: &str, offset: usize, last: bool) -> Result<Segment, PatternError> {
    if part == "*" {
        return Err(PatternError::new(offset, "* stands only at the end")
            .hint("write {name} for one segment of any value"));
    }
    if let Some(at) = part.find('*') {
        return Err(PatternError::new(offset + at, "* takes whole segments")
            .hint("end the path in /* to match all that is below"));
    }
    if part.contains(['{', '}']) {
        return name(part, offset).map(Segment::Name);
    }
    if part == "." || part == ".." {
        let message = format!("no request's path has a {part} segment: it is resolved at the door");
        return Err(PatternError::new(offset, message));
    }
    literal(part, offset, last)
}

fn name(part: &str, offset: usize) -> Result<Arc<str>, PatternError> {
    let whole = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let Some(name) = whole.filter(|name| !name.contains(['{', '}'])) else {
        return Err(misplaced_brace(part, offset));
    };
    if name.is_empty() {
        return Err(PatternError::new(offset, "{} has no name").hint("write {id}, for example"));
    }
    let valid = |(at, c): (usize, char)| {
        c.is_ascii_alphabetic() || c == '_' || at > 0 && c.is_ascii_digit()
    };
    if let Some((at, _)) = name.char_indices().find(|&found| !valid(found)) {
        let message = "a name has letters, digits and _, and begins with no digit";
        let better: String = name.char_indices().filter_map(|found| rename(found, valid)).collect();
        let error = PatternError::new(offset + 1 + at, message);
        return Err(if better.is_empty() {
            error
        } else {
            error.hint(format!("write {{{better}}}"))
        });
    }
    if RESERVED_NAMES.contains(&name) {
        let message =
            format!("{{{name}}} is reserved: templates read {name}.NAME as something else");
        let hint = format!("write {{{name}_id}}, for example");
        return Err(PatternError::new(offset, message).hint(hint));
    }
    Ok(name.into())
}

/// The nearest character that may stand in a name, if it is more than noise.
fn rename(found: (usize, char), valid: impl Fn((usize, char)) -> bool) -> Option<char> {
    match found {
        found if valid(found) => Some(found.1),
        (1.., '-' | '.' | ' ') => Some('_'),
        _ => None,
    }
}

fn misplaced_brace(part: &str, offset: usize) -> PatternError {
    let open = part.find('{');
    let close = part.find('}');
    match (open, close) {
        (Some(open), None) => {
            PatternError::new(offset + open, "`{` is not closed").hint(format!("write {part}}}"))
        }
        (None, Some(close)) => PatternError::new(offset + close, "} has no { in front of it"),
        (Some(open), Some(close)) if close < open => {
            PatternError::new(offset + close, "} has no { in front of it")
        }
        _ => PatternError::new(offset, "{name} takes a whole segment")
            .hint("match the segment as {name}, with nothing beside it"),
    }
}

/// A literal is right when it is what the door makes of it.
fn literal(part: &str, offset: usize, last: bool) -> Result<Segment, PatternError> {
    if part.is_empty() && last {
        return Ok(Segment::Literal("".into()));
    }
    let rules = PathRules { encoded_slash: Doubtful::Refuse, ..PathRules::KEEP };
    let canonical = CanonicalPath::parse_by(&format!("/{part}"), rules)
        .map_err(|error| PatternError::new(offset, format!("no request has this path: {error}")))?;
    let canonical = canonical.as_str().trim_start_matches('/');
    if canonical == part {
        return Ok(Segment::Literal(part.into()));
    }
    let equal = part.bytes().zip(canonical.bytes()).take_while(|(left, right)| left == right);
    let message = "no request's path is written like this once it is in its one form";
    Err(PatternError::new(offset + equal.count(), message).hint(format!("write {canonical}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (usize, String) {
        let error = Pattern::parse(text).unwrap_err();
        (error.offset, error.hint.unwrap_or_default())
    }

    #[test]
    fn patterns_that_no_request_could_match_are_refused_with_place_and_cure() {
        for (text, offset, hint) in [
            ("", 0, "write /"),
            ("orders", 0, "write /orders"),
            ("/a?b=1", 2, "query conditions stand in `query`"),
            ("/a#b", 2, "query conditions stand in `query`"),
            ("/a//b", 3, "write one slash"),
            ("//", 1, "write one slash"),
            ("/a/../b", 3, ""),
            ("/.", 1, ""),
            ("/a/*/b", 3, "write {name} for one segment of any value"),
            ("/a/*.js", 3, "end the path in /* to match all that is below"),
            ("/a/b*", 4, "end the path in /* to match all that is below"),
            ("/{id", 1, "write {id}"),
            ("/id}", 3, ""),
            ("/a{id}", 1, "match the segment as {name}, with nothing beside it"),
            ("/{a}{b}", 1, "match the segment as {name}, with nothing beside it"),
            ("/{}", 1, "write {id}, for example"),
            ("/{user-id}", 6, "write {user_id}"),
            ("/{2a}", 2, "write {a}"),
            ("/{a}/b/{a}", 7, "give each segment its own name"),
            ("/a%2fb", 1, ""),
            ("/a/%zz", 3, ""),
            ("/a/%2561", 3, ""),
            ("/a/%c3%a9", 4, "write %C3%A9"),
            ("/a/x%7Ey", 4, "write x~y"),
            ("/caf\u{e9}", 4, "write caf%C3%A9"),
            ("/a b", 2, "write a%20b"),
        ] {
            let (at, cure) = refused(text);
            assert_eq!(at, offset, "{text}");
            assert_eq!(cure, hint, "{text}");
        }
        let long = "/a".repeat(MAX_SEGMENTS + 1);
        assert_eq!(refused(&long).0, 2 * MAX_SEGMENTS + 1);
    }

    #[test]
    fn patterns_that_are_right() {
        for text in [
            "/",
            "/*",
            "/a",
            "/a/",
            "/{id}",
            "/{_a1}/*",
            "/a%20b",
            "/a:cancel",
            "/a;v=1/$x/@me",
            "/...",
            "/.well-known/x",
            "/100%25",
        ] {
            let pattern = Pattern::parse(text).unwrap();
            assert_eq!(pattern.to_string(), text);
            assert_eq!(pattern.has_tail(), text.ends_with("/*"), "{text}");
        }
    }
}
