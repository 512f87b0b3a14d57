//! A scripted endpoint over real sockets, and an upstream to send to it from one worker.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may
#![allow(clippy::indexing_slicing, unreachable_pub)]

use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use http_body::{Body as _, Frame};
use portcullis_config::{
    Decode as _, Diagnostics, ProcessEnvironment, Reader, Sources, Span, parse,
};
use portcullis_core::metrics::Metrics;
use portcullis_core::{Body, BodyError, Build, Call, Clock, Parts, Problem, Worker};
use portcullis_upstream::{NameServers, Outbound, Upstream, UpstreamPlan, UpstreamSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc};

/// Runs a test on one worker's kind of runtime. Its time stands still and jumps to the next timer
/// whenever nothing else can happen.
pub fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// Lets that much of the runtime's time pass. Nobody waits for real: the time jumps there.
pub async fn pass(time: Duration) {
    let _ = tokio::time::timeout(time, std::future::pending::<()>()).await;
}

/// What an endpoint does on one connection, step by step.
#[derive(Clone)]
pub enum Step {
    /// Reads a whole request.
    Read,
    /// Reads up to the end of a request's head.
    ReadHead,
    Say(&'static str),
    Bytes(&'static [u8]),
    /// Waits until the test says so.
    Wait(Rc<Notify>),
    /// Never goes on.
    Hang,
    Close,
    Reset,
}

pub use Step::{Bytes, Close, Hang, Read, ReadHead, Reset, Say, Wait};

pub const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
pub const FAILED: &str = "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n";

/// A listener whose queue is full: what comes on top of it is not answered at all.
pub struct Full {
    pub address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Full {
    pub async fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        let second = Duration::from_secs(1);
        while let Ok(Ok(stream)) = tokio::time::timeout(second, TcpStream::connect(address)).await {
            waiting.push(stream);
            assert!(waiting.len() < 100, "the queue never fills");
        }
        Self { address, _listener: listener, _waiting: waiting }
    }
}

/// A request as the endpoint saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub connection: usize,
    pub head: String,
    /// As framed on the wire.
    pub body: String,
}

/// An endpoint that plays one script per connection; the last one again and again.
pub struct Scripted {
    pub address: SocketAddr,
    seen: Rc<RefCell<Vec<Seen>>>,
    connections: Rc<RefCell<usize>>,
    /// Woken when a request was read or a script has ended.
    news: Rc<Notify>,
    closed: Rc<RefCell<Vec<usize>>>,
}

impl Scripted {
    pub async fn start(scripts: Vec<Vec<Step>>) -> Self {
        Self::start_at("127.0.0.1:0", scripts).await
    }

