//! One HTTP/1.1 connection to an endpoint. No task of its own: whoever waits for the answer moves
//! the request on, so that nothing is handed from one task to another.
//!
//! While a request is out its bytes are written and its answer is read at the same time, since an
//! endpoint may answer before it has read everything.

use std::cell::Cell;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use portcullis_core::BodyError;
use portcullis_tls::{Connector, Stream};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use crate::attempt::Lost;
use crate::codec::Bad;
use crate::codec::answer::{Framing, Taken};
use crate::codec::head::{Head, Heads};
use crate::codec::request::Sending;
use crate::request::{self, Ready};

/// What one read has room for at least, and, once much came, at most.
const READ: usize = 8 * 1024;
const LARGE_READ: usize = 64 * 1024;
/// How much of an answer that nobody wants is read, so that its connection is not closed.
const SKIPPED: usize = 64 * 1024;

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
    wire: Box<Wire>,
    _open: Counted,
}

/// The socket and what is between it and us. On the heap: connections are handed on often.
struct Wire {
    stream: Stream,
    input: BytesMut,
    /// How much the next read has room for.
    room: usize,
    sending: Option<Sending>,
    /// The buffer that the last request was written from.
    spare: BytesMut,
    /// True until the endpoint, or what it sent, says otherwise.
    keep_alive: bool,
}

/// Connects, through TLS where the endpoint's URL says so. The caller bounds the wait.
pub(crate) async fn connect(
    peer: SocketAddr,
    connector: Option<&Connector>,
) -> Result<Stream, Lost> {
    let said = |error: io::Error| Lost::Connect(error.to_string());
    let stream = TcpStream::connect(peer).await.map_err(said)?;
    stream.set_nodelay(true).map_err(said)?;
    match connector {
        None => Ok(Stream::Plain(stream)),
        // On the heap: a handshake is large, and soon over.
        Some(connector) => Box::pin(connector.connect(stream))
            .await
            .map_err(|error| Lost::Connect(format!("TLS: {error}"))),
    }
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
    Answered(Head),
    /// Nothing of it was sent: the connection was gone already.
    Unsent,
    /// It was sent, and the connection closed before a byte of the answer came.
    Unheard(Lost),
    Lost(Lost),
}

impl Connection {
    /// Connects, within this time.
    pub(crate) async fn open(
        peer: SocketAddr,
        connector: Option<&Connector>,
        within: Duration,
        open: Counted,
    ) -> Result<Self, Lost> {
        let connected = tokio::time::timeout(within, connect(peer, connector)).await;
        let stream = connected.unwrap_or(Err(Lost::ConnectTimeout(within)))?;
        let wire = Wire {
            stream,
            input: BytesMut::new(),
            room: READ,
            sending: None,
            spare: BytesMut::new(),
            keep_alive: true,
        };
        Ok(Self { wire: Box::new(wire), _open: open })
    }

    /// Sends a request and waits for the head of its answer, without a limit of time.
    pub(crate) async fn send(&mut self, request: Ready) -> Sent {
        let wire = &mut *self.wire;
        let head = Rc::clone(&request.head);
        wire.sending = Some(Sending::new(request, std::mem::take(&mut wire.spare)));
        let (mut heads, mut heard) = (Heads::default(), false);
        std::future::poll_fn(|cx| wire.poll_head(cx, &head, &mut heads, &mut heard)).await
    }

    /// The request, to send it again: after it was lost, or in place of taking its answer. `None` when
    /// its body was too much to be kept.
    pub(crate) fn take_back(&mut self) -> Option<Ready> {
        let sending = self.wire.sending.take()?;
        self.wire.keep_alive &= sending.is_done();
        sending.take_back()
    }

    /// What came and was not read, and the socket: for what is no HTTP any more.
    pub(crate) fn raw(&mut self) -> (&mut BytesMut, &mut Stream) {
        let wire = &mut *self.wire;
        (&mut wire.input, &mut wire.stream)
    }

    /// Forgets the request if all of it has gone out. Said once its answer is taken.
    pub(crate) fn let_go(&mut self) {
        self.wire.let_go();
    }

    /// The next frame of the answer's body; the request's body goes on beside it.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(self.wire.poll_body(cx, framing));
        if matches!(frame, Some(Err(_))) {
            self.wire.keep_alive = false;
        }
        Poll::Ready(frame)
    }

    /// Reads the rest of an answer that nobody wants, if that is little and here already. Says whether
    /// the next request can go out here.
    pub(crate) fn skip(&mut self, framing: &mut Framing) -> bool {
        let wire = &mut *self.wire;
        let little = framing.exact().is_none_or(|rest| rest <= SKIPPED as u64);
        if !wire.keep_alive || wire.sending.is_some() || !little {
            return false;
        }
        let mut left = SKIPPED;
        while !framing.has_ended() {
            let before = wire.input.len();
            let taken = framing.take(&mut wire.input);
            let room = left.checked_sub(before - wire.input.len());
            left = match (taken, room) {
                (Ok(Taken::Frame(_) | Taken::End), Some(room)) => room,
                (Ok(Taken::More), Some(room)) if wire.has_more() => room,
                _ => return false,
            };
        }
        self.readiness() == Readiness::Ready
    }

    /// Whether the next request can go out here. Costs no system call while nothing has come: the
    /// runtime remembers that the last read left nothing.
    pub(crate) fn readiness(&mut self) -> Readiness {
        let wire = &mut *self.wire;
        if !wire.keep_alive || !wire.input.is_empty() {
            return Readiness::Closed;
        }
        if wire.sending.is_some() {
            return Readiness::Busy;
        }
        let rests = match &mut wire.stream {
            Stream::Plain(stream) => {
                let read = stream.try_read(&mut [0]);
                read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
            // What came may be TLS's own business, such as tickets: it has to look itself. Nobody waits
            // for this connection, so nobody's waker is lost.
            Stream::Secure(stream) => {
                let mut nobody = Context::from_waker(Waker::noop());
                Pin::new(stream).poll_read(&mut nobody, &mut ReadBuf::new(&mut [0])).is_pending()
            }
        };
        // Else the end, an error, or bytes that nobody asked for.
        if rests { Readiness::Ready } else { Readiness::Closed }
    }

    /// Waits until the last exchange is over; false when the connection closed instead.
    pub(crate) async fn settled(&mut self) -> bool {
        let sent = std::future::poll_fn(|cx| self.wire.poll_sending(cx)).await;
        self.wire.let_go();
        sent.is_ok() && self.readiness() == Readiness::Ready
    }
}

