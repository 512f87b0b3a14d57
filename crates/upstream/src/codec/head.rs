//! The head of an answer: parsed, interim answers skipped, and how its body is framed (RFC 9112
//! section 6.3). What can be read in two ways is no answer.

use bytes::{Bytes, BytesMut};
use http::header::TRANSFER_ENCODING;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use portcullis_core::headers::lists;

use super::Bad;
use super::answer::{Chunk, Framing};
use crate::request;

/// An answer's head may have this many bytes and fields.
const HEAD_LIMIT: usize = 64 * 1024;
const FIELDS: usize = 100;
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
            let Some((length, status, minor)) = measure(input)? else { return Ok(None) };
            let bytes = input.split_to(length).freeze();
            match status.as_u16() {
                101 => {
                    let Some(handshake) = &request.websocket else {
                        return Err(Bad::new("101 without having been asked to switch"));
                    };
                    let head = read(&bytes, status, minor, &request.method)?;
                    handshake.check(&head.headers)?;
                    return Ok(Some(Head { framing: Framing::Ended, keep_alive: false, ..head }));
                }
                100..=199 => {
                    self.interim += 1;
                    if self.interim > INTERIM {
                        return Err(Bad::new("too many interim answers"));
                    }
                }
                _ => return read(&bytes, status, minor, &request.method).map(Some),
            }
        }
    }
}

/// The length of the first head in the bytes, its status and its minor version.
fn measure(input: &[u8]) -> Result<Option<(usize, StatusCode, u8)>, Bad> {
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
    Ok(Some((length, status, answer.version.unwrap_or(1))))
}

/// Reads a head that is known to be whole. Names and values are parts of its bytes, not copies.
fn read(bytes: &Bytes, status: StatusCode, minor: u8, method: &Method) -> Result<Head, Bad> {
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; FIELDS];
    let mut answer = httparse::Response::new(&mut []);
    let _ = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut answer, bytes, &mut fields)
        .map_err(|error| Bad::new(error.to_string()))?;
    let mut headers = HeaderMap::with_capacity(answer.headers.len());
    for field in answer.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
        match (name, value) {
            (Ok(name), Ok(value)) => drop(headers.append(name, value)),
            _ => return Err(Bad::new(format!("the field {} is malformed", field.name))),
        }
    }
    let keep_alive = keeps_alive(&headers, minor);
    let framing = framing(&headers, status, minor, method)?;
    let keep_alive = keep_alive && framing != Framing::UntilClose;
    Ok(Head { status, headers, framing, keep_alive })
}

fn keeps_alive(headers: &HeaderMap, minor: u8) -> bool {
    if !headers.contains_key(CONNECTION) {
        return minor == 1;
    }
    match minor {
        1 => !lists(headers, &CONNECTION, b"close"),
        _ => lists(headers, &CONNECTION, b"keep-alive"),
    }
}

fn framing(
    headers: &HeaderMap,
    status: StatusCode,
    minor: u8,
    method: &Method,
) -> Result<Framing, Bad> {
    let length = length(headers)?;
    let coded = headers.contains_key(TRANSFER_ENCODING);
    if coded {
        let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
        let only = (codings.next(), codings.next());
        let chunked =
            |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        if !matches!(only, (Some(one), None) if chunked(one)) || minor == 0 {
            return Err(Bad::new("its Transfer-Encoding is not exactly `chunked`"));
        }
        if length.is_some() {
            // Whoever sends both may mean another end than we do (RFC 9112 section 6.3).
            return Err(Bad::new("its length can be read in two ways"));
        }
    }
    Ok(match length {
        _ if *method == Method::HEAD => Framing::Ended,
        _ if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => Framing::Ended,
        _ if coded => Framing::Chunked(Chunk::Size),
        Some(0) => Framing::Ended,
        Some(length) => Framing::Length(length),
        None => Framing::UntilClose,
    })
}

/// The one length that all `Content-Length`s agree on.
fn length(headers: &HeaderMap) -> Result<Option<u64>, Bad> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for one in value.as_bytes().split(|byte| *byte == b',') {
            let text = std::str::from_utf8(one.trim_ascii()).unwrap_or_default();
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let one = text.parse::<u64>().ok().filter(|_| digits);
            let one = one.ok_or_else(|| Bad::new("its Content-Length is no number"))?;
            if length.replace(one).is_some_and(|before| before != one) {
                return Err(Bad::new("its Content-Lengths differ"));
            }
        }
    }
    Ok(length)
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
