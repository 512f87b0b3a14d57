//! A request on its way out: its head, and its body framed as the head says, in as few writes as
//! its pieces allow (RFC 9112 sections 3, 5 and 7.1).

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue};
use http_body::Body as _;
use portcullis_core::BodyError;

use crate::request::{Framing, Ready, Request};

/// Data up to this size is copied behind what is written before it: one slice less.
const SMALL: usize = 1024;

/// A request and what of it has not gone out yet.
pub(crate) struct Sending {
    request: Ready,
    /// How much of a body with a length is still to come.
    left: u64,
    ended: bool,
    /// Written in this order: what stands before the data, the data, and what ends it.
    before: BytesMut,
    data: Bytes,
    after: &'static [u8],
    begun: bool,
}

impl Sending {
    pub(crate) fn new(request: Ready, mut buffer: BytesMut) -> Self {
        buffer.clear();
        write_head(&request, &mut buffer);
        let ended = request.body.is_end_stream() && request.framing != Framing::Chunked;
        let left = if let Framing::Length(length) = request.framing { length } else { 0 };
        let (before, data) = (buffer, Bytes::new());
        Self { request, left, ended, before, data, after: b"", begun: false }
    }

    fn is_chunked(&self) -> bool {
        self.request.framing == Framing::Chunked
    }

    /// True once something of it was written.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// True once all of it was written.
    pub(crate) fn is_done(&self) -> bool {
        self.ended && !self.has_output()
    }

    /// The request as it was, when its body can be sent again.
    pub(crate) fn take_back(mut self) -> Option<Ready> {
        self.request.body.rewind().then_some(self.request)
    }

    /// The buffer, for the next request.
    pub(crate) fn into_buffer(self) -> BytesMut {
        self.before
    }

    pub(crate) fn has_output(&self) -> bool {
        !(self.before.is_empty() && self.data.is_empty() && self.after.is_empty())
    }

    /// What can be written now.
    pub(crate) fn output(&self) -> [IoSlice<'_>; 3] {
        [&*self.before, &*self.data, self.after].map(IoSlice::new)
    }

    pub(crate) fn wrote(&mut self, mut count: usize) {
        self.begun |= count > 0;
        let first = count.min(self.before.len());
        self.before.advance(first);
        count -= first;
        let second = count.min(self.data.len());
        self.data.advance(second);
        count -= second;
        self.after = self.after.get(count..).unwrap_or_default();
    }

    /// Takes the next piece of the body when there is room for one. Ready when there is something to
    /// write or all was written.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while !self.ended && self.data.is_empty() && self.after.is_empty() {
            let Some(frame) = ready!(Pin::new(&mut self.request.body).poll_frame(cx)) else {
                self.end(None)?;
                break;
            };
            match frame?.into_data() {
                Ok(data) => self.queue(data)?,
                Err(frame) => self.end(frame.into_trailers().ok())?,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn queue(&mut self, data: Bytes) -> Result<(), BodyError> {
        if data.is_empty() {
            return Ok(());
        }
        if self.is_chunked() {
            self.before.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
            self.after = b"\r\n";
        } else {
            let left = self.left.checked_sub(data.len() as u64);
            self.left = left.ok_or_else(|| other("the body is longer than its length"))?;
            self.ended = self.left == 0 && self.request.body.is_end_stream();
        }
        if data.len() <= SMALL && self.begun {
            self.before.extend_from_slice(&data);
            self.before.extend_from_slice(std::mem::take(&mut self.after));
        } else {
            self.data = data;
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), BodyError> {
        self.ended = true;
        if !self.is_chunked() {
            return match self.left {
                0 => Ok(()),
                _ => Err(other("the body is shorter than its length")),
            };
        }
        self.before.extend_from_slice(b"0\r\n");
        for (name, value) in trailers.iter().flatten() {
            write_field(&mut self.before, name, value);
        }
        self.before.extend_from_slice(b"\r\n");
        Ok(())
    }
}

fn other(text: &str) -> BodyError {
    BodyError::Other(text.to_owned())
}

fn write_head(request: &Request, out: &mut BytesMut) {
    let head = &request.head;
    for part in [head.method.as_str(), " ", head.path_and_query.as_str(), " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    write_field(out, &HOST, &request.host);
    for (name, value) in request.fields() {
        write_field(out, name, value);
    }
    match request.framing {
        Framing::Nothing => {}
        Framing::Length(length) => write_field(out, &CONTENT_LENGTH, &length.into()),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

fn write_field(out: &mut BytesMut, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(name.as_ref());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}
