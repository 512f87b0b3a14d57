//! Finds the scenarios: every list item of every YAML file below a folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use portcullis_config::{Decode, Diagnostics, Node, Sources, parse};

use crate::language::{Expect, Scenario, Step};

/// One scenario, not decoded yet.
pub struct Found {
    /// Below the folder, without its ending: `routing/precedence`.
    pub file: String,
    pub name: String,
    pub node: Node,
    pub text: Arc<Text>,
}

/// A file's text, for messages.
pub struct Text(Sources);

pub fn all(root: &Path) -> Result<Vec<Found>> {
    let mut files = Vec::new();
    walk(root, &mut files)?;
    files.sort();
    let mut found = Vec::new();
    for file in files {
        found.append(&mut scenarios(root, &file)?);
    }
    Ok(found)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            files.push(path);
        }
    }
    Ok(())
}

fn scenarios(root: &Path, path: &Path) -> Result<Vec<Found>> {
    let below = path.strip_prefix(root).unwrap_or(path);
    let file = below.with_extension("").display().to_string();
    // What stands in `${...}` is for the runner or for the gateway, not for the reader.
    let text = std::fs::read_to_string(path)?.replace("${", "$${");
    let mut sources = Sources::new();
    let mut complaints = Diagnostics::new();
    let nobody = |_: &str| None;
    let shown = PathBuf::from("scenarios").join(below);
    let node = parse(&mut sources, shown, text, &nobody, &mut complaints);
    if complaints.has_errors() {
        bail!("{}", complaints.render(&sources, false).replace("$${", "${"));
    }
    let text = Arc::new(Text(sources));
    let node = node.with_context(|| format!("{file}: nothing in it"))?;
    let items = node.as_list().with_context(|| format!("{file}: not a list of scenarios"))?;
    let scenario = |item: &Node| {
        let name = item.get("name").and_then(Node::as_text);
        let name = name.with_context(|| format!("{}: no name", text.place(item)))?.to_owned();
        check(&text, item)?;
        Ok(Found { file: file.clone(), name, node: item.clone(), text: Arc::clone(&text) })
    };
    items.iter().map(scenario).collect()
}

/// A scenario that cannot be read fails the whole run at once, and not only when it is played.
fn check(text: &Text, item: &Node) -> Result<()> {
    let scenario: Scenario = text.decode(item)?;
    if let Some(expect) = &scenario.expect {
        text.decode::<Expect>(expect)?;
    }
    scenario.steps.iter().try_for_each(|step| text.decode::<Step>(step).map(drop))
}

impl Text {
    /// `scenarios/routing/precedence.yaml:12`.
    pub fn place(&self, node: &Node) -> String {
        let position = self.0.position(node.span);
        format!("{}:{}", position.path.display(), position.line)
    }

    /// The settings in a node, or everything that is wrong with it.
    pub fn decode<T: Decode>(&self, node: &Node) -> Result<T> {
        let mut complaints = Diagnostics::new();
        let decoded = T::decode(node, &mut complaints);
        match decoded {
            Some(value) if !complaints.has_errors() => Ok(value),
            _ => Err(anyhow!("{}", complaints.render(&self.0, false).replace("$${", "${"))),
        }
    }
}
