//! Laws about the house as a whole: which floor may stand on which, that the lints stay denied, and
//! that every policy is tested and explained.

use std::collections::BTreeMap;
use std::fs;

use crate::Findings;
use crate::tree;

/// Crate folders and their floors. A crate depends on lower floors only.
const FLOORS: [(&str, u8); 10] = [
    ("core", 0),
    ("tls", 0),
    ("config", 1),
    ("fetch", 1),
    ("acme", 2),
    ("policies", 2),
    ("upstream", 2),
    ("engine", 3),
    ("admin", 4),
    ("portcullis", 5),
];

const FUZZ: &str = "fuzz/Cargo.toml";

const DENIED: [&str; 12] = [
    "unsafe_code",
    "unwrap_used",
    "expect_used",
    "panic",
    "indexing_slicing",
    "todo",
    "unimplemented",
    "dbg_macro",
    "await_holding_lock",
    "await_holding_refcell_ref",
    "too_many_lines",
    "disallowed_methods",
];

#[test]
fn arrows_point_down_only() {
    let floors: BTreeMap<&str, u8> = FLOORS.into_iter().collect();
    let mut found = Findings::default();
    for (path, manifest) in manifests() {
        let own = path.split('/').nth(1).and_then(|name| floors.get(name).copied());
        let own = match path.as_str() {
            // Stands outside: it may know no crate of the house, and builds the binary instead.
            "xtask/Cargo.toml" => Some(0),
            // Looks down on everything that parses.
            FUZZ => Some(6),
            _ => own,
        };
        let Some(own) = own else {
            found.add(&path, 1, "this crate has no floor; give it one in the tidy test's FLOORS");
            continue;
        };
        for (line, name) in house_dependencies(&manifest) {
            let other = floors.get(name.as_str()).copied();
            if other.is_none_or(|other| other >= own) {
                let cure = "move what is shared to a lower floor";
                let other = other.map_or("?".to_owned(), |other| other.to_string());
                found.add(
                    &path,
                    line,
                    format!("floor {own} leans on {name}, floor {other}; {cure}"),
                );
            }
        }
    }
    found.expect_none();
}

/// The crates of the house that a manifest depends on, by folder name, with their lines.
fn house_dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut inside = false;
    let mut found = Vec::new();
    for (number, line) in (1..).zip(manifest.lines()) {
        if let Some(section) = line.strip_prefix('[') {
            inside = section.contains("dependencies");
            if let Some(name) = section.split("dependencies.portcullis-").nth(1) {
                found.push((number, name.trim_end_matches(']').to_owned()));
            }
        } else if inside && line.starts_with("portcullis") {
            let key = line.split(['.', ' ', '=']).next().unwrap_or(line);
            found.push((number, key.strip_prefix("portcullis-").unwrap_or(key).to_owned()));
        }
    }
    found
}

fn manifests() -> Vec<(String, String)> {
    let sources = tree::sources().into_iter();
    sources
        .filter(|source| source.path.ends_with("/Cargo.toml"))
        .map(|source| (source.path, source.text))
        .collect()
}

/// The 70 lines of a function, and the rest that Clippy keeps, hold only while they are denied.
#[test]
fn lints_stay_denied_everywhere() {
    let read = |name: &str| fs::read_to_string(tree::root().join(name)).unwrap();
    let (workspace, clippy) = (read("Cargo.toml"), read("clippy.toml"));
    let mut found = Findings::default();
    for lint in DENIED {
        let kept = ["deny", "forbid"]
            .iter()
            .any(|level| workspace.lines().any(|line| line == format!("{lint} = \"{level}\"")));
        if !kept {
            found.add("Cargo.toml", 1, format!("the lint `{lint}` has to be denied"));
        }
    }
    if !clippy.lines().any(|line| line == "too-many-lines-threshold = 70") {
        found.add("clippy.toml", 1, "too-many-lines-threshold has to be 70");
    }
    for (path, manifest) in manifests() {
        // A workspace of its own cannot inherit; an assertion that fails is what it is there for.
        if path != FUZZ && !manifest.contains("[lints]\nworkspace = true") {
            found.add(&path, 1, "add `[lints]` with `workspace = true`");
        }
    }
    found.expect_none();
}

#[test]
fn every_policy_has_a_scenario_and_a_page() {
    let kinds = "crates/policies/src/kinds.rs";
    let text = fs::read_to_string(tree::root().join(kinds)).unwrap();
    let mut found = Findings::default();
    let mut count = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let Some(name) =
            line.trim().strip_prefix("name: \"").and_then(|rest| rest.split('"').next())
        else {
            continue;
        };
        count += 1;
        if !holds_yaml(&format!("scenarios/{name}")) {
            let cure = format!("write scenarios/{name}/*.yaml");
            found.add(kinds, number, format!("`{name}` has no scenario; {cure}"));
        }
        let page = format!("docs/reference/policies/{name}.md");
        if !tree::root().join(&page).is_file() {
            found.add(kinds, number, format!("{page} is missing; run `cargo xtask docs`"));
        }
    }
    assert!(count > 0, "{kinds}: no line `name: \"...\"`: this law has gone blind");
    found.expect_none();
}

fn holds_yaml(folder: &str) -> bool {
    let entries = fs::read_dir(tree::root().join(folder)).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.path().extension().is_some_and(|e| e == "yaml"))
}
