//! Services as processes that are killed, stopped, silent, garbled, that break off, drip and flap,
//! while requests go on.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a failed step is a failed test

mod kit;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use kit::BOUND;
use kit::client::{Ask, Got, ask};
use kit::gateway::Gateway;
use kit::lines::Lines;
use kit::load::Load;
use kit::pause::eventually;
use kit::place::Place;
use tokio::process::{Child, Command};

/// A service; it ends with this value.
struct Service {
    child: Child,
    port: u16,
}

impl Service {
    async fn start(mode: &str, port: u16) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/troubles/service.py");
        let mut python = Command::new("python3");
        python.arg(script).args([mode, &port.to_string()]).kill_on_drop(true);
        let mut child = python.stdout(Stdio::piped()).spawn().unwrap();
        let lines = Lines::follow(child.stdout.take().unwrap());
        let first = |lines: &[String]| lines.first().cloned();
        let port = lines.wait_for(BOUND, "the service's port", 0, first).await.unwrap();
        Self { child, port: port.parse().unwrap() }
    }

    async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill -s \"$0\" \"$1\"", name, &pid]);
        assert!(kill.status().await.unwrap().success());
    }

    async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Another process in its place, at the same port.
    async fn become_one(&mut self, mode: &str) {
        self.kill().await;
        *self = Self::start(mode, self.port).await;
    }
}

