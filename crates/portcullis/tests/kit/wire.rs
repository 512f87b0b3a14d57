//! HTTP/1.1 read off a socket, byte by byte under the test's control: for upstreams that must be
//! able to misbehave, and for clients that send what no library would.

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::fields::Fields;

/// Heads and bodies beyond this are a test's mistake.
const LIMIT: usize = 64 * 1024 * 1024;
const FIELDS: usize = 512;

/// A socket and what was read from it but not used yet.
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// The first line of a message and its fields.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// A request's method; empty in an answer.
    pub method: String,
    /// A request's target as sent; empty in an answer.
    pub target: String,
    /// An answer's status; 0 in a request.
    pub status: u16,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor: u8,
    pub fields: Fields,
}

/// How a body's end is known (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    ToEnd,
}

/// A whole body and the trailers after it.
#[derive(Clone, Debug, Default)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub trailers: Fields,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        Self { stream, buffer: Vec::new() }
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await.context("writing to the socket")
    }

    /// The next request's head; `None` when the peer has closed instead.
    pub async fn request(&mut self) -> Result<Option<Head>> {
        self.head(|bytes| {
            let mut slots = [httparse::EMPTY_HEADER; FIELDS];
            let mut request = httparse::Request::new(&mut slots);
            let httparse::Status::Complete(length) = request.parse(bytes)? else { return Ok(None) };
            let head = Head {
                method: request.method.unwrap_or_default().to_owned(),
                target: request.path.unwrap_or_default().to_owned(),
                minor: request.version.unwrap_or(1),
                fields: fields(request.headers),
                status: 0,
            };
            Ok(Some((head, length)))
        })
        .await
    }

    /// The next answer's head; `None` when the peer has closed instead.
    pub async fn response(&mut self) -> Result<Option<Head>> {
        self.head(|bytes| {
            let mut slots = [httparse::EMPTY_HEADER; FIELDS];
            let mut response = httparse::Response::new(&mut slots);
            let httparse::Status::Complete(length) = response.parse(bytes)? else {
                return Ok(None);
            };
            let head = Head {
                status: response.code.unwrap_or(0),
                minor: response.version.unwrap_or(1),
                fields: fields(response.headers),
                ..Head::default()
            };
            Ok(Some((head, length)))
        })
        .await
    }

    /// The body that belongs to a request's head.
    pub async fn request_body(&mut self, head: &Head) -> Result<Body> {
        let framing = framing(&head.fields)?.unwrap_or(Framing::Length(0));
        self.body(framing).await
    }

    /// The body that belongs to an answer's head; `to_head` when the request was a HEAD.
    pub async fn response_body(&mut self, head: &Head, to_head: bool) -> Result<Body> {
        if head.status == 101 {
            return self.body(Framing::ToEnd).await; // no body: what came on the connection after it
        }
        if to_head || head.status < 200 || matches!(head.status, 204 | 304) {
            return Ok(Body::default());
        }
        let framing = framing(&head.fields)?.unwrap_or(Framing::ToEnd);
        self.body(framing).await
    }

    /// Waits for the peer to close; an error when it sends something instead.
    pub async fn closed(&mut self) -> Result<()> {
        if self.buffer.is_empty() && !self.fill().await.unwrap_or(false) {
            return Ok(());
        }
        let more = String::from_utf8_lossy(self.buffer.get(..200).unwrap_or(&self.buffer));
        bail!("not closed; more came: {more:?}")
    }

    /// Closes with a reset (RST) in place of an orderly end.
    pub fn reset(self) -> Result<()> {
        self.stream.set_zero_linger().context("asking for a reset")
    }

    /// Reads more into the buffer; false at the peer's end.
    async fn fill(&mut self) -> Result<bool> {
        if self.buffer.len() > LIMIT {
            bail!("more than {LIMIT} bytes in one message");
        }
        let count = self.stream.read_buf(&mut self.buffer).await.context("reading")?;
        Ok(count > 0)
    }

    async fn head(
        &mut self,
        parse: impl Fn(&[u8]) -> Result<Option<(Head, usize)>, httparse::Error>,
    ) -> Result<Option<Head>> {
        loop {
            let parsed = parse(&self.buffer).map_err(|error| {
                let start = String::from_utf8_lossy(self.buffer.get(..200).unwrap_or(&self.buffer));
                anyhow!("not HTTP/1.1 ({error}): {start:?}")
            })?;
            if let Some((head, length)) = parsed {
                self.buffer.drain(..length);
                return Ok(Some(head));
            }
            if !self.fill().await? {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                bail!("closed in the middle of a head");
            }
        }
    }

    async fn body(&mut self, framing: Framing) -> Result<Body> {
        match framing {
            Framing::Length(length) => {
                Ok(Body { bytes: self.take(length).await?, trailers: Fields::default() })
            }
            Framing::Chunked => self.chunked().await,
            Framing::ToEnd => {
                while self.fill().await? {}
                Ok(Body { bytes: std::mem::take(&mut self.buffer), trailers: Fields::default() })
            }
        }
    }

    async fn chunked(&mut self) -> Result<Body> {
        let mut body = Body::default();
        loop {
            let line = self.line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let length = usize::from_str_radix(digits, 16)
                .map_err(|_| anyhow!("not a chunk's length: {line:?}"))?;
            if length == 0 {
                break;
            }
            body.bytes.append(&mut self.take(length).await?);
            self.line().await?;
        }
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else { return Ok(body) };
            body.trailers.push(name, value.trim().as_bytes());
        }
    }

    async fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if !self.fill().await? {
                bail!("closed in the middle of a chunked body");
            }
        }
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.fill().await? {
                bail!("closed after {} of a body's {length} bytes", self.buffer.len());
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }
}

fn fields(headers: &[httparse::Header<'_>]) -> Fields {
    let mut fields = Fields::default();
    for header in headers {
        fields.push(header.name, header.value);
    }
    fields
}

fn framing(fields: &Fields) -> Result<Option<Framing>> {
    if let Some(coding) = fields.joined("transfer-encoding") {
        if coding.eq_ignore_ascii_case("chunked") {
            return Ok(Some(Framing::Chunked));
        }
        bail!("transfer-encoding {coding:?}");
    }
    let lengths: Vec<_> = fields.all("content-length").collect();
    match lengths.as_slice() {
        [] => Ok(None),
        [length] => Ok(Some(Framing::Length(length.parse().context("content-length")?))),
        several => bail!("more than one content-length: {several:?}"),
    }
}
