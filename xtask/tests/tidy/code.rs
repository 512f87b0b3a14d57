//! Rust text with comments and the insides of literals turned into blanks, so that a law about code
//! is neither fooled by a sentence nor by a text that a test sends.

/// The same number of lines, each of the same length in characters.
pub(crate) fn only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match blank_until(&chars, at) {
            Some(end) => end,
            None => {
                out.push(chars[at]);
                at += 1;
                continue;
            }
        };
        let blank = |c: &char| if *c == '\n' { '\n' } else { ' ' };
        out.extend(chars[at..end].iter().map(blank));
        at = end;
    }
    out
}

/// Where the comment or literal that begins here ends; `None` when none begins here.
fn blank_until(chars: &[char], at: usize) -> Option<usize> {
    let next = |offset: usize| chars.get(at + offset).copied().unwrap_or('\n');
    let inside_name = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match (chars[at], next(1)) {
        ('/', '/') => Some(find(chars, at, |rest| rest[0] == '\n')),
        ('/', '*') => Some(block_comment(chars, at)),
        ('"', _) => Some(quoted(chars, at + 1, '"')),
        ('r', '"' | '#') if !inside_name => raw(chars, at + 1),
        ('b', 'r') if !inside_name => raw(chars, at + 2),
        // A character is one sign or an escape between quotes; anything else is a lifetime.
        ('\'', '\\') => Some(quoted(chars, at + 1, '\'')),
        ('\'', _) if next(2) == '\'' => Some(at + 3),
        _ => None,
    }
}

fn find(chars: &[char], from: usize, is_end: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|&at| is_end(&chars[at..])).unwrap_or(chars.len())
}

fn block_comment(chars: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0_usize, from);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(chars: &[char], from: usize, quote: char) -> usize {
    let mut at = from;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// A raw string whose hashes begin at `from`; `None` when it is a raw name such as `r#type`.
fn raw(chars: &[char], from: usize) -> Option<usize> {
    let hashes = chars[from..].iter().take_while(|c| **c == '#').count();
    if chars.get(from + hashes) != Some(&'"') {
        return None;
    }
    let ends = |rest: &[char]| rest[0] == '"' && rest[1..].starts_with(&vec!['#'; hashes]);
    Some((find(chars, from + hashes + 1, ends) + 1 + hashes).min(chars.len()))
}

#[test]
fn only_code_is_left() {
    let text = "let a = \"x // y\"; // todo\nlet b = r#\"q\"z\"#; /* a /* b */ c */ d('\\'', '\"', &'a ());";
    let left = only(text);
    assert_eq!(left.len(), text.len());
    let words: Vec<_> = left.split_whitespace().collect();
    assert_eq!(words, ["let", "a", "=", ";", "let", "b", "=", ";", "d(", ",", ",", "&'a", "());"]);
}
