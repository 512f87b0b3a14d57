//! Bodies without an end, and bodies that nobody reads: events arrive one by one, as they are said, and
//! whoever does not read holds up whoever sends, not the gateway's memory.

#![allow(clippy::unwrap_used, clippy::panic)] // a failed step is a failed test

mod kit;

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::process::Stdio;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use kit::BOUND;
use kit::flood::{drink, pour, still};
use kit::gateway::Gateway;
use kit::lines::Lines;
use kit::pip::python;
use kit::place::Place;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const HTTPX: &str = "httpx[http2]==0.28.1";
/// More than the sockets of two connections keep.
const ALL: usize = 256 * 1024 * 1024;
/// What a connection may cost beside that: a window or a buffer of HTTP/2, and some noise.
const GROWTH: u64 = 8 * 1024 * 1024;

/// A gateway before a socket whose other end the test has.
struct House {
    gateway: Gateway,
    service: TcpListener,
    _place: Place,
}

impl House {
    async fn open() -> Self {
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = Place::new().unwrap();
        let url = format!("http://{}", service.local_addr().unwrap());
        let config = format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\n\
             admin: off\n\
             bounds: {{ streamed_body: 1GiB }}\n\
             upstreams:\n\
             \x20 large: {{ endpoints: [\"{url}\"] }}\n\
             \x20 events: {{ endpoints: [\"{url}\"], timeouts: {{ request: 500ms, deadline: 1s }} }}\n\
             routes:\n\
             - {{ name: large, match: {{ path: /large }}, forward: {{ to: large }} }}\n\
             - name: events\n\
             \x20 match: {{ path: /events }}\n\
             \x20 policies: {{ transform: {{ response: {{ body: . }} }} }}\n\
             \x20 forward: {{ to: events }}\n"
        );
        let file = place.write("portcullis.yaml", &config).unwrap();
        let gateway = Gateway::start(place.path(), &file, &[]).await.unwrap();
        Self { gateway, service, _place: place }
    }

    /// The service's side of the next connection, its request's head read.
    async fn asked(&self) -> TcpStream {
        let (mut stream, _) = self.service.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream
    }

    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.gateway.listener(0).unwrap()).await.unwrap()
    }

    async fn http2_client(&self) -> http2::SendRequest<Endless> {
        let io = TokioIo::new(self.client().await);
        let (sender, connection) = http2::handshake(Local, io).await.unwrap();
        tokio::task::spawn_local(connection);
        sender
    }

    fn request(&self, method: &str, body: Endless) -> http::Request<Endless> {
        let uri = format!("http://{}/large", self.gateway.listener(0).unwrap());
        http::Request::builder().method(method).uri(uri).body(body).unwrap()
    }
}

#[derive(Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// A body of [`ALL`] bytes, or of none, which counts what was taken of it.
struct Endless {
    left: usize,
    taken: Rc<Cell<usize>>,
}

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static PIECE: [u8; 16 * 1024] = [b'x'; 16 * 1024];
        let length = self.left.min(PIECE.len());
        self.left -= length;
        self.taken.set(self.taken.get() + length);
        let piece = Bytes::from_static(&PIECE).slice(..length);
        Poll::Ready((length > 0).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// So much was taken that nobody reads, and the gateway's memory had this size before.
fn bounded(gateway: &Gateway, taken: usize, before: u64) {
    assert!(taken < ALL / 4, "{taken} bytes were taken that nobody read");
    let grown = gateway.memory().unwrap().saturating_sub(before);
    assert!(grown < GROWTH, "the gateway has {grown} bytes more");
}

#[test]
fn each_event_arrives_before_the_next_one_is_said() {
    run(async {
        let house = House::open().await;
        for version in ["1", "2"] {
            let url = format!("http://{}/events", house.gateway.listener(0).unwrap());
            let mut python = python("streams/events.py", HTTPX).unwrap();
            let mut child = python.args([&url, version]).stdout(Stdio::piped()).spawn().unwrap();
            let lines = Lines::follow(child.stdout.take().unwrap());
            let mut service = house.asked().await;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                        transfer-encoding: chunked\r\n\r\n";
            service.write_all(head.as_bytes()).await.unwrap();
            let heard = async |wanted: String| {
                let found = |lines: &[String]| {
                    lines.iter().any(|line| line.contains(&wanted)).then_some(())
                };
                lines.wait_for(BOUND, &wanted, 0, found).await.unwrap();
            };
            heard("200 text/event-stream".to_owned()).await;
            // Longer than the upstream's deadline: it is no answer that has to be over.
            let begun = tokio::time::Instant::now();
            let mut number = 0;
            while begun.elapsed().as_millis() < 1500 || number < 20 {
                let event = format!("data: {{\"n\":{number}}}\n\n");
                let chunk = format!("{:x}\r\n{event}\r\n", event.len());
                service.write_all(chunk.as_bytes()).await.unwrap();
                heard(format!("{{\"n\":{number}}}")).await;
                number += 1;
            }
            service.write_all(b"0\r\n\r\n").await.unwrap();
            heard("end".to_owned()).await;
        }
    });
}

#[test]
fn a_client_that_does_not_read_an_answer_holds_the_service_up() {
    run(async {
        let house = House::open().await;
        let mut client = house.client().await;
        client.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut service = house.asked().await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {ALL}\r\n\r\n");
        service.write_all(head.as_bytes()).await.unwrap();
        let before = house.gateway.memory().unwrap();
        let poured = pour(&mut service, ALL).await.unwrap();
        bounded(&house.gateway, poured, before);
        drink(&mut client, poured).await.unwrap();
    });
}

#[test]
fn a_client_of_http_2_that_does_not_read_does_so_too() {
    run(async {
        let house = House::open().await;
        let mut sender = house.http2_client().await;
        let nothing = Endless { left: 0, taken: Rc::default() };
        let answer = tokio::task::spawn_local(sender.send_request(house.request("GET", nothing)));
        let mut service = house.asked().await;
        service.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let answer = answer.await.unwrap().unwrap();
        let before = house.gateway.memory().unwrap();
        let poured = pour(&mut service, ALL).await.unwrap();
        bounded(&house.gateway, poured, before);
        drop(service);
        let read = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(read.len(), poured);
    });
}

#[test]
fn a_service_that_does_not_read_a_request_holds_the_client_up() {
    run(async {
        let house = House::open().await;
        let mut client = house.client().await;
        let head = format!("POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: {ALL}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let before = house.gateway.memory().unwrap();
        let poured = pour(&mut client, ALL).await.unwrap();
        bounded(&house.gateway, poured, before);
        let mut service = house.asked().await;
        drink(&mut service, poured).await.unwrap();
    });
}

#[test]
fn a_service_that_does_not_read_holds_a_client_of_http_2_up() {
    run(async {
        let house = House::open().await;
        let mut sender = house.http2_client().await;
        let taken = Rc::new(Cell::new(0));
        let body = Endless { left: ALL, taken: Rc::clone(&taken) };
        let before = house.gateway.memory().unwrap();
        let answer = tokio::task::spawn_local(sender.send_request(house.request("POST", body)));
        let stuck = still(|| taken.get()).await;
        bounded(&house.gateway, stuck, before);
        let mut service = house.asked().await;
        let read = async {
            let mut buffer = vec![0; 1 << 20];
            while taken.get() < ALL {
                assert!(service.read(&mut buffer).await.unwrap() > 0);
            }
        };
        tokio::time::timeout(BOUND * 3, read).await.unwrap();
        answer.abort();
    });
}
