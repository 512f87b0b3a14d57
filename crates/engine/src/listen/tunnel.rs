//! A WebSocket while it is open: bytes go both ways as they come, until one of the ends, a limit or the
//! gateway's own end is the end of it.
//!
//! Nothing is buffered ahead: what one side does not take holds the other side up. Bytes are read into a
//! buffer that all of a worker's connections share, so a tunnel that rests needs none; what could not be
//! written at once waits in one of its own, and nothing more is read until it is gone.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use portcullis_core::metrics::Gauge;
use portcullis_core::tunnel::Duplex;
use portcullis_core::{Lasting, Tunnel};
use tokio::io::{AsyncWriteExt as _, ReadBuf};
use tokio::time::Instant;

use super::gaps::{FAREWELL, Gaps, MASKED_FAREWELL};
use super::watched::Arrivals;
use crate::close::Recording;

/// As much as is read before the other direction has its turn.
const TURN: u32 = 16;
/// How long the last words may take.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Who or what ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Client,
    Service,
    Idle,
    Lifetime,
    /// The gateway, or its listener, ends.
    Drain,
    /// A connection broke.
    Broken,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Service => "service",
            Self::Idle => "idle",
            Self::Lifetime => "lifetime",
            Self::Drain => "drain",
            Self::Broken => "broken",
        }
    }
}

/// Counts as open for as long as it lives.
struct Open(Gauge);

impl Open {
    fn new(gauge: Gauge) -> Self {
        gauge.add(1);
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// Passes bytes between a client and a service until the end. `early` is what the client has sent
/// already; `cut` comes when the gateway ends. The record is written when this ends or is dropped.
pub async fn run(
    client: impl Duplex,
    early: Vec<u8>,
    tunnel: Tunnel,
    arrivals: Arrivals,
    mut recording: Recording,
    cut: impl Future<Output = ()>,
) {
    let record = &mut recording.exchange().record;
    record.ended = Some(End::Drain.as_str()); // unless there is an end before that
    let _open = recording.tunnels().map(Open::new);
    let Tunnel { service, lasting } = tunnel;
    let last = Cell::new(Instant::now());
    let mut both = Both { client, service, up: Way::default(), down: Way::default(), first: None };
    both.up.take(&early, &last);
    both.up.waiting = early.into();
    let end = tokio::select! {
        biased;
        () = cut => End::Drain,
        end = poll_fn(|cx| both.poll(cx, &arrivals, &last)) => end,
        end = over(lasting, &last) => end,
    };
    if matches!(end, End::Idle | End::Lifetime | End::Drain) {
        let _ = tokio::time::timeout(LAST_WORD, both.leave(&arrivals)).await;
    }
    let record = &mut recording.exchange().record;
    record.ended = Some(end.as_str());
    record.bytes_in += both.up.bytes;
    record.bytes_out += both.down.bytes;
    if end != End::Broken {
        recording.complete();
    }
}

/// Comes when a tunnel has lasted as long as it may.
async fn over(lasting: Lasting, last: &Cell<Instant>) -> End {
    let end = lasting.lifetime.map(|lifetime| Instant::now() + lifetime);
    loop {
        let idle = last.get() + lasting.idle;
        tokio::time::sleep_until(end.map_or(idle, |end| end.min(idle))).await;
        let now = Instant::now();
        if end.is_some_and(|end| end <= now) {
            return End::Lifetime;
        }
        if last.get() + lasting.idle <= now {
            return End::Idle;
        }
    }
}

struct Both<C> {
    client: C,
    service: Box<dyn Duplex>,
    up: Way,
    down: Way,
    /// Who ended first.
    first: Option<End>,
}

impl<C: Duplex> Both<C> {
    /// Passes on what there is. Ready when both ways have ended: where one side breaks off, the other
    /// still hears what was said before that.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        arrivals: &Arrivals,
        last: &Cell<Instant>,
    ) -> Poll<End> {
        let (client, service) = (&mut self.client, &mut self.service);
        let up = self.up.poll(cx, client, service, arrivals, last);
        let down = self.down.poll(cx, service, client, arrivals, last);
        if self.first.is_none() && (self.up.has_ended || self.down.has_ended) {
            self.first = Some(if self.up.has_ended { End::Client } else { End::Service });
        }
        if up.is_pending() || down.is_pending() {
            return Poll::Pending;
        }
        let is_broken = self.up.is_broken || self.down.is_broken;
        Poll::Ready(self.first.filter(|_| !is_broken).unwrap_or(End::Broken))
    }

    /// Says goodbye to both sides where they can hear it, and closes so that the client does.
    async fn leave(&mut self, arrivals: &Arrivals) -> io::Result<()> {
        if self.down.has_room() {
            self.client.write_all(&FAREWELL).await?;
            self.down.bytes += FAREWELL.len() as u64;
        }
        if self.up.has_room() {
            self.service.write_all(&MASKED_FAREWELL).await?;
        }
        self.service.shutdown().await?;
        self.client.shutdown().await?;
        // Closing before all was read would take the last words away again (RFC 9112 section 9.6).
        while arrivals.discard(&mut self.client).await? > 0 {}
        Ok(())
    }
}

/// One direction.
#[derive(Default)]
struct Way {
    /// What was read and not written yet.
    waiting: Bytes,
    gaps: Gaps,
    bytes: u64,
    has_ended: bool,
    is_shut: bool,
    is_broken: bool,
}

impl Way {
    fn take(&mut self, came: &[u8], last: &Cell<Instant>) {
        self.gaps.feed(came);
        self.bytes += came.len() as u64;
        last.set(Instant::now());
    }

