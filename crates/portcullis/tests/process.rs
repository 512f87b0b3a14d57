//! The real binary under load: a reload and an end that nobody notices, a service that dies, and a
//! configuration that is no good.

#![allow(clippy::unwrap_used, clippy::panic)] // a failed step is a failed test

mod kit;

use std::future::Future;
use std::time::Duration;

use kit::BOUND;
use kit::client::{Ask, Connection, Got, ask};
use kit::gateway::Gateway;
use kit::load::{Load, Tally};
use kit::pause::eventually;
use kit::place::Place;
use kit::script::{Answer, Rule};
use kit::upstream::Upstream;
use kit::wire::Wire;
use tokio::net::TcpStream;

/// A gateway before one upstream, in a directory of its own.
struct House {
    gateway: Gateway,
    upstream: Upstream,
    place: Place,
}

impl House {
    async fn open(more: &str) -> Self {
        let rules = vec![Rule::always(Answer::text("answer"))];
        let upstream = Upstream::start("up", rules).unwrap();
        let place = Place::new().unwrap();
        let file = place.write("portcullis.yaml", &config(&upstream, "first", more)).unwrap();
        let gateway = Gateway::start(place.path(), &file, &[]).await.unwrap();
        Self { gateway, upstream, place }
    }

    fn load(&self, clients: usize, http2: bool) -> Load {
        let ask = Ask { http2, ..get("/a") };
        Load::start(self.gateway.listener(0).unwrap(), clients, &ask, is_answer)
    }

    /// Writes another file and waits until it is served.
    async fn reload(&mut self, marker: &str, more: &str) {
        let text = config(&self.upstream, marker, more);
        self.place.write("portcullis.yaml", &text).unwrap();
        self.gateway.signal("HUP").await.unwrap();
        self.serves(marker).await;
    }

    async fn serves(&self, marker: &str) {
        let address = self.gateway.listener(0).unwrap();
        let request = get("/marker");
        let served = async || {
            let got = ask(address, &request, BOUND).await?;
            anyhow::ensure!(got.text() == marker, "{} instead of {marker}", got.text());
            Ok(())
        };
        eventually(BOUND, served).await.unwrap();
    }
}

