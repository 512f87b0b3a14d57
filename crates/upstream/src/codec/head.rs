//! The head of an answer: parsed, interim answers skipped, and how its body is framed (RFC 9112
//! section 6.3). What can be read in two ways is no answer.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::{Method, StatusCode};
use portcullis_core::headers::lists;
use smallvec::SmallVec;

use super::Bad;
use super::answer::{Chunk, Framing};
use crate::request;

/// An answer's head may have this many bytes and fields.
const HEAD_LIMIT: usize = 64 * 1024;
const FIELDS: usize = 100;
/// Room for what the gateway adds to an answer. hyper takes the map of one answer for the next request of
/// the connection, to which more is added.
const ADDED: usize = 7;
/// More interim answers than this are no answer.
const INTERIM: u8 = 16;

/// A whole head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) framing: Framing,
    /// The connection may be used again once the body has ended.
    pub(crate) keep_alive: bool,
}

/// Takes heads off the front of what came.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    interim: u8,
}

impl Heads {
    /// The final head, once all of it is there.
    pub(crate) fn take(
        &mut self,
        input: &mut BytesMut,
        request: &request::Head,
    ) -> Result<Option<Head>, Bad> {
        loop {
            let Some(measured) = measure(input)? else { return Ok(None) };
            let bytes = input.split_to(measured.length).freeze();
            match measured.status.as_u16() {
                101 => {
                    let Some(handshake) = &request.websocket else {
                        return Err(Bad::new("101 without having been asked to switch"));
                    };
                    let head = read(&bytes, &measured, &request.method)?;
                    handshake.check(&head.headers)?;
                    return Ok(Some(Head { framing: Framing::Ended, keep_alive: false, ..head }));
                }
                100..=199 => {
                    self.interim += 1;
                    if self.interim > INTERIM {
                        return Err(Bad::new("too many interim answers"));
                    }
                }
                _ => return read(&bytes, &measured, &request.method).map(Some),
            }
        }
    }
}

/// What was found out about the first head in some bytes.
struct Measured {
    length: usize,
    status: StatusCode,
    minor: u8,
    /// Where the names and values of its fields stand.
    fields: SmallVec<[(Range<usize>, Range<usize>); 16]>,
}

fn measure(input: &[u8]) -> Result<Option<Measured>, Bad> {
    if input.is_empty() {
        return Ok(None);
    }
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; FIELDS];
    let mut answer = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut answer, input, &mut fields)
        .map_err(|error| Bad::new(error.to_string()))?;
    let httparse::Status::Complete(length) = parsed else {
        return match input.len() > HEAD_LIMIT {
            true => Err(Bad::new("its head is too large")),
            false => Ok(None),
        };
    };
    let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or_else(|| Bad::new("its status is no number from 100 to 999"))?;
    // An empty part may stand anywhere.
    let at = |part: &[u8]| {
        let start = part.as_ptr().addr().checked_sub(input.as_ptr().addr());
        start.filter(|_| !part.is_empty()).map_or(0..0, |start| start..start + part.len())
    };
    let fields = answer.headers.iter().map(|field| (at(field.name.as_bytes()), at(field.value)));
    Ok(Some(Measured {
        length,
        status,
        minor: answer.version.unwrap_or(1),
        fields: fields.collect(),
    }))
}

