//! The connection as the supervisor sees it: how much was read, whether a write is stuck, whether what
//! comes is a request (HTTP/1.1), and what it costs (HTTP/2).
//!
//! hyper's own header timer is made and dropped for every request; these counters cost one store
//! per read and let one timer per worker watch all connections.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use portcullis_tls::Stream;
use tokio::io::AsyncRead;

use super::framing::Framing;
use super::line::{Line, Order};

/// Counters of one connection. Written by the connection only; atomic because an upgraded
/// connection may move to another thread.
#[derive(Debug, Default)]
pub struct Pulse {
    reads: AtomicU64,
    writes: AtomicU64,
    write_stuck: AtomicBool,
}

impl Pulse {
    /// How often bytes came from the client.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// How often bytes could be handed to the kernel.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// True while the kernel takes no more bytes because the client does not read.
    pub fn write_stuck(&self) -> bool {
        self.write_stuck.load(Ordering::Relaxed)
    }

    fn read(&self) {
        self.reads.store(self.reads() + 1, Ordering::Relaxed);
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        if result.is_ready() {
            self.writes.store(self.writes() + 1, Ordering::Relaxed);
        }
        self.write_stuck.store(result.is_pending(), Ordering::Relaxed);
    }
}

/// A worker's one buffer in which bytes are looked at before hyper gets them: connections that rest
/// need none of their own.
#[derive(Clone)]
pub struct Arrivals(Rc<RefCell<Box<[u8]>>>);

/// How much is kept that came behind a request that asks for a WebSocket, beside one read.
const EARLY: usize = 16 * 1024;

/// As much as one read takes.
const ARRIVALS: usize = 64 * 1024;

impl Arrivals {
    pub fn with<T>(&self, look: impl FnOnce(&mut [u8]) -> T) -> T {
        look(&mut self.0.borrow_mut())
    }

    /// Reads what there is and forgets it; 0 for the end.
    pub async fn discard(&self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        std::future::poll_fn(|cx| {
            self.with(|buffer| {
                let mut read = tokio::io::ReadBuf::new(buffer);
                Pin::new(&mut *from).poll_read(cx, &mut read).map_ok(|()| read.filled().len())
            })
        })
        .await
    }
}

impl Default for Arrivals {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(vec![0; ARRIVALS].into())))
    }
}

/// A client's connection with its counters.
pub struct Watched {
    io: TokioIo<Stream>,
    line: Rc<Line>,
    arrivals: Arrivals,
    guard: Guard,
}

/// What is known of a connection of HTTP/1.1.
pub struct Requests {
    /// Where they begin and end.
    pub framing: Framing,
    /// What came behind one that asks for a WebSocket.
    pub early: Vec<u8>,
}

/// What is looked for in what passes.
enum Guard {
    /// HTTP/1.1.
    Requests(Requests),
    /// HTTP/2: what frames cost, counted in the line's budget.
    Frames,
}

impl Watched {
    /// HTTP/1.1, of which nothing gets through that is not plainly a request.
    pub fn requests(stream: Stream, line: Rc<Line>, arrivals: Arrivals, framing: Framing) -> Self {
        let guard = Guard::Requests(Requests { framing, early: Vec::new() });
        Self { io: TokioIo::new(stream), line, arrivals, guard }
    }

    /// HTTP/2, of whose frames there are never too many.
    pub fn frames(stream: Stream, line: Rc<Line>, arrivals: Arrivals) -> Self {
        Self { io: TokioIo::new(stream), line, arrivals, guard: Guard::Frames }
    }

    /// The connection again, and what is known of the requests on it.
    pub fn into_parts(self) -> (Stream, Option<Requests>) {
        let requests = match self.guard {
            Guard::Requests(requests) => Some(requests),
            Guard::Frames => None,
        };
        (self.io.into_inner(), requests)
    }

    /// Whether nothing more is read, since the connection has its order to end.
    fn is_refused(&self) -> bool {
        match &self.guard {
            Guard::Requests(requests) => requests.framing.refused().is_some(),
            Guard::Frames => self.line.is_told_to_end(),
        }
    }
}

