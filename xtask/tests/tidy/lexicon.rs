//! One word for one thing, in code, YAML, logs, metrics and docs. These words have no place in the
//! house because they name nothing in particular, or because another word already stands for it.

use crate::Findings;
use crate::tree;

/// The word and what to say in its place.
const NOT_USED: [(&str, &str); 9] = [
    ("filter", "a Policy looks at or changes an exchange; a condition selects"),
    ("plugin", "Policy"),
    ("middleware", "Policy"),
    ("backend", "Upstream (the named group) or Endpoint (one address)"),
    ("manager", "say what it does"),
    ("helper", "say what it does"),
    ("util", "give it a room that says what it is about"),
    ("common", "give it a room that says what it is about"),
    ("cluster", "Upstream; only Redis Cluster is one"),
];

/// Other people's names, which are spelled as they spell them, and English that is no name.
const FOREIGN: [&str; 23] = [
    "compile::Filter",
    "jwk.common",
    "hyper-util",
    "hyper_util",
    "http-body-util",
    "http_body_util",
    "futures-util",
    "futures_util",
    "tokio-util",
    "tokio_util",
    "io-util",
    "test-util",
    ".filter(",
    "filter_map",
    "EnvFilter",
    "LevelFilter",
    "Redis Cluster",
    "cluster-async",
    "ConnectionManager",
    "connection-manager",
    "x-cluster-client-ip",
    "in common",
    "in_common",
];

/// Places of others' words: configurations of peers, and what a package manager wrote.
const NOT_OURS: [&str; 3] = ["envoy.yaml", "haproxy.cfg", "package-lock.json"];

/// A Redis Cluster is called what it is where it is spoken of.
fn is_redis_cluster(path: &str, line: &str, word: &str) -> bool {
    word == "cluster" && (path.contains("stores") || line.contains("Redis Cluster"))
}

/// A line that begins so lists the words for people.
const THE_LIST: &str = "Not used:";

#[test]
fn one_word_for_one_thing() {
    let mut found = Findings::default();
    for source in tree::sources() {
        let not_ours = NOT_OURS.iter().any(|path| source.path.ends_with(path));
        if source.path.starts_with("xtask/tests/tidy/") || not_ours {
            continue;
        }
        if let Some((word, instead)) = offence(&source.path) {
            found.add(&source.path, 1, format!("the file's name says `{word}`: {instead}"));
        }
        for (number, line) in source.lines() {
            if line.trim_start_matches(['#', '/', '-', ' ']).starts_with(THE_LIST) {
                continue;
            }
            if let Some((word, instead)) = offence(line)
                && !is_redis_cluster(&source.path, line, word)
            {
                found.add(&source.path, number, format!("`{word}`: {instead}"));
            }
        }
    }
    found.expect_none();
}

fn offence(line: &str) -> Option<(&'static str, &'static str)> {
    let lower = line.to_ascii_lowercase();
    if !NOT_USED.iter().any(|(word, _)| lower.contains(word)) {
        return None;
    }
    let own = FOREIGN.iter().fold(line.to_owned(), |line, name| line.replace(name, " "));
    let words = words(&own);
    NOT_USED.into_iter().find(|(word, _)| words.iter().any(|found| is_form_of(found, word)))
}

fn is_form_of(found: &str, word: &str) -> bool {
    found.strip_suffix('s').unwrap_or(found) == word
}

/// The words of a line in small letters: `someHelperOf_x` is some, helper, of and x.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_small = false;
    for c in line.chars() {
        if !c.is_alphabetic() || (c.is_uppercase() && after_small) {
            words.push(String::new());
        }
        after_small = c.is_lowercase();
        if let (true, Some(word)) = (c.is_alphabetic(), words.last_mut()) {
            word.extend(c.to_lowercase());
        }
    }
    words
}

#[test]
fn words_are_found_inside_names() {
    assert_eq!(offence("struct RouteManager;").map(|(word, _)| word), Some("manager"));
    assert_eq!(offence("mod http_utils;").map(|(word, _)| word), Some("util"));
    assert_eq!(offence("backends:").map(|(word, _)| word), Some("backend"));
    for fine in ["use hyper_util::rt;", "a.iter().filter(|x| x)", "uncommonly", "utility"] {
        assert_eq!(offence(fine), None, "{fine}");
    }
}
