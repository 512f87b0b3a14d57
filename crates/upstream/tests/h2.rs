//! HTTP/2 to endpoints: requests share connections, and what fails on one fails as it does over
//! HTTP/1.1.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may

mod kit;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kit::*;
use portcullis_core::Body;
use portcullis_upstream::OnWorker;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// An endpoint that speaks HTTP/2.
struct Peer {
    url: String,
    connections: Rc<Cell<usize>>,
    seen: Rc<RefCell<Vec<(String, String)>>>,
    /// Answers wait for this while it is there.
    gate: Rc<RefCell<Option<Rc<Notify>>>>,
    status: Rc<Cell<u16>>,
    body: Rc<RefCell<String>>,
    /// Closes its connections.
    close: Rc<Notify>,
}

impl Peer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            connections: Rc::default(),
            seen: Rc::default(),
            gate: Rc::default(),
            status: Rc::new(Cell::new(200)),
            body: Rc::new(RefCell::new("ok".to_owned())),
            close: Rc::default(),
        };
        let (connections, close) = (Rc::clone(&peer.connections), Rc::clone(&peer.close));
        let (seen, gate) = (Rc::clone(&peer.seen), Rc::clone(&peer.gate));
        let (status, body) = (Rc::clone(&peer.status), Rc::clone(&peer.body));
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.set(connections.get() + 1);
                let (seen, gate, status) = (Rc::clone(&seen), Rc::clone(&gate), Rc::clone(&status));
                let body = Rc::clone(&body);
                let service = service_fn(move |request| {
                    let answered = (status.get(), body.borrow().clone());
                    answer(request, Rc::clone(&seen), Rc::clone(&gate), answered)
                });
                let builder = http2::Builder::new(OnWorker);
                let connection = builder.serve_connection(TokioIo::new(stream), service);
                let close = Rc::clone(&close);
                tokio::task::spawn_local(async move {
                    tokio::select! { _ = connection => {}, () = close.notified() => {} }
                });
            }
        });
        peer
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Rc<RefCell<Vec<(String, String)>>>,
    gate: Rc<RefCell<Option<Rc<Notify>>>>,
    (status, answered): (u16, String),
) -> Result<Response<Body>, Infallible> {
    let (parts, mut body) = request.into_parts();
    let mut text = String::new();
    while let Some(frame) =
        std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await
    {
        let Ok(frame) = frame else { break };
        text += std::str::from_utf8(frame.data_ref().unwrap_or(&Bytes::new())).unwrap();
    }
    seen.borrow_mut().push((format!("{} {}", parts.method, parts.uri), text));
    let gate = gate.borrow().clone();
    if let Some(gate) = gate {
        gate.notified().await;
    }
    Ok(Response::builder().status(status).body(Body::full(answered)).unwrap())
}

fn world(peer: &Peer, more: &str) -> Rc<World> {
    let endpoints = format!("endpoints: [\"{}\"]", peer.url);
    Rc::new(World::new(&format!("{endpoints}\nprotocol: h2\n{more}")))
}

fn ask(world: &Rc<World>) -> tokio::task::JoinHandle<u16> {
    let world = Rc::clone(world);
    tokio::task::spawn_local(async move { world.get().await.unwrap().status })
}

#[test]
fn requests_share_connections_up_to_the_most_streams() {
    run(async {
        let peer = Peer::start().await;
        let world = world(&peer, "pool: { max_streams: 2 }");
        assert_eq!(world.get().await.unwrap().body.unwrap(), "ok");
        let path = format!("GET {}/orders?limit=1", peer.url);
        assert_eq!(*peer.seen.borrow(), [(path, String::new())]);
        let gate = Rc::new(Notify::new());
        *peer.gate.borrow_mut() = Some(Rc::clone(&gate));
        let asked: Vec<_> = (0..5).map(|_| ask(&world)).collect();
        while peer.seen.borrow().len() < 6 {
            tokio::task::yield_now().await;
        }
        assert_eq!(peer.connections.get(), 3, "five requests, two on each");
        gate.notify_waiters();
        for asked in asked {
            assert_eq!(asked.await.unwrap(), 200);
        }
    });
}

