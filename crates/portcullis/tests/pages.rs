//! The pages of the reference are run: a `yaml` block with listeners is a configuration, and what a
//! `console` block says after a line that begins with `$` is what that line prints (`...` stands for
//! anything); a `sh` block is run before. A page whose example does not work is worse than none.

#![allow(clippy::unwrap_used, clippy::panic)] // a failed step is a failed test

mod kit;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use kit::gateway::Gateway;
use kit::place::Place;

/// Where the examples say that they listen.
const ADDRESS: &str = "127.0.0.1:8080";

/// What a page has to run.
#[derive(Default)]
struct Example {
    /// For a shell, before the gateway starts.
    before: String,
    config: String,
    /// Lines for a shell, each with what it has to print.
    lines: Vec<(String, String)>,
}

/// The texts of all fenced blocks of a kind.
fn blocks<'a>(page: &'a str, kind: &str) -> Vec<&'a str> {
    let begin = format!("```{kind}\n");
    page.split(begin.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

fn example(page: &str) -> Option<Example> {
    let config = blocks(page, "yaml").into_iter().find(|text| text.contains("listeners:"))?;
    let before = blocks(page, "sh").concat();
    let mut example = Example { before, config: config.to_owned(), ..Example::default() };
    for line in blocks(page, "console").into_iter().flat_map(str::lines) {
        match (line.strip_prefix("$ "), example.lines.last_mut()) {
            (Some(command), _) => example.lines.push((command.to_owned(), String::new())),
            (None, Some((_, printed))) => printed.push_str(&format!("{line}\n")),
            (None, None) => panic!("a console block begins with what nothing printed: {line}"),
        }
    }
    Some(example)
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    let folders = [root.clone(), root.join("policies")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut pages: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    pages.retain(|path| path.extension().is_some_and(|it| it == "md"));
    pages.sort();
    pages
}

/// True when `text` is `wanted`, where `...` stands for anything.
fn is_like(text: &str, wanted: &str) -> bool {
    let Some((first, others)) = wanted.split_once("...") else { return text == wanted };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<_> = others.split("...").collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

async fn run(name: &str, example: &Example) {
    let place = Place::new().unwrap();
    // A port that was free a moment ago: an example may call itself.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let config = example.config.replace(ADDRESS, &free) + "admin: off\n";
    let file = place.write("portcullis.yaml", &config).unwrap();
    let shell = |script: &str| {
        Command::new("sh").args(["-c", script]).current_dir(place.path()).output().unwrap()
    };
    assert!(shell(&example.before).status.success(), "{name}: {}", example.before);
    let gateway = Gateway::start(place.path(), &file, &[]).await.unwrap();
    // By its name where a certificate has to have one.
    let address = match config.contains("tls:") {
        true => format!("localhost:{}", gateway.listener(0).unwrap().port()),
        false => gateway.listener(0).unwrap().to_string(),
    };
    let mut set = String::new();
    for (line, wanted) in &example.lines {
        let line = line.replace("localhost:8080", &address);
        let script = format!("{set}{line}");
        let output = shell(&script);
        let printed = String::from_utf8(output.stdout).unwrap().replace('\r', "");
        let (printed, wanted) = (printed.trim_end(), wanted.trim_end());
        assert!(is_like(printed, wanted), "{name}: `{line}` printed\n{printed}\nand not\n{wanted}");
        if wanted.is_empty() {
            set.push_str(&format!("{line}\n")); // a line that prints nothing sets a variable
        }
    }
}

#[test]
fn every_example_does_what_its_page_says() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut lines = 0;
        for page in pages() {
            let name = page.file_name().unwrap().to_string_lossy().into_owned();
            let Some(example) = example(&fs::read_to_string(&page).unwrap()) else { continue };
            run(&name, &example).await;
            lines += example.lines.len();
        }
        assert!(lines >= 20, "only {lines} lines were found");
    });
}

#[test]
fn dots_stand_for_anything() {
    assert!(is_like("a b c", "a...c") && is_like("ac", "a...c") && is_like("a", "a"));
    assert!(!is_like("a b", "a") && !is_like("b", "a...") && !is_like("ab", "a...c"));
}
