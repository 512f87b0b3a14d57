//! What one upstream was not given another one gets, by its own settings.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may

mod kit;

use http::Method;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use kit::*;
use portcullis_core::Body;
use tokio::time::Instant;

#[test]
fn the_time_that_a_grpc_client_gives_is_given_once() {
    run(async {
        let busy = Scripted::start(vec![vec![Read, Hang]]).await;
        let silent = Scripted::start(vec![vec![Hang]]).await;
        let full = "max_in_flight: 1\nqueue: { wait: 1s }\ntimeouts: { request: 1m }";
        let first = World::timed(&format!("endpoints: [\"{}\"]\n{full}", busy.url()));
        let second = World::timed(&format!("endpoints: [\"{}\"]\nprotocol: h2", silent.url()));
        let mut outbound = request(Method::POST, Body::full("call"));
        outbound.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let timeout = HeaderName::from_static("grpc-timeout");
        outbound.headers.insert(timeout, HeaderValue::from_static("3S"));
        let fall_back = async {
            busy.saw(1).await;
            let (begun, mut calls) = (Instant::now(), [first.call(), second.call()]);
            let sent = first.upstream.send(&first.worker, outbound, &mut calls[0]).await;
            let failure = sent.unwrap_err();
            assert_eq!(failure.problem.code().name, "overloaded");
            let (unsent, call) = (failure.unsent.unwrap(), &mut calls[1]);
            let sent = second.upstream.send_instead(&second.worker, unsent, None, call).await;
            assert_eq!(sent.unwrap_err().code().name, "deadline_exceeded");
            begun.elapsed().as_secs()
        };
        tokio::select! {
            _ = first.get() => panic!("it has the only slot"),
            seconds = fall_back => assert_eq!(seconds, 3),
        }
    });
}
