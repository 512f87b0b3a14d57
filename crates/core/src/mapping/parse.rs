//! JSON text to values, strictly: what two readers could understand differently is refused, because
//! what is checked here is what a service reads next (RFC 8259, and RFC 7493 section 2.3 for keys).

use super::members::Members;
use super::number;
use super::plain::plain;
use super::pointer::{Key, pointer};
use super::value::{Data, Text, Value};

/// How deep a JSON text may nest.
const DEPTH_READ: usize = 64;

/// Why a text is no JSON, and where: `offset` in bytes from 0, `line` and `column` (in characters)
/// from 1, and the JSON Pointer (RFC 6901) of the value in which that is; at most 200 bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at line {line}, column {column}")]
pub struct ParseError {
    pub offset: usize,
    pub line: usize,
    pub column: usize,
    pub pointer: String,
    pub message: String,
}

impl Value {
    /// Reads exactly one JSON value. Refuses repeated keys, bytes that are not UTF-8, halves of
    /// surrogate pairs, NaN, comments, trailing bytes, and nesting deeper than 64.
    ///
    /// The value takes at most 40 times the memory of the text (of `{}`, the worst case).
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        match std::str::from_utf8(text) {
            Ok(text) => Self::parse_str(text),
            Err(error) => {
                let valid = text.get(..error.valid_up_to()).unwrap_or_default();
                let valid = std::str::from_utf8(valid).unwrap_or_default();
                let message = "a byte that is not UTF-8".to_owned();
                Err(located(valid, valid.len(), &way_to_end(valid), message))
            }
        }
    }

    /// As [`parse`](Self::parse), of text that is known to be UTF-8.
    pub fn parse_str(text: &str) -> Result<Self, ParseError> {
        let mut reader = Reader { text, at: 0, way: Vec::new() };
        reader.document().map_err(|message| located(text, reader.at, &reader.way, message))
    }
}

fn located(text: &str, offset: usize, way: &[Key], message: String) -> ParseError {
    let before = text.get(..offset).unwrap_or(text);
    let line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
    let column = 1 + before.rsplit('\n').next().map_or(0, |last| last.chars().count());
    ParseError { offset, line, column, pointer: pointer(way), message }
}

/// In which value a text ends, unless something else is wrong with it before.
fn way_to_end(text: &str) -> Vec<Key> {
    let mut reader = Reader { text, at: 0, way: Vec::new() };
    let _ = reader.document(); // what is read of it is of no use
    if reader.at == text.len() { reader.way } else { Vec::new() }
}

type Read<T> = Result<T, String>;

