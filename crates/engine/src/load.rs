//! Read: from paths and the environment to nodes, and on to a plan. `check` is this and no more.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_config::{Diagnostics, Environment, Map, Node, Sources, Value, parse};

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
    let mut root: Option<Node> = None;
    for path in &files {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let node = parse(&mut sources, path.clone(), text, &*source.environment, &mut out);
                root = match (root, node) {
                    (Some(root), Some(node)) => Some(merge(root, node, &mut out)),
                    (root, node) => root.or(node),
                };
            }
            Err(error) => {
                out.plain(format!("cannot read {}: {error}", path.display()))
                    .hint("name a configuration file, or write ./portcullis.yaml");
            }
        }
    }
    let plan = match &root {
        Some(root) => plan::plan(root, &sources, &mut out),
        None => None,
    };
    let plan = plan.filter(|_| !out.has_errors());
    let named = plan.iter().flat_map(|plan| plan.files.iter().cloned());
    let files = files.iter().cloned().chain(named).collect();
    Loaded { plan, sources, diagnostics: out, files }
}

/// The files of a folder are its `.yaml` and `.yml`, by name.
pub fn files(paths: &[PathBuf], out: &mut Diagnostics) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside: Vec<PathBuf> = std::fs::read_dir(path)
            .map(|entries| {
                entries.flatten().map(|entry| entry.path()).filter(|path| is_yaml(path)).collect()
            })
            .unwrap_or_default();
        inside.sort();
        if inside.is_empty() {
            out.plain(format!("{} has no .yaml file", path.display()));
        }
        files.extend(inside);
    }
    files
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml")
}

/// Lays a second file beside the first: lists are joined, maps take the other's keys, and the same
/// key twice is an error.
fn merge(first: Node, second: Node, out: &mut Diagnostics) -> Node {
    let (Value::Map(mut merged), Some(more)) = (first.value, second.as_map()) else {
        out.error(second.span, "a configuration file is a map");
        return second;
    };
    for entry in more.iter() {
        let mut entry = entry.clone();
        if let Some(known) = merged.get(&entry.key) {
            entry.value = match (&known.value, &entry.value.value) {
                (Value::List(known), Value::List(more)) => {
                    let joined = known.iter().chain(more).cloned().collect();
                    Node::new(Value::List(joined), entry.value.span)
                }
                (Value::Map(known), Value::Map(more)) => {
                    Node::new(Value::Map(join(known, more, out)), entry.value.span)
                }
                _ => {
                    out.error(entry.key_span, format!("`{}` stands in two files", entry.key))
                        .hint("keep it in one of them");
                    continue;
                }
            };
        }
        merged.set(entry);
    }
    Node::new(Value::Map(merged), first.span)
}

fn join(known: &Map, more: &Map, out: &mut Diagnostics) -> Map {
    let mut joined = known.clone();
    for entry in more.iter() {
        if joined.get(&entry.key).is_some() {
            out.error(entry.key_span, format!("`{}` stands in two files", entry.key))
                .hint("keep it in one of them");
        }
        joined.set(entry.clone());
    }
    joined
}
