//! Files that a configuration names beside itself: schemas, keys, certificates.

use std::io;
use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostics;
use crate::read::FILE_LIMIT;
use crate::source::{Sources, Span};

/// One may be as large as a configuration, in bytes.
const LIMIT: u64 = FILE_LIMIT as u64;

/// Where plans are made: what the configuration says and where, and the files that it names.
pub struct Reader<'a> {
    pub out: &'a mut Diagnostics,
    pub sources: &'a Sources,
    /// Files that were read: a change of one of them is a change of the configuration.
    pub files: &'a mut Vec<PathBuf>,
}

impl Sources {
    /// Where a file is that is named in another one.
    pub fn beside(&self, path: &Path, named_at: Span) -> PathBuf {
        self.path(named_at.source).parent().unwrap_or(Path::new("")).join(path)
    }
}

impl Reader<'_> {
    /// The text of a file that the configuration names, relative to the file that names it.
    /// Says in the diagnostics why not.
    pub fn read(&mut self, path: &Path, named_at: Span) -> Option<String> {
        self.read_as(path, named_at, |path| std::fs::read_to_string(path))
    }

    /// The same for one that is no text.
    pub fn read_bytes(&mut self, path: &Path, named_at: Span) -> Option<Vec<u8>> {
        self.read_as(path, named_at, |path| std::fs::read(path))
    }

    /// The text of a file that the gateway itself writes, which need not be there yet; `path` is complete.
    pub fn read_own(&mut self, path: &Path, named_at: Span) -> Option<String> {
        self.files.push(path.to_owned());
        match std::fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.out.error(named_at, format!("cannot read {}: {error}", path.display()));
                None
            }
        }
    }

    fn read_as<T>(
        &mut self,
        path: &Path,
        named_at: Span,
        read: impl FnOnce(&Path) -> io::Result<T>,
    ) -> Option<T> {
        let path = self.sources.beside(path, named_at);
        self.files.push(path.clone());
        let content = std::fs::metadata(&path).and_then(|facts| {
            if facts.len() > LIMIT {
                return Err(io::Error::other(format!("it is larger than {LIMIT} bytes")));
            }
            read(&path)
        });
        match content {
            Ok(content) => Some(content),
            Err(error) => {
                self.out
                    .error(named_at, format!("cannot read {}: {error}", path.display()))
                    .hint("the path is relative to the file that names it");
                None
            }
        }
    }
}