async fn gateway(place: &Place, services: &[Service], more: &str) -> Gateway {
    let urls: Vec<_> = services.iter().map(|it| format!("http://127.0.0.1:{}", it.port)).collect();
    let config = format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\n\
         admin: {{ address: 127.0.0.1:0 }}\n\
         upstreams:\n\
         \x20 up:\n\
         \x20   endpoints: [{}]\n\
         \x20   {more}\n\
         routes: [{{ name: all, match: {{ path: \"/*\" }}, forward: {{ to: up }} }}]\n",
        urls.join(", ")
    );
    let file = place.write("portcullis.yaml", &config).unwrap();
    Gateway::start(place.path(), &file, &[]).await.unwrap()
}

fn get(path: &str) -> Ask {
    Ask { method: "GET".into(), path: path.into(), ..Ask::default() }
}

fn is_answer(got: &Got) -> Result<(), String> {
    let good = got.status == 200 && got.body == b"answer" && got.broken.is_none();
    if good { Ok(()) } else { Err(format!("{}: {}", got.status, got.text())) }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// Waits until the first endpoint's health is this.
async fn first_is(gateway: &Gateway, health: &str) {
    let look = async || {
        let status = ask(gateway.admin()?, &get("/status"), BOUND).await?.json().unwrap();
        let found = &status["upstreams"][0]["endpoints"][0]["health"];
        anyhow::ensure!(found == health, "it is {found}");
        Ok(())
    };
    eventually(BOUND, look).await.unwrap();
}

const CAREFUL: &str = "timeouts: { connect: 500ms, request: 500ms }\n    \
    retries: { attempts: 3, when: [connect, reset, timeout, bad_answer, 503], budget: off }\n    \
    health: { path: /healthz, every: 100ms, timeout: 300ms, unhealthy_after: 2, healthy_after: 1 }";

#[test]
fn no_idempotent_request_fails_whatever_happens_to_one_of_three_services() {
    run(async {
        let mut services = Vec::new();
        for _ in 0..3 {
            services.push(Service::start("well", 0).await);
        }
        let place = Place::new().unwrap();
        let gateway = gateway(&place, &services, CAREFUL).await;
        let load = Load::start(gateway.listener(0).unwrap(), 8, &get("/a"), is_answer);
        load.more(200).await.unwrap();
        let one = &mut services[0];
        one.kill().await;
        load.more(300).await.unwrap();
        first_is(&gateway, "unhealthy").await;
        *one = Service::start("well", one.port).await;
        first_is(&gateway, "in use").await;

        one.signal("STOP").await;
        first_is(&gateway, "unhealthy").await;
        load.more(300).await.unwrap();
        one.signal("CONT").await;
        first_is(&gateway, "in use").await;

        for mode in ["silent", "garbage", "reset", "busy"] {
            one.become_one(mode).await;
            first_is(&gateway, "unhealthy").await;
            load.more(300).await.unwrap();
            one.become_one("well").await;
            first_is(&gateway, "in use").await;
            load.more(100).await.unwrap();
        }
        for _ in 0..8 {
            one.kill().await;
            load.more(60).await.unwrap();
            *one = Service::start("well", one.port).await;
            load.more(60).await.unwrap();
        }
        let tally = load.stop().await.unwrap();
        let failures = tally.failures.borrow();
        assert!(failures.is_empty(), "{} failed, such as {failures:#?}", tally.failed.get());
        assert!(tally.answered.get() > 3_000);
    });
}

#[test]
fn a_body_that_breaks_off_is_never_taken_for_a_whole_one() {
    run(async {
        for (mode, idle, whole) in
            [("breaks-off", "5s", false), ("stalls", "200ms", false), ("drips", "200ms", true)]
        {
            let services = [Service::start(mode, 0).await];
            let place = Place::new().unwrap();
            let more = format!("timeouts: {{ idle: {idle} }}");
            let gateway = gateway(&place, &services, &more).await;
            for _ in 0..3 {
                let got = ask(gateway.listener(0).unwrap(), &get("/a"), BOUND).await.unwrap();
                assert_eq!(got.status, 200);
                match whole {
                    true => assert_eq!(is_answer(&got), Ok(()), "{mode}"),
                    false => assert!(got.broken.is_some(), "{mode}: {}", got.text()),
                }
            }
        }
    });
}

#[test]
fn a_silent_service_is_left_alone_and_costs_its_neighbours_nothing() {
    run(async {
        let (silent, well) = (Service::start("silent", 0).await, Service::start("well", 0).await);
        let place = Place::new().unwrap();
        let config = format!(
            "workers: 1\n\
             listeners: [{{ address: 127.0.0.1:0 }}]\n\
             admin: {{ address: 127.0.0.1:0 }}\n\
             upstreams:\n\
             \x20 silent: {{ endpoints: [http://127.0.0.1:{}], timeouts: {{ request: 300ms }} }}\n\
             \x20 well: {{ endpoints: [http://127.0.0.1:{}] }}\n\
             routes:\n\
             - {{ name: silent, match: {{ path: /silent }}, forward: {{ to: silent }} }}\n\
             - {{ name: well, match: {{ path: /well }}, forward: {{ to: well }} }}\n",
            silent.port, well.port
        );
        let file = place.write("portcullis.yaml", &config).unwrap();
        let gateway = Gateway::start(place.path(), &file, &[]).await.unwrap();
        let listener = gateway.listener(0).unwrap();
        let is_refused = |got: &Got| match got.status {
            503 | 504 => Ok(()),
            other => Err(other.to_string()),
        };
        let bad = Load::start(listener, 50, &get("/silent"), is_refused);
        let good = Load::start(listener, 4, &get("/well"), is_answer);
        for _ in 0..10 {
            good.more(200).await.unwrap(); // beside 50 others who ask as fast as they are refused
        }
        for load in [bad, good] {
            let tally = load.stop().await.unwrap();
            assert!(tally.failures.borrow().is_empty(), "{:#?}", tally.failures.borrow());
        }
        let status = ask(gateway.admin().unwrap(), &get("/status"), BOUND).await.unwrap();
        let status = status.json().unwrap();
        let upstreams = status["upstreams"].as_array().unwrap();
        let state = |name: &str| {
            let one = upstreams.iter().find(|one| one["name"] == name).unwrap();
            one["breaker"]["state"].as_str().unwrap().to_owned()
        };
        assert_eq!((state("silent").as_str(), state("well").as_str()), ("open", "closed"));
        let slow = Duration::from_millis(250);
        let quick = ask(listener, &get("/silent"), slow).await.unwrap();
        assert_eq!(quick.status, 503, "an open breaker answers at once");
    });
}
