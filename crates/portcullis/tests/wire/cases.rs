//! How cases are written, so that adding one is adding some lines:
//!
//! ```text
//! % bounds: { header_bytes: 8KiB }     a line of the gateway's configuration, before the first case
//!
//! == the name of the case
//! > GET / HTTP/1.1                     a line that the client sends, with CR LF behind it
//! > Host: a
//! >
//! | any bytes                          bytes that it sends, with nothing behind them
//! < HTTP/1.1 200 OK                    a line that the upstream answers, in place of an echo
//! ~ any bytes                          bytes that it answers
//! @ GET /path body                     a request that the upstream has to see, in this order
//! = 200 400 closed 1                   the statuses, the connection's state, and how many requests
//!                                      the upstream has to see; `fresh` at the end: the next one comes
//!                                      on a new connection to the upstream
//! ```
//!
//! In lines of bytes `\r`, `\n`, `\t`, `\0`, `\\` and `\xHH` are escapes, `\{9000:a}` is 9,000 times a.

use std::iter::Peekable;
use std::str::Chars;

use anyhow::{Context as _, Result, bail};

pub struct File {
    /// More lines of the gateway's configuration.
    pub config: String,
    pub cases: Vec<Case>,
}

#[derive(Clone, Debug, Default)]
pub struct Case {
    pub name: String,
    pub sent: Vec<u8>,
    /// What the upstream answers; an echo when empty.
    pub answered: Vec<u8>,
    /// What it has to see: method, target and body.
    pub seen: Vec<String>,
    pub expected: Expected,
}

#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub statuses: Vec<u16>,
    pub closed: bool,
    pub count: usize,
    pub fresh: bool,
}

pub fn parse(text: &str) -> Result<File> {
    let mut file = File { config: String::new(), cases: Vec::new() };
    let mut open: Option<Case> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let parsed = take(line, &mut file, &mut open);
        parsed.with_context(|| format!("line {number}: {line}"))?;
    }
    if let Some(case) = open {
        bail!("`{}` has no line that begins with =", case.name);
    }
    Ok(file)
}

fn take(line: &str, file: &mut File, open: &mut Option<Case>) -> Result<()> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    let (mark, rest) = line.split_at(line.find(' ').unwrap_or(line.len()));
    let rest = rest.strip_prefix(' ').unwrap_or_default();
    match (mark, &mut *open) {
        ("%", None) => file.config.push_str(&format!("{rest}\n")),
        ("==", None) => *open = Some(Case { name: rest.to_owned(), ..Case::default() }),
        (">", Some(case)) => {
            case.sent.extend(bytes(rest)?);
            case.sent.extend(b"\r\n");
        }
        ("|", Some(case)) => case.sent.extend(bytes(rest)?),
        ("<", Some(case)) => {
            case.answered.extend(bytes(rest)?);
            case.answered.extend(b"\r\n");
        }
        ("~", Some(case)) => case.answered.extend(bytes(rest)?),
        ("@", Some(case)) => case.seen.push(rest.to_owned()),
        ("=", Some(_)) => {
            let mut case = open.take().context("no case")?;
            case.expected = expected(rest)?;
            if !case.seen.is_empty() && case.seen.len() != case.expected.count {
                bail!("as many lines that begin with @ as requests are seen");
            }
            file.cases.push(case);
        }
        _ => bail!("this line has no place here"),
    }
    Ok(())
}

fn expected(text: &str) -> Result<Expected> {
    let mut expected = Expected::default();
    let mut words = text.split_whitespace();
    let state = loop {
        let word = words.next().context("kept or closed?")?;
        match word.parse() {
            Ok(status) => expected.statuses.push(status),
            Err(_) => break word,
        }
    };
    expected.closed = match state {
        "kept" => false,
        "closed" => true,
        other => bail!("`{other}` is neither kept nor closed"),
    };
    expected.count = words.next().context("how many requests are seen?")?.parse()?;
    expected.fresh = match words.next() {
        None => false,
        Some("fresh") => true,
        Some(other) => bail!("`{other}` means nothing here"),
    };
    Ok(expected)
}

pub fn bytes(text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(one) = rest.next() {
        if one == '\\' {
            out.extend(escaped(&mut rest)?);
        } else {
            out.extend(one.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Ok(out)
}

fn escaped(rest: &mut Peekable<Chars<'_>>) -> Result<Vec<u8>> {
    Ok(match rest.next() {
        Some('r') => vec![b'\r'],
        Some('n') => vec![b'\n'],
        Some('t') => vec![b'\t'],
        Some('0') => vec![0],
        Some('\\') => vec![b'\\'],
        Some('x') => {
            let digits: String = rest.take(2).collect();
            vec![u8::from_str_radix(&digits, 16)?]
        }
        Some('{') => {
            let inside: String = rest.take_while(|one| *one != '}').collect();
            let (count, piece) = inside.split_once(':').context("\\{COUNT:BYTES}")?;
            bytes(piece)?.repeat(count.parse()?)
        }
        other => bail!("no escape begins with {other:?}"),
    })
}
