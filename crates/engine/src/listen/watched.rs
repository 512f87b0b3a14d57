//! The connection as the supervisor sees it: how much was read, whether a write is stuck, and, for
//! HTTP/1.1, whether what comes is a request.
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

use super::framing::{Framing, Refusal};
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

/// As much as one read takes.
const ARRIVALS: usize = 64 * 1024;

impl Arrivals {
    pub fn with<T>(&self, look: impl FnOnce(&mut [u8]) -> T) -> T {
        look(&mut self.0.borrow_mut())
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
    /// Only of HTTP/1.1: where requests begin and end.
    guard: Option<(Framing, Arrivals)>,
}

impl Watched {
    pub fn new(stream: Stream, line: Rc<Line>) -> Self {
        Self { io: TokioIo::new(stream), line, guard: None }
    }

    /// Lets nothing through that is not plainly a request.
    pub fn guarded(self, framing: Framing, arrivals: Arrivals) -> Self {
        Self { guard: Some((framing, arrivals)), ..self }
    }

    /// The connection again, why nothing more was read, and whether a body has not come to its end.
    pub fn into_parts(self) -> (Stream, Option<Refusal>, bool) {
        let framing = self.guard.as_ref().map(|(framing, _)| framing);
        let refusal = framing.and_then(Framing::refused);
        let owes = framing.is_some_and(Framing::owes_body);
        (self.io.into_inner(), refusal, owes)
    }
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some((framing, arrivals)) = &mut this.guard else {
            let result = ready!(Pin::new(&mut this.io).poll_read(cx, buffer));
            this.line.pulse.read();
            return Poll::Ready(result);
        };
        if framing.refused().is_some() {
            return Poll::Pending; // the connection has its order to end
        }
        let mut arrivals = arrivals.0.borrow_mut();
        let room = arrivals.len().min(buffer.remaining());
        let mut arrived = ReadBuf::new(arrivals.get_mut(..room).unwrap_or_default());
        let result = ready!(Pin::new(&mut this.io).poll_read(cx, arrived.unfilled()));
        this.line.pulse.read();
        let came = arrived.filled();
        let good = framing.feed(came);
        this.line.set_between(framing.is_between());
        buffer.put_slice(came.get(..good).unwrap_or_default());
        if framing.refused().is_none() {
            return Poll::Ready(result);
        }
        this.line.order(Order::Refuse);
        // No bytes would read as the client's end.
        if good == 0 { Poll::Pending } else { Poll::Ready(result) }
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
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, buffers);
        self.line.pulse.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// HTTP/1.1 is shut by its owner, who may have a last word to say after hyper has ended.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.guard {
            Some(_) => Poll::Ready(Ok(())),
            None => Pin::new(&mut self.io).poll_shutdown(cx),
        }
    }
}