/// Why a request did not go out to its end.
enum Unsendable {
    Body(BodyError),
    /// The socket takes no more; what it has to say is read.
    Wire,
}

impl Wire {
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        request: &request::Head,
        heads: &mut Heads,
        heard: &mut bool,
    ) -> Poll<Sent> {
        if let Poll::Ready(Err(Unsendable::Body(error))) = self.poll_sending(cx) {
            return Poll::Ready(Sent::Lost(of_body(&error)));
        } // Where writing failed, reading tells: an answer may have come before.
        loop {
            match heads.take(&mut self.input, request) {
                Ok(Some(head)) => {
                    self.keep_alive &= head.keep_alive;
                    return Poll::Ready(Sent::Answered(head));
                }
                Ok(None) => {}
                Err(Bad(rule)) => return Poll::Ready(Sent::Lost(Lost::BadAnswer(rule))),
            }
            let ended = match ready!(self.poll_fill(cx)) {
                Ok(0) => "the connection closed".to_owned(),
                Ok(_) => {
                    *heard = true;
                    continue;
                }
                Err(error) => error.to_string(),
            };
            let lost = Lost::Reset(ended);
            let begun = self.sending.as_ref().is_some_and(Sending::has_begun);
            return Poll::Ready(match (*heard, begun) {
                (true, _) => Sent::Lost(lost),
                (false, false) => Sent::Unsent,
                (false, true) => Sent::Unheard(lost),
            });
        }
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.sending.is_some() {
            match self.poll_sending(cx) {
                Poll::Ready(Ok(())) => self.let_go(),
                Poll::Ready(Err(_)) => self.keep_alive = false, // the answer may be whole
                Poll::Pending => {}
            }
        }
        loop {
            match framing.take(&mut self.input) {
                Ok(Taken::Frame(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(Taken::End) => return Poll::Ready(None),
                Ok(Taken::More) => {}
                Err(Bad(rule)) => return Poll::Ready(Some(Err(BodyError::Broken(rule)))),
            }
            let closed = match ready!(self.poll_fill(cx)) {
                Ok(0) => framing.close().map_err(|Bad(rule)| rule),
                Ok(_) => continue,
                Err(error) => Err(error.to_string()),
            };
            self.keep_alive = false;
            if let Err(why) = closed {
                return Poll::Ready(Some(Err(BodyError::Broken(why))));
            }
        }
    }

    /// Reads what is here already; false for nothing, and at the end.
    fn has_more(&mut self) -> bool {
        self.input.reserve(READ);
        let mut nobody = Context::from_waker(Waker::noop()); // nobody waits for this connection
        let read = pin!(self.stream.read_buf(&mut self.input)).poll(&mut nobody);
        matches!(read, Poll::Ready(Ok(count)) if count > 0)
    }

    /// Reads what there is; 0 for the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.capacity() - self.input.len() < READ / 2 {
            self.input.reserve(self.room);
        }
        let count = ready!(pin!(self.stream.read_buf(&mut self.input)).poll(cx))?;
        // Whoever sends much at once goes on doing so.
        self.room = if count >= self.room { LARGE_READ } else { READ };
        Poll::Ready(Ok(count))
    }

    /// Writes the request for as long as the socket takes it. Ready when all of it has gone out.
    fn poll_sending(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsendable>> {
        let Some(sending) = &mut self.sending else { return Poll::Ready(Ok(())) };
        loop {
            let body = sending.poll_body(cx).map_err(Unsendable::Body)?;
            if sending.has_output() {
                let stream = Pin::new(&mut self.stream);
                match ready!(stream.poll_write_vectored(cx, &sending.output())) {
                    Ok(0) | Err(_) => return Poll::Ready(Err(Unsendable::Wire)),
                    Ok(count) => sending.wrote(count),
                }
                continue;
            }
            // TLS may hold back what it took; in the clear there is nothing to do.
            if ready!(Pin::new(&mut self.stream).poll_flush(cx)).is_err() {
                return Poll::Ready(Err(Unsendable::Wire));
            }
            ready!(body);
            if sending.is_done() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Forgets a request that has gone out and was answered: until then it may have to be sent again.
    fn let_go(&mut self) {
        if let Some(sending) = self.sending.take_if(|sending| sending.is_done()) {
            self.spare = sending.into_buffer();
        }
    }
}

/// What it means that the client's body failed.
pub(crate) fn of_body(error: &BodyError) -> Lost {
    match error {
        BodyError::TooLarge { limit } => Lost::TooLarge(*limit),
        BodyError::TooSlow => Lost::TooSlow,
        _ => Lost::Request(causes(error)),
    }
}

/// An error and what is behind it, in one line.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
