//! How long an upstream may take, whose fault a wait is, and how long connections are kept.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may

mod kit;

use std::rc::Rc;
use std::time::Duration;

use http::Method;
use kit::*;
use portcullis_core::{Body, BodyError};
use tokio::sync::Notify;
use tokio::time::Instant;

#[test]
fn a_silent_upstream_is_a_timeout() {
    run(async {
        let endpoint = Scripted::start(vec![vec![Read, Hang]]).await;
        let world = World::of(&endpoint, "timeouts: { request: 7s }");
        let begun = Instant::now();
        let problem = world.get().await.unwrap_err();
        assert_eq!((problem.code().name, problem.status().as_u16()), ("upstream_timeout", 504));
        assert!(problem.detail().contains("timeouts.request"), "{}", problem.detail());
        assert_eq!(begun.elapsed().as_secs(), 7);
        endpoint.ended(0).await; // the request is cancelled
    });
}

#[test]
fn a_head_that_never_ends_is_a_timeout() {
    run(async {
        let endpoint = Scripted::start(vec![vec![Read, Say("HTTP/1.1 200 OK\r\nx: "), Hang]]).await;
        let problem = World::of(&endpoint, "").get().await.unwrap_err();
        assert_eq!(problem.code().name, "upstream_timeout");
    });
}

#[test]
fn nobody_who_accepts_in_time_is_a_timeout() {
    run(async {
        let full = Full::start().await;
        let world = World::new(&format!("endpoints: [\"http://{}\"]", full.address));
        let begun = Instant::now();
        let problem = world.get().await.unwrap_err();
        assert_eq!((problem.code().name, problem.status().as_u16()), ("upstream_timeout", 504));
        assert!(problem.detail().contains("timeouts.connect"), "{}", problem.detail());
        assert_eq!(begun.elapsed().as_secs(), 1);
    });
}

#[test]
fn an_answer_that_stalls_is_cut_off() {
    run(async {
        let gate = Rc::new(Notify::new());
        let part = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart";
        let endpoint =
            Scripted::start(vec![vec![Read, Say(part), Wait(gate.clone()), Say("more"), Hang]])
                .await;
        let world = World::of(&endpoint, "timeouts: { idle: 5s }");
        let (result, _) = world.send(request(Method::GET, Body::Empty)).await;
        let begun = Instant::now();
        tokio::task::spawn_local(async move {
            pass(Duration::from_secs(4)).await;
            gate.notify_one();
        });
        let got = finish(result.unwrap()).await;
        assert!(matches!(got.body, Err(BodyError::Stalled(after)) if after.as_secs() == 5));
        assert_eq!(begun.elapsed().as_secs(), 9, "each piece starts the wait anew");
        endpoint.ended(0).await;
    });
}

#[test]
fn a_stream_of_events_has_no_deadline_once_its_head_is_there() {
    for (kind, ends) in [("Text/Event-Stream; charset=utf-8", false), ("text/plain", true)] {
        run(async {
            let gate = Rc::new(Notify::new());
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n\r\ndata: 1\n\n");
            let head: &str = Box::leak(head.into_boxed_str());
            let script = vec![Read, Say(head), Wait(gate.clone()), Say("data: 2\n\n"), Close];
            let endpoint = Scripted::start(vec![script]).await;
            let world = World::of(&endpoint, "timeouts: { deadline: 2s, request: 1s, idle: 60s }");
            let (result, _) = world.send(request(Method::GET, Body::Empty)).await;
            tokio::task::spawn_local(async move {
                pass(Duration::from_secs(50)).await;
                gate.notify_one();
            });
            let got = finish(result.unwrap()).await;
            assert_eq!(got.body.is_err(), ends, "{kind}");
            assert_eq!(got.came.matches("data").count(), if ends { 1 } else { 2 });
        });
    }
}

