//! WebSockets through the gateway, between clients and a service that are not ours: over HTTP/1.1 and
//! HTTP/2, through reloads, to the limits that a route sets and to the gateway's end.

#![allow(clippy::unwrap_used, clippy::panic)] // a failed step is a failed test

mod kit;

use std::process::Stdio;
use std::rc::Rc;

use kit::BOUND;
use kit::certificates::{Certificates, Wish};
use kit::client::{Ask, ask};
use kit::flood::{drink, pour};
use kit::gateway::Gateway;
use kit::lines::Lines;
use kit::pause::eventually;
use kit::pip::{Service, python};
use kit::place::Place;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin};

const WEBSOCKETS: &str = "websockets==15.0.1";
const HTTPX: &str = "httpx[http2]==0.28.1";
/// More than the sockets of two connections keep.
const ALL: usize = 256 * 1024 * 1024;

/// What there is to say to an echo, and what it says.
const TALK: [&str; 9] = [
    "protocol echo.v1",
    "compressed ['permessage-deflate']",
    "text hello",
    "large True",
    "parts in three parts",
    "many True",
    "pong True",
    "closed 1000",
    "plain 426",
];

/// A gateway before an echo.
struct House {
    gateway: Gateway,
    service: Service,
    place: Place,
}

impl House {
    async fn open(limits: &str, more: &str) -> Self {
        let service = Service::start("websocket/server.py", WEBSOCKETS).await.unwrap();
        let place = Place::new().unwrap();
        let file = place.write("portcullis.yaml", &config(service.port, limits, more)).unwrap();
        let gateway = Gateway::start(place.path(), &file, &[]).await.unwrap();
        Self { gateway, service, place }
    }

    fn address(&self) -> String {
        self.gateway.listener(0).unwrap().to_string()
    }

    async fn hold(&self) -> Held {
        let url = format!("ws://{}/chat", self.address());
        let mut hold = python("websocket/hold.py", WEBSOCKETS).unwrap();
        let hold = hold.arg(url).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = hold.spawn().unwrap();
        let lines = Lines::follow(child.stdout.take().unwrap());
        let held = Held { stdin: child.stdin.take(), lines, _child: child };
        held.prints("open").await;
        held
    }

    async fn metric(&self, name: &str) -> Option<String> {
        let address = self.gateway.admin().unwrap();
        let metrics = ask(address, &get("/metrics"), BOUND).await.unwrap().text();
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().to_owned())
    }

    /// Waits for a line of the access log that has all of these.
    async fn logs(&self, parts: &[&str]) -> String {
        let fits = |line: &&String| parts.iter().all(|part| line.contains(part));
        let found = |lines: &[String]| lines.iter().find(fits).cloned();
        self.gateway.log.wait_for(BOUND, "a line in the log", 0, found).await.unwrap()
    }
}

