//! An answer on its way back: its head is cleaned of what belonged to the endpoint's connection,
//! its body is watched, and its connection goes back to the pool when it has ended.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::{Method, StatusCode, Version};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use portcullis_core::{Body, BodyError, Response, headers};
use tokio::time::{Instant, Sleep};

use crate::connection::Connection;
use crate::pool::Pool;
use crate::request::Progress;

/// Where an answer's connection goes when the answer has ended.
pub(crate) struct Home {
    pub(crate) pool: Rc<Pool>,
    pub(crate) connection: Connection,
}

impl Home {
    fn give_back(self) {
        self.pool.give_back(self.connection);
    }
}

/// The answer as the engine gets it.
pub(crate) fn receive(
    response: http::Response<Incoming>,
    method: &Method,
    home: Home,
    progress: Option<Rc<Progress>>,
    idle: Duration,
) -> Response {
    let (mut parts, incoming) = response.into_parts();
    parts.version = Version::HTTP_11; // what the endpoint speaks is not what the client hears
    parts.extensions = http::Extensions::new();
    clean(&mut parts.headers);
    let bodiless = *method == Method::HEAD || parts.status == StatusCode::NOT_MODIFIED;
    if !bodiless {
        frame(&mut parts.headers, parts.status, &incoming);
    }
    if incoming.is_end_stream() {
        home.give_back();
        return Response::from_parts(parts, Body::Empty);
    }
    let body = Watched { incoming, home: Some(home), progress, idle, pending: None, timer: None };
    Response::from_parts(parts, Body::stream(body))
}

/// Removes what belonged to the endpoint's connection. `Trailer` stays: trailers pass.
fn clean(headers: &mut HeaderMap) {
    let chunked = headers.contains_key(TRANSFER_ENCODING);
    // RFC 9112 section 6.3: a length beside a transfer encoding does not count.
    headers::strip(headers, |name| chunked && name == "content-length");
}

/// At most one `Content-Length`, and the one by which the body was read: several equal ones are
/// allowed on the wire (RFC 9110 section 8.6), and not passed on.
fn frame(headers: &mut HeaderMap, status: StatusCode, body: &Incoming) {
    if status == StatusCode::NO_CONTENT {
        headers.remove(CONTENT_LENGTH); // RFC 9110 section 8.6
        return;
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return };
    let plain = first.as_bytes().iter().all(u8::is_ascii_digit) && lengths.next().is_none();
    if !plain {
        match body.size_hint().exact() {
            Some(length) => headers.insert(CONTENT_LENGTH, HeaderValue::from(length)),
            None => headers.remove(CONTENT_LENGTH),
        };
    }
}

/// A body from an endpoint.
struct Watched {
    incoming: Incoming,
    /// Until the body has ended; dropped with it before that, which closes the connection.
    home: Option<Home>,
    /// Of the request's body, which may still be on its way.
    progress: Option<Rc<Progress>>,
    /// How long to wait for the next piece.
    idle: Duration,
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
        let timer =
            self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(since + self.idle)));
        loop {
            ready!(timer.as_mut().poll(cx));
            let waits_for_client =
                self.progress.as_ref().is_some_and(|progress| progress.client_owes());
            let from = if waits_for_client { now } else { since };
            let until = from + self.idle;
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
        let frame = match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Pending => {
                ready!(this.poll_stalled(cx));
                this.home = None;
                return Poll::Ready(Some(Err(BodyError::Stalled(this.idle))));
            }
            Poll::Ready(frame) => frame,
        };
        this.pending = None;
        let ended = match &frame {
            None => true,
            Some(Ok(frame)) => frame.is_trailers() || this.incoming.is_end_stream(),
            Some(Err(_)) => {
                this.home = None;
                false
            }
        };
        if ended && let Some(home) = this.home.take() {
            home.give_back();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
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
