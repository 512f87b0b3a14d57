//! Clients of the gateway: a well-behaved one over HTTP/1.1 or HTTP/2, whose connection can be kept,
//! and a raw one that sends any bytes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::AbortHandle;

use super::certificates::connect;
use super::fields::{Fields, bytes_of};
use super::pause::within;
use super::wire::Wire;

/// A request as a test states it.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The Host; the address that is connected to when left out.
    pub host: Option<String>,
    pub headers: Fields,
    pub body: AskBody,
    pub trailers: Fields,
    pub http2: bool,
    /// The address to come from, for gateways that tell clients apart by it.
    pub from: Option<IpAddr>,
    pub tls: Option<AskTls>,
    /// Bytes in front of everything, TLS included.
    pub before: Vec<u8>,
}

/// How a client speaks TLS.
#[derive(Clone, Debug)]
pub struct AskTls {
    pub config: Arc<rustls::ClientConfig>,
    /// The host that it asks for.
    pub server_name: String,
}

/// Bytes in the clear or through TLS.
trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

#[derive(Clone, Debug, Default)]
pub enum AskBody {
    #[default]
    Nothing,
    /// With a Content-Length.
    Whole(Bytes),
    /// In chunks, without a length.
    Chunks(Vec<Bytes>),
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Got {
    pub status: u16,
    pub headers: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
    /// `100 Continue` came first; seen of raw bytes only.
    pub continued: bool,
    /// To the answer's head, and to its last byte.
    pub head_took: Duration,
    pub took: Duration,
    /// Why the body broke off before its end.
    pub broken: Option<String>,
}

impl Got {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }
}

/// An open connection. It ends with its value.
pub struct Connection {
    address: SocketAddr,
    sender: Sender,
    task: AbortHandle,
}

enum Sender {
    One(http1::SendRequest<Frames>),
    Two(http2::SendRequest<Frames>),
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    pub async fn open(address: SocketAddr, http2: bool, from: Option<IpAddr>) -> Result<Self> {
        Self::open_for(address, &Ask { http2, from, ..Ask::default() }).await
    }

    /// As a request wants it.
    pub async fn open_for(address: SocketAddr, ask: &Ask) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = ask.from {
            socket.bind(SocketAddr::new(from, 0)).with_context(|| format!("coming from {from}"))?;
        }
        let mut stream = socket.connect(address).await.context("connecting to the gateway")?;
        stream.set_nodelay(true)?;
        stream.write_all(&ask.before).await?;
        let stream: Box<dyn Io> = match &ask.tls {
            Some(tls) => Box::new(connect(&tls.config, &tls.server_name, stream).await?),
            None => Box::new(stream),
        };
        let io = TokioIo::new(stream);
        let (sender, task) = if ask.http2 {
            let (sender, connection) = http2::handshake(Local, io).await?;
            (Sender::Two(sender), tokio::task::spawn_local(drive(connection)))
        } else {
            let (sender, connection) = http1::handshake(io).await?;
            (Sender::One(sender), tokio::task::spawn_local(drive(connection)))
        };
        Ok(Self { address, sender, task: task.abort_handle() })
    }

    pub async fn send(&mut self, ask: &Ask, bound: Duration) -> Result<Got> {
        let what = format!("the answer to {} {}", ask.method, ask.path);
        within(bound, &what, self.exchange(ask)).await?
    }

    #[allow(clippy::disallowed_methods)] // how long a real answer took
    async fn exchange(&mut self, ask: &Ask) -> Result<Got> {
        let start = Instant::now();
        let request = self.request(ask)?;
        let response = match &mut self.sender {
            Sender::One(sender) => {
                sender.ready().await.context("the connection is closed")?;
                sender.send_request(request).await
            }
            Sender::Two(sender) => {
                sender.ready().await.context("the connection is closed")?;
                sender.send_request(request).await
            }
        };
        let (parts, body) = response.context("no answer")?.into_parts();
        let mut got = Got {
            status: parts.status.as_u16(),
            headers: Fields::from_map(&parts.headers),
            head_took: start.elapsed(),
            ..Got::default()
        };
        collect(&mut got, body).await;
        got.took = start.elapsed();
        Ok(got)
    }

    /// HTTP/1.1 gets a path and a Host header, HTTP/2 an `:authority` (RFC 9113 section 8.3.1).
    fn request(&self, ask: &Ask) -> Result<http::Request<Frames>> {
        let authority = ask.host.clone().unwrap_or_else(|| self.address.to_string());
        let mut builder = http::Request::builder().method(ask.method.as_str());
        builder = match self.sender {
            Sender::One(_) => builder.uri(ask.path.as_str()).header("host", authority),
            Sender::Two(_) => builder.uri(format!("http://{authority}{}", ask.path)),
        };
        for (name, value) in &ask.headers.0 {
            builder = builder.header(name.as_str(), bytes_of(value));
        }
        if !ask.trailers.0.is_empty() {
            let names: Vec<_> = ask.trailers.0.iter().map(|(name, _)| name.as_str()).collect();
            builder = builder.header("trailer", names.join(", "));
        }
        Ok(builder.body(Frames::of(ask)?)?)
    }
}

