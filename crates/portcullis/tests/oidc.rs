//! A real OpenID Connect server, written by others in another language, signs for the gateway: with
//! every algorithm that we promise, and with keys that change while requests run.

#![allow(clippy::unwrap_used, clippy::panic)] // a failed step is a failed test

mod kit;

use std::cell::{Cell, RefCell};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use kit::BOUND;
use kit::client::{Ask, AskBody, Connection, ask};
use kit::fields::Fields;
use kit::gateway::Gateway;
use kit::lines::Lines;
use kit::pause::eventually;
use kit::place::Place;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin};

/// Installing packages for the first time may take a while.
const INSTALL: Duration = Duration::from_secs(120);

/// The folder with the server and its packages, which are installed once.
fn installed() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let install = || {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oidc");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oidc");
        fs::create_dir_all(&folder).unwrap();
        let lock = fs::read(own.join("package-lock.json")).unwrap();
        let is_there = fs::read(folder.join("node_modules/installed")).is_ok_and(|it| it == lock);
        for file in ["package.json", "package-lock.json", "server.mjs"] {
            fs::copy(own.join(file), folder.join(file)).unwrap();
        }
        if !is_there {
            let mut npm = Command::new("npm");
            npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder);
            let output =
                npm.output().unwrap_or_else(|error| panic!("npm: {error}; see `cargo xtask test`"));
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            fs::write(folder.join("node_modules/installed"), lock).unwrap();
        }
        folder
    };
    FOLDER.get_or_init(install).clone()
}

/// The server as a child process.
struct Server {
    _child: Child,
    orders: ChildStdin,
    lines: Rc<Lines>,
    answers: usize,
    url: String,
}

impl Server {
    async fn start() -> Self {
        let mut node = tokio::process::Command::new("node");
        node.arg("server.mjs").current_dir(installed()).kill_on_drop(true);
        let mut child = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = Lines::follow(child.stdout.take().unwrap());
        let orders = child.stdin.take().unwrap();
        let mut server = Self { _child: child, orders, lines, answers: 0, url: String::new() };
        server.url = server.answer().await;
        server
    }

    /// Has it do something, and gives what it says.
    async fn order(&mut self, order: &str) -> String {
        self.orders.write_all(format!("{order}\n").as_bytes()).await.unwrap();
        self.answer().await
    }

    async fn answer(&mut self) -> String {
        let first = |lines: &[String]| lines.first().cloned();
        let line = self.lines.wait_for(INSTALL, "the server's answer", self.answers, first).await;
        self.answers += 1;
        line.unwrap()
    }

    fn address(&self) -> SocketAddr {
        self.url.replace("http://localhost", "127.0.0.1").parse().unwrap()
    }
}

async fn gateway(place: &Place, server: &Server) -> Gateway {
    let url = &server.url;
    let config = format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\n\
         admin: {{ address: 127.0.0.1:0 }}\n\
         issuers:\n\
         \x20 real:\n\
         \x20   issuer: {url}\n\
         \x20   audiences: [api://gateway]\n\
         \x20   algorithms: [RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA]\n\
         \x20   jwks: {{ max_fetches: {{ requests: 30, per: 1m }} }}\n\
         policies: {{ jwt: {{ issuers: [real] }} }}\n\
         routes: [{{ name: all, match: {{ path: \"/*\" }}, respond: {{ text: ok }} }}]\n"
    );
    let file = place.write("portcullis.yaml", &config).unwrap();
    Gateway::start(place.path(), &file, &[]).await.unwrap()
}

fn with_token(token: &str) -> Ask {
    let mut headers = Fields::default();
    headers.push("authorization", format!("Bearer {token}").as_bytes());
    Ask { method: "GET".into(), path: "/a".into(), headers, ..Ask::default() }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn every_algorithm_is_good_when_another_library_signs() {
    run(async {
        let mut server = Server::start().await;
        let place = Place::new().unwrap();
        let gateway = gateway(&place, &server).await;
        let listener = gateway.listener(0).unwrap();
        let all = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
        for algorithm in all {
            let token = server.order(&format!("token {algorithm}")).await;
            let got = ask(listener, &with_token(&token), BOUND).await.unwrap();
            assert_eq!((got.status, got.text().as_str()), (200, "ok"), "{algorithm}");
            let (signed, _) = token.rsplit_once('.').unwrap();
            let got = ask(listener, &with_token(&format!("{signed}.AAAA")), BOUND).await.unwrap();
            assert_eq!(got.status, 401, "{algorithm} with another signature");
        }
    });
}

/// What the clients have seen.
#[derive(Default)]
struct Seen {
    good: Cell<u32>,
    bad: RefCell<Vec<String>>,
    stop: Cell<bool>,
}

/// Gets a token from the server and uses it, again and again.
async fn client(server: SocketAddr, listener: SocketAddr, seen: Rc<Seen>) {
    let mut headers = Fields::default();
    headers.push("content-type", b"application/x-www-form-urlencoded");
    let wish = Ask {
        method: "POST".into(),
        path: "/token".into(),
        headers,
        body: AskBody::Whole(Bytes::from_static(b"grant_type=client_credentials&scope=a")),
        ..Ask::default()
    };
    let mut from = Connection::open(server, false, None).await.unwrap();
    let mut to = Connection::open(listener, false, None).await.unwrap();
    while !seen.stop.get() {
        let granted = from.send(&wish, BOUND).await.unwrap().json().unwrap();
        let token = granted.get("access_token").and_then(serde_json::Value::as_str).unwrap();
        for _ in 0..3 {
            let got = to.send(&with_token(token), BOUND).await.unwrap();
            if got.status != 200 {
                seen.bad.borrow_mut().push(format!("{}: {}", got.status, got.text()));
            }
        }
        seen.good.set(seen.good.get() + 1);
    }
}

#[test]
fn keys_that_change_under_load_fail_no_request() {
    run(async {
        let mut server = Server::start().await;
        let place = Place::new().unwrap();
        let gateway = gateway(&place, &server).await;
        let (address, listener) = (server.address(), gateway.listener(0).unwrap());
        let seen = Rc::<Seen>::default();
        let clients: Vec<_> = (0..8)
            .map(|_| tokio::task::spawn_local(client(address, listener, Rc::clone(&seen))))
            .collect();
        for _ in 0..8 {
            server.order("rotate").await;
            let goal = seen.good.get() + 50;
            let used = async || {
                anyhow::ensure!(seen.good.get() >= goal, "{} tokens were used", seen.good.get());
                Ok(())
            };
            eventually(BOUND * 3, used).await.unwrap();
        }
        seen.stop.set(true);
        for client in clients {
            client.await.unwrap();
        }
        assert_eq!(*seen.bad.borrow(), Vec::<String>::new());
        assert!(seen.good.get() >= 400);
    });
}