fn config(upstream: &Upstream, marker: &str, more: &str) -> String {
    let url = upstream.url();
    format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\n\
         admin: {{ address: 127.0.0.1:0 }}\n\
         upstreams: {{ up: {{ endpoints: [\"{url}\"], breaker: off }} }}\n\
         routes:\n\
         - {{ name: marker, match: {{ path: /marker }}, respond: {{ text: {marker} }} }}\n\
         - {{ name: all, match: {{ path: \"/*\" }}, forward: {{ to: up }} }}\n\
         {more}\n"
    )
}

fn get(path: &str) -> Ask {
    Ask { method: "GET".into(), path: path.into(), ..Ask::default() }
}

fn is_answer(got: &Got) -> Result<(), String> {
    let good = got.status == 200 && got.body == b"answer" && got.broken.is_none();
    if good { Ok(()) } else { Err(format!("{}: {}", got.status, got.text())) }
}

fn nothing_failed(tally: &Tally) {
    let failures = tally.failures.borrow();
    assert!(failures.is_empty(), "{} failed, such as {failures:#?}", tally.failed.get());
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn reloads_under_load_fail_no_request() {
    run(async {
        let mut house = House::open("").await;
        let (one, two) = (house.load(16, false), house.load(4, true));
        one.more(200).await.unwrap();
        for round in 0..20 {
            house.reload(&format!("round-{round}"), "").await;
            one.more(50).await.unwrap();
        }
        let (one, two) = (one.stop().await.unwrap(), two.stop().await.unwrap());
        nothing_failed(&one);
        nothing_failed(&two);
        // Nobody was asked to come again: connections hold the house, not a configuration.
        assert_eq!((one.connections.get(), two.connections.get()), (16, 4));
        // And upstream connections outlive a configuration that leaves the upstream as it was.
        let opened = house.upstream.connections();
        assert!(opened <= 60, "{opened} connections to the upstream");
    });
}

#[test]
fn sigterm_under_load_fails_no_request() {
    run(async {
        let mut house = House::open("drain: { delay: 300ms }").await;
        let (one, two) = (house.load(16, false), house.load(4, true));
        one.more(200).await.unwrap();
        two.more(50).await.unwrap();
        house.gateway.signal("TERM").await.unwrap();
        // Clients see the readiness fail, as a load balancer does, and stop to come.
        let admin = house.gateway.admin().unwrap();
        let not_ready = async || {
            let got = ask(admin, &get("/readyz"), BOUND).await?;
            anyhow::ensure!(got.status == 503, "still ready");
            Ok(())
        };
        eventually(BOUND, not_ready).await.unwrap();
        let (one, two) = (one.stop().await.unwrap(), two.stop().await.unwrap());
        nothing_failed(&one);
        nothing_failed(&two);
        assert_eq!(house.gateway.wait_exit(BOUND).await.unwrap(), 0);
    });
}

#[test]
fn clients_that_keep_their_connections_are_answered_to_the_end() {
    run(async {
        let mut house = House::open("").await;
        let address = house.gateway.listener(0).unwrap();
        let mut kept = Vec::new();
        for _ in 0..20 {
            let mut connection = Connection::open(address, false, None).await.unwrap();
            connection.send(&get("/a"), BOUND).await.unwrap();
            kept.push(connection);
        }
        house.gateway.signal("TERM").await.unwrap();
        let refused = async || {
            let got = Connection::open(address, false, None).await;
            anyhow::ensure!(got.is_err(), "still accepting");
            Ok(())
        };
        eventually(BOUND, refused).await.unwrap();
        for connection in &mut kept {
            let got = connection.send(&get("/a"), BOUND).await.unwrap();
            is_answer(&got).unwrap();
            assert_eq!(got.headers.get("connection"), Some("close"));
        }
        assert_eq!(house.gateway.wait_exit(BOUND).await.unwrap(), 0);
    });
}

#[test]
fn a_connection_rests_and_goes_on() {
    run(async {
        // A short patience, so that the gateway looks often.
        let house = House::open("bounds: { idle: 4s, header_read: 3s }").await;
        let (address, admin) = (house.gateway.listener(0).unwrap(), house.gateway.admin().unwrap());
        let resting = async |count: u32| {
            let line = format!("portcullis_connections_resting{{listener=\"{address}\"}} {count}");
            let as_many = async || {
                let got = ask(admin, &get("/metrics"), BOUND).await?;
                anyhow::ensure!(got.text().contains(&line), "no {line}");
                Ok(())
            };
            eventually(BOUND, as_many).await.unwrap();
        };
        let request = b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n";
        let mut connection = Wire::new(TcpStream::connect(address).await.unwrap());
        // Whoever has begun a request does not rest, also when its begin came with the one before.
        let mut waiting = Wire::new(TcpStream::connect(address).await.unwrap());
        connection.write(request).await.unwrap();
        waiting.write(&[&request[..], b"GET"].concat()).await.unwrap();
        let answer = async |wire: &mut Wire| {
            let head = wire.response().await.unwrap().unwrap();
            let body = wire.response_body(&head, false).await.unwrap();
            assert_eq!((head.status, &body.bytes[..]), (200, &b"answer"[..]));
        };
        answer(&mut waiting).await;
        answer(&mut connection).await;
        resting(1).await;
        waiting.write(&request[3..]).await.unwrap();
        answer(&mut waiting).await;
        drop(waiting);
        connection.write(request).await.unwrap();
        answer(&mut connection).await;
        resting(1).await;
        // At the end of its patience the gateway closes also what rests.
        connection.closed().await.unwrap();
        resting(0).await;
    });
}

#[test]
fn a_bad_file_under_load_changes_nothing() {
    run(async {
        let mut house = House::open("").await;
        let load = house.load(8, false);
        load.more(100).await.unwrap();
        let mark = house.gateway.stderr.count();
        house.place.write("portcullis.yaml", "routes: [{ nam: x }]").unwrap();
        house.gateway.signal("HUP").await.unwrap();
        let told = |lines: &[String]| lines.iter().any(|line| line.contains("nam")).then_some(());
        house.gateway.stderr.wait_for(BOUND, "the complaint", mark, told).await.unwrap();
        house.serves("first").await;
        load.more(100).await.unwrap();
        nothing_failed(&load.stop().await.unwrap());
        house.reload("mended", "").await;
    });
}

#[test]
fn nobody_has_to_listen_to_what_the_gateway_says() {
    run(async {
        let mut house = House::open("").await;
        house.gateway.stderr.stop();
        house.gateway.log.stop();
        house.place.write("portcullis.yaml", "routes: [{ nam: x }]").unwrap();
        house.gateway.signal("HUP").await.unwrap();
        house.reload("mended", "").await;
        house.gateway.signal("TERM").await.unwrap();
        assert_eq!(house.gateway.wait_exit(BOUND).await.unwrap(), 0);
    });
}

#[test]
fn a_log_that_nobody_reads_costs_lines_and_no_request() {
    run(async {
        let house = House::open("").await;
        house.gateway.log.hold();
        let address = house.gateway.listener(0).unwrap();
        let long = "x".repeat(1900);
        let mut ask_long = get(&format!("/a/{long}?{long}"));
        ask_long.headers.push("user-agent", long.as_bytes());
        let load = Load::start(address, 16, &ask_long, is_answer);
        let dropped = async || {
            let got = ask(house.gateway.admin().unwrap(), &get("/metrics"), BOUND).await?;
            let (text, name) = (got.text(), "portcullis_log_dropped_lines_total ");
            let count = text.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok());
            anyhow::ensure!(count > Some(0.0), "no line was dropped: {count:?}");
            Ok(())
        };
        eventually(Duration::from_secs(60), dropped).await.unwrap();
        load.more(100).await.unwrap();
        nothing_failed(&load.stop().await.unwrap());
    });
}

#[test]
fn a_dead_upstream_is_a_clean_502_and_its_return_is_noticed_at_once() {
    run(async {
        let house = House::open("").await;
        let address = house.gateway.listener(0).unwrap();
        let clean = |got: &Got| {
            let known = matches!(got.status, 200 | 502) && got.broken.is_none();
            if known { Ok(()) } else { Err(format!("{}: {}", got.status, got.text())) }
        };
        let load = Load::start(address, 16, &get("/a"), clean);
        load.more(200).await.unwrap();
        house.upstream.down().await.unwrap();
        load.more(200).await.unwrap();
        assert_eq!(ask(address, &get("/a"), BOUND).await.unwrap().status, 502);
        house.upstream.up().unwrap();
        is_answer(&ask(address, &get("/a"), BOUND).await.unwrap()).unwrap();
        load.more(200).await.unwrap();
        let tally = load.stop().await.unwrap();
        nothing_failed(&tally);
        assert_eq!(tally.connections.get(), 16, "a failing upstream costs no client connection");
    });
}

#[test]
fn nothing_is_left_behind_when_a_gateway_is_killed() {
    run(async {
        let house = House::open("").await;
        let (pid, folder) = (house.gateway.pid, house.place.path().to_owned());
        drop(house);
        let gone = async || {
            let alive = std::path::Path::new(&format!("/proc/{pid}")).exists();
            anyhow::ensure!(!alive && !folder.exists(), "still there");
            Ok(())
        };
        eventually(Duration::from_secs(5), gone).await.unwrap();
    });
}
