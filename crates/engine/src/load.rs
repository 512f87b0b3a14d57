//! Read: from paths and the environment to nodes, and on to a plan. `check` is this and no more.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_config::{Diagnostics, Environment, Sources, merge, parse};
use portcullis_core::Clock;

use crate::plan::{self, Plan};

/// Where a configuration comes from: files and folders, in order.
#[derive(Clone)]
pub struct Source {
    pub paths: Vec<PathBuf>,
    pub environment: Arc<dyn Environment + Send + Sync>,
}

/// What came of reading it.
pub struct Loaded {
    pub plan: Option<Plan>,
    pub sources: Sources,
    pub diagnostics: Diagnostics,
    /// The files that were read or named: a change of one is a change of the configuration.
    pub files: Vec<PathBuf>,
}

pub fn load(source: &Source) -> Loaded {
    let (mut sources, mut out) = (Sources::new(), Diagnostics::new());
    let files = files(&source.paths, &mut out);
    let mut read = |path: &PathBuf| match std::fs::read_to_string(path) {
        Ok(text) => parse(&mut sources, path.clone(), text, &*source.environment, &mut out),
        Err(error) => {
            out.plain(format!("cannot read {}: {error}", path.display()))
                .hint("name a configuration file, or write ./portcullis.yaml");
            None
        }
    };
    let nodes: Vec<_> = files.iter().map(&mut read).collect();
    // What the others say makes no sense without one that could not be read.
    let nodes: Option<Vec<_>> = nodes.into_iter().collect();
    let root = nodes.and_then(|nodes| merge(nodes, &sources, &mut out));
    let plan = root.and_then(|root| plan::plan(&root, &sources, &mut out));
    let plan = plan.filter(|_| !out.has_errors());
    if let Some(plan) = &plan {
        plan::judge(plan, Clock::system().wall(), &mut out);
    }
    let named = plan.iter().flat_map(|plan| plan.files.iter().cloned());
    let files = files.iter().cloned().chain(named).collect();
    Loaded { plan, sources, diagnostics: out, files }
}

/// The files of a folder are its `.yaml` and `.yml`, by name; hidden ones are not meant.
pub fn files(paths: &[PathBuf], out: &mut Diagnostics) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in paths {
        let inside = match path.is_dir() {
            true => inside(path, out),
            false => vec![path.clone()],
        };
        for file in inside {
            if files.iter().any(|known| is_same(known, &file)) {
                out.plain(format!("{} is named twice", file.display()))
                    .hint("a folder's files need not be named beside it");
            } else {
                files.push(file);
            }
        }
    }
    if let ([], Some(first)) = (files.as_slice(), paths.first())
        && !out.has_errors()
    {
        out.plain(format!("{} has no .yaml file", first.display()));
    }
    files
}

fn inside(folder: &Path, out: &mut Diagnostics) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
    });
    let mut files = entries.unwrap_or_else(|error| {
        out.plain(format!("cannot read {}: {error}", folder.display()));
        Vec::new()
    });
    files.retain(|path| is_yaml(path));
    files.sort();
    files
}

/// Two names of one file, such as `a.yaml` and `./a.yaml`.
fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    one == other
        || one.file_name() == other.file_name()
            && real(one).is_some_and(|one| real(other) == Some(one))
}

/// Editors keep hidden files beside the one that they edit.
fn is_yaml(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    !name.starts_with(b".") && [b".yaml".as_slice(), b".yml"].iter().any(|end| name.ends_with(end))
}
