//! An answer on its way back: its head is cleaned of what belonged to the endpoint's connection,
//! its body is watched, and its connection goes back to the pool when it has ended.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http_body::{Frame, SizeHint};
use portcullis_core::{Body, BodyError, Response, headers};
use tokio::time::{Instant, Sleep};

use crate::codec::answer::Framing;
use crate::codec::head::Head;
use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::deliver::Held;
use crate::pool::Pool;
use crate::request::Progress;

/// Server-sent events (HTML Living Standard section 9.2).
const EVENTS: &[u8] = b"text/event-stream";

/// What an answer's body comes from.
pub(crate) trait Flow {
    fn poll_frame(&mut self, cx: &mut Context<'_>)
    -> Poll<Option<Result<Frame<Bytes>, BodyError>>>;

    /// Nothing comes after what was given.
    fn has_ended(&self) -> bool;

    /// The bytes that are certain to come.
    fn exact(&self) -> Option<u64>;

    /// The body has come to its end: what it came from is free.
    fn finish(self);

    /// Nobody wants the rest of the body.
    fn abandon(self);
}

/// Where an answer's connection goes when the answer has ended.
pub(crate) struct Home {
    pub(crate) pool: Rc<Pool>,
    pub(crate) connection: Connection,
    /// Until here the endpoint has this request to do.
    pub(crate) _held: Held,
}

/// A body that comes over a connection of its own.
struct Own {
    home: Home,
    framing: Framing,
}

impl Flow for Own {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.home.connection.poll_body(cx, &mut self.framing)
    }

    fn has_ended(&self) -> bool {
        self.framing.has_ended()
    }

    fn exact(&self) -> Option<u64> {
        self.framing.exact()
    }

    fn finish(self) {
        self.home.pool.give_back(self.home.connection);
    }

    fn abandon(self) {
        let (Home { pool, mut connection, .. }, mut framing) = (self.home, self.framing);
        if connection.skip(&mut framing) {
            pool.give_back(connection);
        }
    }
}

/// How long an answer's body may take.
pub(crate) struct Patience {
    /// Of the request's body, which may still be on its way.
    pub(crate) progress: Option<Rc<Progress>>,
    /// How long to wait for the next piece.
    pub(crate) idle: Duration,
    /// When the whole exchange has to be over.
    pub(crate) deadline: Option<Deadline>,
}

impl Patience {
    /// For an answer with these headers: a stream of events has no end that could be waited for.
    pub(crate) fn with(self, headers: &HeaderMap) -> Self {
        let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let start = kind.get(..EVENTS.len()).unwrap_or_default();
        let deadline = self.deadline.filter(|_| !start.eq_ignore_ascii_case(EVENTS));
        Self { deadline, ..self }
    }
}

/// The answer as the engine gets it; `is_head`: to a HEAD, which has no body.
pub(crate) fn receive(head: Head, is_head: bool, home: Home, patience: Patience) -> Response {
    let Head { status, mut headers, framing, .. } = head;
    clean(&mut headers);
    if !is_head && status != StatusCode::NOT_MODIFIED {
        frame(&mut headers, status, framing);
    }
    let body = body(Own { home, framing }, patience.with(&headers));
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// A body that is watched while it comes.
pub(crate) fn body(flow: impl Flow + Unpin + 'static, patience: Patience) -> Body {
    if flow.has_ended() {
        flow.finish();
        return Body::Empty;
    }
    let flow = Some(flow);
    Body::stream(Watched { flow, failed: None, patience, pending: None, timer: None })
}

/// Removes what belonged to the endpoint's connection. `Trailer` stays: trailers pass.
pub(crate) fn clean(headers: &mut HeaderMap) {
    headers::strip(headers, |_| false);
}

/// At most one `Content-Length`, and the one by which the body was read: several equal ones are
/// allowed on the wire (RFC 9110 section 8.6), and not passed on.
fn frame(headers: &mut HeaderMap, status: StatusCode, framing: Framing) {
    if status == StatusCode::NO_CONTENT {
        headers.remove(CONTENT_LENGTH); // RFC 9110 section 8.6
        return;
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return };
    let plain = first.as_bytes().iter().all(u8::is_ascii_digit) && lengths.next().is_none();
    if !plain {
        match framing.exact() {
            Some(length) => headers.insert(CONTENT_LENGTH, HeaderValue::from(length)),
            None => headers.remove(CONTENT_LENGTH),
        };
    }
}

/// A body from an endpoint.
struct Watched<F: Flow> {
    /// Until the body has ended, or broke off.
    flow: Option<F>,
    /// Why it broke off, until that is told.
    failed: Option<BodyError>,
    patience: Patience,
    /// Since when the next piece has been waited for.
    pending: Option<Instant>,
    /// Made when the endpoint is waited for the first time, moved on only when it fires.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<F: Flow> Drop for Watched<F> {
    fn drop(&mut self) {
        if let Some(flow) = self.flow.take() {
            flow.abandon();
        }
    }
}

impl<F: Flow> Watched<F> {
    /// Ready when nothing came for too long. The timer may fire for a wait that is over: then it is
    /// set to when the present one would be too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let since = *self.pending.get_or_insert(now);
        let Patience { progress, idle, deadline } = &self.patience;
        let deadline = deadline.map(|deadline| deadline.at);
        let not_after = |time: Instant| deadline.map_or(time, |deadline| time.min(deadline));
        let first = not_after(since + *idle);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(first)));
        loop {
            ready!(timer.as_mut().poll(cx));
            let waits_for_client = progress.as_ref().is_some_and(|progress| progress.client_owes());
            let from = if waits_for_client { now } else { since };
            let until = not_after(from + *idle);
            if until <= now {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
    }
}

impl<F: Flow + Unpin> http_body::Body for Watched<F> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(flow) = &mut this.flow else {
            return Poll::Ready(this.failed.take().map(Err));
        };
        let frame = match flow.poll_frame(cx) {
            Poll::Pending => {
                ready!(this.poll_stalled(cx));
                Some(Err(BodyError::Stalled(this.patience.idle)))
            }
            Poll::Ready(frame) => frame,
        };
        this.pending = None;
        if let Some(Err(error)) = frame {
            // Told at the next turn: what came before goes out first.
            (this.flow, this.failed) = (None, Some(error));
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(flow) = this.flow.take_if(|flow| flow.has_ended()) {
            flow.finish();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.flow.is_none() && self.failed.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let exact = match &self.flow {
            Some(flow) => flow.exact(),
            None => self.failed.is_none().then_some(0),
        };
        exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
