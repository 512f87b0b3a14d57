//! One client connection: which protocol it speaks, hyper's state machine, and the orders of its
//! supervisor. One future per protocol, since a task is as large as its largest branch.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::Method;
use http::header::{CONNECTION, HeaderValue};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use portcullis_core::{Peer, Problem, Response};
use portcullis_tls::{Failure, Stream};
use portcullis_upstream::OnWorker;
use tokio::net::TcpStream;

use super::door::Door;
use super::enter::{Entered, enter};
use super::frames::Allowance;
use super::framing::{Framing, Limits};
use super::line::{Line, Order};
use super::protocol::Protocol;
use super::refuse::{self, LastWord};
use super::switch::{Exit, Switch, Switched};
use super::tunnel;
use super::watched::{Shared, Watched};
use crate::close::{Recorded, Recording};
use crate::open::{host, open, websocket};
use crate::pipeline;
use crate::problems::{FLOOD, HEADER_TIMEOUT};

/// hyper keeps at least this much of a head in memory.
const SMALLEST_BUFFER: usize = 8192;

/// An answer without a body waits for the end of its request while more of that comes at least this often, but no
/// longer than that.
const GRACE: Duration = Duration::from_millis(100);
const LONGEST_GRACE: Duration = Duration::from_secs(2);

/// Why an HTTP/2 connection ends (RFC 9113 section 7).
const NO_ERROR: u32 = 0;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Serves a connection to its end.
pub async fn serve(door: &Rc<Door>, line: &Rc<Line>, address: SocketAddr, stream: TcpStream) {
    let Some(entrance) = door.entrance() else { return };
    let entered = tokio::select! {
        entered = enter(door, &entrance, address, stream) => entered,
        order = line.ordered() => {
            if let (Order::HeaderTimeout, Some(tls)) = (order, &entrance.tls) {
                tls.count(Failure::Timeout);
            }
            return;
        }
    };
    drop(entrance); // a reload that closes it does not wait for this connection
    match entered {
        Some(Entered::Speaks(Protocol::Http1, peer, stream)) => {
            http1(door, line, peer, stream).await;
        }
        Some(Entered::Speaks(Protocol::Http2, peer, stream)) => {
            http2(door, line, peer, stream).await;
        }
        Some(Entered::Refused(problem, peer, stream)) => {
            let last_word = Some(LastWord::answer(problem));
            Box::pin(refuse::end(door, line, &peer, stream, last_word)).await;
        }
        None => {}
    }
}

/// HTTP/1.1 to its end. hyper holds two buffers for as long as it holds a connection: one that rests is
/// taken from it, and given back when the next request comes.
async fn http1(door: &Rc<Door>, line: &Rc<Line>, peer: Rc<Peer>, mut stream: Stream) {
    while let Some(resting) = http1_awake(door, line, &peer, stream).await {
        door.resting.add(1);
        let mut first = [0];
        let came = tokio::select! {
            came = resting.socket().peek(&mut first) => came.unwrap_or(0),
            _ = line.ordered() => 0,
        };
        door.resting.add(-1);
        if came == 0 {
            if resting.is_secure() {
                Box::pin(refuse::end(door, line, &peer, resting, None)).await;
            }
            return;
        }
        stream = resting;
    }
}