#[test]
fn bodies_are_sent_again_after_an_answer_that_asks_for_it() {
    run(async {
        let (bad, good) = (Peer::start().await, Peer::start().await);
        bad.status.set(503);
        let world = World::new(&format!(
            "endpoints: [\"{}\", \"{}\"]\nprotocol: h2\nbalance: round_robin\nretries: {{ backoff: 1ms }}",
            bad.url, good.url
        ));
        let (source, body) = pieces();
        source.send(data("in ")).unwrap();
        source.send(data("pieces")).unwrap();
        drop(source);
        let got = world.ask(request(Method::PUT, body)).await.unwrap();
        assert_eq!((got.status, got.body.unwrap().as_str()), (200, "ok"));
        for peer in [bad, good] {
            assert_eq!(peer.seen.borrow()[0].1, "in pieces");
        }
    });
}

#[test]
fn a_connection_is_idle_from_its_last_answer_on() {
    run(async {
        let peer = Peer::start().await;
        let world = world(&peer, "pool: { idle_timeout: 5s }\ntimeouts: { request: 1m }");
        let gate = Rc::new(Notify::new());
        *peer.gate.borrow_mut() = Some(Rc::clone(&gate));
        let long = ask(&world);
        while peer.seen.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        let sweep = Duration::from_millis(1_001);
        world.clock.advance(Duration::from_secs(20));
        pass(sweep).await;
        gate.notify_one();
        assert_eq!(long.await.unwrap(), 200);
        *peer.gate.borrow_mut() = None;
        world.clock.advance(Duration::from_secs(4));
        pass(sweep).await;
        assert_eq!((world.get().await.unwrap().status, peer.connections.get()), (200, 1));
        world.clock.advance(Duration::from_secs(5));
        pass(sweep).await;
        assert_eq!((world.get().await.unwrap().status, peer.connections.get()), (200, 2));
    });
}

#[test]
fn who_does_not_read_one_answer_holds_up_no_other() {
    run(async {
        let peer = Peer::start().await;
        let world = world(&peer, "");
        *peer.body.borrow_mut() = "x".repeat(4 * 1024 * 1024);
        let mut unread = Vec::new();
        for _ in 0..3 {
            unread.push(world.send(request(Method::GET, Body::Empty)).await.0.unwrap());
        }
        *peer.body.borrow_mut() = "ok".to_owned();
        assert_eq!(world.get().await.unwrap().body.unwrap(), "ok");
        assert_eq!(peer.connections.get(), 1);
        for response in unread {
            assert_eq!(finish(response).await.body.unwrap().len(), 4 * 1024 * 1024);
        }
    });
}

#[test]
fn a_connection_that_is_gone_costs_no_request() {
    run(async {
        let peer = Peer::start().await;
        let world = world(&peer, "");
        for connections in 1..5 {
            assert_eq!(world.get().await.unwrap().status, 200);
            assert_eq!(peer.connections.get(), connections);
            peer.close.notify_waiters();
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn what_is_lost_is_told_as_over_http_1() {
    run(async {
        let silent = Scripted::start(vec![vec![Hang]]).await;
        let (gone, not_h2) =
            (Scripted::start(vec![vec![ReadHead, Close]]).await, Scripted::always(OK).await);
        for (endpoint, code) in [
            (silent.url(), "upstream_timeout"),
            (gone.url(), "upstream_reset"),
            (not_h2.url(), "upstream_bad_answer"),
        ] {
            let world = World::new(&format!("endpoints: [\"{endpoint}\"]\nprotocol: h2"));
            let problem = world.get().await.unwrap_err();
            assert_eq!(problem.code().name, code, "{}", problem.private_detail());
            assert_eq!(world.upstream.status()["breaker"]["failures"], 1);
        }
        let peer = Peer::start().await;
        *peer.gate.borrow_mut() = Some(Rc::default());
        let world = world(&peer, "timeouts: { request: 1s }");
        assert_eq!(world.get().await.unwrap_err().code().name, "upstream_timeout");
    });
}
