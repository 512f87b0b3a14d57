//! Everything that is wrong with a configuration, collected so that all of it is told at once.

use std::collections::HashMap;

use crate::source::{Sources, Span};

/// More than this many complaints are only counted.
const KEPT: usize = 1000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    Error,
    Warning,
}

/// One complaint.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    pub severity: Severity,
    /// `None` when it belongs to no place in a file.
    pub span: Option<Span>,
    pub message: String,
    /// How to put it right.
    pub hint: Option<String>,
}

impl Diagnostic {
    pub fn hint(&mut self, text: impl Into<String>) -> &mut Self {
        self.hint = Some(text.into());
        self
    }
}

/// The list of complaints. The same message at the same place stands in it once, however often an
/// inherited block is decoded; it holds 1,000 and counts the rest.
#[derive(Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    known: HashMap<(Option<Span>, String), usize>,
    /// What came after the list was full: errors and warnings.
    beyond: (usize, usize),
    /// Takes the hint of a complaint that is not kept.
    scrap: Option<Diagnostic>,
}

impl Diagnostics {
    pub fn new() -> Self {
        Self::default()
    }

    /// An error at a place.
    pub fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Error, Some(span), message.into())
    }

    pub fn warning(&mut self, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Warning, Some(span), message.into())
    }

    /// An error without a place, such as a file that is missing.
    pub fn plain(&mut self, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Error, None, message.into())
    }

    fn push(&mut self, severity: Severity, span: Option<Span>, message: String) -> &mut Diagnostic {
        let span = span.filter(|span| *span != Span::default());
        let key = (span, message);
        let known = self.known.get(&key).copied();
        let index = known.unwrap_or(self.list.len());
        if known.is_none() {
            let diagnostic = Diagnostic { severity, span, message: key.1.clone(), hint: None };
            if self.list.len() < KEPT {
                self.list.push(diagnostic);
                self.known.insert(key, index);
            } else {
                match severity {
                    Severity::Error => self.beyond.0 += 1,
                    Severity::Warning => self.beyond.1 += 1,
                }
                return self.scrap.insert(diagnostic);
            }
        }
        match self.list.get_mut(index) {
            Some(diagnostic) => diagnostic,
            None => self.scrap.get_or_insert_with(|| Diagnostic {
                severity,
                span,
                message: String::new(),
                hint: None,
            }),
        }
    }

    pub fn has_errors(&self) -> bool {
        self.errors().next().is_some() || self.beyond.0 > 0
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// In the order in which they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter().filter(|diagnostic| diagnostic.severity == Severity::Error)
    }

    pub fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter().filter(|diagnostic| diagnostic.severity == Severity::Warning)
    }

    /// How many errors and warnings there were, kept or not.
    pub fn counts(&self) -> (usize, usize) {
        (self.errors().count() + self.beyond.0, self.warnings().count() + self.beyond.1)
    }

    /// All of it as text for people: by file and position, what has no place first, an empty line
    /// between two. `color` adds terminal colors. Ends in a line break unless it is empty.
    pub fn render(&self, sources: &Sources, color: bool) -> String {
        let mut sorted: Vec<&Diagnostic> = self.list.iter().collect();
        sorted.sort_by_key(|diagnostic| diagnostic.span);
        let mut parts: Vec<String> = sorted
            .into_iter()
            .map(|diagnostic| crate::render::render(diagnostic, sources, color))
            .collect();
        match self.beyond.0 + self.beyond.1 {
            0 => {}
            more => parts.push(format!("and {more} more\n")),
        }
        parts.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceId;

    #[test]
    fn a_repeated_complaint_is_kept_once() {
        let mut sources = Sources::new();
        let id = sources.add("a.yaml".into(), "abc".into());
        let mut out = Diagnostics::new();
        out.error(Span::new(id, 0, 1), "bad").hint("one");
        out.error(Span::new(id, 0, 1), "bad").hint("one");
        out.error(Span::new(id, 1, 2), "bad");
        assert_eq!(out.counts(), (2, 0));
    }

    #[test]
    fn the_list_is_bounded_and_counts_on() {
        let mut out = Diagnostics::new();
        let id = Sources::new().add("a".into(), String::new());
        for place in 0..1500 {
            out.warning(Span::new(id, place, place), "odd").hint("lost or kept");
        }
        assert!(!out.has_errors());
        out.plain("late");
        assert!(out.has_errors(), "an error beyond the list is an error");
        assert_eq!(out.counts(), (1, 1500));
        assert!(out.render(&Sources::new(), false).ends_with("and 501 more\n"));
    }

    #[test]
    fn a_place_nowhere_is_no_place() {
        let mut out = Diagnostics::new();
        out.error(Span { source: SourceId::NOWHERE, start: 0, end: 0 }, "x");
        assert_eq!(out.render(&Sources::new(), false), "error: x\n");
    }
}
