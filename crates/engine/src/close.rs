//! The end of an exchange: problems become answers, the answer gets its last headers, and the
//! record is written when the last byte has left.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_LENGTH, HeaderValue};
use http_body::{Body as _, Frame, SizeHint};
use portcullis_core::metrics::Gauge;
use portcullis_core::{Body, BodyError, Exchange, Problem, Response};

use crate::listen::Line;
use crate::open::ids::X_REQUEST_ID;
use crate::snapshot::Snapshot;

/// The answer to a problem, which the record then knows.
pub fn problem(exchange: &mut Exchange, problem: &Problem) -> Response {
    exchange.record.fail(problem);
    match &exchange.record.rpc {
        Some(rpc) => rpc.form.reply(problem).into(),
        None => problem.reply(&exchange.record.request_id).into(),
    }
}

/// The last headers of every answer; nothing follows the head of an answer to HEAD.
pub fn finish(exchange: &mut Exchange, mut response: Response) -> Response {
    response.headers_mut().insert(X_REQUEST_ID, exchange.request_id.clone());
    for (name, value) in exchange.answer_headers.drain(..) {
        response.headers_mut().insert(name, value);
    }
    if exchange.record.method == Method::HEAD {
        if let Some(length) = response.body().size_hint().exact()
            && length > 0
            && !response.headers().contains_key(CONTENT_LENGTH)
        {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        *response.body_mut() = Body::Empty;
    }
    exchange.record.status = response.status().as_u16();
    if let Some(rpc) = &exchange.record.rpc {
        rpc.note(response.headers());
    }
    response
}

/// An exchange until its end: then the record is written and the exchange's guards are dropped.
pub struct Recording {
    exchange: Box<Exchange>,
    done: bool,
    snapshot: Rc<Arc<Snapshot>>,
    line: Rc<Line>,
}

impl Recording {
    /// From the request's head on: a client that goes away before its answer leaves a record too.
    pub fn new(exchange: Box<Exchange>, snapshot: Rc<Arc<Snapshot>>, line: Rc<Line>) -> Self {
        Self { exchange, done: false, snapshot, line }
    }

    pub fn exchange(&mut self) -> &mut Exchange {
        &mut self.exchange
    }

    /// Where open tunnels of its route are counted.
    pub fn tunnels(&self) -> Option<Gauge> {
        self.snapshot.metrics.tunnels(&self.exchange.record)
    }

    /// It came to the end that it was meant to have.
    pub fn complete(&mut self) {
        self.done = true;
    }

    /// The answer's head is made; its body follows.
    pub fn answered(mut self, body: Body) -> Recorded {
        self.done = body.is_end_stream();
        let mut recorded = Recorded { body, offers: false, recording: Some(self) };
        recorded.offer(!recorded.body.is_end_stream());
        recorded
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let (worker, record) = (&self.exchange.worker, &self.exchange.record);
        let duration = worker.clock.now().saturating_duration_since(record.started);
        self.snapshot.metrics.observe(record, duration, !self.done);
        self.snapshot.log.write(worker, record, duration, !self.done);
        self.line.request_finished();
    }
}

/// An answer's body that owns its exchange: that ends when it has left, or its client is gone.
pub struct Recorded {
    body: Body,
    /// A piece of it is there, and the client has not taken it.
    offers: bool,
    /// `None`: the exchange goes on elsewhere.
    recording: Option<Recording>,
}

impl Recorded {
    /// No body: what belongs to the answer goes on elsewhere.
    pub fn nothing() -> Self {
        Self { body: Body::Empty, offers: false, recording: None }
    }

    /// Tells the connection's supervisor for whom this waits: for the client, or for more of itself.
    fn offer(&mut self, offers: bool) {
        if let Some(recording) = self.recording.as_ref().filter(|_| self.offers != offers) {
            recording.line.offer(if offers { 1 } else { -1 });
            self.offers = offers;
        }
    }
}

impl http_body::Body for Recorded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            self.offer(false);
            return Poll::Pending;
        };
        // Also the last piece: of HTTP/2 it stays here until the client has a window for it.
        self.offer(matches!(frame, Some(Ok(_))));
        let ended = frame.is_none() || self.body.is_end_stream();
        let Some(recording) = &mut self.recording else { return Poll::Ready(frame) };
        match &frame {
            Some(Ok(frame)) => {
                let record = &mut recording.exchange.record;
                record.bytes_out += frame.data_ref().map_or(0, Bytes::len) as u64;
                if let (Some(rpc), Some(trailers)) = (&record.rpc, frame.trailers_ref()) {
                    rpc.note(trailers);
                }
                recording.done = ended;
            }
            Some(Err(_)) => {}
            None => recording.done = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        self.offer(false);
    }
}
