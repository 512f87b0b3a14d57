//! HTTP/2 to endpoints, with prior knowledge (RFC 9113 section 3.3) or by ALPN, over hyper's client: one worker's
//! connections to one endpoint, each shared by several requests.

use std::cell::{Cell, RefCell};
use std::error::Error as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::uri::{Authority, Scheme, Uri};
use http::{Request, Response as Head};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use portcullis_core::{Body, BodyError};
use portcullis_tls::Connector;
use tokio::sync::Semaphore;

use crate::answer::Flow;
use crate::attempt::Lost;
use crate::connection::{Counted, causes, connect, of_body};
use crate::deliver::Held;
use crate::request::{Framing, Outgoing, Ready};

/// How many headers' bytes an answer may have.
const HEADERS: u32 = 64 * 1024;
/// A stream may have this many bytes on its way to us, and a connection this many in all: who does not
/// read one answer is not to hold up the others that share its connection.
const WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * WINDOW;
/// A connection that says nothing is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);

/// Where hyper puts the streams of an HTTP/2 connection: on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub struct OnWorker;

impl<F: Future + 'static> hyper::rt::Executor<F> for OnWorker {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// A body that can be taken back while hyper sends it, and that says itself why it failed: hyper tells
/// only that the stream was reset.
struct Lent {
    body: Rc<RefCell<Option<Outgoing>>>,
    failed: Rc<RefCell<Option<BodyError>>>,
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = match self.body.borrow_mut().as_mut() {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(Some(Err(BodyError::Other("it was taken back".to_owned())))),
        };
        if let Poll::Ready(Some(Err(error))) = &polled {
            *self.failed.borrow_mut() = Some(error.clone());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.borrow().as_ref().is_none_or(Outgoing::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.borrow().as_ref().map_or_else(SizeHint::default, Outgoing::size_hint)
    }
}

/// A connection and how many requests are on it.
struct Connection {
    sender: RefCell<SendRequest<Lent>>,
    is_secure: bool,
    streams: Rc<Cell<usize>>,
    /// When it was seen last with something to do.
    last: Cell<Instant>,
    _open: Counted,
}

impl Connection {
    async fn open(
        peer: SocketAddr,
        connector: Option<&Connector>,
        now: Instant,
        open: Counted,
    ) -> Result<Rc<Self>, Lost> {
        let stream = connect(peer, connector).await?;
        let is_secure = stream.is_secure();
        let mut builder = Builder::new(OnWorker);
        builder
            .timer(TokioTimer::new())
            .max_header_list_size(HEADERS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG);
        let shaken = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) =
            shaken.map_err(|error| Lost::BadAnswer(format!("no HTTP/2: {error}")))?;
        tokio::task::spawn_local(async move {
            // What ended it is told to the requests that were on it.
            let _ = connection.await;
        });
        let (sender, last) = (RefCell::new(sender), Cell::new(now));
        Ok(Rc::new(Self { sender, is_secure, streams: Rc::default(), last, _open: open }))
    }

    fn is_open(&self) -> bool {
        !self.sender.borrow().is_closed()
    }
}

/// A request's place on a connection.
pub(crate) struct Stream {
    connection: Rc<Connection>,
}

impl Stream {
    fn on(connection: &Rc<Connection>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        Self { connection: Rc::clone(connection) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let streams = &self.connection.streams;
        streams.set(streams.get().saturating_sub(1));
    }
}

/// One worker's connections to one endpoint.
pub(crate) struct Streams {
    connections: RefCell<Vec<Rc<Connection>>>,
    /// One is opened at a time: whoever waits will share it.
    opening: Semaphore,
    most: usize,
}

/// What came of sending a request.
pub(crate) enum Sent {
    Answered(Head<Incoming>, Stream),
    /// The connection was gone before anything was sent.
    Gone,
    Lost(Lost),
}

impl Streams {
    /// With at most so many requests on each connection.
    pub(crate) fn new(most: usize) -> Self {
        Self { connections: RefCell::default(), opening: Semaphore::new(1), most }
    }

    /// A place on a connection, and whether that was open already.
    pub(crate) async fn place(
        &self,
        peer: SocketAddr,
        connector: Option<&Connector>,
        within: Duration,
        now: Instant,
        count: &Rc<Cell<usize>>,
    ) -> Result<(Stream, bool), Lost> {
        if let Some(stream) = self.free(now) {
            return Ok((stream, true));
        }
        let opened = tokio::time::timeout(
            within,
            Box::pin(async {
                let _turn = self.opening.acquire().await;
                if let Some(stream) = self.free(now) {
                    return Ok((stream, false));
                }
                let connection =
                    Connection::open(peer, connector, now, Counted::new(count)).await?;
                self.connections.borrow_mut().push(Rc::clone(&connection));
                Ok((Stream::on(&connection), false))
            }),
        );
        opened.await.unwrap_or(Err(Lost::ConnectTimeout(within)))
    }