    /// Whether a frame of the gateway's own can go this way.
    fn has_room(&self) -> bool {
        self.waiting.is_empty() && !self.has_ended && self.gaps.has_room()
    }

    /// Ready when this way has ended, and whoever listens at its end knows it or cannot be told.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl Duplex + ?Sized),
        to: &mut (impl Duplex + ?Sized),
        arrivals: &Arrivals,
        last: &Cell<Instant>,
    ) -> Poll<()> {
        if ready!(self.pass(cx, from, to, arrivals, last)).is_err() {
            (self.has_ended, self.is_shut, self.is_broken) = (true, true, true);
            self.waiting = Bytes::new();
        }
        Poll::Ready(())
    }

    /// An error is one of the side that is written to.
    fn pass(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl Duplex + ?Sized),
        to: &mut (impl Duplex + ?Sized),
        arrivals: &Arrivals,
        last: &Cell<Instant>,
    ) -> Poll<io::Result<()>> {
        let (mut from, mut to) = (Pin::new(from), Pin::new(to));
        for _ in 0..TURN {
            while !self.waiting.is_empty() {
                match ready!(to.as_mut().poll_write(cx, &self.waiting))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    count => self.waiting.advance(count),
                }
            }
            if self.is_shut {
                return Poll::Ready(Ok(()));
            }
            if self.has_ended {
                ready!(to.as_mut().poll_shutdown(cx))?;
                self.is_shut = true;
                continue;
            }
            let moved = arrivals.with(|buffer| {
                let mut arrived = ReadBuf::new(buffer);
                if let Err(error) = ready!(from.as_mut().poll_read(cx, &mut arrived)) {
                    // TLS calls it an error when a side ends without saying so; a WebSocket has said it.
                    self.is_broken = error.kind() != io::ErrorKind::UnexpectedEof;
                    arrived.clear();
                }
                let came = arrived.filled();
                self.has_ended = came.is_empty();
                self.take(came, last);
                if !came.is_empty() {
                    let written = match to.as_mut().poll_write(cx, came)? {
                        Poll::Ready(count) => count,
                        Poll::Pending => 0,
                    };
                    self.waiting = Bytes::copy_from_slice(came.get(written..).unwrap_or_default());
                }
                Poll::Ready(Ok::<(), io::Error>(()))
            })?;
            if moved.is_pending() {
                // What a stream keeps back to encrypt it goes out before anybody waits.
                let _ = to.as_mut().poll_flush(cx)?;
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref(); // the other way has its turn
        Poll::Pending
    }
}
