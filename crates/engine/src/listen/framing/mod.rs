//! Where requests begin and end on an HTTP/1.1 connection, looked at before hyper reads a byte.
//!
//! hyper is lenient where leniency is dangerous: it drops a `Content-Length` beside a
//! `Transfer-Encoding` without a word, takes a bare LF for an end of line, and answers what it
//! refuses with an empty 400 that nobody sees in a log. Two programs that disagree about where a
//! request ends let one request hide in another, so a head that can be read in two ways is refused
//! here, and nothing of it or behind it is read any further.
//!
//! The rules are those of RFC 9112: request line (section 3), field lines (section 5), body length
//! (section 6), chunks (section 7.1). Where the RFC allows to repair or to refuse, we refuse.

use http::StatusCode;
use memchr::memchr;
use portcullis_core::Problem;

use crate::problems::{BAD_REQUEST, HEAD_TOO_LARGE};

/// hyper can hold no longer target.
const LONGEST_TARGET: usize = 65_534;
/// A chunk's size line: 15 hex digits and what stands behind a semicolon.
const LONGEST_CHUNK_LINE: usize = 1024;
const CHUNK_DIGITS: usize = 15;
/// Empty lines in front of a request, in bytes.
const MOST_BLANK: usize = 64;
/// More digits than any body needs; fewer than would overflow.
const LENGTH_DIGITS: usize = 18;

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub bytes: usize,
    pub fields: usize,
}

