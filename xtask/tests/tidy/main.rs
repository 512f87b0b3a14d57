//! The laws of the house that no compiler keeps. Each law is one test; what it finds it names as
//! `file:line`, with the cure, so that nobody has to read this code to obey it.

#![allow(clippy::indexing_slicing, clippy::unwrap_used)] // all of it is a test; a panic is its answer

mod code;
mod lexicon;
mod promises;
mod structure;
mod text;
mod tree;

/// What a law found. An empty list passes.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    /// `line` counts from 1.
    fn add(&mut self, path: &str, line: usize, what: impl std::fmt::Display) {
        self.0.push(format!("{path}:{line}: {what}"));
    }

    /// Fails with the whole list, so that one run shows everything.
    #[track_caller]
    fn expect_none(self) {
        assert!(self.0.is_empty(), "{} found:\n{}", self.0.len(), self.0.join("\n"));
    }
}
