//! The breaker in front of an upstream: what counts, what an open one answers, and how it closes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may

mod kit;

use std::rc::Rc;
use std::time::Duration;

use http::{Method, StatusCode};
use kit::*;
use portcullis_core::Body;
use tokio::sync::Notify;

fn state(world: &World) -> String {
    world.upstream.status()["breaker"]["state"].as_str().unwrap().to_owned()
}

#[test]
fn five_failures_in_a_row_open_it() {
    run(async {
        let endpoint = Scripted::always(FAILED).await;
        let world = World::of(&endpoint, "");
        for _ in 0..5 {
            assert_eq!(state(&world), "closed");
            assert_eq!(world.get().await.unwrap().status, 500, "the service's own answer passes");
        }
        let problem = world.get().await.unwrap_err();
        assert_eq!(problem.code().title, "Service temporarily unavailable");
        assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
        let whole = problem.wait().unwrap();
        let jittered = Duration::from_secs(30)..=Duration::from_secs(33);
        assert!(jittered.contains(&whole), "{whole:?}");
        world.clock.advance(Duration::from_secs(12));
        let (result, call) = world.send(request(Method::GET, Body::Empty)).await;
        let left = whole - Duration::from_secs(12);
        assert_eq!(result.unwrap_err().wait(), Some(left), "what remains");
        assert_eq!(
            (call.attempts, call.endpoint, call.code),
            (0, None, Some("upstream_unavailable"))
        );
        assert_eq!(endpoint.seen().len(), 5, "an open breaker lets nothing through");
        assert_eq!(
            world.upstream.status()["breaker"],
            serde_json::json!({
                "state": "open", "retryAfter": left.as_secs_f64().ceil() as u64,
                "lastReason": format!("{}: answered 500", endpoint.address),
            })
        );
        assert!(world.metric(r#"portcullis_breaker_state{upstream="orders"} 2"#));
        assert!(world.metric(r#"portcullis_breaker_rejected_total{upstream="orders"} 2"#));
        let step = r#"{upstream="orders",from="closed",to="open",reason="failures"}"#;
        assert!(world.metric(&format!("portcullis_breaker_transitions_total{step} 1")));
        assert!(
            world
                .metric(r#"portcullis_attempts_total{upstream="orders",outcome="server_error"} 5"#)
        );
    });
}

#[test]
fn what_counts_as_a_failure() {
    run(async {
        let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refused = World::new(&format!(
            "endpoints: [\"http://{}\"]\nbreaker: {{ failures: 1 }}",
            dead.local_addr().unwrap()
        ));
        drop(dead);
        assert!(refused.get().await.is_err());
        assert_eq!(state(&refused), "open");
        for (script, expected) in [
            (vec![Read, Close], "open"),
            (vec![Read, Hang], "open"),
            (vec![Read, Say("nonsense\r\n\r\n")], "open"),
            (vec![Read, Say("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")], "open"),
            (vec![Read, Say("HTTP/1.1 599 No\r\ncontent-length: 0\r\n\r\n")], "open"),
            (vec![Read, Say("HTTP/1.1 501 No\r\ncontent-length: 0\r\n\r\n")], "closed"),
            (vec![Read, Say("HTTP/1.1 505 No\r\ncontent-length: 0\r\n\r\n")], "closed"),
            (vec![Read, Say("HTTP/1.1 429 No\r\ncontent-length: 0\r\n\r\n")], "closed"),
            (vec![Read, Say("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n")], "closed"),
        ] {
            let endpoint = Scripted::start(vec![script]).await;
            let world = World::of(&endpoint, "breaker: { failures: 1 }");
            let _ = world.get().await;
            assert_eq!(state(&world), expected);
        }
    });
}

#[test]
fn half_open_is_capped_and_successes_close_it() {
    run(async {
        let gate = Rc::new(Notify::new());
        let slow = vec![Read, Wait(gate.clone()), Say(OK), Hang];
        let endpoint = Scripted::start(vec![vec![Read, Say(FAILED), Close], slow]).await;
        let world = Rc::new(World::of(&endpoint, "breaker: { failures: 1, probes: 3 }"));
        world.get().await.unwrap();
        assert_eq!(state(&world), "open");
        world.clock.advance(Duration::from_secs(33));
        let probe = || {
            let world = Rc::clone(&world);
            tokio::task::spawn_local(async move { world.get().await.map(|got| got.status) })
        };
        let probes = [probe(), probe(), probe()];
        endpoint.saw(4).await;
        assert_eq!(world.upstream.status()["breaker"]["probing"], 3);
        let problem = world.get().await.unwrap_err();
        assert_eq!(problem.code().name, "upstream_unavailable");
        assert_eq!(problem.wait(), Some(Duration::from_secs(1)), "while probes are out");
        assert_eq!(endpoint.seen().len(), 4, "never more than the probes");
        gate.notify_waiters();
        for probe in probes {
            assert_eq!(probe.await.unwrap().unwrap(), 200);
        }
        assert_eq!(state(&world), "closed");
        let step = r#"{upstream="orders",from="half-open",to="closed",reason="probes_succeeded"}"#;
        assert!(world.metric(&format!("portcullis_breaker_transitions_total{step} 1")));
        assert!(world.metric(r#"portcullis_breaker_state{upstream="orders"} 0"#));
    });
}

#[test]
fn a_probe_whose_client_goes_away_gives_its_permit_back() {
    run(async {
        let endpoint =
            Scripted::start(vec![vec![Read, Say(FAILED), Close], vec![Read, Hang]]).await;
        let world = World::of(&endpoint, "breaker: { failures: 1, probes: 1 }");
        world.get().await.unwrap();
        world.clock.advance(Duration::from_secs(33));
        for round in 0..3 {
            tokio::select! {
                _ = world.get() => panic!("there is no answer"),
                () = endpoint.saw(2 + round) => {}
            }
            assert_eq!(state(&world), "half-open");
            assert_eq!(world.upstream.status()["breaker"]["probing"], 0);
        }
        // A probe that fails opens it again, for twice the time.
        assert_eq!(world.get().await.unwrap_err().code().name, "upstream_timeout");
        assert_eq!(state(&world), "open");
        let wait = world.get().await.unwrap_err().wait().unwrap();
        assert!((Duration::from_secs(60)..=Duration::from_secs(66)).contains(&wait), "{wait:?}");
    });
}

#[test]
fn a_stale_connection_says_nothing_about_health() {
    run(async {
        let endpoint =
            Scripted::start(vec![vec![Read, Say(OK), Read, Close], vec![Read, Say(OK)]]).await;
        let world = World::of(&endpoint, "breaker: { failures: 1 }");
        for _ in 0..2 {
            assert_eq!(world.get().await.unwrap().status, 200);
        }
        assert_eq!(state(&world), "closed");
        assert_eq!(endpoint.connections(), 2);
    });
}

#[test]
fn without_a_breaker_everything_goes_out() {
    run(async {
        let endpoint = Scripted::always(FAILED).await;
        let world = World::of(&endpoint, "breaker: off");
        for _ in 0..10 {
            assert_eq!(world.get().await.unwrap().status, 500);
        }
        assert_eq!(endpoint.seen().len(), 10);
        assert_eq!(world.upstream.status()["breaker"], "off");
    });
}

#[test]
fn what_the_breaker_refuses_takes_no_endpoints_trial() {
    run(async {
        let failing = (0..5).flat_map(|_| [Read, Say(FAILED)]);
        let sick = Scripted::start(vec![failing.chain([Read, Say(OK), Hang]).collect()]).await;
        let well = Scripted::always(OK).await;
        let (one, two) = (sick.url(), well.url());
        let world = World::new(&format!("endpoints: [\"{one}\", \"{two}\"]\nbalance: round_robin"));
        while world.health(0) != "aside" {
            world.get().await.unwrap();
        }
        world.clock.advance(Duration::from_secs(10));
        assert_eq!(world.health(0), "to be tried");
        world.upstream.force_breaker(Some(true));
        for _ in 0..2 {
            world.get().await.unwrap_err();
        }
        world.upstream.force_breaker(None);
        for _ in 0..2 {
            assert_eq!(world.get().await.unwrap().status, 200);
        }
        assert_eq!((sick.seen().len(), world.health(0).as_str()), (6, "in use"));
    });
}