/// Why nothing more is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It can be read in no way, or in two. Says which rule was broken.
    Malformed(&'static str),
    TargetTooLong,
    /// More bytes or more fields than `bounds` allow.
    HeadTooLarge(&'static str),
}

impl Refusal {
    pub const TOO_MANY_FIELDS: Self = Self::HeadTooLarge("the request's head has too many fields");

    pub fn problem(self) -> Problem {
        match self {
            Self::Malformed(rule) => Problem::new(&BAD_REQUEST, rule),
            Self::TargetTooLong => {
                let problem = Problem::new(&HEAD_TOO_LARGE, "the request's target is too long");
                problem.status_of(StatusCode::URI_TOO_LONG)
            }
            Self::HeadTooLarge(what) => Problem::new(&HEAD_TOO_LARGE, what),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before or in a head.
    Head,
    Body(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    /// Behind a request that asks for a WebSocket: whether what follows is HTTP is not known yet, and
    /// when it was not asked for in vain it is none.
    Waiting,
}

/// What the head under way has said so far.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    begun: bool,
    http_10: bool,
    bytes: usize,
    fields: usize,
    length: Option<u64>,
    chunked: bool,
    websocket: bool,
}

/// Follows the requests of one connection.
#[derive(Debug)]
pub struct Framing {
    limits: Limits,
    state: State,
    head: Head,
    /// The begin of a line whose end has not come yet.
    partial: Vec<u8>,
    refused: Option<Refusal>,
    broke_off: bool,
}

impl Framing {
    pub fn new(limits: Limits) -> Self {
        let (state, head) = (State::Head, Head::default());
        Self { limits, state, head, partial: Vec::new(), refused: None, broke_off: false }
    }

    pub fn refused(&self) -> Option<Refusal> {
        self.refused
    }

    /// True when nothing of a next request has come.
    pub fn is_between(&self) -> bool {
        self.state == State::Head && !self.head.begun && self.partial.is_empty()
    }

    /// True while a request's body has not come to its end.
    pub fn owes_body(&self) -> bool {
        self.state != State::Head
    }

    /// True when what is refused is the rest of a body whose begin was let through: its request is
    /// under way, and whoever answers it answers for this.
    pub fn broke_off(&self) -> bool {
        self.broke_off
    }

    /// True behind a request that asks for a WebSocket: nothing is read as HTTP any more.
    pub fn waits(&self) -> bool {
        self.state == State::Waiting
    }

    /// Takes the next bytes, and says how many of them may be read: fewer than all when a request
    /// in them is refused, or nothing may be read behind it.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let begun = self.owes_body();
        let mut at = 0;
        let mut good = 0; // where the request under way began, in these bytes
        while self.refused.is_none() && !self.waits() && at < bytes.len() {
            let rest = bytes.get(at..).unwrap_or_default();
            match self.step(rest) {
                Ok(used) => at += used,
                Err(refusal) => self.refused = Some(refusal),
            }
            if self.is_between() || self.waits() {
                good = at;
            }
        }
        if self.waits() {
            return good;
        }
        if self.refused.is_none() {
            return bytes.len();
        }
        self.broke_off |= begun && good == 0;
        good
    }

    /// Goes as far as one state reaches.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        match self.state {
            State::Body(left) => Ok(self.skip(left, bytes, State::Body, State::Head)),
            State::Chunk(left) => Ok(self.skip(left, bytes, State::Chunk, State::ChunkEnd)),
            State::Head | State::ChunkSize | State::ChunkEnd | State::Trailers => self.line(bytes),
            State::Waiting => Ok(bytes.len()),
        }
    }

    fn skip(&mut self, left: u64, bytes: &[u8], same: impl Fn(u64) -> State, next: State) -> usize {
        let used = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left.saturating_sub(used as u64);
        if left > 0 {
            self.state = same(left);
        } else {
            self.enter(next);
        }
        used
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        if state == State::Head {
            if self.head.websocket {
                self.state = State::Waiting;
            }
            self.head = Head::default();
        }
    }

    /// Takes one line, or keeps what there is of it.
    fn line(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let used = memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
        self.count(used)?;
        let piece = bytes.get(..used).unwrap_or_default();
        if !piece.ends_with(b"\n") {
            self.partial.extend_from_slice(piece);
            return Ok(used);
        }
        if self.partial.is_empty() {
            self.whole_line(piece)?;
        } else {
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(piece);
            self.whole_line(&line)?;
        }
        Ok(used)
    }

    fn count(&mut self, more: usize) -> Result<(), Refusal> {
        if matches!(self.state, State::ChunkSize | State::ChunkEnd) {
            let too_long = self.partial.len() + more > LONGEST_CHUNK_LINE;
            return refuse_if(too_long, "a chunk's size line is too long");
        }
        self.head.bytes += more;
        if self.head.bytes <= self.limits.bytes {
            return Ok(());
        }
        Err(match self.head.begun {
            false => Refusal::TargetTooLong,
            true => Refusal::HeadTooLarge("the request's head has too many bytes"),
        })
    }

    fn whole_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return Err(Refusal::Malformed("a line ends with LF alone, without CR"));
        };
        match self.state {
            State::ChunkSize => self.chunk_size(line),
            State::ChunkEnd => {
                self.state = State::ChunkSize;
                refuse_if(!line.is_empty(), "a chunk is longer than it says")
            }
            State::Trailers if line.is_empty() => {
                self.enter(State::Head);
                Ok(())
            }
            State::Trailers => self.field(line),
            _ if !self.head.begun => self.request_line(line),
            _ if line.is_empty() => self.end_of_head(),
            _ => self.field(line),
        }
    }

    /// An empty line in front of it is skipped (RFC 9112 section 2.2).
    fn request_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        if line.is_empty() {
            return refuse_if(self.head.bytes > MOST_BLANK, "there are empty lines and no request");
        }
        let shape = Refusal::Malformed("the first line is not METHOD SP target SP HTTP/1.1");
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(shape);
        };
        if !is_token(method) || target.is_empty() {
            return Err(shape);
        }
        self.head.begun = true;
        self.head.http_10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(Refusal::Malformed("the version is neither HTTP/1.1 nor HTTP/1.0")),
        };
        if target.len() > LONGEST_TARGET {
            return Err(Refusal::TargetTooLong);
        }
        refuse_if(!is_target(target), "the target has characters that no URI has, or no path")
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Refusal> {
        self.head.fields += 1;
        if self.head.fields > self.limits.fields {
            return Err(Refusal::TOO_MANY_FIELDS);
        }
        let Some(colon) = memchr(b':', line) else {
            return Err(Refusal::Malformed("a line of the head is no field: it has no colon"));
        };
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        refuse_if(!is_token(name), "a field's name is empty or has characters that no name has")?;
        let plain = |byte: u8| (byte >= 0x20) & (byte != 0x7f) | (byte == b'\t');
        let harmless = value.iter().fold(true, |all, byte| all & plain(*byte));
        refuse_if(!harmless, "a field's value has control characters")?;
        if self.state == State::Trailers {
            return Ok(());
        }
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        match name.len() {
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                let mut words = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                self.head.websocket |= words.any(|word| word.eq_ignore_ascii_case(b"websocket"));
                Ok(())
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(value),
            _ => Ok(()),
        }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        refuse_if(self.head.length.is_some(), "there is more than one Content-Length")?;
        let digits = value.iter().all(u8::is_ascii_digit);
        refuse_if(
            !digits || value.is_empty() || value.len() > LENGTH_DIGITS,
            "the Content-Length is not a number of bytes",
        )?;
        let add = |sum: u64, digit: &u8| sum * 10 + u64::from(digit - b'0');
        self.head.length = Some(value.iter().fold(0, add));
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        refuse_if(self.head.chunked, "there is more than one Transfer-Encoding")?;
        let exact = value.eq_ignore_ascii_case(b"chunked");
        refuse_if(!exact, "the Transfer-Encoding is not exactly `chunked`")?;
        self.head.chunked = true;
        Ok(())
    }

    fn end_of_head(&mut self) -> Result<(), Refusal> {
        let Head { chunked, length, http_10, .. } = self.head;
        refuse_if(
            chunked && length.is_some(),
            "the length can be read in two ways: Content-Length with Transfer-Encoding",
        )?;
        refuse_if(chunked && http_10, "HTTP/1.0 has no Transfer-Encoding")?;
        self.enter(match length {
            _ if chunked => State::ChunkSize,
            Some(length) if length > 0 => State::Body(length),
            _ => State::Head,
        });
        Ok(())
    }

    fn chunk_size(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let end = memchr(b';', line).unwrap_or(line.len());
        let (digits, extension) = line.split_at_checked(end).unwrap_or_default();
        let digits = without_blanks(digits);
        let hex = digits.iter().all(u8::is_ascii_hexdigit);
        let plain = extension.iter().all(|byte| *byte >= 0x20 || *byte == b'\t');
        refuse_if(
            digits.is_empty() || digits.len() > CHUNK_DIGITS || !hex || !plain,
            "a chunk's size is not a hexadecimal number",
        )?;
        let text = std::str::from_utf8(digits).unwrap_or_default();
        match u64::from_str_radix(text, 16).unwrap_or(0) {
            0 => self.state = State::Trailers,
            size => self.state = State::Chunk(size),
        }
        Ok(())
    }
}

