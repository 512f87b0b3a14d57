//! From a block of the configuration to a running upstream: defaults, complaints, names, reloads.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may

mod kit;

use std::sync::Arc;
use std::time::Duration;

use kit::*;
use portcullis_core::metrics::Metrics;
use portcullis_core::{Build, Clock};
use portcullis_upstream::{CODES, METRICS, NameServers, UpstreamSettings};

#[test]
fn every_mistake_is_told_at_once() {
    let text = "\
endpoints:
  - 127.0.0.1:8101
  - ftp://orders
  - { url: http://orders/v1 }
  - http://a
  - http://A:80
timeouts: { connect: 0s, request: 2d }
breaker: { failures: 0, reset_after: 5 }
";
    // The types' complaints come first; the plan's when the types are content.
    let told = plan(text).unwrap_err();
    assert!(told.contains("a whole number from 1 to 100000"), "{told}");
    assert!(told.contains("the unit is missing: write 5s"), "{told}");
    let told = plan(&text.replace("failures: 0, reset_after: 5", "")).unwrap_err();
    for line in [
        "an endpoint is a URL: `127.0.0.1:8101`",
        "hint: write http://127.0.0.1:8101",
        "an endpoint's URL begins with http:// or https://: `ftp://orders`",
        "an endpoint has neither path nor query: `http://orders/v1`",
        "endpoint `http://A:80` is here already",
        "--> u.yaml:6:5",
        "a wait of more than nothing and at most a day is needed here",
        "--> u.yaml:7:22",
        "--> u.yaml:7:35",
    ] {
        assert!(told.contains(line), "{line} is missing in\n{told}");
    }
}

#[test]
fn an_upstream_needs_an_endpoint() {
    assert!(plan("endpoints: []").unwrap_err().contains("upstream `orders` has no endpoint"));
    assert!(plan("breaker: off").unwrap_err().contains("missing key `endpoints`"));
    let told = plan("endpoints: [http://a]\nendpoint: x").unwrap_err();
    assert!(told.contains("unknown key `endpoint`"), "{told}");
}

#[test]
fn the_schema_knows_both_forms_of_an_endpoint() {
    let schema = portcullis_config::document::<UpstreamSettings>("Upstream").to_string();
    assert!(schema.contains("EndpointBlock") && schema.contains("max_idle"), "{schema}");
}

#[test]
fn equal_settings_keep_breaker_and_connections() {
    run(async {
        let endpoint = Scripted::always(FAILED).await;
        let world = World::of(&endpoint, "breaker: { failures: 2 }");
        world.get().await.unwrap();
        let same =
            format!("endpoints: [{{ url: \"{}\" }}]\nbreaker: {{ failures: 2 }}", endpoint.url());
        let mut next = Build::new(world.clock.clone(), &world.metrics, Some(&world.parts));
        let kept = plan(&same).unwrap().build(&NameServers::default(), &mut next);
        assert!(Arc::ptr_eq(&kept, &world.upstream));
        let other =
            plan(&same.replace("2 }", "3 }")).unwrap().build(&NameServers::default(), &mut next);
        assert!(!Arc::ptr_eq(&other, &world.upstream));
        assert_eq!(world.upstream.status()["breaker"]["failures"], 1);
    });
}

#[test]
fn what_is_known_of_parts_outlives_a_change_beside_them() {
    run(async {
        let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (gone, endpoint) = (dead.local_addr().unwrap(), Scripted::always(OK).await);
        drop(dead);
        let text = format!("endpoints: [\"http://{gone}\", \"{}\"]", endpoint.url());
        let world = World::new(&text);
        while world.upstream.status()["endpoints"][0]["health"] != "aside" {
            world.get().await.unwrap();
        }
        let mut next = Build::new(world.clock.clone(), &world.metrics, Some(&world.parts));
        let more = format!("{text}\ntimeouts: {{ request: 3s }}");
        let changed = plan(&more).unwrap().build(&NameServers::default(), &mut next);
        let (before, after) = (world.upstream.status(), changed.status());
        assert_eq!(after["endpoints"], before["endpoints"], "health");
        assert_eq!(after["breaker"], before["breaker"]);
    });
}

#[test]
fn keys_without_effect_are_mistakes() {
    for (text, told) in [
        ("health: { every: 1s }", "`every` has no effect without `path`"),
        ("health: { path: x }", "`x` is no path"),
        ("breaker: { window: 5s }", "`window` has no effect here"),
        ("breaker: { failure_rate: 50%, slow_after: 1s }", "`slow_after` has no effect here"),
        ("breaker: { reset_after: 1m, max_reset_after: 5s }", "it is shorter than `reset_after`"),
        ("queue: { max: 5 }", "`queue` has no effect without `max_in_flight`"),
        ("retries: { when: [] }", "there is nothing after which to send again"),
        ("retries: { when: [reset, 99] }", "expected a status such as 503"),
        ("retries: { when: [refused] }", "connect"),
        ("timeouts: { pass_deadline: on }", "there is no deadline to pass on"),
        ("max_in_flight: adaptiv", "adaptive"),
        ("balance: { hash: header.a b }", "`header.a b` is nothing that a request has"),
        ("balance: { hash: jwt.a..b }", "`jwt.a..b` is nothing that a request has"),
        ("balance: { hash: consumer.name }", "write client_ip, jwt.CLAIM, header.NAME"),
    ] {
        let text = format!("endpoints: [http://a]\n{text}");
        let complaint = plan(&text).unwrap_err();
        assert!(complaint.contains(told), "{complaint}");
    }
}

#[test]
fn names_are_looked_up_beside_the_requests() {
    run(async {
        let endpoint = Scripted::always(OK).await;
        let port = endpoint.address.port();
        let world = World::new(&format!("endpoints: [\"http://localhost:{port}\"]"));
        assert_eq!(world.upstream.unresolved().count(), 1, "nothing is known before a look-up");
        assert_eq!(world.get().await.unwrap().status, 200, "the first request waits for it");
        assert!(endpoint.seen()[0].head.contains(&format!("host: localhost:{port}\r\n")));
        assert_eq!(world.upstream.unresolved().count(), 0);
        let status = world.upstream.status();
        assert_eq!(status["name"], "orders");
        let label = format!("localhost:{port} (127.0.0.1)");
        let endpoints = status["endpoints"].as_array().unwrap();
        assert!(endpoints.iter().any(|one| one["endpoint"] == label), "{status}");
        assert!(status.get("unresolved").is_none());
        assert!(world.upstream.has_authority(&format!("LocalHost:{port}")));
        assert!(world.upstream.has_authority(&endpoint.address.to_string()));
        assert!(!world.upstream.has_authority("localhost"));
    });
}

#[test]
fn a_name_that_does_not_resolve_is_said_so() {
    run(async {
        let world = World::new("endpoints: [http://nowhere.invalid]");
        world.upstream.looked_up().await;
        assert_eq!(world.upstream.unresolved().collect::<Vec<_>>(), ["nowhere.invalid"]);
        let problem = world.get().await.unwrap_err();
        assert_eq!((problem.code().name, problem.status().as_u16()), ("upstream_unresolved", 503));
        assert_eq!(problem.wait(), Some(Duration::from_secs(5)));
        assert!(!problem.detail().contains("nowhere"));
        assert_eq!(world.upstream.status()["breaker"]["failures"], 0, "nobody was contacted");
        // One that resolves is enough.
        let endpoint = Scripted::always(OK).await;
        let both = format!("endpoints: [http://nowhere.invalid, \"{}\"]", endpoint.url());
        let world = World::new(&both);
        for _ in 0..3 {
            assert_eq!(world.get().await.unwrap().status, 200);
        }
    });
}

#[test]
fn look_ups_end_with_their_upstream() {
    run(async {
        let (clock, metrics) = (Clock::system(), Metrics::default());
        let mut build = Build::new(clock, &metrics, None);
        let upstream = plan("endpoints: [http://localhost]")
            .unwrap()
            .build(&NameServers::default(), &mut build);
        let task = build.tasks.pop().unwrap();
        assert_eq!(task.name, "resolve localhost for upstream orders");
        let running = tokio::task::spawn_local((task.start)());
        upstream.looked_up().await;
        drop((upstream, build));
        running.await.unwrap();
    });
}

#[test]
fn codes_and_metrics_are_listed_once() {
    let mut names: Vec<&str> = CODES.iter().map(|code| code.name).collect();
    names.extend(METRICS.iter().map(|metric| metric.name));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