    pub async fn start_at(address: &str, scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connections) =
            (Rc::<RefCell<Vec<Seen>>>::default(), Rc::<RefCell<usize>>::default());
        let closed = Rc::<RefCell<Vec<usize>>>::default();
        let (noted, counted, ended) = (seen.clone(), connections.clone(), closed.clone());
        let news = Rc::new(Notify::new());
        let bell = news.clone();
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let index = *counted.borrow();
                *counted.borrow_mut() += 1;
                let script = scripts[index.min(scripts.len() - 1)].clone();
                let (noted, ended, bell) = (noted.clone(), ended.clone(), bell.clone());
                tokio::task::spawn_local(async move {
                    play(stream, index, script, &noted, &bell).await;
                    ended.borrow_mut().push(index);
                    bell.notify_waiters();
                });
            }
        });
        Self { address, seen, connections, news, closed }
    }

    /// The same on every connection, for as long as requests come.
    pub async fn always(answer: &'static str) -> Self {
        let forever = (0..100).flat_map(|_| [Read, Say(answer)]).collect();
        Self::start(vec![forever]).await
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    pub fn connections(&self) -> usize {
        *self.connections.borrow()
    }

    /// Waits until the script of a connection is over, which is also when its peer closes it.
    pub async fn ended(&self, connection: usize) {
        while !self.has_ended(connection) {
            self.news.notified().await;
        }
    }

    pub fn has_ended(&self, connection: usize) -> bool {
        self.closed.borrow().contains(&connection)
    }

    /// Waits until that many requests were read.
    pub async fn saw(&self, requests: usize) {
        while self.seen.borrow().len() < requests {
            self.news.notified().await;
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn play(
    mut stream: TcpStream,
    connection: usize,
    script: Vec<Step>,
    seen: &RefCell<Vec<Seen>>,
    news: &Notify,
) {
    let mut buffer = Vec::new();
    for step in script {
        match step {
            Read | ReadHead => {
                let Some(head) = read_until(&mut stream, &mut buffer, end_of_head).await else {
                    return;
                };
                let head = String::from_utf8(head).unwrap();
                let lower = head.to_ascii_lowercase();
                let length = lower.split("content-length: ").nth(1).map_or(0, |rest| {
                    rest.lines().next().unwrap().trim().parse::<usize>().unwrap()
                });
                let chunked = lower.contains("transfer-encoding: chunked");
                let whole = matches!(step, Read);
                let end = move |bytes: &[u8]| match (whole, chunked) {
                    (false, _) => Some(0),
                    (true, false) => (bytes.len() >= length).then_some(length),
                    (true, true) => end_of_chunks(bytes),
                };
                let body = read_until(&mut stream, &mut buffer, end).await;
                let body = String::from_utf8(body.unwrap_or_default()).unwrap();
                seen.borrow_mut().push(Seen { connection, head, body });
                news.notify_waiters();
            }
            Say(text) => {
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Bytes(bytes) => {
                if stream.write_all(bytes).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await; // the other side reads this piece first
            }
            Wait(notify) => notify.notified().await,
            Hang => {
                let mut rest = [0; 1024];
                while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
                return;
            }
            Close => return,
            Reset => {
                stream.set_zero_linger().unwrap();
                return;
            }
        }
    }
}

async fn read_until(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    end: impl Fn(&[u8]) -> Option<usize>,
) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = end(buffer) {
            let rest = buffer.split_off(end);
            return Some(std::mem::replace(buffer, rest));
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// The last chunk and its trailers end in an empty line.
fn end_of_chunks(bytes: &[u8]) -> Option<usize> {
    let last = bytes.windows(3).position(|three| three == b"0\r\n")?;
    end_of_head(&bytes[last..]).map(|end| last + end)
}

/// One worker and one upstream.
pub struct World {
    pub clock: Clock,
    pub metrics: Metrics,
    pub worker: Rc<Worker>,
    pub upstream: Arc<Upstream>,
    pub parts: Parts,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Result<String, BodyError>,
    /// What came of the body, also when it broke off.
    pub came: String,
    pub trailers: Option<HeaderMap>,
}

impl World {
    /// An upstream `orders` of these settings, in YAML.
    pub fn new(settings: &str) -> Self {
        Self::build(settings, &NameServers::default(), Clock::manual(UNIX_EPOCH))
    }

    fn build(settings: &str, servers: &NameServers, clock: Clock) -> Self {
        let metrics = Metrics::default();
        let plan = plan(settings).unwrap_or_else(|text| panic!("{text}"));
        let mut build = Build::new(clock.clone(), &metrics, None);
        let upstream = plan.build(servers, &mut build);
        for task in std::mem::take(&mut build.tasks) {
            tokio::task::spawn_local((task.start)());
        }
        let parts = std::mem::take(&mut build.parts);
        Self { worker: Worker::new(0, clock.clone()), clock, metrics, upstream, parts }
    }

    /// The same, by the runtime's own time.
    pub fn timed(settings: &str) -> Self {
        let clock = Clock::of(|| tokio::time::Instant::now().into_std());
        Self::build(settings, &NameServers::default(), clock)
    }

    /// Takes over other settings, as a reload does. The upstream of before comes back.
    pub fn reload(&mut self, settings: &str) -> Arc<Upstream> {
        let plan = plan(settings).unwrap_or_else(|text| panic!("{text}"));
        let mut build = Build::new(self.clock.clone(), &self.metrics, Some(&self.parts));
        let upstream = plan.build(&NameServers::default(), &mut build);
        for task in std::mem::take(&mut build.tasks) {
            tokio::task::spawn_local((task.start)());
        }
        self.parts = std::mem::take(&mut build.parts);
        std::mem::replace(&mut self.upstream, upstream)
    }

    /// How `/status` calls the health of an endpoint, by its place.
    pub fn health(&self, place: usize) -> String {
        self.upstream.status()["endpoints"][place]["health"].as_str().unwrap().to_owned()
    }

    /// An upstream whose names this server knows.
    pub fn with_names(settings: &str, servers: NameServers) -> Self {
        Self::build(settings, &servers, Clock::manual(UNIX_EPOCH))
    }

    /// An upstream of one scripted endpoint and these further settings.
    pub fn of(endpoint: &Scripted, more: &str) -> Self {
        Self::new(&format!("endpoints: [\"{}\"]\n{more}", endpoint.url()))
    }

    pub async fn send(
        &self,
        outbound: Outbound,
    ) -> (Result<portcullis_core::Response, Problem>, Call) {
        let mut call = self.call();
        let result = self.upstream.send(&self.worker, outbound, &mut call).await;
        (result.map_err(|failure| failure.problem), call)
    }

    /// A call that is not made yet.
    pub fn call(&self) -> Call {
        Call::new(&Arc::from(""), self.upstream.name())
    }

    /// The whole answer.
    pub async fn ask(&self, outbound: Outbound) -> Result<Got, Problem> {
        Ok(finish(self.send(outbound).await.0?).await)
    }

    pub async fn get(&self) -> Result<Got, Problem> {
        self.ask(request(Method::GET, Body::Empty)).await
    }

    pub fn metric(&self, line: &str) -> bool {
        self.metrics.render().contains(&format!("{line}\n"))
    }
}

pub fn plan(settings: &str) -> Result<UpstreamPlan, String> {
    let (mut sources, mut out) = (Sources::new(), Diagnostics::new());
    let text = settings.to_owned();
    let node = parse(&mut sources, "u.yaml".into(), text, &ProcessEnvironment, &mut out);
    let settings = node.and_then(|node| UpstreamSettings::decode(&node, &mut out));
    let plan = settings.and_then(|settings| {
        UpstreamPlan::plan(
            "orders",
            &settings,
            Span::default(),
            &mut Reader { out: &mut out, sources: &sources, files: &mut Vec::new() },
        )
    });
    match plan {
        Some(plan) if !out.has_errors() => Ok(plan),
        _ => Err(out.render(&sources, false)),
    }
}

pub fn request(method: Method, body: Body) -> Outbound {
    let path_and_query = PathAndQuery::from_static("/orders?limit=1");
    Outbound {
        method,
        path_and_query,
        headers: HeaderMap::new(),
        host: None,
        affinity: None,
        retry_non_idempotent: false,
        websocket: None,
        body,
    }
}

pub async fn finish(response: portcullis_core::Response) -> Got {
    let (parts, mut body) = response.into_parts();
    let (mut text, mut trailers) = (String::new(), None);
    let body = loop {
        match std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            None => break Ok(()),
            Some(Err(error)) => break Err(error),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => text.push_str(std::str::from_utf8(&data).unwrap()),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
    };
    let (status, headers) = (parts.status.as_u16(), parts.headers);
    Got { status, headers, body: body.map(|()| text.clone()), came: text, trailers }
}

/// A body that comes when the test sends it.
pub struct Pieces(mpsc::UnboundedReceiver<Result<Frame<bytes::Bytes>, BodyError>>);

pub type Source = mpsc::UnboundedSender<Result<Frame<bytes::Bytes>, BodyError>>;

pub fn pieces() -> (Source, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Body::stream(Pieces(receiver)))
}

pub fn data(text: &'static str) -> Result<Frame<bytes::Bytes>, BodyError> {
    Ok(Frame::data(bytes::Bytes::from_static(text.as_bytes())))
}

impl http_body::Body for Pieces {
    type Data = bytes::Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, BodyError>>> {
        self.0.poll_recv(cx)
    }
}