/// Reads a head that is known to be whole. Values are parts of its bytes, not copies.
fn read(bytes: &Bytes, measured: &Measured, method: &Method) -> Result<Head, Bad> {
    let &Measured { status, minor, ref fields, .. } = measured;
    let mut headers = HeaderMap::with_capacity(fields.len() + ADDED);
    let mut about = About::default();
    for (name, value) in fields {
        let name = bytes.get(name.clone()).unwrap_or_default();
        let field = HeaderName::from_bytes(name).ok();
        let value = HeaderValue::from_maybe_shared(bytes.slice(value.clone())).ok();
        let Some((name, value)) = field.zip(value) else {
            let name = String::from_utf8_lossy(name);
            return Err(Bad::new(format!("the field {name} is malformed")));
        };
        if about.note(&name, &value)? {
            headers.append(name, value);
        }
    }
    let framing = about.framing(status, minor, method)?;
    if let (Some(length), false) = (about.length, about.is_plain) {
        // Several equal ones are allowed on the wire (RFC 9110 section 8.6), and not passed on.
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let keep_alive = framing != Framing::UntilClose && keeps_alive(&headers, &about, minor);
    Ok(Head { status, headers, framing, keep_alive })
}

/// What a head says about its message and its connection.
#[derive(Default)]
struct About {
    /// The one length that all `Content-Length`s agree on.
    length: Option<u64>,
    /// It is said once, and by digits only.
    is_plain: bool,
    /// How many `Transfer-Encoding`s there are, and whether the last is exactly `chunked`.
    codings: usize,
    is_chunked: bool,
    /// `Connection` says no more than that it is kept, as it does most often; or something else as well.
    says_kept: bool,
    has_options: bool,
}

impl About {
    /// Whether it belongs to the answer's headers.
    fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<bool, Bad> {
        if *name == CONTENT_LENGTH {
            self.is_plain =
                self.length.is_none() && value.as_bytes().iter().all(u8::is_ascii_digit);
            for one in value.as_bytes().split(|byte| *byte == b',') {
                let one = number(one.trim_ascii());
                let one = one.ok_or_else(|| Bad::new("its Content-Length is no number"))?;
                if self.length.replace(one).is_some_and(|before| before != one) {
                    return Err(Bad::new("its Content-Lengths differ"));
                }
            }
        } else if *name == TRANSFER_ENCODING {
            self.codings += 1;
            self.is_chunked = value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        } else if *name == CONNECTION {
            let is_kept = value.as_bytes().eq_ignore_ascii_case(b"keep-alive");
            self.says_kept |= is_kept;
            self.has_options |= !is_kept;
            return Ok(!is_kept);
        }
        Ok(true)
    }

    fn framing(&self, status: StatusCode, minor: u8, method: &Method) -> Result<Framing, Bad> {
        let is_coded = self.codings > 0;
        if is_coded && !(self.is_chunked && self.codings == 1 && minor == 1) {
            return Err(Bad::new("its Transfer-Encoding is not exactly `chunked`"));
        }
        if is_coded && self.length.is_some() {
            // Whoever sends both may mean another end than we do (RFC 9112 section 6.3).
            return Err(Bad::new("its length can be read in two ways"));
        }
        Ok(match self.length {
            _ if *method == Method::HEAD => Framing::Ended,
            _ if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => {
                Framing::Ended
            }
            _ if is_coded => Framing::Chunked(Chunk::Size),
            Some(0) => Framing::Ended,
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        })
    }
}

/// Digits only: a sign would be parsed as well.
fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    text.parse().ok().filter(|_| digits.iter().all(u8::is_ascii_digit))
}

fn keeps_alive(headers: &HeaderMap, about: &About, minor: u8) -> bool {
    match minor {
        1 => !(about.has_options && lists(headers, &CONNECTION, b"close")),
        _ => about.says_kept || about.has_options && lists(headers, &CONNECTION, b"keep-alive"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str) -> Result<Option<Head>, Bad> {
        Heads::default().take(&mut BytesMut::from(text), &request::Head::bare())
    }

    fn framed(fields: &str) -> Result<(Framing, bool), Bad> {
        let head = take(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"))?.unwrap();
        Ok((head.framing, head.keep_alive))
    }

    #[test]
    fn bodies_end_where_the_head_says() {
        assert_eq!(framed("content-length: 5\r\n"), Ok((Framing::Length(5), true)));
        assert_eq!(framed("content-length: 0\r\n"), Ok((Framing::Ended, true)));
        assert_eq!(framed(""), Ok((Framing::UntilClose, false)));
        assert!(!framed("content-length: 5\r\nconnection: x, Close\r\n").unwrap().1);
        let chunked = framed("Transfer-Encoding: Chunked\r\n").unwrap();
        assert_eq!(chunked, (Framing::Chunked(Chunk::Size), true));
        let old = take("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n").unwrap().unwrap();
        assert!(!old.keep_alive);
        let old = "HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\n";
        assert!(take(old).unwrap().unwrap().keep_alive);
    }

    #[test]
    fn at_most_one_length_is_passed_on() {
        for (fields, left) in [
            ("content-length: 5\r\n", Some("5")),
            ("content-length: 5\r\ncontent-length: 5\r\n", Some("5")),
            ("content-length: 5, 5\r\n", Some("5")),
            ("transfer-encoding: chunked\r\n", None),
        ] {
            let head = take(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).unwrap().unwrap();
            let lengths: Vec<_> = head.headers.get_all(CONTENT_LENGTH).iter().collect();
            assert_eq!(lengths, left.into_iter().collect::<Vec<_>>(), "{fields}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_no_answer() {
        for fields in [
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length: +5\r\n",
            "content-length: \r\n",
            "content-length: 99999999999999999999\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: identity\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 9\r\n",
            "content-length: 9\r\ntransfer-encoding: chunked\r\n",
            "a b: c\r\n",
            "a: b\r\n c\r\n",
        ] {
            assert!(framed(fields).is_err(), "{fields}");
        }
        assert!(take("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(take("HTTP/2 200 OK\r\n\r\n").is_err());
        assert!(take("HTTP/1.1 101 Switching\r\n\r\n").is_err());
    }

    #[test]
    fn heads_have_bounds() {
        let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(HEAD_LIMIT));
        assert!(take(&endless).is_err());
        let many = "x: y\r\n".repeat(FIELDS + 1);
        assert!(framed(&many).is_err());
        let interim = "HTTP/1.1 103 Hints\r\n\r\n".repeat(usize::from(INTERIM) + 1);
        assert!(take(&interim).is_err());
        assert!(take("HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 200 OK\r\ncont").unwrap().is_none());
    }
}
