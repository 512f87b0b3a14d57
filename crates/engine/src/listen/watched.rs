//! The connection as the supervisor sees it: how much was read, and whether a write is stuck.
//!
//! hyper's own header timer is made and dropped for every request; these counters cost one store
//! per read and let one timer per worker watch all connections.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

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

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        if result.is_ready() {
            self.writes.store(self.writes() + 1, Ordering::Relaxed);
        }
        self.write_stuck.store(result.is_pending(), Ordering::Relaxed);
    }
}

/// A client's socket with its counters.
pub struct Watched {
    io: TokioIo<TcpStream>,
    pulse: Arc<Pulse>,
}

impl Watched {
    pub fn new(stream: TcpStream, pulse: Arc<Pulse>) -> Self {
        Self { io: TokioIo::new(stream), pulse }
    }

    pub fn into_stream(self) -> TcpStream {
        self.io.into_inner()
    }
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.io).poll_read(cx, buffer));
        self.pulse.reads.store(self.pulse.reads() + 1, Ordering::Relaxed);
        Poll::Ready(result)
    }
}

impl Write for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.pulse.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, buffers);
        self.pulse.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
