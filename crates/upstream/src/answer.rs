//! An answer on its way back: its head is cleaned of what belonged to the endpoint's connection,
//! its body is watched, and its connection goes back to the pool when it has ended.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::{Method, StatusCode};
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

/// Where an answer's connection goes when the answer has ended.
pub(crate) struct Home {
    pub(crate) pool: Rc<Pool>,
    pub(crate) connection: Connection,
    /// Until here the endpoint has this request to do.
    pub(crate) _held: Held,
}

impl Home {
    fn give_back(self) {
        self.pool.give_back(self.connection);
    }
}

/// The answer as the engine gets it.
pub(crate) fn receive(
    head: Head,
    method: &Method,
    home: Home,
    progress: Option<Rc<Progress>>,
    idle: Duration,
    deadline: Option<Deadline>,
) -> Response {
    let Head { status, mut headers, framing, .. } = head;
    clean(&mut headers);
    if *method != Method::HEAD && status != StatusCode::NOT_MODIFIED {
        frame(&mut headers, status, framing);
    }
    let body = if framing.has_ended() {
        home.give_back();
        Body::Empty
    } else {
        let home = Some(home);
        Body::stream(Watched {
            framing,
            home,
            failed: None,
            progress,
            idle,
            deadline,
            pending: None,
            timer: None,
        })
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Removes what belonged to the endpoint's connection. `Trailer` stays: trailers pass.
fn clean(headers: &mut HeaderMap) {
    let chunked = headers.contains_key(TRANSFER_ENCODING);
    // RFC 9112 section 6.3: a length beside a transfer encoding does not count.
    headers::strip(headers, |name| chunked && name == "content-length");
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
struct Watched {
    framing: Framing,
    /// Until the body has ended; dropped with it before that, which closes the connection.
    home: Option<Home>,
    /// Why it broke off, until that is told.
    failed: Option<BodyError>,
    /// Of the request's body, which may still be on its way.
    progress: Option<Rc<Progress>>,
    /// How long to wait for the next piece.
    idle: Duration,
    /// When the whole exchange has to be over.
    deadline: Option<Deadline>,
    /// Since when the next piece has been waited for.
    pending: Option<Instant>,
    /// Made when the endpoint is waited for the first time, moved on only when it fires.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    /// Ready when nothing came for too long. The timer may fire for a wait that is over: then it is
    /// set to when the present one would be too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let since = *self.pending.get_or_insert(now);
        let deadline = self.deadline.map(|deadline| deadline.at);
        let not_after = |time: Instant| deadline.map_or(time, |deadline| time.min(deadline));
        let first = not_after(since + self.idle);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(first)));
        loop {
            ready!(timer.as_mut().poll(cx));
            let waits_for_client =
                self.progress.as_ref().is_some_and(|progress| progress.client_owes());
            let from = if waits_for_client { now } else { since };
            let until = not_after(from + self.idle);
            if until <= now {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(home) = &mut this.home else {
            return Poll::Ready(this.failed.take().map(Err));
        };
        let frame = match home.connection.poll_body(cx, &mut this.framing) {
            Poll::Pending => {
                ready!(this.poll_stalled(cx));
                Some(Err(BodyError::Stalled(this.idle)))
            }
            Poll::Ready(frame) => frame,
        };
        this.pending = None;
        if let Some(Err(error)) = frame {
            // Told at the next turn: what came before goes out first.
            (this.home, this.failed) = (None, Some(error));
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.framing.has_ended()
            && let Some(home) = this.home.take()
        {
            home.give_back();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.home.is_none() && self.failed.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.framing.exact().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;

    use super::*;

    fn cleaned(headers: &[(&str, &str)]) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            map.append(HeaderName::try_from(*name).unwrap(), value);
        }
        clean(&mut map);
        let mut left: Vec<String> = map.keys().map(|name| name.to_string()).collect();
        left.sort();
        left
    }

    #[test]
    fn a_length_beside_a_transfer_encoding_does_not_count() {
        let left = cleaned(&[("content-length", "3"), ("transfer-encoding", "chunked")]);
        assert!(left.is_empty());
    }
}
