//! The files that were read, so that a complaint can say where it belongs and show the line.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A value of the environment that is shorter is not looked for in finished messages: its
/// letters would be found everywhere. Decoders never name such a value in the first place.
const SHORTEST_SECRET: usize = 6;

/// One file among [`Sources`]. The default is no file at all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SourceId(u32);

impl SourceId {
    /// Where defaults come from: no file.
    pub const NOWHERE: SourceId = SourceId(u32::MAX);
}

impl Default for SourceId {
    fn default() -> Self {
        Self::NOWHERE
    }
}

/// A stretch of a file in byte offsets, `start` included and `end` not. The default is nowhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Span {
    pub source: SourceId,
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// From byte offsets. What lies beyond 4 GiB is cut to that; files are far smaller.
    pub fn new(source: SourceId, start: usize, end: usize) -> Self {
        let cut = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { source, start: cut(start), end: cut(end.max(start)) }
    }
}

/// A place for people: line and column count from 1, the column in characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position<'a> {
    pub path: &'a Path,
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Position<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return f.write_str("(default)");
        }
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

struct File {
    path: PathBuf,
    text: Arc<str>,
    /// The byte offset at which each line begins.
    lines: Vec<u32>,
}

/// The line that a span begins in, and the part of it that the span covers.
pub(crate) struct Line<'a> {
    /// Counts from 1.
    pub(crate) number: usize,
    /// Without its line break.
    pub(crate) text: &'a str,
    /// In bytes, within `text`.
    pub(crate) covered: std::ops::Range<usize>,
}

/// Every file that was read. Grows only.
#[derive(Default)]
pub struct Sources {
    files: Vec<File>,
    /// Values that came from the environment, and what is shown for each.
    secrets: Vec<(String, String)>,
}

impl Sources {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(&mut self, path: PathBuf, text: String) -> SourceId {
        let id = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        let lines = line_starts(&text);
        self.files.push(File { path, text: text.into(), lines });
        SourceId(id)
    }

    fn file(&self, id: SourceId) -> Option<&File> {
        self.files.get(usize::try_from(id.0).ok()?)
    }

    /// The path as it was given to [`Sources::add`]; empty for no file.
    pub fn path(&self, id: SourceId) -> &Path {
        self.file(id).map_or(Path::new(""), |file| &file.path)
    }

    /// The whole text of a file; empty for no file.
    pub fn text(&self, id: SourceId) -> &str {
        self.file(id).map_or("", |file| &file.text)
    }

    pub(crate) fn shared_text(&self, id: SourceId) -> Arc<str> {
        self.file(id).map_or_else(|| "".into(), |file| Arc::clone(&file.text))
    }

    /// Where a span begins. Line and column are 0 when it is in no file.
    pub fn position(&self, span: Span) -> Position<'_> {
        let path = self.path(span.source);
        match self.line(span) {
            Some(line) => {
                let before = line.text.get(..line.covered.start).unwrap_or(line.text);
                Position { path, line: line.number, column: before.chars().count() + 1 }
            }
            None => Position { path, line: 0, column: 0 },
        }
    }

    pub(crate) fn line(&self, span: Span) -> Option<Line<'_>> {
        let file = self.file(span.source)?;
        let number = file.lines.partition_point(|start| *start <= span.start);
        let begin = usize::try_from(*file.lines.get(number.checked_sub(1)?)?).ok()?;
        let end = file.lines.get(number).map_or(file.text.len(), |next| *next as usize);
        let text = file.text.get(begin..end)?.trim_end_matches(['\r', '\n']);
        let within = |offset: u32| {
            let mut offset = (offset as usize).saturating_sub(begin).min(text.len());
            while !text.is_char_boundary(offset) {
                offset -= 1;
            }
            offset
        };
        Some(Line { number, text, covered: within(span.start)..within(span.end) })
    }

    /// Remembers a value that no message may hold.
    pub(crate) fn keep_secret(&mut self, value: &str, shown: String) {
        let known = |(secret, _): &(String, String)| secret == value;
        if value.len() >= SHORTEST_SECRET && !self.secrets.iter().any(known) {
            self.secrets.push((value.to_owned(), shown));
            // The longest first: one value may be a part of another.
            self.secrets.sort_by_key(|(secret, _)| std::cmp::Reverse(secret.len()));
        }
    }

    /// The text with every value that came from the environment replaced by its `${NAME}`: the
    /// last guard, behind decoders that do not name such values.
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut masked = Cow::Borrowed(text);
        for (secret, shown) in &self.secrets {
            if masked.contains(secret.as_str()) {
                masked = Cow::Owned(masked.replace(secret.as_str(), shown));
            }
        }
        masked
    }
}

/// YAML 1.2, 5.4: a line ends with LF, CR, or both.
fn line_starts(text: &str) -> Vec<u32> {
    let mut starts = vec![0];
    let bytes = text.as_bytes();
    for (offset, byte) in bytes.iter().enumerate() {
        let ends = match byte {
            b'\n' => true,
            b'\r' => bytes.get(offset + 1) != Some(&b'\n'),
            _ => false,
        };
        if ends && let Ok(next) = u32::try_from(offset + 1) {
            starts.push(next);
        }
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, offset: usize) -> (usize, usize) {
        let mut sources = Sources::new();
        let id = sources.add("a.yaml".into(), text.to_owned());
        let position = sources.position(Span::new(id, offset, offset));
        (position.line, position.column)
    }

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        assert_eq!(at("", 0), (1, 1));
        assert_eq!(at("ab\ncd", 4), (2, 2));
        assert_eq!(at("ab\r\ncd", 5), (2, 2));
        assert_eq!(at("ab\rcd", 4), (2, 2));
        assert_eq!(at("größe: 1", 9), (1, 8));
        assert_eq!(at("ab\n", 3), (2, 1));
        assert_eq!(at("ab", 99), (1, 3), "beyond the end");
    }

    #[test]
    fn nowhere_is_a_position_too() {
        let sources = Sources::new();
        assert_eq!(sources.position(Span::default()).to_string(), "(default)");
        assert_eq!(sources.path(SourceId::NOWHERE), Path::new(""));
    }

    #[test]
    fn the_longest_secret_is_masked_first() {
        let mut sources = Sources::new();
        sources.keep_secret("hunter2", "${A}".into());
        sources.keep_secret("hunter22", "${B}".into());
        sources.keep_secret("on", "${C}".into());
        assert_eq!(sources.mask("hunter22 is not hunter2, and on"), "${B} is not ${A}, and on");
    }
}