fn config(port: u16, limits: &str, more: &str) -> String {
    format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\n\
         admin: {{ address: 127.0.0.1:0 }}\n\
         upstreams: {{ echo: {{ endpoints: [\"http://127.0.0.1:{port}\"], {more} }} }}\n\
         routes:\n\
         - {{ name: chat, match: {{ path: /chat }}, forward: {{ to: echo, websocket: {limits} }} }}\n\
         - {{ name: plain, match: {{ path: /plain }}, forward: {{ to: echo }} }}\n\
         - {{ name: fixed, match: {{ path: /fixed }}, respond: {{ text: no }} }}\n\
         drain: {{ grace: 100ms, deadline: 500ms }}\n"
    )
}

fn get(path: &str) -> Ask {
    Ask { method: "GET".into(), path: path.into(), ..Ask::default() }
}

/// A WebSocket that a client holds. It ends with its value.
struct Held {
    stdin: Option<ChildStdin>,
    lines: Rc<Lines>,
    _child: Child,
}

impl Held {
    async fn prints(&self, wanted: &str) {
        let found = |lines: &[String]| lines.iter().any(|line| line == wanted).then_some(());
        let waited = self.lines.wait_for(BOUND, wanted, 0, found).await;
        waited.unwrap_or_else(|error| panic!("{error:#}: {}", self.lines.tail(9)));
    }

    async fn says(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{text}\n").as_bytes()).await.unwrap();
        self.prints(&format!("heard {text}")).await;
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

async fn said(script: &str, wants: &str, arguments: &[&str]) -> (Vec<String>, String) {
    let output = python(script, wants).unwrap().args(arguments).output().await.unwrap();
    let lines = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    (lines, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn what_is_said_passes_as_it_is() {
    run(async {
        let house = House::open("on", "").await;
        let (said, told) = said("websocket/talk.py", WEBSOCKETS, &[&house.address()]).await;
        assert_eq!(said, TALK, "{told}\n{}", house.gateway.stderr.tail(20));
        house.logs(&["\"status\":101", "\"protocol\":\"HTTP/1.1\"", "\"ended\":\"service\""]).await;
    });
}

#[test]
fn it_passes_through_tls_on_both_sides() {
    run(async {
        let (place, mut certificates) = (Place::new().unwrap(), Certificates::default());
        let names = vec!["shop.example".to_owned()];
        let wish = Wish { names, days: 90, ..Wish::default() };
        certificates.make(place.path(), "site", &wish).unwrap();
        let of = |name: &str| place.path().join(name).display().to_string();
        let (certificate, key) = (of("site.pem"), of("site.key"));
        let mut program = python("websocket/server.py", WEBSOCKETS).unwrap();
        program.args([&certificate, &key]);
        let service = Service::run(program).await.unwrap();
        let plain = "{ address: 127.0.0.1:0 }";
        let secure = "{ address: 127.0.0.1:0, tls: { certificates: [{ certificate: site.pem, key: site.key }] } }";
        let upstream = "tls: { ca: site.pem, server_name: shop.example }";
        let config = config(service.port, "on", upstream).replacen(plain, secure, 1);
        let config = config.replace("http://127", "https://127");
        let file = place.write("portcullis.yaml", &config).unwrap();
        let gateway = Gateway::start(place.path(), &file, &[]).await.unwrap();
        let address = gateway.listener(0).unwrap().to_string();
        let (said, told) = said("websocket/talk.py", WEBSOCKETS, &[&address, &certificate]).await;
        assert_eq!(said, TALK, "{told}\n{}", gateway.stderr.tail(20));
    });
}

#[test]
fn a_client_of_http_2_has_one_too() {
    run(async {
        let house = House::open("on", "").await;
        let (said, told) = said("websocket/h2_client.py", HTTPX, &[&house.address()]).await;
        let wanted = [
            "connect 1",
            "head 200 echo.v1 None",
            r"heard b'\x81\x05hello' True",
            r"beside b'\x81\x06beside'",
            r"closed b'\x88\x02\x03\xe8' StreamEnded",
            "plain 426",
            "fixed 501",
            "unknown 405",
        ];
        assert_eq!(said, wanted, "{told}\n{}", house.gateway.stderr.tail(20));
        let line = house.logs(&["\"status\":200", "\"protocol\":\"HTTP/2\"", "\"ended\":"]).await;
        assert!(line.contains("\"method\":\"GET\""), "{line}");
        house.logs(&["\"status\":501", "\"problem\":\"no_websocket\""]).await;
    });
}

#[test]
fn a_reload_leaves_it_alone_and_the_gateways_end_says_goodbye() {
    run(async {
        let mut house = House::open("on", "").await;
        let mut held = house.hold().await;
        held.says("before").await;
        let open = "portcullis_tunnels{route=\"chat\"}";
        assert_eq!(house.metric(open).await.as_deref(), Some("1"));
        // Its route, its upstream and its policies are others from now on.
        let config = config(house.service.port, "off", "timeouts: { request: 3s }");
        let mark = house.gateway.stderr.count();
        house.place.write("portcullis.yaml", &config).unwrap();
        house.gateway.signal("HUP").await.unwrap();
        let applied = async || {
            let got = ask(house.gateway.listener(0).unwrap(), &get("/chat"), BOUND).await?;
            let done = house.metric("portcullis_reloads_total{outcome=\"applied\"}").await;
            anyhow::ensure!(done.as_deref() == Some("1"), "not yet: {}", got.status);
            Ok(())
        };
        let reloaded = eventually(BOUND, applied).await;
        reloaded.unwrap_or_else(|error| panic!("{error:#} {:?}", house.gateway.stderr.since(mark)));
        held.says("after").await;
        assert!(!house.gateway.log.tail(9).contains("\"status\":101"), "its line comes at its end");
        house.gateway.signal("TERM").await.unwrap();
        held.prints("closed 1001").await;
        let closed =
            |lines: &[String]| lines.iter().any(|line| line == "closed 1001").then_some(());
        house.service.lines.wait_for(BOUND, "goodbye to the service", 0, closed).await.unwrap();
        let line = house.logs(&["\"status\":101", "\"ended\":\"drain\""]).await;
        let number = |name: &str| -> u64 {
            let rest = line.split_once(&format!("\"{name}\":")).unwrap().1;
            rest.split([',', '}']).next().unwrap().parse().unwrap()
        };
        // Two masked frames and the close; two frames and the gateway's farewell.
        assert!(number("bytes_in") >= 12 + 11 && number("bytes_out") >= 8 + 7 + 4, "{line}");
        assert!(number("duration_us") > 400_000, "the time that it was open: {line}");
        assert_eq!(house.gateway.wait_exit(BOUND).await.unwrap(), 0);
    });
}

#[test]
fn it_lasts_no_longer_than_its_route_says() {
    for (limits, why) in [("{ idle: 300ms }", "idle"), ("{ lifetime: 300ms }", "lifetime")] {
        run(async {
            let house = House::open(limits, "").await;
            let held = house.hold().await;
            held.prints("closed 1001").await;
            let closed =
                |lines: &[String]| lines.iter().any(|line| line == "closed 1001").then_some(());
            house.service.lines.wait_for(BOUND, "the service's end", 0, closed).await.unwrap();
            house.logs(&["\"status\":101", &format!("\"ended\":\"{why}\"")]).await;
        });
    }
}

#[test]
fn it_has_a_place_in_what_its_upstream_bears() {
    run(async {
        let house = House::open("on", "max_in_flight: 1, queue: { max: 0 }").await;
        let address = house.gateway.listener(0).unwrap();
        let mut held = house.hold().await;
        let got = ask(address, &get("/plain"), BOUND).await.unwrap();
        assert_eq!(got.json().unwrap()["code"], "overloaded");
        held.stdin = None;
        held.prints("closed 1000").await;
        let free = async || {
            let got = ask(address, &get("/plain"), BOUND).await?;
            anyhow::ensure!(got.status == 426, "{}", got.status);
            Ok(())
        };
        eventually(BOUND, free).await.unwrap();
    });
}

/// Pours in at one end and drinks at the other.
async fn held_up(gateway: &Gateway, from: &mut TcpStream, to: &mut TcpStream) {
    let before = gateway.memory().unwrap();
    let poured = pour(from, ALL).await.unwrap();
    assert!(poured < ALL / 4, "{poured} bytes were taken that nobody read");
    let grown = gateway.memory().unwrap().saturating_sub(before);
    assert!(grown < 4 * 1024 * 1024, "the gateway has {grown} bytes more");
    drink(to, poured).await.unwrap();
}

#[test]
fn who_does_not_read_holds_the_other_side_up() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = Place::new().unwrap();
        let config = config(listener.local_addr().unwrap().port(), "on", "");
        let file = place.write("portcullis.yaml", &config).unwrap();
        let gateway = Gateway::start(place.path(), &file, &[]).await.unwrap();
        let mut client = TcpStream::connect(gateway.listener(0).unwrap()).await.unwrap();
        let request = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        client.write_all(request.as_bytes()).await.unwrap();
        let (mut service, _) = listener.accept().await.unwrap();
        let mut asked = [0; 4096];
        let _ = service.read(&mut asked).await.unwrap();
        let answer = "HTTP/1.1 101 OK\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        service.write_all(answer.as_bytes()).await.unwrap();
        let mut head = [0; 1024];
        let _ = client.read(&mut head).await.unwrap();
        held_up(&gateway, &mut service, &mut client).await;
        held_up(&gateway, &mut client, &mut service).await;
    });
}
