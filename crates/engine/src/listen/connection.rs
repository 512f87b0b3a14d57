//! One client connection: which protocol it speaks, hyper's state machine, and the orders of its
//! supervisor. One future per protocol, since a task is as large as its largest branch.

use std::convert::Infallible;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use portcullis_core::{Peer, Problem};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::door::Door;
use super::line::{Line, Order};
use super::protocol::{Protocol, detect};
use super::watched::Watched;
use crate::close::Recorded;
use crate::open::{ids, open};
use crate::pipeline;
use crate::problems::HEADER_TIMEOUT;

/// hyper keeps at least this much of a head in memory.
const SMALLEST_BUFFER: usize = 8192;
/// A client that was told something may take this long to read it.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Serves a connection to its end.
pub async fn serve(door: &Rc<Door>, line: &Rc<Line>, peer: Rc<Peer>, stream: TcpStream) {
    let protocol = tokio::select! {
        protocol = detect(&stream) => protocol,
        _ = line.ordered() => return,
    };
    match protocol {
        Ok(Some(Protocol::Http1)) => http1(door, line, peer, stream).await,
        Ok(Some(Protocol::Http2)) => http2(door, line, peer, stream).await,
        Ok(None) | Err(_) => {}
    }
}

async fn http1(door: &Rc<Door>, line: &Rc<Line>, peer: Rc<Peer>, stream: TcpStream) {
    let bounds = door.desk.snapshot().bounds;
    let io = Watched::new(stream, Arc::clone(&line.pulse));
    let service = service_fn(|request| exchange(door, line, &peer, request));
    let mut connection = http1::Builder::new()
        .max_headers(bounds.header_fields)
        .max_buf_size(bounds.header_bytes.max(SMALLEST_BUFFER))
        .max_header_size(bounds.header_bytes)
        .half_close(false)
        .serve_connection(io, service);
    let timed_out = loop {
        tokio::select! {
            ended = &mut connection => {
                if ended.is_err_and(|error| error.is_parse()) {
                    door.malformed.inc();
                }
                return;
            }
            order = line.ordered() => match order {
                Order::Finish => Pin::new(&mut connection).graceful_shutdown(),
                Order::HeaderTimeout => break true,
                Order::Abort => break false,
            }
        }
    };
    if timed_out {
        door.too_slow.inc();
        let id = ids::make(door.desk.house.clock.wall());
        say_timeout(connection.into_parts().io.into_stream(), id).await;
    }
}

/// 408 to a client whose head took too long, for what it is worth.
async fn say_timeout(mut stream: TcpStream, id: String) {
    let reply = Problem::new(&HEADER_TIMEOUT, "the request's head did not come in time").reply(&id);
    let head = format!(
        "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/problem+json\r\n\
         x-request-id: {id}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        reply.body.len()
    );
    let bytes = [head.as_bytes(), &reply.body].concat();
    let _ = tokio::time::timeout(LAST_WORD, async {
        stream.write_all(&bytes).await?;
        stream.shutdown().await
    })
    .await;
}

async fn http2(door: &Rc<Door>, line: &Rc<Line>, peer: Rc<Peer>, stream: TcpStream) {
    let bounds = door.desk.snapshot().bounds;
    line.set_http2();
    let io = Watched::new(stream, Arc::clone(&line.pulse));
    let (owned_door, owned_line) = (Rc::clone(door), Rc::clone(line));
    let service = service_fn(move |request| exchange(&owned_door, &owned_line, &peer, request));
    let connection = http2::Builder::new(Local)
        .max_header_list_size(u32::try_from(bounds.header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(bounds.streams)
        .serve_connection(io, service);
    tokio::pin!(connection);
    if door.is_closing() {
        connection.as_mut().graceful_shutdown();
    }
    loop {
        tokio::select! {
            _ = &mut connection => return,
            order = line.ordered() => match order {
                Order::Finish => connection.as_mut().graceful_shutdown(),
                Order::HeaderTimeout | Order::Abort => return,
            }
        }
    }
}

/// Where hyper puts the streams of an HTTP/2 connection: on this worker.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// One request. Not an `async fn`: its arguments would be stored twice.
fn exchange(
    door: &Rc<Door>,
    line: &Rc<Line>,
    peer: &Rc<Peer>,
    request: http::Request<Incoming>,
) -> impl Future<Output = Result<http::Response<Recorded>, Infallible>> + use<> {
    line.request_started();
    let snapshot = door.desk.snapshot();
    let (exchange, refused) = open(&snapshot, &door.desk.worker, peer, request);
    let mut recorded = Recorded::new(exchange, Rc::clone(&snapshot), Rc::clone(line));
    let door = Rc::clone(door);
    async move {
        let mut response = pipeline::serve(&snapshot, recorded.exchange(), refused).await;
        if door.is_closing() && recorded.exchange().record.version != http::Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| recorded.answered(body)))
    }
}
