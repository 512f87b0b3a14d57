//! A table of raw answers (`answers.txt`): bytes in, what a client sees, whether the connection is used
//! again. Each row is played over a real socket, whole and byte by byte.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may

mod kit;

use http::Method;
use kit::*;
use portcullis_core::Body;

const TABLE: &str = include_str!("answers.txt");

struct Row {
    line: usize,
    method: Method,
    bytes: &'static [u8],
    closes: bool,
    seen: String,
    kept: bool,
    whole_only: bool,
}

fn rows() -> Vec<Row> {
    let lines = TABLE.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(number, line)| row(number + 1, line)).collect()
}

fn row(line: usize, text: &str) -> Row {
    let (method, rest) = text.split_once(" | ").unwrap();
    let (rest, kept) = rest.rsplit_once(" | ").unwrap();
    let (raw, seen) = rest.rsplit_once(" | ").unwrap();
    let (kept, whole_only) = match kept.strip_suffix(", whole only") {
        Some(kept) => (kept, true),
        None => (kept, false),
    };
    let (raw, closes) = match raw.strip_suffix("<close>") {
        Some(raw) => (raw, true),
        None => (raw, false),
    };
    assert!(matches!(kept, "kept" | "closed"), "line {line}");
    let (method, seen) = (method.parse().unwrap(), seen.to_owned());
    let (bytes, kept) = (&*unescaped(raw).leak(), kept == "kept");
    Row { line, method, bytes, closes, seen, kept, whole_only }
}

fn unescaped(text: &str) -> Vec<u8> {
    let (mut out, mut bytes) = (Vec::new(), text.bytes());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next().unwrap() {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'x' => {
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => panic!("no escape \\{}", char::from(other)),
            },
            byte => byte,
        });
    }
    out
}

/// Plays a row: what the client saw, and whether the next request used the same connection.
async fn play(row: &Row, piece: usize) -> (String, bool) {
    let mut script = vec![Read];
    script.extend(row.bytes.chunks(piece).map(Bytes));
    script.extend(if row.closes { vec![Close] } else { vec![Read, Say(OK), Hang] });
    let endpoint = Scripted::start(vec![script, vec![Read, Say(OK), Hang]]).await;
    let world = World::of(&endpoint, "breaker: off");
    let body = if row.method == Method::POST { Body::full("some") } else { Body::Empty };
    let seen = match world.ask(request(row.method.clone(), body)).await {
        Err(problem) => problem.code().name.trim_start_matches("upstream_").to_owned(),
        Ok(got) => match got.body {
            Ok(body) => format!("{} {body:?}", got.status),
            Err(_) => format!("{} {:?} broken", got.status, got.came),
        },
    };
    if row.closes {
        endpoint.ended(0).await;
    }
    let next = world.get().await.map(|got| got.body.unwrap_or_else(|it| it.to_string()));
    let next = next.unwrap_or_else(|it| it.private_detail().to_owned());
    assert_eq!(next, "ok", "line {}: the next request, after {seen}", row.line);
    (seen, endpoint.connections() == 1)
}

#[test]
fn every_answer_is_what_the_table_says() {
    let rows = rows();
    assert!(rows.len() >= 120, "{} rows", rows.len());
    run(async move {
        let mut wrong = Vec::new();
        for row in &rows {
            let pieces: &[usize] = if row.whole_only { &[usize::MAX] } else { &[usize::MAX, 1] };
            for &piece in pieces {
                let (seen, kept) = play(row, piece).await;
                if (seen.as_str(), kept) != (row.seen.as_str(), row.kept) {
                    let how = if piece == 1 { "in pieces" } else { "at once" };
                    let kept = if kept { "kept" } else { "closed" };
                    wrong.push(format!("line {} {how}: {seen} | {kept}", row.line));
                }
            }
        }
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    });
}
