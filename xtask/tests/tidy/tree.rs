//! The project's own text files, read once per law. Built things, downloaded things and raw
//! measurements are not the project's own words, so they stay out.

use std::fs;
use std::path::{Path, PathBuf};

use crate::code;

const OUTSIDE: [&str; 5] = ["target", "bench/results", "node_modules", "fuzz/corpus", "LICENSE"];
const KINDS_OF_TEXT: [&str; 12] =
    ["rs", "md", "yaml", "yml", "toml", "sh", "conf", "html", "css", "js", "json", "lua"];

/// One file: its path from the project's root with `/` between the parts, and its text.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether all of the file is test code.
    pub(crate) fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    /// Lines with their numbers from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// The same lines with comments and the insides of literals blanked out: only code is left.
    pub(crate) fn code(&self) -> String {
        code::only(&self.text)
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every text file of the project, in the order of their paths.
pub(crate) fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    walk(&root(), "", &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.iter().any(Source::is_rust), "no Rust file found: is the root right?");
    found
}

/// The Rust files alone.
pub(crate) fn rust() -> Vec<Source> {
    let mut found = sources();
    found.retain(Source::is_rust);
    found
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        if OUTSIDE.contains(&path.as_str()) || OUTSIDE.contains(&name.as_str()) {
            continue;
        }
        let hidden = name.starts_with('.') && name != ".ci" && name != ".cargo";
        if entry.file_type().unwrap().is_dir() {
            if !hidden {
                walk(&entry.path(), &path, found);
            }
        } else if is_text(&path) {
            // A file that is being written this moment is looked at in the next run.
            if let Ok(text) = fs::read_to_string(entry.path()) {
                found.push(Source { path, text });
            }
        }
    }
}

fn is_text(path: &str) -> bool {
    let ending = Path::new(path).extension().and_then(|ending| ending.to_str());
    ending.map_or(path.starts_with(".ci/"), |ending| KINDS_OF_TEXT.contains(&ending))
}