/// Stands before the next byte; after an error, before the byte that is wrong.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// After an error, the value in which it is: the innermost part of the way first.
    way: Vec<Key>,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Read<Value> {
        let value = self.value(0)?;
        self.space();
        match self.peek() {
            None => Ok(value),
            Some(_) => Err(format!("{} after the end of the value", self.found())),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// What stands here, for a message.
    fn found(&self) -> String {
        match self.rest().chars().next() {
            None => "the end".to_owned(),
            Some(character) if character.is_control() => "a control character".to_owned(),
            Some(character) => format!("`{character}`"),
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let taken = self.peek() == Some(byte);
        self.at += usize::from(taken);
        taken
    }

    #[cold]
    fn inside(&mut self, key: Key, why: String) -> String {
        self.way.push(key);
        why
    }

    fn word(&mut self, word: &str, data: Data) -> Read<Value> {
        if !self.rest().starts_with(word) {
            return Err(format!("a value was expected, not {}", self.found()));
        }
        self.at += word.len();
        Ok(Value(data))
    }

    fn value(&mut self, depth: usize) -> Read<Value> {
        self.space();
        match self.peek() {
            Some(b'"') => self.string().map(|text| Value(Data::Text(text))),
            Some(b'{' | b'[') if depth == DEPTH_READ => {
                Err(format!("nesting deeper than {DEPTH_READ}"))
            }
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b't') => self.word("true", Data::Bool(true)),
            Some(b'f') => self.word("false", Data::Bool(false)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word("null", Data::Null),
        }
    }

    fn number(&mut self) -> Read<Value> {
        let text = self.rest();
        let length = number::scan(text.as_bytes());
        if length == 0 {
            return Err("a number that is not complete".to_owned());
        }
        self.at += length;
        if matches!(self.peek(), Some(b'0'..=b'9' | b'.' | b'e' | b'E')) {
            return Err("a number that JSON does not know".to_owned());
        }
        Ok(Value(Data::Number(number::read(text.get(..length).unwrap_or_default()))))
    }

    fn array(&mut self, depth: usize) -> Read<Value> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.take(b']') {
            return Ok(Value::from_items(items));
        }
        loop {
            let item = self.value(depth);
            items.push(item.map_err(|why| self.inside(Key::Item(items.len()), why))?);
            self.space();
            if self.take(b']') {
                return Ok(Value::from_items(items));
            }
            if !self.take(b',') {
                return Err(format!("`,` or `]` was expected, not {}", self.found()));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Read<Value> {
        self.at += 1;
        let mut members = Members::default();
        self.space();
        if self.take(b'}') {
            return Ok(Value::from_members(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(format!("a name in quotes was expected, not {}", self.found()));
            }
            let place = self.at;
            let name = self.string()?;
            self.space();
            if !self.take(b':') {
                return Err(format!("`:` was expected, not {}", self.found()));
            }
            let value = self.value(depth);
            let value = value.map_err(|why| self.inside(Key::Member(name.clone()), why))?;
            if let Err(name) = members.add(name, value) {
                self.at = place;
                let shown: String = name.chars().take(40).collect();
                let why = format!("the key {shown:?} stands twice");
                return Err(self.inside(Key::Member(name), why));
            }
            self.space();
            if self.take(b'}') {
                return Ok(Value::from_members(members));
            }
            if !self.take(b',') {
                return Err(format!("`,` or `}}` was expected, not {}", self.found()));
            }
        }
    }

    /// Stands before the opening quote.
    fn string(&mut self) -> Read<Text> {
        self.at += 1;
        let rest = self.rest();
        let length = plain(rest.as_bytes());
        if rest.as_bytes().get(length) == Some(&b'"') {
            self.at += length + 1;
            return Ok(rest.get(..length).unwrap_or_default().into());
        }
        self.escaped()
    }

    /// Stands behind the opening quote of a string that cannot be taken as it is.
    fn escaped(&mut self) -> Read<Text> {
        let mut made = String::new();
        loop {
            let rest = self.rest();
            let length = plain(rest.as_bytes());
            made.push_str(rest.get(..length).unwrap_or_default());
            self.at += length;
            match self.peek() {
                Some(b'\\') => made.push(self.escape()?),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(made.into());
                }
                Some(_) => return Err("a control character inside a string".to_owned()),
                None => return Err("a string without its closing quote".to_owned()),
            }
        }
    }

    /// Stands before the backslash.
    fn escape(&mut self) -> Read<char> {
        let bytes = self.rest().as_bytes();
        let plain = match bytes.get(1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err("an escape that JSON does not know".to_owned()),
        };
        self.at += 2;
        Ok(plain)
    }

    fn unicode(&mut self) -> Read<char> {
        let unit = |rest: &str| {
            let digits = rest.strip_prefix("\\u")?.get(..4)?;
            let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
        };
        let rest = self.rest();
        let first = unit(rest).ok_or("an escape without its four digits")?;
        let second = rest.get(6..).and_then(unit);
        let mut decoded = char::decode_utf16([Some(first), second].into_iter().flatten());
        let character = decoded.next().and_then(Result::ok);
        let character = character.ok_or("half a surrogate pair")?;
        self.at += 6 * character.len_utf16();
        Ok(character)
    }
}
