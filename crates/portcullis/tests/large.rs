//! A worker whose client sends a large body goes on answering everybody else.

#![allow(clippy::unwrap_used, clippy::panic)] // a failed step is a failed test

mod kit;

use std::time::Duration;

use kit::BOUND;
use kit::client::{Ask, Connection};
use kit::gateway::Gateway;
use kit::place::Place;
use kit::wire::Wire;
use tokio::net::TcpStream;

/// Built for tests, five megabytes take their time.
const LONG: Duration = Duration::from_secs(120);

const CONFIG: &str = r#"
listeners: [{ address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
workers: 1
bounds: { buffered_body: 8MiB }
routes:
  - name: mapped
    match: { path: /mapped }
    policies: { transform: { request: { body: "{ first: .[0].a, count: length }" } } }
    respond: { text: mapped }
  - name: validated
    match: { path: /validated }
    policies: { validate: { body: { items: { properties: { a: { type: string } } } } } }
    respond: { text: validated }
  - { name: small, match: { path: /small }, respond: { text: small } }
"#;

/// With one worker, whatever it answers before the large request's answer was answered beside it: on the
/// worker no more than one small request could have come before, in the moment before it began.
#[test]
fn others_are_answered_while_a_large_body_is_mapped_or_validated() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let place = Place::new().unwrap();
        let file = place.write("portcullis.yaml", CONFIG).unwrap();
        let gateway = Gateway::start(place.path(), &file, &[]).await.unwrap();
        let address = gateway.listener(0).unwrap();
        let small = Ask { method: "GET".into(), path: "/small".into(), ..Ask::default() };
        let body = format!("[{}{{}}]", r#"{"a":"0123456789abcdef"},"#.repeat(5 * 1024 * 1024 / 25));
        for path in ["mapped", "validated"] {
            let mut others = Connection::open(address, false, None).await.unwrap();
            let mut large = Wire::new(TcpStream::connect(address).await.unwrap());
            let (most, last) = body.split_at(body.len() - 1);
            let length = body.len();
            let head = format!(
                "POST /{path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                 content-length: {length}\r\n\r\n"
            );
            large.write(head.as_bytes()).await.unwrap();
            large.write(most.as_bytes()).await.unwrap();
            // The worker has read all that it can have, and is free.
            assert_eq!(others.send(&small, BOUND).await.unwrap().status, 200);
            large.write(last.as_bytes()).await.unwrap();
            let mut answer = Box::pin(tokio::time::timeout(LONG, large.response()));
            let mut beside = 0;
            let status = loop {
                tokio::select! {
                    biased;
                    answer = &mut answer => break answer.unwrap().unwrap().unwrap().status,
                    other = others.send(&small, LONG) => beside += u32::from(other.unwrap().status == 200),
                }
            };
            assert_eq!(status, 200, "{path}");
            assert!(beside > 5, "{path}: {beside} others were answered first");
        }
    });
}
