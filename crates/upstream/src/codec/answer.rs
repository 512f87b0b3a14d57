//! The body of an answer: taken off what came, frame by frame, as its head says it is framed
//! (RFC 9112 sections 6.3 and 7.1).

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;

use super::Bad;

/// A chunk's size line, digits and extensions.
const SIZE_LINE: usize = 4096;
/// Trailers may have this many bytes and fields.
const TRAILERS: usize = 16 * 1024;
const FIELDS: usize = 64;

/// How the rest of a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Ended,
    /// So many bytes are left.
    Length(u64),
    Chunked(Chunk),
    /// To the connection's end.
    UntilClose,
}

/// Where in a chunked body the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    Size,
    Data(u64),
    /// The line end behind a chunk's data.
    End,
    Trailers,
}

/// What can be taken now.
#[derive(Debug)]
pub(crate) enum Taken {
    Frame(Frame<Bytes>),
    /// More has to come first.
    More,
    /// The body has ended.
    End,
}

impl Framing {
    pub(crate) fn has_ended(self) -> bool {
        self == Self::Ended
    }

    /// The bytes that are certain to come.
    pub(crate) fn exact(self) -> Option<u64> {
        match self {
            Self::Ended => Some(0),
            Self::Length(left) => Some(left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Takes the next frame off the front of what came.
    pub(crate) fn take(&mut self, input: &mut BytesMut) -> Result<Taken, Bad> {
        loop {
            return Ok(match *self {
                Self::Ended => Taken::End,
                _ if input.is_empty() => Taken::More,
                Self::UntilClose => Taken::Frame(Frame::data(input.split().freeze())),
                Self::Length(left) => {
                    let (data, left) = cut(input, left);
                    *self = if left == 0 { Self::Ended } else { Self::Length(left) };
                    Taken::Frame(Frame::data(data))
                }
                Self::Chunked(Chunk::Data(left)) => {
                    let (data, left) = cut(input, left);
                    *self = Self::Chunked(if left == 0 { Chunk::End } else { Chunk::Data(left) });
                    Taken::Frame(Frame::data(data))
                }
                Self::Chunked(Chunk::Trailers) => match trailers(input)? {
                    None => Taken::More,
                    Some(fields) => {
                        *self = Self::Ended;
                        match fields.is_empty() {
                            true => Taken::End,
                            false => Taken::Frame(Frame::trailers(fields)),
                        }
                    }
                },
                Self::Chunked(chunk) => match line(input)? {
                    None => Taken::More,
                    Some(line) => {
                        *self = Self::Chunked(chunk.after(&line)?);
                        continue;
                    }
                },
            });
        }
    }

    /// What it means that the connection has ended.
    pub(crate) fn close(&mut self) -> Result<(), Bad> {
        match self {
            Self::Ended => Ok(()),
            Self::UntilClose => {
                *self = Self::Ended;
                Ok(())
            }
            Self::Length(_) | Self::Chunked(_) => {
                Err(Bad::new("the connection closed before the body had ended"))
            }
        }
    }
}

impl Chunk {
    /// What follows a line between chunks.
    fn after(self, line: &[u8]) -> Result<Self, Bad> {
        if self == Self::End {
            return match line.is_empty() {
                true => Ok(Self::Size),
                false => Err(Bad::new("a chunk is longer than it says")),
            };
        }
        if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(Bad::new("a chunk's size line has control characters"));
        }
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
        let text = std::str::from_utf8(digits).unwrap_or_default();
        let hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u64::from_str_radix(text, 16).ok().filter(|_| hex) {
            None => Err(Bad::new("a chunk's size is no hexadecimal number")),
            Some(0) => Ok(Self::Trailers),
            Some(size) => Ok(Self::Data(size)),
        }
    }
}

/// At most `left` bytes off the front, and how many are left then.
fn cut(input: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
    (input.split_to(length).freeze(), left - length as u64)
}

/// A line off the front, without its end.
fn line(input: &mut BytesMut) -> Result<Option<BytesMut>, Bad> {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
        return match input.len() > SIZE_LINE {
            true => Err(Bad::new("a chunk's size line is too long")),
            false => Ok(None),
        };
    };
    let mut line = input.split_to(end + 1);
    line.truncate(end);
    match line.last() {
        Some(b'\r') => {
            line.truncate(end - 1);
            Ok(Some(line))
        }
        _ => Err(Bad::new("a line between chunks ends with LF alone")),
    }
}

/// The trailer section, once its empty line is there.
fn trailers(input: &mut BytesMut) -> Result<Option<HeaderMap>, Bad> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let (length, fields) = match httparse::parse_headers(input, &mut fields) {
        Ok(httparse::Status::Complete(parsed)) => parsed,
        Ok(httparse::Status::Partial) if input.len() <= TRAILERS => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(Bad::new("its trailers are too large")),
        Err(error) => return Err(Bad::new(format!("its trailers: {error}"))),
    };
    let mut map = HeaderMap::new();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        match (name, value) {
            // What frames a message cannot come after it (RFC 9110 section 6.5.1).
            (Ok(name), _) if matches!(name.as_str(), "content-length" | "transfer-encoding") => {}
            (Ok(name), Ok(value)) => drop(map.append(name, value)),
            _ => return Err(Bad::new(format!("the trailer {} is malformed", field.name))),
        }
    }
    drop(input.split_to(length));
    Ok(Some(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that a body gives when it comes in pieces of this size.
    fn read(framing: Framing, text: &str, size: usize) -> Result<(String, Option<HeaderMap>), Bad> {
        let (mut framing, mut input) = (framing, BytesMut::new());
        let (mut body, mut trailers) = (String::new(), None);
        for piece in text.as_bytes().chunks(size) {
            input.extend_from_slice(piece);
            while let Taken::Frame(frame) = framing.take(&mut input)? {
                match frame.into_data() {
                    Ok(data) => body.push_str(std::str::from_utf8(&data).unwrap()),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                }
            }
        }
        framing.close()?;
        Ok((body, trailers))
    }

    #[test]
    fn bodies_are_the_same_however_they_are_cut() {
        for size in 1..40 {
            let chunked = Framing::Chunked(Chunk::Size);
            let text = "3;a=\"b\"\r\nabc\r\n00b \r\nhello\nworld\r\n0\r\nX-Sum: 5\r\n\r\n";
            let (body, trailers) = read(chunked, text, size).unwrap();
            assert_eq!(body, "abchello\nworld");
            assert_eq!(trailers.unwrap()["x-sum"], "5");
            let (body, trailers) = read(chunked, "2\r\nab\r\n0\r\n\r\n", size).unwrap();
            assert_eq!((body.as_str(), trailers), ("ab", None));
            assert_eq!(read(Framing::Length(3), "abc", size).unwrap().0, "abc");
            assert_eq!(read(Framing::UntilClose, "abc", size).unwrap().0, "abc");
        }
    }

    #[test]
    fn a_body_that_is_not_what_its_head_says_is_bad() {
        assert!(read(Framing::Length(4), "abc", 9).is_err());
        for text in [
            "3\r\nabc\r\n",
            "zz\r\nabc\r\n0\r\n\r\n",
            "3\r\nabcd\r\n0\r\n\r\n",
            "3\nabc\r\n0\r\n\r\n",
            "\r\n",
            "-1\r\n",
            "fffffffffffffffff\r\n",
            "3\r\r\nabc\r\n0\r\n\r\n",
            "3\u{c}\r\nabc\r\n0\r\n\r\n",
            "3;a\rb\r\nabc\r\n0\r\n\r\n",
            "3;a\0\r\nabc\r\n0\r\n\r\n",
            "0\r\nX Y: z\r\n\r\n",
        ] {
            assert!(read(Framing::Chunked(Chunk::Size), text, 99).is_err(), "{text:?}");
        }
        let long = format!("1;{}", "x".repeat(SIZE_LINE));
        assert!(read(Framing::Chunked(Chunk::Size), &long, 9).is_err());
    }
}