impl Guard {
    /// How many of these bytes may be read, and what it means when that is not all.
    fn pass(&mut self, came: &[u8], line: &Line) -> (usize, Option<Order>) {
        match self {
            Self::Requests(Requests { framing, .. }) => {
                let good = framing.feed(came);
                line.set_between(framing.is_between());
                (good, framing.refused().map(|_| Order::Refuse))
            }
            Self::Frames => match line.budget().is_none_or(|it| it.borrow_mut().receive(came)) {
                true => (came.len(), None),
                false => (0, Some(Order::Flood)),
            },
        }
    }

    /// Hands bytes on to whoever reads, as far as they may be read.
    fn hand_on(
        &mut self,
        came: &[u8],
        buffer: &mut ReadBufCursor<'_>,
        line: &Line,
    ) -> Poll<io::Result<()>> {
        line.pulse.read();
        let (good, order) = self.pass(came, line);
        let (good, rest) = came.split_at_checked(good).unwrap_or_default();
        buffer.put_slice(good);
        if let Some(early) = self.early() {
            early.extend_from_slice(rest);
        }
        let Some(order) = order else { return Poll::Ready(Ok(())) };
        line.order(order);
        if matches!(self, Self::Requests(it) if it.framing.broke_off()) {
            // Whoever waits for the rest of the body has to know that it will not come.
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        // No bytes would read as the client's end.
        if good.is_empty() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// What has come behind a request that asks for a WebSocket, while nobody knows what it is.
    fn early(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Self::Requests(Requests { framing, early }) if framing.waits() => Some(early),
            Self::Requests(_) | Self::Frames => None,
        }
    }

    /// Counts what has left, from the begin of these pieces.
    fn sent<'b>(&self, pieces: impl Iterator<Item = &'b [u8]>, mut count: usize, line: &Line) {
        let Some(budget) = line.budget() else { return };
        let mut budget = budget.borrow_mut();
        for piece in pieces {
            let left = piece.get(..count).unwrap_or(piece);
            count -= left.len();
            if !budget.send(left) {
                line.order(Order::Flood);
            }
        }
    }
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_refused() {
            return Poll::Pending;
        }
        let this = &mut *self;
        let mut arrivals = this.arrivals.0.borrow_mut();
        while let Some(early) = this.guard.early() {
            let room = EARLY.saturating_sub(early.len()).min(arrivals.len());
            if room == 0 {
                return Poll::Pending; // until there is an answer nothing more is read
            }
            let mut arrived = ReadBuf::new(arrivals.get_mut(..room).unwrap_or_default());
            ready!(Pin::new(&mut this.io).poll_read(cx, arrived.unfilled()))?;
            this.line.pulse.read();
            early.extend_from_slice(arrived.filled());
            if arrived.filled().is_empty() {
                return Poll::Ready(Ok(())); // the client has gone
            }
        }
        let room = arrivals.len().min(buffer.remaining());
        let mut arrived = ReadBuf::new(arrivals.get_mut(..room).unwrap_or_default());
        ready!(Pin::new(&mut this.io).poll_read(cx, arrived.unfilled()))?;
        this.guard.hand_on(arrived.filled(), &mut buffer, &this.line)
    }
}

impl Write for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.line.pulse.wrote(&result);
        if let Poll::Ready(Ok(count)) = &result {
            self.guard.sent(std::iter::once(bytes), *count, &self.line);
        }
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, buffers);
        self.line.pulse.wrote(&result);
        if let Poll::Ready(Ok(count)) = &result {
            self.guard.sent(buffers.iter().map(|piece| &**piece), *count, &self.line);
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// The stream is shut by its owner, who may have a last word to say after hyper has ended.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A stream that hyper does not give back: it gets a handle, and its owner keeps another.
pub struct Shared(Rc<RefCell<Watched>>);

impl Shared {
    pub fn new(watched: Watched) -> (Self, Self) {
        let shared = Rc::new(RefCell::new(watched));
        (Self(Rc::clone(&shared)), Self(shared))
    }

    /// The stream, once this is the only handle.
    pub fn into_stream(self) -> Option<Stream> {
        Some(Rc::into_inner(self.0)?.into_inner().into_parts().0)
    }
}

impl Read for Shared {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, buffer)
    }
}

impl Write for Shared {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }
}