    fn free(&self, now: Instant) -> Option<Stream> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| connection.is_open());
        let fits = |it: &&Rc<Connection>| it.streams.get() < self.most;
        connections.iter().find(fits).map(|connection| {
            connection.last.set(now);
            Stream::on(connection)
        })
    }

    /// Sends what is in `request` on this stream. It is there again when it was not answered, or in a
    /// way that makes it wanted back; if it can be sent again.
    pub(crate) async fn send(
        stream: Stream,
        request: &mut Option<Ready>,
        wants_back: &dyn Fn(u16) -> bool,
    ) -> Sent {
        let Some(ready) = request.take() else {
            return Sent::Lost(Lost::Request("it was sent already".to_owned()));
        };
        let mut ready = ready;
        let body = std::mem::replace(&mut ready.body, Outgoing::new(Body::Empty, 0));
        let (lent, failed) = (Rc::new(RefCell::new(Some(body))), Rc::default());
        let body = Lent { body: Rc::clone(&lent), failed: Rc::clone(&failed) };
        let outgoing = match written(&ready, stream.connection.is_secure, body) {
            Ok(outgoing) => outgoing,
            Err(why) => return Sent::Lost(Lost::Request(why)),
        };
        let mut back = Back { ready: Some(ready), lent, request };
        let sending = stream.connection.sender.borrow_mut().try_send_request(outgoing);
        match sending.await {
            Ok(head) => {
                if !wants_back(head.status().as_u16()) {
                    back.ready = None; // its body may still be on its way
                }
                Sent::Answered(head, stream)
            }
            Err(mut error) => {
                let unsent = error.take_message().is_some();
                let (error, failed) = (error.into_error(), failed.take());
                match failed {
                    _ if unsent => Sent::Gone,
                    Some(failed) => Sent::Lost(of_body(&failed)),
                    None => Sent::Lost(lost(&error)),
                }
            }
        }
    }

    /// Closes what has had nothing to do for so long, and counts what is left: open, and idle.
    pub(crate) fn sweep(&self, now: Instant, idle: Duration) -> usize {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| {
            if connection.streams.get() > 0 {
                connection.last.set(now);
            }
            let rests = now.saturating_duration_since(connection.last.get()) >= idle;
            connection.is_open() && !rests
        });
        connections.iter().filter(|connection| connection.streams.get() == 0).count()
    }
}

/// Puts a request back together when its sending is over, however that came.
struct Back<'b> {
    ready: Option<Ready>,
    lent: Rc<RefCell<Option<Outgoing>>>,
    request: &'b mut Option<Ready>,
}

impl Drop for Back<'_> {
    fn drop(&mut self) {
        let Some(mut ready) = self.ready.take() else { return };
        let Ok(mut lent) = self.lent.try_borrow_mut() else { return };
        if let Some(mut body) = lent.take()
            && body.rewind()
        {
            ready.body = body;
            *self.request = Some(ready);
        }
    }
}

/// As HTTP/2 has it: the authority in the target, and nothing that is a connection's (RFC 9113
/// section 8.2.2).
fn written(ready: &Ready, is_secure: bool, body: Lent) -> Result<Request<Lent>, String> {
    let authority = Authority::try_from(ready.host.as_bytes()).map_err(|it| it.to_string())?;
    let scheme = if is_secure { Scheme::HTTPS } else { Scheme::HTTP };
    let target = Uri::builder().scheme(scheme).authority(authority);
    let target = target.path_and_query(ready.head.path_and_query.clone());
    let mut request = Request::new(body);
    *request.uri_mut() = target.build().map_err(|error| error.to_string())?;
    *request.method_mut() = ready.head.method.clone();
    *request.version_mut() = http::Version::HTTP_2;
    for (name, value) in ready.fields().filter(|(name, _)| **name != CONNECTION) {
        request.headers_mut().append(name.clone(), value.clone());
    }
    if let Framing::Length(length) = ready.framing {
        request.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    Ok(request)
}

fn lost(error: &hyper::Error) -> Lost {
    let cause = error.source();
    if error.is_user() {
        return Lost::Request(causes(error));
    }
    let h2 = cause.and_then(|cause| cause.downcast_ref::<h2::Error>());
    match h2 {
        // The endpoint did not look at it (RFC 9113 section 8.7).
        Some(error) if error.reason() == Some(h2::Reason::REFUSED_STREAM) => {
            Lost::Refused(error.to_string())
        }
        Some(error) if error.is_library() => Lost::BadAnswer(error.to_string()),
        _ => Lost::Reset(causes(error)),
    }
}

/// A body that comes over a shared connection.
pub(crate) struct Shared {
    incoming: Incoming,
    ended: bool,
    _stream: Stream,
    _held: Held,
}

impl Shared {
    pub(crate) fn new(incoming: Incoming, stream: Stream, held: Held) -> Self {
        let ended = incoming.is_end_stream();
        Self { incoming, ended, _stream: stream, _held: held }
    }
}

impl Flow for Shared {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        self.ended = frame.is_none() || self.incoming.is_end_stream();
        Poll::Ready(frame.map(|it| it.map_err(|error| BodyError::Broken(causes(&error)))))
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    fn exact(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    fn finish(self) {}

    /// Dropping it resets the stream; the connection is for others as well.
    fn abandon(self) {}
}
