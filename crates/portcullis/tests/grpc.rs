//! gRPC through the gateway, between a client and a service that are not ours: unary calls, streams in
//! both directions, metadata, trailers, statuses and deadlines.

#![allow(clippy::unwrap_used, clippy::panic)] // a failed step is a failed test

mod kit;

use std::path::Path;
use std::process::Stdio;

use kit::BOUND;
use kit::client::{Ask, ask};
use kit::gateway::Gateway;
use kit::lines::Lines;
use kit::pip::package;
use kit::place::Place;
use tokio::process::Command;

const GRPC: &str = "grpcio==1.85.3";

fn python(script: &str) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grpc").join(script);
    let mut python = Command::new("python3");
    python.arg(script).env("PYTHONPATH", package(GRPC).unwrap()).kill_on_drop(true);
    python
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn calls_and_streams_pass_as_they_are() {
    run(async {
        let mut server = python("server.py").stdout(Stdio::piped()).spawn().unwrap();
        let lines = Lines::follow(server.stdout.take().unwrap());
        let first = |lines: &[String]| lines.first().cloned();
        let port = lines.wait_for(BOUND, "the service's port", 0, first).await.unwrap();
        let place = Place::new().unwrap();
        let config = format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\n\
             admin: {{ address: 127.0.0.1:0 }}\n\
             upstreams:\n\
             \x20 orders:\n\
             \x20   endpoints: [http://127.0.0.1:{port}]\n\
             \x20   protocol: h2\n\
             \x20   breaker: {{ failures: 2 }}\n\
             routes: [{{ name: all, match: {{ path: \"/*\" }}, forward: {{ to: orders }} }}]\n"
        );
        let file = place.write("portcullis.yaml", &config).unwrap();
        let gateway = Gateway::start(place.path(), &file, &[]).await.unwrap();
        let listener = gateway.listener(0).unwrap().to_string();
        let output = python("client.py").arg(listener).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let wanted = [
            "get hello|header trailer",
            "chat ONE,TWO,THREE []",
            "large True",
            "left True",
            "fail UNAVAILABLE",
            "slow DEADLINE_EXCEEDED",
            "many 200",
        ];
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said.lines().collect::<Vec<_>>(), wanted, "{told}\n{}", gateway.stderr.tail(20));
        let metrics = Ask { method: "GET".into(), path: "/metrics".into(), ..Ask::default() };
        let metrics = ask(gateway.admin().unwrap(), &metrics, BOUND).await.unwrap().text();
        let failed = r#"portcullis_attempts_total{upstream="orders",outcome="server_error"} 1"#;
        assert!(metrics.contains(failed), "UNAVAILABLE counts as a failure\n{metrics}");
        assert!(metrics.contains(r#"portcullis_breaker_state{upstream="orders"} 0"#));
    });
}
