//! A protected path in every spelling, on every kind of route: whatever the gateway lets through, no
//! service that reads it in one of the usual ways may take it for the protected one.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial;
use percent_encoding::percent_decode;
use tokio::net::TcpStream;

use crate::cases::bytes;
use crate::kit::BOUND;
use crate::kit::pause::within;
use crate::kit::wire::Wire;
use crate::run::House;
use crate::trial;

/// The file with the spellings, one a line.
pub const FILE: &str = "paths";

/// What only a policy may let through, and the policy lets nobody.
const PROTECTED: &str = "/protected";
const EXACT: &str = "/protected/secret";

/// A kind of route: what stands in front of a spelling, and what an upstream must not be asked for.
struct Kind {
    name: &'static str,
    before: &'static str,
    routes: &'static str,
    is_protected: fn(&str) -> bool,
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "prefix",
        before: "",
        routes: "\
- { name: closed, match: { path: '/protected/*' }, policies: { authorize: 'false' }, forward: { to: up } }
- { name: open, match: { path: '/*' }, forward: { to: up } }",
        is_protected: below,
    },
    Kind {
        name: "exact",
        before: "",
        routes: "\
- { name: closed, match: { path: /protected/secret }, policies: { authorize: 'false' }, forward: { to: up } }
- { name: open, match: { path: '/*' }, forward: { to: up } }",
        is_protected: |path| path == EXACT,
    },
    Kind {
        name: "template",
        before: "/t",
        routes: "\
- { name: closed, match: { path: '/t/protected/{b}' }, policies: { authorize: 'false' }, forward: { to: up, path: '/protected/{b}' } }
- { name: open, match: { path: '/t/{a}/{b}' }, forward: { to: up, path: '/{a}/{b}' } }
- { name: short, match: { path: '/t/{a}' }, forward: { to: up, path: '/short/{a}' } }",
        is_protected: below,
    },
    Kind {
        name: "strip",
        before: "/s",
        routes: "\
- { name: closed, match: { path: '/s/protected/*' }, policies: { authorize: 'false' }, forward: { to: up, strip_prefix: /s } }
- { name: open, match: { path: '/s/*' }, forward: { to: up, strip_prefix: /s } }",
        is_protected: below,
    },
];

/// What is let through beside the strict rules. In a template a name keeps its slash, whoever reads
/// it: that is what `keep` says, so it is not promised there.
const KEEP: &str = "encoded_slash: keep\npath_parameters: keep";

fn below(path: &str) -> bool {
    path.strip_prefix(PROTECTED).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub fn trials(text: &str) -> Vec<Trial> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let spellings: Vec<Vec<u8>> = lines.map(|line| bytes(line).unwrap()).collect();
    let different: BTreeSet<_> = spellings.iter().collect();
    assert_eq!(different.len(), spellings.len(), "a spelling stands there twice");
    assert!(spellings.len() >= 200, "only {} spellings: some are gone", spellings.len());
    let mut trials = Vec::new();
    for kind in &KINDS {
        for (mode, more) in [("strict", ""), ("kept", KEEP)] {
            if kind.name == "template" && mode == "kept" {
                continue;
            }
            let spellings = spellings.clone();
            let name = format!("paths: {}, {mode}", kind.name);
            trials.push(trial(name, async move || all(kind, more, &spellings).await));
        }
    }
    trials
}

async fn all(kind: &Kind, more: &str, spellings: &[Vec<u8>]) -> Result<()> {
    let house = House::open(kind.routes, more).await?;
    ensure!(ask(&house, kind, b"/protected/secret").await? == 403, "the policy does not run");
    ensure!(ask(&house, kind, b"/public/x").await? == 200, "nothing passes");
    let (mut wrong, mut passed) = (Vec::new(), 0);
    for spelling in spellings {
        let mark = house.upstream.count();
        let status = ask(&house, kind, spelling).await?;
        let shown = spelling.escape_ascii().to_string();
        if !matches!(status, 200 | 400 | 403 | 404) {
            wrong.push(format!("{shown} was answered {status}"));
        }
        for seen in house.upstream.seen_since(mark) {
            passed += 1;
            let path = seen.head.target.split('?').next().unwrap_or_default().to_owned();
            let reading = readings(&path).into_iter().find(|it| (kind.is_protected)(it));
            if let Some(reading) = reading {
                wrong.push(format!("{shown} was sent as {path}, which may mean {reading}"));
            }
        }
    }
    ensure!(passed > 0, "no spelling passed at all: this test has gone blind");
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("\n")) }
}

async fn ask(house: &House, kind: &Kind, spelling: &[u8]) -> Result<u16> {
    let mut wire = Wire::new(TcpStream::connect(house.address).await?);
    let head = [b"GET ", kind.before.as_bytes(), spelling, b" HTTP/1.1\r\nHost: a\r\n\r\n"];
    wire.write(&head.concat()).await?;
    let answer = within(BOUND, "an answer", wire.response()).await??;
    Ok(answer.map_or(0, |head| head.status))
}

/// What services make of a path: decoded not at all, once or twice, with parameters cut off before,
/// after or never, with a backslash as a slash or not, and always with dots and empty segments
/// resolved.
fn readings(path: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for cut_first in [false, true] {
        let mut text = if cut_first { cut(path) } else { path.to_owned() };
        for _ in 0..3 {
            for variant in [text.clone(), text.replace('\\', "/"), cut(&text)] {
                all.insert(resolved(&variant));
            }
            text = percent_decode(text.as_bytes()).decode_utf8_lossy().into_owned();
        }
    }
    all
}

fn cut(path: &str) -> String {
    let name = |segment: &str| segment.split(';').next().unwrap_or_default().to_owned();
    path.split('/').map(name).collect::<Vec<_>>().join("/")
}

fn resolved(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    // A slash at the end makes another path: who means both writes a route for both.
    let last = path.rsplit('/').next().unwrap_or_default();
    let end = if matches!(last, "" | "." | "..") { "/" } else { "" };
    format!("/{}{end}", kept.join("/"))
}
