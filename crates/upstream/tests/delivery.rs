//! What endpoints see of a request and what comes back of their answers, over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may

mod kit;

use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, TE, TRAILER};
use http::{HeaderMap, Method};
use http_body::Frame;
use kit::*;
use portcullis_core::{Body, BodyError};
use tokio::sync::Notify;

#[test]
fn connections_are_kept_and_requests_are_written_anew() {
    run(async {
        let endpoint = Scripted::always(OK).await;
        let world = World::of(&endpoint, "");
        let mut first = request(Method::POST, Body::full("abc"));
        first.headers.insert("x-own", HeaderValue::from_static("1"));
        first.headers.insert("host", HeaderValue::from_static("shop.example"));
        first.headers.insert("expect", HeaderValue::from_static("100-continue"));
        let got = world.ask(first).await.unwrap();
        assert_eq!((got.status, got.body.unwrap().as_str()), (200, "ok"));
        let mut second = request(Method::GET, Body::Empty);
        second.host = Some(HeaderValue::from_static("orders.internal"));
        let (result, call) = world.send(second).await;
        assert_eq!(finish(result.unwrap()).await.status, 200);
        assert_eq!((call.attempts, call.status, call.code), (1, 200, None));
        assert_eq!(call.endpoint.as_deref(), Some(endpoint.address.to_string().as_str()));
        let seen = endpoint.seen();
        assert_eq!((seen[0].connection, seen[1].connection), (0, 0));
        let host = endpoint.address;
        assert!(seen[0].head.starts_with("POST /orders?limit=1 HTTP/1.1\r\n"), "{}", seen[0].head);
        let mut fields: Vec<&str> = seen[0].head.trim_end().lines().skip(1).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["content-length: 3", &format!("host: {host}"), "x-own: 1"]);
        assert_eq!(seen[0].body, "abc");
        assert_eq!(seen[1].head, "GET /orders?limit=1 HTTP/1.1\r\nhost: orders.internal\r\n\r\n");
    });
}