/// Without spaces and tabs at the end. What else counts as white space elsewhere does not here.
fn without_blanks(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !matches!(byte, b' ' | b'\t'));
    bytes.get(..end.map_or(0, |end| end + 1)).unwrap_or_default()
}

fn refuse_if(refused: bool, rule: &'static str) -> Result<(), Refusal> {
    if refused { Err(Refusal::Malformed(rule)) } else { Ok(()) }
}

/// A token (RFC 9110 section 5.6.2).
fn is_token(bytes: &[u8]) -> bool {
    let fits = |byte: &u8| TOKEN.get(usize::from(*byte)).copied().unwrap_or(false);
    !bytes.is_empty() && bytes.iter().all(fits)
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x7f {
        let special = matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        #[allow(clippy::indexing_slicing)] // a byte is always within 256
        {
            table[byte as usize] = special || byte.is_ascii_alphanumeric();
        }
        byte += 1;
    }
    table
};

/// What hyper takes for a target, and no fragment. A path is looked at closely later; here it only
/// has to be one.
fn is_target(target: &[u8]) -> bool {
    if !target.is_ascii() && std::str::from_utf8(target).is_err() {
        return false;
    }
    let never = |byte: u8| byte <= 0x20 || matches!(byte, b'<' | b'>' | b'#' | 0x7f);
    let query = memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at_checked(query).unwrap_or_default();
    if path.iter().any(|byte| never(*byte) || *byte == b'`')
        || query.iter().any(|byte| never(*byte) || *byte == b'"')
    {
        return false;
    }
    target.starts_with(b"/") || http::Uri::try_from(target).is_ok()
}

#[cfg(test)]
mod tests;