/// Serves until the connection ends, or rests: then it is given back. hyper has read all that came by
/// then, so TLS holds nothing of a next request.
async fn http1_awake(
    door: &Rc<Door>,
    line: &Rc<Line>,
    peer: &Rc<Peer>,
    stream: Stream,
) -> Option<Stream> {
    let bounds = door.desk.snapshot().bounds;
    let limits = Limits { bytes: bounds.header_bytes, fields: bounds.header_fields };
    let (arrivals, framing) = (door.arrivals.clone(), Framing::new(limits));
    let io = Watched::requests(stream, Rc::clone(line), arrivals, framing);
    let (switch, last) = (Switch::default(), host::Last::default());
    let service = service_fn(|request| {
        let exit = match websocket::is_awaited(request.headers()) {
            true => Exit::Connection(Rc::clone(&switch)),
            false => Exit::None,
        };
        exchange(door, line, peer, &last, request, exit)
    });
    let mut connection = http1::Builder::new()
        .max_headers(bounds.header_fields)
        .max_buf_size(bounds.header_bytes.max(SMALLEST_BUFFER))
        .max_header_size(bounds.header_bytes)
        .half_close(false)
        .serve_connection(io, service);
    let (mut too_slow, mut orderly, mut resting) = (false, false, None);
    loop {
        tokio::select! {
            biased;
            ended = &mut connection => {
                orderly = ended.is_ok();
                break;
            }
            order = line.ordered() => match order {
                Order::Rest => {
                    resting = line.rest();
                    if resting.is_some() {
                        Pin::new(&mut connection).graceful_shutdown();
                    }
                }
                Order::Refuse if line.is_new() => break,
                Order::Finish | Order::Refuse => Pin::new(&mut connection).graceful_shutdown(),
                Order::HeaderTimeout => {
                    too_slow = true;
                    break;
                }
                Order::Flood | Order::Abort => return None,
            }
        }
    }
    let parts = connection.into_parts();
    let (stream, requests) = parts.io.into_parts();
    let (framing, early) = requests.map(|it| (it.framing, it.early)).unzip();
    if let Some(Switched { tunnel, recording }) = switch.take().filter(|_| orderly) {
        let (early, cut) = (early.unwrap_or_default(), line.aborted());
        Box::pin(tunnel::run(stream, early, tunnel, door.arrivals.clone(), recording, cut)).await;
        return None;
    }
    let framing = framing.as_ref();
    if let Some(reads) = resting
        && reads == line.pulse.reads()
        && parts.read_buf.is_empty()
        && framing.is_none_or(|framing| framing.refused().is_none())
    {
        return Some(stream);
    }
    let owes_body = framing.is_some_and(Framing::owes_body);
    let last_word = last_word(door, framing, too_slow);
    // TLS is ended with a word of its own: without it a client cannot tell an end from a cut.
    if last_word.is_some() || owes_body || stream.is_secure() {
        // On the heap: connections that end well do not carry it along.
        Box::pin(refuse::end(door, line, peer, stream, last_word)).await;
    }
    None
}

/// What is still to be said to a client of HTTP/1.1 whose bytes became no request.
fn last_word(door: &Door, framing: Option<&Framing>, too_slow: bool) -> Option<LastWord> {
    let problem = match framing.and_then(Framing::refused) {
        Some(refusal) => {
            door.malformed.inc();
            let answered = framing.is_some_and(Framing::broke_off);
            (!answered).then(|| refusal.problem())
        }
        None if too_slow => Some(too_slow_a_head(door)),
        None => None,
    };
    problem.map(LastWord::answer)
}

fn too_slow_a_head(door: &Door) -> Problem {
    door.too_slow.inc();
    Problem::new(&HEADER_TIMEOUT, "the request's head did not come in time")
}