#[test]
fn a_slow_client_is_not_a_slow_upstream() {
    run(async {
        let endpoint = Scripted::always(OK).await;
        let world = World::of(&endpoint, "timeouts: { request: 2s, idle: 10s }");
        let (source, body) = pieces();
        tokio::task::spawn_local(async move {
            for _ in 0..5 {
                pass(Duration::from_secs(8)).await;
                source.send(data("piece")).unwrap();
            }
        });
        let begun = Instant::now();
        assert_eq!(world.ask(request(Method::POST, body)).await.unwrap().status, 200);
        assert_eq!(begun.elapsed().as_secs(), 40);
    });
}

#[test]
fn a_client_that_stops_sending_is_told_so() {
    run(async {
        let endpoint = Scripted::always(OK).await;
        let world =
            World::of(&endpoint, "timeouts: { request: 2s, idle: 10s }\nbreaker: { failures: 1 }");
        let (source, body) = pieces();
        source.send(data("piece")).unwrap();
        let begun = Instant::now();
        let problem = world.ask(request(Method::POST, body)).await.unwrap_err();
        assert_eq!((problem.code().name, problem.status().as_u16()), ("request_body_timeout", 408));
        assert_eq!(begun.elapsed().as_secs(), 10);
        assert_eq!(world.upstream.status()["breaker"]["state"], "closed");
        drop(source);
    });
}

#[test]
fn an_upstream_that_is_silent_after_the_body_is_the_slow_one() {
    run(async {
        let endpoint = Scripted::start(vec![vec![Read, Hang]]).await;
        let world = World::of(&endpoint, "timeouts: { request: 2s, idle: 10s }");
        let (source, body) = pieces();
        tokio::task::spawn_local(async move {
            pass(Duration::from_secs(6)).await;
            source.send(data("all of it")).unwrap();
        });
        let begun = Instant::now();
        let problem = world.ask(request(Method::POST, body)).await.unwrap_err();
        assert_eq!(problem.code().name, "upstream_timeout");
        assert_eq!(begun.elapsed().as_secs(), 8, "counted from the end of the body");
    });
}

#[test]
fn waiting_connections_grow_old() {
    run(async {
        let endpoint = Scripted::always(OK).await;
        let world = World::of(&endpoint, "pool: { idle_timeout: 5s }");
        world.get().await.unwrap();
        world.clock.advance(Duration::from_millis(4_900));
        world.get().await.unwrap();
        assert_eq!(endpoint.connections(), 1);
        world.clock.advance(Duration::from_secs(5));
        world.get().await.unwrap();
        assert_eq!(endpoint.connections(), 2, "too old when it was asked for");
        world.clock.advance(Duration::from_secs(5));
        endpoint.ended(1).await; // swept without being asked for
    });
}

#[test]
fn a_pool_has_a_bound_and_is_counted() {
    run(async {
        let endpoint = Scripted::always(OK).await;
        let mut world = World::of(&endpoint, "pool: { max_idle: 2 }");
        let ask = || world.get();
        let (one, two, three) = tokio::join!(ask(), ask(), ask());
        assert!(one.is_ok() && two.is_ok() && three.is_ok());
        let shown = |state, count| {
            let labels = format!(r#"{{upstream="orders",state="{state}"}}"#);
            world.metric(&format!("portcullis_pool_connections{labels} {count}"))
        };
        pass(Duration::from_millis(1_001)).await; // the sweep that counts
        assert_eq!(endpoint.connections(), 3);
        assert!(shown("idle", 2) && shown("busy", 0), "{}", world.metrics.render());
        let closed = (0..3).filter(|index| endpoint.has_ended(*index)).count();
        assert_eq!(closed, 1);
        drop(world.reload(&format!("endpoints: [\"{}\"]", endpoint.url())));
        world.worker.sweep();
        let line = r#"portcullis_pool_connections{upstream="orders",state="idle"} 0"#;
        assert!(world.metric(line), "what is gone is not counted");
    });
}
