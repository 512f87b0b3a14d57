//! Regular expressions (`test`, `match`, `capture`, `scan`, `split/2`, `sub`, `gsub`), by the
//! linear-time engine: no pattern can make a body expensive. Compiled patterns are kept per thread,
//! because jq programs apply one pattern to many items.

use std::cell::RefCell;

use jaq_core::Cv;
use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::Term;
use jaq_core::native::{Fun, bome};
use regex::{Captures, Regex, RegexBuilder};

use super::arithmetic::Outcome;
use super::budget::{STEP, charge};
use super::native::{Plain, native, text};
use super::syntax::Node;
use super::value::{Error, Value};

/// How many compiled patterns a thread keeps.
const KEPT: usize = 64;
/// How large a compiled pattern may be, in bytes.
const SIZE: usize = 1024 * 1024;
/// What compiling one costs a run, and each of its bytes.
const COMPILING: usize = 64 * 1024;
const COMPILING_BYTE: usize = 8 * 1024;
/// The longest one that a program may write down, in bytes: a run can pay for it.
const LONGEST: usize = 8000;

thread_local! {
    static PATTERNS: RefCell<Vec<(String, Regex)>> = const { RefCell::new(Vec::new()) };
}

/// The three that jaq's definitions of `test`, `sub` and so on are made of.
pub(super) fn functions() -> [Fun<Plain>; 3] {
    [
        native("matches", 2, |cv| bome(find(cv, Give::Matches))),
        native("split_matches", 2, |cv| bome(find(cv, Give::Both))),
        native("split_", 2, |cv| bome(find(cv, Give::Between))),
    ]
}

/// What to give: the matches, the text between them, or both in turn.
#[derive(Clone, Copy, PartialEq)]
enum Give {
    Matches,
    Between,
    Both,
}

fn find(mut cv: Cv<'_, Plain>, give: Give) -> Outcome {
    let (flags, pattern) = (cv.0.pop_var(), cv.0.pop_var());
    let (flags, input) = (text(&flags)?, text(&cv.1)?);
    let regex = compiled(text(&pattern)?, flags)?;
    charge(STEP + input.len())?;
    let (mut out, mut last, mut characters) = (Vec::new(), 0, 0);
    for captures in regex.captures_iter(input) {
        let whole = captures.get_match();
        if whole.is_empty() && flags.contains('n') {
            continue;
        }
        charge(STEP * captures.len() + whole.len())?;
        let between = input.get(last..whole.start()).unwrap_or_default();
        characters += between.chars().count();
        if give != Give::Matches {
            out.push(Value::text(between));
        }
        if give != Give::Between {
            out.push(groups(&regex, &captures, characters));
        }
        characters += whole.as_str().chars().count();
        last = whole.end();
        if !flags.contains('g') {
            break;
        }
    }
    if give != Give::Matches {
        out.push(Value::text(input.get(last..).unwrap_or_default()));
    }
    Ok(out.into_iter().collect())
}

/// The whole match and its groups, as `{offset, length, string, name}`, of which those that took no part
/// are null; `before` is how many characters stand before the match.
fn groups(regex: &Regex, captures: &Captures<'_>, before: usize) -> Value {
    let whole = captures.get_match();
    let count = |text: &str| Value::from(text.chars().count());
    let groups = captures.iter().zip(regex.capture_names());
    let groups = groups.map(|(group, name)| {
        let [offset, length, string] = match group {
            None => [Value::from(-1_isize), Value::from(0_usize), Value::NULL],
            Some(group) => {
                let inside = whole.as_str().get(..group.start() - whole.start());
                let inside = inside.unwrap_or_default().chars().count();
                [Value::from(before + inside), count(group.as_str()), Value::text(group.as_str())]
            }
        };
        let members = [("offset", offset), ("length", length), ("string", string)].into_iter();
        Value::object(members.chain(name.map(|name| ("name", Value::text(name)))))
    });
    groups.collect()
}

fn compiled(pattern: &str, flags: &str) -> Result<Regex, Error> {
    let key = format!("{flags}/{pattern}");
    let kept = PATTERNS.with_borrow(|patterns| {
        patterns.iter().find(|(kept, _)| *kept == key).map(|(_, regex)| regex.clone())
    });
    if let Some(regex) = kept {
        return Ok(regex);
    }
    charge(COMPILING + COMPILING_BYTE.saturating_mul(pattern.len()))?;
    let regex = builder(pattern, flags)?.build();
    let regex = regex.map_err(|_| Error::str("the pattern is no regular expression"))?;
    PATTERNS.with_borrow_mut(|patterns| {
        if patterns.len() >= KEPT {
            patterns.remove(0);
        }
        patterns.push((key, regex.clone()));
    });
    Ok(regex)
}

fn builder(pattern: &str, flags: &str) -> Result<RegexBuilder, Error> {
    let mut builder = RegexBuilder::new(pattern);
    builder.size_limit(SIZE).dfa_size_limit(SIZE);
    for flag in flags.chars() {
        match flag {
            'g' | 'n' => &mut builder,
            'i' => builder.case_insensitive(true),
            'm' => builder.multi_line(true),
            's' => builder.dot_matches_new_line(true),
            'p' => builder.multi_line(true).dot_matches_new_line(true),
            'l' => builder.swap_greed(true),
            'x' => builder.ignore_whitespace(true),
            _ => return Err(Error::str(format_args!("unknown regex flag `{flag}`"))),
        };
    }
    Ok(builder)
}

/// What is wrong with the pattern of a call, if the program writes it down, where, and what to do about it.
pub(super) fn judge<'a>(
    name: &'a str,
    arguments: &[Node<'a>],
) -> Option<(&'a str, String, &'static str)> {
    let (pattern, flags) = match (name, arguments) {
        ("test" | "match" | "capture" | "scan" | "splits", [pattern]) => (pattern, None),
        ("sub" | "gsub", [pattern, _]) => (pattern, None),
        ("test" | "match" | "capture" | "scan" | "split" | "splits", [pattern, flags])
        | ("sub" | "gsub", [pattern, _, flags]) => (pattern, Some(flags)),
        _ => return None,
    };
    let (place, pattern) = constant(pattern)?;
    if pattern.len() > LONGEST {
        let (long, hint) = (pattern.len(), "look for parts of it, each with a pattern of its own");
        let message = format!("the pattern is {long} bytes long, and a run can pay for {LONGEST}");
        return Some((place.unwrap_or(name), message, hint));
    }
    let flags = flags.map_or_else(|| Some((None, String::new())), constant)?.1;
    let why = match builder(&pattern, &flags) {
        Err(error) => error.to_string(),
        Ok(builder) => {
            let why = builder.build().err()?.to_string();
            let why = why.lines().last().unwrap_or_default();
            let why = why.strip_prefix("error: ").unwrap_or(why);
            format!("the pattern is no regular expression: {why}")
        }
    };
    let hint = "there is no look-around and no backreference; a `\\` stands in a text as `\\\\`";
    Some((place.unwrap_or(name), why, hint))
}

/// A text that is written down, and its first piece.
fn constant<'a>(term: &Node<'a>) -> Option<(Option<&'a str>, String)> {
    let Term::Str(None, parts) = term else { return None };
    let (mut first, mut text) = (None, String::new());
    for part in parts {
        match part {
            StrPart::Str(piece) => {
                first.get_or_insert(*piece);
                text.push_str(piece);
            }
            StrPart::Char(character) => text.push(*character),
            StrPart::Term(_) => return None,
        }
    }
    Some((first, text))
}