async fn http2(door: &Rc<Door>, line: &Rc<Line>, peer: Rc<Peer>, stream: Stream) {
    let bounds = door.desk.snapshot().bounds;
    line.speak_http2(Allowance { control: bounds.control_frames, resets: bounds.resets });
    let watched = Watched::frames(stream, Rc::clone(line), door.arrivals.clone());
    let (io, kept) = Shared::new(watched);
    let (owned_door, owned_line, owned_peer) = (Rc::clone(door), Rc::clone(line), Rc::clone(&peer));
    let last = host::Last::default();
    let service = service_fn(move |mut request| {
        let exit = match request.method() {
            &Method::CONNECT => {
                Exit::Stream(hyper::upgrade::on(&mut request), owned_door.arrivals.clone())
            }
            _ => Exit::None,
        };
        // On the heap: each stream is a task, and hyper and tokio move it seven times before it ends.
        Box::pin(exchange(&owned_door, &owned_line, &owned_peer, &last, request, exit))
    });
    let connection = http2::Builder::new(OnWorker)
        .max_header_list_size(u32::try_from(bounds.header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(bounds.streams)
        .enable_connect_protocol()
        .serve_connection(io, service);
    let last_word = {
        tokio::pin!(connection);
        if door.is_closing() {
            connection.as_mut().graceful_shutdown();
        }
        loop {
            tokio::select! {
                biased;
                _ = &mut connection => break None,
                order = line.ordered() => match order {
                    Order::Rest => {}
                    Order::Finish => connection.as_mut().graceful_shutdown(),
                    Order::HeaderTimeout => {
                        break Some(LastWord::goaway(too_slow_a_head(door), line, NO_ERROR));
                    }
                    Order::Flood => {
                        door.flood.inc();
                        let problem = Problem::new(&FLOOD, "too many frames that carry nothing");
                        break Some(LastWord::goaway(problem, line, ENHANCE_YOUR_CALM));
                    }
                    Order::Refuse | Order::Abort => return,
                }
            }
        }
    };
    if let Some(stream) = kept.into_stream() {
        Box::pin(refuse::end(door, line, &peer, stream, last_word)).await;
    }
}

/// One request. Not an `async fn`: its arguments would be stored twice.
fn exchange(
    door: &Rc<Door>,
    line: &Rc<Line>,
    peer: &Rc<Peer>,
    last: &host::Last,
    request: http::Request<Incoming>,
    exit: Exit,
) -> impl Future<Output = Result<http::Response<Recorded>, Infallible>> + use<> {
    let snapshot = door.desk.snapshot();
    let is_last = line.request_started() >= snapshot.bounds.requests;
    let (mut exchange, refused) = open(&snapshot, &door.desk.worker, peer, last, request);
    if let Some(intake) = exchange.body.intake() {
        line.watch(intake, &snapshot.bounds);
    }
    if is_last && line.is_http2() {
        line.order(Order::Finish);
    }
    let rest = if line.is_http2() { exchange.body.rest() } else { None };
    let mut recording = Recording::new(exchange, Rc::clone(&snapshot), Rc::clone(line));
    let door = Rc::clone(door);
    async move {
        let response = {
            let mut response = pipeline::serve(&snapshot, recording.exchange(), refused).await;
            if (door.is_closing() || is_last)
                && recording.exchange().record.version != http::Version::HTTP_2
            {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        };
        let Some(rest) = rest else { return Ok(exit.answer(response, recording)) };
        drop(std::mem::take(&mut recording.exchange().body));
        let response = match rest.take() {
            // On the heap: answers that nobody gets early do not carry it along.
            Some(body) => Box::pin(see_off(body, response)).await,
            None => {
                rest.await_with(drain_beside);
                response
            }
        };
        Ok(exit.answer(response, recording))
    }
}

/// What a client of HTTP/2 still sends of a request that has its answer is read and thrown away for a while. Its
/// stream would else be reset, and there are clients (curl before 8) that take this for the loss of their answer.
/// They also wait for ever when an answer without a body comes before they have sent all: so that one waits a little.
async fn see_off(mut body: Incoming, response: Response) -> Response {
    let is_bare = response.body().is_end_stream();
    let ended = is_bare && tokio::time::timeout(LONGEST_GRACE, ends(&mut body)).await == Ok(true);
    if !ended {
        drain_beside(body);
    }
    response
}

/// Whether a body comes to its end without a rest.
async fn ends(body: &mut Incoming) -> bool {
    loop {
        match tokio::time::timeout(GRACE, body.frame()).await {
            Ok(Some(Ok(_))) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

fn drain_beside(mut body: Incoming) {
    tokio::task::spawn_local(async move {
        let _ = tokio::time::timeout(refuse::LINGER, drain(&mut body)).await;
    });
}

async fn drain(body: &mut Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}
