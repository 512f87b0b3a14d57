//! What is committed beside the code says what the code says: the generated reference, and the
//! examples.

#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod kit;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kit::place::Place;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn portcullis(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap()
}

#[test]
fn the_reference_is_as_generated() {
    let place = Place::new().unwrap();
    assert!(portcullis(&["reference", place.path().to_str().unwrap()]).status.success());
    let mut pages = 0;
    for page in fs::read_dir(place.path()).unwrap() {
        let page = page.unwrap();
        let committed = root().join("docs/reference").join(page.file_name());
        let (fresh, committed) =
            (fs::read_to_string(page.path()).unwrap(), fs::read_to_string(committed).unwrap());
        assert!(fresh == committed, "{:?} is stale: run `cargo xtask docs`", page.file_name());
        pages += 1;
    }
    assert_eq!(pages, 3);
}

#[test]
fn every_code_and_key_that_the_pages_of_policies_name_is_in_the_reference() {
    let reference = |name: &str| fs::read_to_string(root().join("docs/reference").join(name));
    let problems = reference("problems.md").unwrap();
    let mut named = 0;
    for page in fs::read_dir(root().join("docs/reference/policies")).unwrap() {
        let text = fs::read_to_string(page.unwrap().path()).unwrap();
        for row in text.lines().filter(|line| line.starts_with("| 4") || line.starts_with("| 5")) {
            let code = row.split('`').nth(1).unwrap();
            let listed = problems.lines().any(|line| line.contains(&format!("| `{code}` |")));
            assert!(listed, "{row}: no such code");
            named += 1;
        }
    }
    assert!(named > 5, "the tables of codes were not found");
}

#[test]
fn the_examples_have_nothing_to_complain_about() {
    let mut examples = 0;
    for folder in fs::read_dir(root().join("examples")).unwrap() {
        let place = Place::new().unwrap(); // some make certificates, which do not belong here
        let folder = folder.unwrap().path();
        let shell = |script: &str, argument: &Path| {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]).arg(argument).current_dir(place.path());
            assert!(shell.status().unwrap().success(), "{script} {}", argument.display());
        };
        shell("cp -R \"$0\"/. .", &folder);
        if folder.join("certificates.sh").is_file() {
            shell("\"$0\"", &place.path().join("certificates.sh"));
        }
        let file = place.path().join("portcullis.yaml");
        let checked = portcullis(&["check", file.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!((checked.status.code(), said.as_str()), (Some(0), ""), "{}", file.display());
        assert!(checked.stdout.is_empty());
        examples += 1;
    }
    assert!(examples > 0);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let binary = env!("CARGO_BIN_EXE_portcullis");
    let script = format!("{binary} schema | head -n 1");
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "{\n");
}