async fn drive(connection: impl Future<Output = hyper::Result<()>>) {
    let _ = connection.await; // what went wrong is told to the request that it went wrong for
}

async fn collect(got: &mut Got, mut body: Incoming) {
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => got.body.extend_from_slice(&data),
            Ok(Err(frame)) => {
                if let Ok(trailers) = frame.into_trailers() {
                    got.trailers = Fields::from_map(&trailers);
                }
            }
            Err(error) => {
                got.broken = Some(error.to_string());
                return;
            }
        }
    }
}

/// One request on a connection of its own.
pub async fn ask(address: SocketAddr, ask: &Ask, bound: Duration) -> Result<Got> {
    Connection::open_for(address, ask).await?.send(ask, bound).await
}

/// What came back to raw bytes.
#[derive(Debug, Default)]
pub struct RawGot {
    pub answers: Vec<Got>,
    /// The gateway closed the connection after the last of them.
    pub closed: bool,
}

/// Sends bytes as they are, then reads `answers` answers, and the end when `wait_for_end`.
pub async fn raw(
    address: SocketAddr,
    bytes: &[u8],
    answers: usize,
    wait_for_end: bool,
    bound: Duration,
) -> Result<RawGot> {
    let mut wire = Wire::new(TcpStream::connect(address).await?);
    let sent = wire.write(bytes).await; // the gateway may have answered and closed already
    let to_head = bytes.starts_with(b"HEAD ");
    let mut got = RawGot::default();
    within(bound, "the answers to raw bytes", async {
        let mut continued = false;
        while got.answers.len() < answers {
            let Some(head) = wire.response().await? else {
                let count = got.answers.len();
                bail!("closed after {count} of {answers} answers (sending: {sent:?})");
            };
            if head.status == 100 {
                continued = true;
                continue;
            }
            let body = wire.response_body(&head, to_head).await?;
            got.answers.push(Got {
                status: head.status,
                headers: head.fields,
                body: body.bytes,
                trailers: body.trailers,
                continued: std::mem::take(&mut continued),
                ..Got::default()
            });
        }
        Ok(())
    })
    .await??;
    if wait_for_end {
        within(bound, "the connection's end", wire.closed()).await??;
        got.closed = true;
    }
    Ok(got)
}

/// Tasks of an HTTP/2 connection stay on this thread.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// A request's body: what the test wants, in the frames in which it wants it.
pub struct Frames {
    frames: VecDeque<Frame<Bytes>>,
    length: Option<u64>,
}

impl Frames {
    fn of(ask: &Ask) -> Result<Self> {
        let (mut frames, mut length) = match &ask.body {
            AskBody::Nothing => (VecDeque::new(), Some(0)),
            AskBody::Whole(bytes) => {
                (VecDeque::from([Frame::data(bytes.clone())]), Some(bytes.len() as u64))
            }
            AskBody::Chunks(chunks) => (chunks.iter().cloned().map(Frame::data).collect(), None),
        };
        if !ask.trailers.0.is_empty() {
            let mut map = http::HeaderMap::new();
            for (name, value) in &ask.trailers.0 {
                map.append(name.parse::<http::HeaderName>()?, value.parse()?);
            }
            frames.push_back(Frame::trailers(map));
            length = None;
        }
        Ok(Self { frames, length })
    }
}

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.frames.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
