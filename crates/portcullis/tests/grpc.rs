//! gRPC through the gateway, between clients and a service that are not ours: unary calls, streams in both
//! directions, metadata, trailers, statuses, deadlines, health checks, and gRPC-Web.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a failed step is a failed test

mod kit;

use std::path::Path;
use std::process::Stdio;

use kit::BOUND;
use kit::client::{Ask, ask};
use kit::gateway::Gateway;
use kit::pause::eventually;
use kit::pip::{Service, python};
use kit::place::Place;
use tokio::io::AsyncWriteExt as _;

/// With the health check, gRPC itself.
const GRPC: &str = "grpcio-health-checking==1.85.1";
const HTTPX: &str = "httpx[http2]==0.28.1";
const ALL: &str = "- { name: all, match: { path: \"/*\" }, forward: { to: orders } }";
const SECRET: &str = "- { name: secret, match: { path: /shop.Orders/Secret }, \
                      policies: { authorize: \"false\" }, forward: { to: orders } }";

/// A gateway before a service.
struct House {
    gateway: Gateway,
    service: Service,
    _place: Place,
}

impl House {
    /// `upstream` are more of its keys, `more` the rest of the file.
    async fn open(upstream: &str, routes: &str, more: &str) -> Self {
        let service = Service::start("grpc/server.py", GRPC).await.unwrap();
        let place = Place::new().unwrap();
        let port = service.port;
        let config = format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\n\
             admin: {{ address: 127.0.0.1:0 }}\n\
             upstreams:\n\
             \x20 orders: {{ endpoints: [\"http://127.0.0.1:{port}\"], protocol: h2, {upstream} }}\n\
             \x20 gone: {{ endpoints: [\"http://127.0.0.1:1\"], protocol: h2, breaker: off }}\n\
             routes:\n\
             {routes}\n\
             - {{ name: gone, match: {{ path: /shop.Gone/Get }}, forward: {{ to: gone }} }}\n\
             {more}\n"
        );
        let file = place.write("portcullis.yaml", &config).unwrap();
        let gateway = Gateway::start(place.path(), &file, &[]).await.unwrap();
        Self { gateway, service, _place: place }
    }

    /// What a program prints that is given the gateway's address, and these lines.
    async fn said(&self, script: &str, wants: &str, lines: &str) -> Vec<String> {
        let mut python = python(script, wants).unwrap();
        let address = self.gateway.listener(0).unwrap().to_string();
        let program = python.arg(address).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = program.spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        String::from_utf8_lossy(&output.stdout).lines().map(|it| it.trim().to_owned()).collect()
    }

    /// How calls ended: `/PATH MESSAGE`, one a line.
    async fn calls(&self, lines: &[&str]) -> Vec<String> {
        self.said("grpc/call.py", GRPC, &format!("{}\n", lines.join("\n"))).await
    }

    /// Waits until all of these stand in the metrics.
    async fn counts(&self, samples: &[&str]) {
        let address = self.gateway.admin().unwrap();
        let metrics = Ask { method: "GET".into(), path: "/metrics".into(), ..Ask::default() };
        let there = async || {
            let metrics = ask(address, &metrics, BOUND).await?.text();
            let missing = samples.iter().find(|sample| !metrics.contains(**sample));
            anyhow::ensure!(missing.is_none(), "{} is missing in\n{metrics}", missing.unwrap());
            Ok(())
        };
        eventually(BOUND, there).await.unwrap();
    }
}

/// Each line begins as it should.
fn begin(said: &[String], wanted: &[&str]) {
    assert_eq!(said.len(), wanted.len(), "{said:#?}");
    for (said, wanted) in said.iter().zip(wanted) {
        assert!(said.starts_with(wanted), "{said:?} does not begin with {wanted:?}");
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn calls_and_streams_pass_as_they_are() {
    run(async {
        let small = "bounds: { streamed_body: 1MiB }"; // which is not for streams
        let house = House::open("breaker: { failures: 2 }", ALL, small).await;
        let wanted = [
            "get hello|header trailer",
            "chat ONE,TWO,THREE []",
            "large True",
            "left True",
            "fail UNAVAILABLE",
            "slow DEADLINE_EXCEEDED",
            "many 200",
            "beside True",
        ];
        let said = house.said("grpc/client.py", GRPC, "").await;
        assert_eq!(said, wanted, "{}", house.gateway.stderr.tail(20));
        let failed = r#"portcullis_attempts_total{upstream="orders",outcome="server_error"} 1"#;
        house.counts(&[failed, r#"portcullis_breaker_state{upstream="orders"} 0"#]).await;
    });
}

#[test]
fn how_a_call_ended_is_counted_and_judged() {
    run(async {
        let house = House::open("breaker: { failures: 100 }", ALL, "").await;
        let said = house.calls(&[
            "/shop.Orders/Get hi",
            "/shop.Orders/Fail UNAVAILABLE",
            "/shop.Orders/Fail NOT_FOUND",
            "/shop.Orders/Late UNKNOWN",
            "/shop.Orders/Late NOT_FOUND",
            "/shop.Orders/Late DEADLINE_EXCEEDED",
            "/shop.Orders/Broken -",
        ]);
        let wanted = [
            "/shop.Orders/Get OK hi|",
            "/shop.Orders/Fail UNAVAILABLE not now",
            "/shop.Orders/Fail NOT_FOUND not now",
            "/shop.Orders/Late UNKNOWN not any more",
            "/shop.Orders/Late NOT_FOUND not any more",
            "/shop.Orders/Late DEADLINE_EXCEEDED not any more",
            "/shop.Orders/Broken UNAVAILABLE not any more one",
        ];
        assert_eq!(said.await, wanted);
        let calls = |status: &str, count: u8| {
            let name = "portcullis_grpc_calls_total";
            format!("{name}{{route=\"all\",grpc_status=\"{status}\"}} {count}\n")
        };
        let attempts = |outcome: &str, count: u8| {
            let name = "portcullis_attempts_total";
            format!("{name}{{upstream=\"orders\",outcome=\"{outcome}\"}} {count}\n")
        };
        let samples = [
            calls("OK", 1),
            calls("UNAVAILABLE", 2),
            calls("NOT_FOUND", 2),
            calls("UNKNOWN", 1),
            calls("DEADLINE_EXCEEDED", 1),
            // Who has sent a message is alive, and who had too little time is not to blame.
            attempts("server_error", 2),
            attempts("answered", 4),
            attempts("client", 1),
        ];
        house.counts(&samples.each_ref().map(String::as_str)).await;
        let logged = |lines: &[String]| {
            let wanted = r#""status":200,"grpc_status":"UNKNOWN""#;
            lines.iter().any(|line| line.contains(wanted)).then_some(())
        };
        house.gateway.log.wait_for(BOUND, "the status in the log", 0, logged).await.unwrap();
    });
}

#[test]
fn a_status_behind_the_head_opens_the_breaker() {
    run(async {
        let breaker = "breaker: { failures: 2, reset_after: 1h, grpc_statuses: [ABORTED] }";
        let house = House::open(breaker, ALL, "").await;
        let said = house.calls(&[
            "/shop.Orders/Late UNAVAILABLE",
            "/shop.Orders/Late ABORTED",
            "/shop.Orders/Fail ABORTED",
            "/shop.Orders/Get hi",
        ]);
        let said = said.await;
        let wanted = [
            "/shop.Orders/Late UNAVAILABLE not any more",
            "/shop.Orders/Late ABORTED not any more",
            "/shop.Orders/Fail ABORTED not now",
            "/shop.Orders/Get UNAVAILABLE upstream_unavailable: the service failed",
        ];
        begin(&said, &wanted);
        let wait: u64 = said[3].rsplit(' ').next().unwrap().parse().unwrap();
        assert!((3590..=3970).contains(&wait), "retry-after is a part of the answer: {wait}");
    });
}

#[test]
fn every_method_has_its_route_and_problems_are_statuses() {
    run(async {
        let routes = r"
- { name: get, match: { path: /shop.Orders/Get }, forward: { to: orders } }
- { name: keyed, match: { path: /shop.Orders/Left }, policies: { api_key: {} }, forward: { to: orders } }
- { name: slow, match: { path: /shop.Orders/Slow }, forward: { to: orders } }
- name: limited
  match: { path: /shop.Orders/Chat }
  policies: { rate_limit: { key: client_ip, default_tier: one } }
  forward: { to: orders }
";
        let more = format!(
            "tiers: {{ one: [{{ requests: 1, per: 1h }}] }}\n\
             consumers: {{ till: {{ keys: [{{ sha256: {} }}] }} }}",
            "0".repeat(64)
        );
        let routes = format!("{SECRET}{routes}");
        let house = House::open("timeouts: { deadline: 300ms }", &routes, &more).await;
        let said = house.calls(&[
            "/shop.Orders/Get hi",
            "/shop.Orders/Secret -",
            "/shop.Orders/Left -",
            "/shop.Orders/Slow -",
            "/shop.Orders/Chat a",
            "/shop.Orders/Chat b",
            "/shop.Gone/Get -",
            "/shop.Other/Get -",
        ]);
        let wanted = [
            "/shop.Orders/Get OK hi|",
            "/shop.Orders/Secret PERMISSION_DENIED forbidden: ",
            "/shop.Orders/Left UNAUTHENTICATED ",
            "/shop.Orders/Slow DEADLINE_EXCEEDED deadline_exceeded: ",
            "/shop.Orders/Chat OK A",
            "/shop.Orders/Chat RESOURCE_EXHAUSTED rate_limited: ",
            "/shop.Gone/Get INTERNAL upstream_connect_failed: ",
            "/shop.Other/Get UNIMPLEMENTED route_not_found: ",
        ];
        begin(&said.await, &wanted);
        let name = "portcullis_grpc_calls_total";
        let denied = format!("{name}{{route=\"secret\",grpc_status=\"PERMISSION_DENIED\"}} 1");
        let unrouted = format!("{name}{{route=\"\",grpc_status=\"UNIMPLEMENTED\"}} 1");
        house.counts(&[&denied, &unrouted]).await;
    });
}

#[test]
fn a_service_is_asked_how_it_is() {
    run(async {
        let health =
            "health: { grpc: shop.Orders, every: 30ms, unhealthy_after: 1, healthy_after: 1 }";
        let house = House::open(health, ALL, "").await;
        let port = house.service.port;
        for (state, healthy) in [("SERVING", 1), ("NOT_SERVING", 0), ("SERVING", 1), ("UNKNOWN", 0)]
        {
            let said = house.calls(&[&format!("/shop.Admin/Feel {state}")]).await;
            assert_eq!(said, ["/shop.Admin/Feel OK"]);
            let labels = format!("upstream=\"orders\",endpoint=\"127.0.0.1:{port}\"");
            house.counts(&[&format!("portcullis_endpoint_healthy{{{labels}}} {healthy}")]).await;
        }
        let told = house.gateway.stderr.tail(50);
        assert!(told.contains("says that it is not serving"), "{told}");
        let other = House::open(&health.replace("shop.Orders", "shop.Nobody"), ALL, "").await;
        let told = |lines: &[String]| {
            let fits = |line: &String| line.contains("unhealthy") && line.contains("NOT_FOUND");
            lines.iter().any(fits).then_some(())
        };
        other.gateway.stderr.wait_for(BOUND, "that nobody knows it", 0, told).await.unwrap();
    });
}

#[test]
fn browsers_speak_grpc_web() {
    run(async {
        let routes = format!("{SECRET}\n{ALL}");
        let house = House::open("", &routes, "policies: { grpc_web: on }").await;
        let said = house.said("grpc/web.py", HTTPX, "").await;
        for version in ["1", "2"] {
            let of = |name: &str| {
                let begin = format!("{name} {version} 200 ");
                let line = said.iter().find_map(|line| line.strip_prefix(&begin));
                line.unwrap_or_else(|| panic!("no {name} {version} in {said:#?}")).to_owned()
            };
            let (web, text) = ("application/grpc-web", "application/grpc-web-text");
            let binary = of("binary");
            assert!(binary.starts_with(&format!("{web} (0, 'hello|web') (128, '")), "{binary}");
            assert!(binary.contains("grpc-status: 0;"), "{binary}");
            assert!(binary.contains("x-after: trailer;"), "{binary}");
            let pieces = [of("text"), of("padded")];
            assert!(pieces[0].starts_with(&format!("{text} (0, 'he|')")), "{pieces:?}");
            assert!(pieces[1].starts_with(&format!("{text} (0, 'hello|')")), "{pieces:?}");
            let fail = of("fail");
            assert!(fail.starts_with(web) && fail.ends_with("14 not now"), "{fail}");
            let late = of("late");
            assert!(late.starts_with(&format!("{text} (128, '")), "{late}");
            assert!(late.contains("grpc-status: 10;"), "{late}");
            assert!(late.contains("grpc-message: not any more;"), "{late}");
            let refused = of("refused");
            assert!(refused.starts_with(&format!("{text} 7 forbidden: ")), "{refused}");
            let garbled = of("garbled");
            assert!(garbled.starts_with(&format!("{text} 3 request_body_broken: ")), "{garbled}");
        }
        let aborted = r#"portcullis_grpc_calls_total{route="all",grpc_status="ABORTED"} 2"#;
        house.counts(&[aborted]).await;
    });
}

#[test]
fn the_example_does_what_it_says() {
    run(async {
        let folder = "../../../examples/grpc";
        let mut orders = python(&format!("{folder}/orders.py"), GRPC).unwrap();
        orders.env("ORDERS_PORT", "0");
        let service = Service::run(orders).await.unwrap();
        let place = Place::new().unwrap();
        let environment = [
            ("GRPC_PORT", "0".to_owned()),
            ("GRPC_ADMIN_PORT", "0".to_owned()),
            ("GRPC_ORDERS", format!("127.0.0.1:{}", service.port)),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let file = root.join("examples/grpc/portcullis.yaml");
        let gateway = Gateway::start(place.path(), &file, &environment).await.unwrap();
        let mut asked = python(&format!("{folder}/ask.py"), GRPC).unwrap();
        let asked = asked.arg(gateway.listener(0).unwrap().to_string()).output().await.unwrap();
        let said = String::from_utf8_lossy(&asked.stdout);
        let said: Vec<String> = said.lines().map(str::to_owned).collect();
        let wanted = [
            "/shop.Orders/Create UNAUTHENTICATED: ",
            r#"/shop.Orders/Create {"product": "book", "quantity": 2, "id": "o-1"}"#,
            r#"/shop.Orders/Create {"product": "book", "quantity": 2, "id": "o-2"}"#,
            r#"/shop.Orders/Create {"product": "book", "quantity": 2, "id": "o-3"}"#,
            "/shop.Orders/Create RESOURCE_EXHAUSTED: rate_limited: ",
            r#"/shop.Orders/Get {"product": "book", "quantity": 2, "id": "o-2"}"#,
            "/shop.Orders/Get NOT_FOUND: there is no such order",
            "/shop.Users/Get UNIMPLEMENTED: route_not_found: ",
            "/shop.Orders/Watch ['o-1', 'o-2', 'o-3']",
        ];
        begin(&said, &wanted);
    });
}
