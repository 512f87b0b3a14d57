//! From a place inside a text's value to its place in the file: a program that stands in a YAML
//! block can be complained about where it is wrong.

use crate::node::{Node, Style};
use crate::shape::Spanned;
use crate::source::{Sources, Span};

impl Sources {
    /// The place of byte `offset` of a text node's value, one character wide. Exact for block
    /// literals (`|`), for quoted and plain text on one line, and for most folded text; where value
    /// and file cannot be matched, and for values from the environment, the whole node.
    pub fn inside(&self, node: &Node, offset: usize) -> Span {
        match (node.as_text(), node.masked()) {
            (Some(value), None) => self.place(node.span, node.style, value, offset),
            _ => node.span,
        }
    }

    fn place(&self, span: Span, style: Style, value: &str, offset: usize) -> Span {
        let text = self.text(span.source);
        let Some(place) = walk(text, span.start as usize, value, offset, style) else {
            return span;
        };
        let next = text.get(place..).and_then(|rest| rest.chars().next());
        let width = next.filter(|c| !matches!(c, '\r' | '\n')).map_or(0, char::len_utf8);
        Span::new(span.source, place, place + width)
    }
}

impl Spanned<String> {
    /// The place of byte `offset` of the text: as [`Sources::inside`].
    pub fn inside(&self, sources: &Sources, offset: usize) -> Span {
        match self.masked {
            None => sources.place(self.span, self.style, &self.value, offset),
            Some(_) => self.span,
        }
    }
}

/// Walks through value and file in step, and gives up as soon as they disagree.
fn walk(text: &str, start: usize, value: &str, target: usize, style: Style) -> Option<usize> {
    let mut cursor = Cursor { text, place: start, style, indent: 0 };
    let mut seen = 0;
    if style == Style::Block {
        cursor.indent = cursor.column();
        // Empty lines before the first line of content belong to the value; the node begins
        // behind them.
        seen = value.len() - value.trim_start_matches('\n').len();
    } else if style != Style::Plain {
        cursor.place += 1;
    }
    for expected in value.get(seen..)?.chars() {
        if seen >= target {
            break;
        }
        cursor.pass(expected)?;
        seen += expected.len_utf8();
    }
    // The last line break of a block may lie beyond the last line.
    Some(cursor.place.min(text.len()))
}

struct Cursor<'a> {
    text: &'a str,
    /// In bytes.
    place: usize,
    style: Style,
    /// Columns that a block's lines are indented by; spaces, so as many bytes.
    indent: usize,
}

impl Cursor<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.place..).unwrap_or("")
    }

    fn column(&self) -> usize {
        let before = self.text.get(..self.place).unwrap_or("");
        before.len() - before.rfind(['\n', '\r']).map_or(0, |at| at + 1)
    }

    /// Moves behind what made one character of the value.
    fn pass(&mut self, expected: char) -> Option<()> {
        let next = self.rest().chars().next()?;
        match (next, expected) {
            ('\r' | '\n', '\n' | ' ') => {
                self.pass_break();
                Some(())
            }
            ('\\', _) if self.style == Style::DoubleQuoted => self.pass_escape(),
            ('\'', '\'') if self.style == Style::SingleQuoted => {
                self.place += 2;
                Some(())
            }
            _ if next == expected => {
                self.place += next.len_utf8();
                Some(())
            }
            _ => None,
        }
    }

    /// A line break and the next line's indentation; all of its leading blanks when text is folded.
    fn pass_break(&mut self) {
        self.place += if self.rest().starts_with("\r\n") { 2 } else { 1 };
        let mut blanks = 0;
        let folded = self.style != Style::Block;
        for c in self.rest().chars() {
            let blank = c == ' ' || (folded && c == '\t');
            if !blank || (!folded && blanks == self.indent) {
                break;
            }
            blanks += 1;
        }
        self.place += blanks;
    }

    /// YAML 1.2, 5.7: `\xNN`, `\uNNNN`, `\UNNNNNNNN`, or one character.
    fn pass_escape(&mut self) -> Option<()> {
        let kind = self.rest().chars().nth(1)?;
        self.place += match kind {
            'x' => 4,
            'u' => 6,
            'U' => 10,
            '\r' | '\n' => return None,
            _ => 1 + kind.len_utf8(),
        };
        Some(())
    }
}