#[test]
fn a_stale_connection_costs_an_idempotent_request_nothing() {
    run(async {
        let endpoint = Scripted::start(vec![
            vec![Read, Say(OK), Read, Close],
            vec![Read, Say(OK), Read, Close],
            vec![Read, Say(OK)],
        ])
        .await;
        let world = World::of(&endpoint, "");
        world.get().await.unwrap();
        let (result, call) = world.send(request(Method::GET, Body::Empty)).await;
        assert_eq!(finish(result.unwrap()).await.status, 200);
        assert_eq!(call.attempts, 2);
        assert!(world.metric(r#"portcullis_attempts_total{upstream="orders",outcome="stale"} 1"#));
        // What may have had an effect is not sent twice.
        let problem = world.ask(request(Method::POST, Body::full("x"))).await.unwrap_err();
        assert_eq!((problem.code().name, problem.status().as_u16()), ("upstream_reset", 502));
        assert_eq!(endpoint.connections(), 2);
        assert!(!problem.detail().contains("127.0.0.1"));
        assert!(problem.private_detail().contains(&endpoint.address.to_string()));
    });
}

#[test]
fn a_connection_that_was_closed_meanwhile_is_not_used() {
    run(async {
        let endpoint = Scripted::start(vec![vec![Read, Say(OK), Close], vec![Read, Say(OK)]]).await;
        let world = World::of(&endpoint, "");
        world.get().await.unwrap();
        endpoint.ended(0).await;
        let got = world.ask(request(Method::POST, Body::full("x"))).await.unwrap();
        assert_eq!((got.status, endpoint.connections()), (200, 2));
    });
}

#[test]
fn an_answer_that_says_close_is_the_last_one() {
    run(async {
        let closing = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
        let endpoint = Scripted::always(closing).await;
        let world = World::of(&endpoint, "");
        for _ in 0..2 {
            let got = world.get().await.unwrap();
            assert!(!got.headers.contains_key(CONNECTION));
        }
        assert_eq!(endpoint.connections(), 2);
    });
}

#[test]
fn an_answer_may_end_with_its_connection() {
    run(async {
        let open = "HTTP/1.0 200 OK\r\n\r\nto the end";
        let endpoint = Scripted::start(vec![vec![Read, Say(open), Close]]).await;
        let got = World::of(&endpoint, "").get().await.unwrap();
        assert_eq!(got.body.unwrap(), "to the end");
    });
}

#[test]
fn the_next_endpoint_is_asked_when_nobody_accepts() {
    run(async {
        let refused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = refused.local_addr().unwrap();
        drop(refused);
        let problem =
            World::new(&format!("endpoints: [\"http://{dead}\"]")).get().await.unwrap_err();
        assert_eq!(
            (problem.code().name, problem.status().as_u16()),
            ("upstream_connect_failed", 502)
        );
        let alive = Scripted::always(OK).await;
        let world = World::new(&format!(
            "endpoints: [\"http://{dead}\", \"{}\"]\nbalance: round_robin",
            alive.url()
        ));
        let (result, call) = world.send(request(Method::POST, Body::full("x"))).await;
        assert_eq!(finish(result.unwrap()).await.status, 200);
        assert_eq!(call.attempts, 2);
        let host = format!("host: {}\r\n", alive.address);
        assert!(alive.seen()[0].head.contains(&host), "the second endpoint's own name");
    });
}

#[test]
fn after_one_other_endpoint_the_settings_say_how_many_are_asked() {
    run(async {
        let mut dead = Vec::new();
        for _ in 0..4 {
            dead.push(tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let urls = dead.iter().map(|it| format!("\"http://{}\"", it.local_addr().unwrap()));
        let urls = urls.collect::<Vec<_>>().join(", ");
        drop(dead);
        for (retries, requests, attempts) in [
            ("off", 1, 2),
            ("{ attempts: 4, when: [503] }", 1, 2),
            ("{ attempts: 4, when: [connect], backoff: 1ms, budget: 0% }", 15, 4),
            ("{ attempts: 4, when: [connect], backoff: 1ms, budget: 0% }", 16, 2),
        ] {
            let world = World::new(&format!(
                "endpoints: [{urls}]\nbreaker: off\nhealth: off\nretries: {retries}"
            ));
            let mut last = 0;
            for _ in 0..requests {
                last = world.send(request(Method::GET, Body::Empty)).await.1.attempts;
            }
            assert_eq!(last, attempts, "{retries}, the last of {requests}");
        }
    });
}

#[test]
fn endpoints_take_turns() {
    run(async {
        let (one, two) = (Scripted::always(OK).await, Scripted::always(OK).await);
        let world = World::new(&format!(
            "endpoints: [\"{}\", \"{}\"]\nbalance: round_robin",
            one.url(),
            two.url()
        ));
        for _ in 0..4 {
            world.get().await.unwrap();
        }
        assert_eq!((one.seen().len(), two.seen().len()), (2, 2));
    });
}

#[test]
fn chunks_and_trailers_pass_both_ways() {
    run(async {
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                      3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nx-sum: 5\r\n\r\n";
        let endpoint = Scripted::always(answer).await;
        let world = World::of(&endpoint, "");
        let (source, body) = pieces();
        let mut outbound = request(Method::POST, body);
        outbound.headers.insert(TRAILER, HeaderValue::from_static("x-check"));
        outbound.headers.insert(TE, HeaderValue::from_static("trailers"));
        source.send(data("one")).unwrap();
        source.send(data("two")).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-check", HeaderValue::from_static("7"));
        source.send(Ok(Frame::<Bytes>::trailers(trailers))).unwrap();
        drop(source);
        let got = world.ask(outbound).await.unwrap();
        assert_eq!(got.body.unwrap(), "abcde");
        assert_eq!(got.trailers.unwrap()["x-sum"], "5");
        assert_eq!(got.headers[TRAILER], "x-sum");
        assert!(!got.headers.contains_key(CONTENT_LENGTH) && got.headers.len() == 1);
        let seen = &endpoint.seen()[0];
        assert!(seen.head.contains("transfer-encoding: chunked\r\n"), "{}", seen.head);
        assert!(seen.head.contains("te: trailers\r\n") && seen.head.contains("connection: te\r\n"));
        assert_eq!(seen.body, "3\r\none\r\n3\r\ntwo\r\n0\r\nx-check: 7\r\n\r\n");
        world.get().await.unwrap();
        assert_eq!(endpoint.connections(), 1, "an answer with trailers ends cleanly");
    });
}

#[test]
fn interim_answers_are_absorbed() {
    run(async {
        let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
                      HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let endpoint = Scripted::always(answer).await;
        let got = World::of(&endpoint, "").get().await.unwrap();
        assert_eq!((got.status, got.body.unwrap().as_str()), (200, "ok"));
        assert!(!got.headers.contains_key("link"));
    });
}

#[test]
fn answers_without_a_body_leave_the_connection_usable() {
    run(async {
        let endpoint = Scripted::start(vec![vec![
            Read,
            Say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
            Read,
            Say("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n"),
            Read,
            Say("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\netag: \"1\"\r\n\r\n"),
            Read,
            Say("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\ncontent-length: 2\r\n\r\nok"),
        ]])
        .await;
        let world = World::of(&endpoint, "");
        let head = world.ask(request(Method::HEAD, Body::Empty)).await.unwrap();
        assert_eq!(
            (head.body.unwrap().as_str(), &head.headers[CONTENT_LENGTH]),
            ("", &"5".parse().unwrap())
        );
        let empty = world.get().await.unwrap();
        assert_eq!((empty.status, empty.headers.len()), (204, 0));
        let unchanged = world.get().await.unwrap();
        assert_eq!((unchanged.status, unchanged.headers.len()), (304, 2));
        let repeated = world.get().await.unwrap();
        let lengths: Vec<_> = repeated.headers.get_all(CONTENT_LENGTH).iter().collect();
        assert_eq!(lengths, ["2"], "one length is passed on");
        assert_eq!(endpoint.connections(), 1);
    });
}

#[test]
fn an_answer_may_come_before_the_body_has_gone_out() {
    run(async {
        let early = "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno";
        let endpoint = Scripted::start(vec![vec![ReadHead, Say(early), Hang]]).await;
        let world = World::of(&endpoint, "");
        let (source, body) = pieces();
        source.send(data("one")).unwrap();
        let got = world.ask(request(Method::POST, body)).await.unwrap();
        assert_eq!((got.status, got.body.unwrap().as_str()), (413, "no"));
        // The rest of the body is not wanted: its connection is closed, not kept.
        endpoint.ended(0).await;
        assert!(source.is_closed());
        world.get().await.unwrap();
        assert_eq!(endpoint.connections(), 2);
    });
}

#[test]
fn an_early_answer_and_a_streaming_body_go_on_together() {
    run(async {
        let gate = Rc::new(Notify::new());
        let endpoint = Scripted::start(vec![vec![
            ReadHead,
            Say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab"),
            Wait(gate.clone()),
            Say("cd"),
            Hang,
        ]])
        .await;
        let world = World::of(&endpoint, "");
        let (source, body) = pieces();
        let (result, _) = world.send(request(Method::POST, body)).await;
        source.send(data("more")).unwrap();
        drop(source);
        gate.notify_one();
        assert_eq!(finish(result.unwrap()).await.body.unwrap(), "abcd");
    });
}

#[test]
fn a_client_body_that_fails_is_the_clients_problem() {
    run(async {
        let endpoint = Scripted::start(vec![vec![ReadHead, Hang]]).await;
        let world = World::of(&endpoint, "breaker: { failures: 1 }");
        let failures = [
            (BodyError::TooLarge { limit: 4 }, "payload_too_large", 413),
            (BodyError::Other("gone".to_owned()), "request_body_broken", 400),
        ];
        for (error, code, status) in failures {
            let (source, body) = pieces();
            source.send(data("abcd")).unwrap();
            source.send(Err(error)).unwrap();
            let problem = world.ask(request(Method::POST, body)).await.unwrap_err();
            assert_eq!((problem.code().name, problem.status().as_u16()), (code, status));
            assert_eq!(problem.origin(), portcullis_core::Origin::Client);
        }
        endpoint.ended(1).await;
        assert_eq!(world.upstream.status()["breaker"]["state"], "closed");
        assert!(world.metric(r#"portcullis_attempts_total{upstream="orders",outcome="client"} 2"#));
    });
}

#[test]
fn what_is_no_answer_is_a_bad_one() {
    run(async {
        for (bytes, code) in [
            ("SSH-2.0-OpenSSH_9.2\r\n", "upstream_bad_answer"),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
                "upstream_bad_answer",
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nok", "upstream_bad_answer"),
            ("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", "upstream_bad_answer"),
            ("HTTP/1.1 200 OK\r\nbroken", "upstream_reset"),
            ("", "upstream_reset"),
        ] {
            let endpoint = Scripted::start(vec![vec![Read, Say(bytes), Close]]).await;
            let problem = World::of(&endpoint, "").get().await.unwrap_err();
            assert_eq!((problem.code().name, problem.status().as_u16()), (code, 502), "{bytes:?}");
            assert_eq!(problem.origin(), portcullis_core::Origin::Upstream);
            assert_eq!(endpoint.connections(), 1, "a new connection cannot be stale");
        }
        let endpoint = Scripted::start(vec![vec![Read, Reset]]).await;
        let problem = World::of(&endpoint, "").get().await.unwrap_err();
        assert_eq!(problem.code().name, "upstream_reset");
    });
}

#[test]
fn a_body_that_breaks_off_is_an_error_and_its_connection_is_not_kept() {
    run(async {
        for broken in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n",
        ] {
            let endpoint =
                Scripted::start(vec![vec![Read, Say(broken), Close], vec![Read, Say(OK)]]).await;
            let world = World::of(&endpoint, "");
            let got = world.get().await.unwrap();
            assert!(matches!(got.body, Err(BodyError::Broken(_))), "{broken:?}: {got:?}");
            assert_eq!(world.get().await.unwrap().status, 200);
            assert_eq!(endpoint.connections(), 2);
        }
    });
}

#[test]
fn an_answer_that_is_asked_for_again_leaves_its_connection_usable() {
    run(async {
        let head = "HTTP/1.1 503 Busy\r\n";
        let long = "x".repeat(64 * 1024);
        for (rest, connections) in [
            ("content-length: 4\r\n\r\nbusy".to_owned(), 1),
            ("transfer-encoding: chunked\r\n\r\n4\r\nbusy\r\n0\r\n\r\n".to_owned(), 1),
            // Beyond what is worth reading, not all here yet, or the last one anyway.
            (format!("content-length: 65537\r\n\r\nx{long}"), 3),
            ("content-length: 5\r\n\r\nbusy".to_owned(), 3),
            ("connection: close\r\ncontent-length: 4\r\n\r\nbusy".to_owned(), 3),
        ] {
            let answer: &'static str = format!("{head}{rest}").leak();
            let (busy, well) = (Scripted::always(answer).await, Scripted::always(OK).await);
            let world = World::new(&format!(
                "endpoints: [\"{}\", \"{}\"]\nbalance: round_robin\nhealth: off\nbreaker: off\n\
                 retries: {{ when: [503] }}",
                busy.url(),
                well.url()
            ));
            for requests in 1..=3 {
                // Each second one begins at the endpoint that is well.
                assert_eq!(world.get().await.unwrap().status, 200);
                assert_eq!(busy.seen().len(), requests);
                if requests < 3 {
                    world.get().await.unwrap();
                }
            }
            assert_eq!(busy.connections(), connections, "{rest:.40}");
        }
    });
}

#[test]
fn an_answer_that_nobody_wants_closes_its_connection() {
    run(async {
        let long = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart";
        let endpoint = Scripted::start(vec![vec![Read, Say(long), Hang]]).await;
        let world = World::of(&endpoint, "");
        let (result, _) = world.send(request(Method::GET, Body::Empty)).await;
        drop(result.unwrap());
        endpoint.ended(0).await; // the peer sees the end of the connection
        // The same for a request whose client goes away before there is an answer.
        let silent = Scripted::start(vec![vec![Read, Hang]]).await;
        let world = World::of(&silent, "");
        tokio::select! {
            _ = world.get() => panic!("there is no answer"),
            () = silent.saw(1) => {}
        }
        silent.ended(0).await;
        assert!(world.metric(r#"portcullis_attempts_total{upstream="orders",outcome="client"} 1"#));
    });
}
