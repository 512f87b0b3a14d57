//! One HTTP/1.1 connection to an endpoint: the seam behind which the client's codec stands.
//!
//! The codec is hyper's, driven by a task of its own on this worker. Whatever takes its place has to
//! offer this file's few functions: connect, send, ask whether it can be used again, close by
//! dropping.

use std::cell::Cell;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Response;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use portcullis_core::BodyError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::attempt::Lost;
use crate::request::{Outgoing, Ready};

/// An answer's head may have this many bytes, and as many fields as hyper allows: 100.
const HEAD_LIMIT: usize = 64 * 1024;

/// Whether a connection can take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    /// The last exchange is not quite over.
    Busy,
    Closed,
}

/// A connection. Dropping it closes it, whatever is on its way.
pub(crate) struct Connection {
    sender: SendRequest<Outgoing>,
    driver: AbortHandle,
    pub(crate) peer: SocketAddr,
    /// Bytes that the endpoint has sent on it.
    heard: Rc<Cell<u64>>,
    _open: Counted,
}

/// Counts for as long as it lives: a connection from the first try to connect until it is closed.
pub(crate) struct Counted(Rc<Cell<usize>>);

impl Counted {
    pub(crate) fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// What came of sending a request.
pub(crate) enum Sent {
    /// The head of the answer; the body follows on the same connection.
    Answered(Response<Incoming>),
    /// Nothing of it was sent: the connection was gone already.
    Unsent(Ready),
    /// It was sent, and the connection closed before a byte of the answer came.
    Unheard(Lost),
    Lost(Lost),
}

impl Connection {
    /// Connects to the first of `addresses` that accepts, beginning with the `first`th. `within` is
    /// for all of them together; each gets an even share of what is left.
    pub(crate) async fn open(
        addresses: &[SocketAddr],
        first: usize,
        within: Duration,
        open: Counted,
    ) -> Result<Self, Lost> {
        let deadline = tokio::time::Instant::now() + within;
        let mut lost = Lost::Connect("it has no address".to_owned());
        for (place, peer) in in_turn(addresses, first).enumerate() {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let rest = u32::try_from(addresses.len() - place).unwrap_or(1);
            lost = match tokio::time::timeout(left / rest, TcpStream::connect(peer)).await {
                Ok(Ok(stream)) => return Self::start(stream, peer, open).await,
                Ok(Err(error)) => Lost::Connect(format!("{peer}: {error}")),
                Err(_) => Lost::ConnectTimeout(within),
            };
        }
        Err(lost)
    }

    async fn start(stream: TcpStream, peer: SocketAddr, open: Counted) -> Result<Self, Lost> {
        let failed = |error: &dyn Error| Lost::Connect(format!("{peer}: {}", causes(error)));
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let heard = Rc::new(Cell::new(0));
        let io = TokioIo::new(Heard { stream, bytes: Rc::clone(&heard) });
        let handshake = Builder::new().max_header_size(HEAD_LIMIT).handshake(io).await;
        let (sender, connection) = handshake.map_err(|error| failed(&error))?;
        // What ends a connection is told to whoever waits on it; between requests it is no news.
        let driver = tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
        Ok(Self { sender, driver: driver.abort_handle(), peer, heard, _open: open })
    }

    /// Sends a request and waits for the head of its answer, without a limit of time.
    pub(crate) async fn send(&mut self, request: Ready) -> Sent {
        let before = self.heard.get();
        match self.sender.try_send_request(*request).await {
            Ok(response) if response.status() == http::StatusCode::SWITCHING_PROTOCOLS => {
                Sent::Lost(Lost::BadAnswer("101 without having been asked to switch".to_owned()))
            }
            Ok(response) => Sent::Answered(response),
            Err(mut failed) => match failed.take_message() {
                Some(request) => Sent::Unsent(Box::new(request)),
                None => match lost(failed.error()) {
                    lost @ Lost::Reset(_) if self.heard.get() == before => Sent::Unheard(lost),
                    lost => Sent::Lost(lost),
                },
            },
        }
    }

    pub(crate) fn readiness(&self) -> Readiness {
        if self.sender.is_closed() {
            Readiness::Closed
        } else if self.sender.is_ready() {
            Readiness::Ready
        } else {
            Readiness::Busy
        }
    }

    /// Waits until the last exchange is over; false when the connection closed instead.
    pub(crate) async fn settled(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// All addresses once, from the `first`th on.
fn in_turn(addresses: &[SocketAddr], first: usize) -> impl Iterator<Item = SocketAddr> {
    let begin = first.checked_rem(addresses.len()).unwrap_or(0);
    addresses.iter().cycle().skip(begin).take(addresses.len()).copied()
}

/// What an error of the codec means.
fn lost(error: &hyper::Error) -> Lost {
    let text = causes(error);
    if let Some(body) = error.source().and_then(|source| source.downcast_ref::<BodyError>()) {
        return match body {
            BodyError::TooLarge { limit } => Lost::TooLarge(*limit),
            _ => Lost::Request(text),
        };
    }
    if error.is_user() {
        Lost::Request(text)
    } else if error.is_parse() {
        Lost::BadAnswer(text)
    } else {
        Lost::Reset(text)
    }
}

/// An error and what is behind it, in one line.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// A stream that counts what it hears. Whether a kept connection was stale or its endpoint sick
/// shows in whether a byte of an answer came.
struct Heard {
    stream: TcpStream,
    bytes: Rc<Cell<u64>>,
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let came = buf.filled().len().saturating_sub(before);
        self.bytes.set(self.bytes.get() + came as u64);
        polled
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_its_turn_once() {
        let ports = |first| {
            let addresses: Vec<SocketAddr> =
                (1..=3).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
            in_turn(&addresses, first).map(|address| address.port()).collect::<Vec<_>>()
        };
        assert_eq!(ports(0), [1, 2, 3]);
        assert_eq!(ports(4), [2, 3, 1]);
        assert_eq!(in_turn(&[], 7).count(), 0);
    }
}
