//! Breaker, balancing, health, attempts, budget and overload together: thousands of random histories,
//! each from a seed that a failure names. No socket: endpoints are moods behind the seam of
//! `carrier.rs`, and the runtime's time jumps from one event to the next.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};
use portcullis_config::{
    Decode as _, Diagnostics, ProcessEnvironment, Reader, Sources, Span, parse,
};
use portcullis_core::chance::Chance;
use portcullis_core::metrics::Metrics;
use portcullis_core::{Body, Build, Clock, Response, Worker};

use crate::attempt::Lost;
use crate::balance::hash;
use crate::carrier::{Carrier, Errand};
use crate::deliver::{Delivery, Failure};
use crate::names::NameServers;
use crate::plan::UpstreamPlan;
use crate::request::{self, Outbound, Ready};
use crate::set::Set;
use crate::settings::UpstreamSettings;
use crate::upstream::{How, Upstream};

const MS: Duration = Duration::from_millis(1);

/// Lets that much of the runtime's time pass. Nobody waits for real: the time jumps there.
async fn pass(time: Duration) {
    let _ = tokio::time::timeout(time, std::future::pending::<()>()).await;
}

/// Random numbers from a seed.
struct Dice(Chance);

impl Dice {
    fn below(&self, bound: u64) -> u64 {
        self.0.draw() % bound
    }

    fn one_of<T: Copy>(&self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// How an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Well,
    Slow,
    /// Answers 500.
    Sick,
    /// Answers 503, which is asked for again.
    Busy,
    Refusing,
    Resetting,
    /// Accepts, and says nothing.
    Silent,
}

const MOODS: [Mood; 7] =
    [Mood::Well, Mood::Slow, Mood::Sick, Mood::Busy, Mood::Refusing, Mood::Resetting, Mood::Silent];

/// What was sent of one request.
#[derive(Clone, Copy, Default)]
struct Sent {
    sends: u32,
    reached: u32,
}

/// Endpoints as moods, and what has to hold whenever one of them is asked.
struct Endpoints {
    upstream: Arc<Upstream>,
    dice: Rc<Dice>,
    moods: Vec<Cell<Mood>>,
    /// How often each was asked.
    asked: Vec<Cell<u32>>,
    /// By the request's number.
    sent: RefCell<BTreeMap<u64, Sent>>,
    out: Cell<usize>,
    most: Option<usize>,
    probes: Option<u32>,
}

impl Endpoints {
    fn check(&self) {
        let upstream = &self.upstream;
        if let (Some(breaker), Some(probes)) = (&upstream.breaker, self.probes) {
            let status = breaker.status(upstream.clock.now());
            assert_ne!(status["state"], "open", "sent through an open breaker");
            let probing = status["probing"].as_u64().unwrap_or(0);
            assert!(probing <= u64::from(probes), "{probing} probes at once");
        }
        assert!(
            self.most.is_none_or(|most| self.out.get() <= most),
            "{} in flight",
            self.out.get()
        );
        let all = upstream.sources.endpoints();
        let aside = all.iter().filter(|(endpoint, _)| !endpoint.health.is_in_use()).count();
        assert!(aside <= all.len() / 2, "{aside} of {} are aside", all.len());
        if let (Some(budget), Some(retries)) = (&upstream.budget, &upstream.retries) {
            let [first, more] = budget.spent(upstream.since(upstream.clock.now()));
            let share = u64::from(retries.budget.unwrap_or(10_000));
            // Seen a slice later, some of the first attempts are out of the window already.
            assert!(more <= 30 + (first + 200) * share / 10_000, "{more} beside {first}");
        }
    }
}

/// Counts what is out, also when it is cancelled.
struct Out<'o>(&'o Cell<usize>);

impl Drop for Out<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Carrier for Endpoints {
    async fn carry(
        &self,
        errand: Errand<'_>,
        request: &mut Option<Ready>,
    ) -> Result<Response, Lost> {
        self.out.set(self.out.get() + 1);
        let _out = Out(&self.out);
        self.check();
        let (mood, asked) = (self.moods[errand.place].get(), &self.asked[errand.place]);
        asked.set(asked.get() + 1);
        let ready = request.take().unwrap();
        let number = ready.head.headers["number"].to_str().unwrap().parse().unwrap();
        {
            let mut sent = self.sent.borrow_mut();
            let sent = sent.entry(number).or_default();
            sent.sends += 1;
            sent.reached += u32::from(mood != Mood::Refusing);
        }
        let (wait, result) = match mood {
            Mood::Well => (self.dice.below(20), Ok(200)),
            Mood::Slow => (200 + self.dice.below(500), Ok(200)),
            Mood::Sick => (self.dice.below(5), Ok(500)),
            Mood::Busy => (self.dice.below(5), Ok(503)),
            Mood::Refusing => (self.dice.below(2), Err(Lost::Connect("refused".to_owned()))),
            Mood::Resetting => (self.dice.below(5), Err(Lost::Reset("reset".to_owned()))),
            Mood::Silent => (1_000, Err(Lost::Timeout(1_000 * MS))),
        };
        let wait = MS * u32::try_from(wait).unwrap();
        if let Some(nudge) = errand.nudge.filter(|it| it.at < tokio::time::Instant::now() + wait) {
            pass(nudge.at.saturating_duration_since(tokio::time::Instant::now())).await;
            nudge.is_due.set(true);
            tokio::task::yield_now().await;
            pass(wait).await;
        } else {
            pass(wait).await;
        }
        let status = match result {
            Ok(status) => status,
            Err(lost) => {
                *request = Some(ready);
                return Err(lost);
            }
        };
        if (errand.wants_back)(status) {
            *request = Some(ready);
        }
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
        Ok(response)
    }
}

/// One upstream among moody endpoints.
struct Scene {
    endpoints: Endpoints,
    worker: Rc<Worker>,
    set: Rc<Set>,
    numbers: Cell<u64>,
    retries: u32,
}

impl Scene {
    fn new(settings: &str, dice: &Rc<Dice>) -> Self {
        let clock = Clock::of(|| tokio::time::Instant::now().into_std());
        let (metrics, mut out) = (Metrics::default(), Diagnostics::new());
        let mut sources = Sources::new();
        let text = settings.to_owned();
        let node = parse(&mut sources, "u.yaml".into(), text, &ProcessEnvironment, &mut out);
        let settings = UpstreamSettings::decode(&node.unwrap(), &mut out).unwrap();
        let plan = UpstreamPlan::plan(
            "orders",
            &settings,
            Span::default(),
            &mut Reader { out: &mut out, sources: &sources, files: &mut Vec::new() },
        );
        assert!(!out.has_errors(), "{}", out.render(&sources, false));
        let plan = plan.unwrap();
        let mut build = Build::new(clock.clone(), &metrics, None);
        let upstream = plan.build(&NameServers::default(), &mut build);
        let worker = Worker::new(0, clock);
        let set = Rc::new(Set::new(&upstream, &worker, &[]));
        let endpoints = Endpoints {
            dice: Rc::clone(dice),
            moods: set.members.iter().map(|_| Cell::new(Mood::Well)).collect(),
            asked: set.members.iter().map(|_| Cell::new(0)).collect(),
            sent: RefCell::default(),
            out: Cell::new(0),
            most: plan.in_flight.and_then(|limit| limit.most.map(|most| most as usize)),
            probes: plan.breaker.map(|breaker| breaker.probes),
            upstream,
        };
        let retries = plan.retries.map_or(2, |retries| retries.attempts.max(2));
        Self { endpoints, worker, set, numbers: Cell::new(0), retries }
    }

    /// Sends a request to its end: the status of its answer.
    async fn send(&self, method: &Method) -> Result<u16, Failure> {
        let number = self.numbers.get();
        self.numbers.set(number + 1);
        let mut headers = HeaderMap::new();
        headers.insert("number", HeaderValue::from(number));
        let outbound = Outbound {
            method: method.clone(),
            path_and_query: PathAndQuery::from_static("/"),
            headers,
            host: None,
            affinity: None,
            retry_non_idempotent: false,
            websocket: None,
            body: Body::full(if *method == Method::GET { "" } else { "body" }),
        };
        let request = request::write(outbound, 1000).unwrap();
        let how = How {
            keeps_host: false,
            affinity: Some(hash(&number.to_be_bytes())),
            retry_non_idempotent: false,
            spent: Duration::ZERO,
        };
        let upstream = &self.endpoints.upstream;
        let (worker, now) = (&self.worker, self.worker.clock.now());
        let (set, carrier) = (&self.set, &self.endpoints);
        let delivery = Delivery::new(upstream, worker, set, carrier, how, &request, now);
        let result = delivery.run(request).await;
        let sent = self.endpoints.sent.borrow().get(&number).copied().unwrap_or_default();
        let hedged = u32::from(upstream.hedge.is_some());
        assert!(sent.sends <= self.retries + hedged, "{} sends of one request", sent.sends);
        assert!(*method != Method::POST || sent.reached <= 1, "a POST reached {}", sent.reached);
        if let Err(failure) = &result {
            assert!(failure.unsent.is_none() || sent.reached == 0, "sent, and told as unsent");
        }
        result.map(|response| response.status().as_u16())
    }

    /// Nobody is out any more.
    fn is_quiet(&self) {
        let upstream = &self.endpoints.upstream;
        let status = upstream.status();
        assert_eq!(status["breaker"]["probing"].as_u64().unwrap_or(0), 0, "a permit is lost");
        assert_eq!(self.endpoints.out.get(), 0);
        for (endpoint, _) in upstream.sources.endpoints() {
            assert_eq!(endpoint.load.in_flight(), 0, "a request is counted for ever");
        }
        if let Some(overload) = &upstream.overload {
            assert_eq!((overload.in_flight(), overload.state().1), (0, 0), "a slot is lost");
        }
    }
}

fn settings(dice: &Dice) -> String {
    let count = dice.one_of(&[1, 2, 2, 3, 3, 4, 5]);
    let endpoint = |number| {
        let weight = 1 + dice.below(3);
        format!("{{ url: \"http://127.0.0.1:{}\", weight: {weight} }}", 8000 + number)
    };
    let endpoints: Vec<String> = (0..count).map(endpoint).collect();
    let mut lines = vec![format!("endpoints: [{}]", endpoints.join(", "))];
    let balances =
        ["least_requests", "round_robin", "random", "peak_ewma", "{ hash: header.number }"];
    lines.push(format!("balance: {}", dice.one_of(&balances)));
    lines.push("timeouts: { request: 1s, connect: 1s }".to_owned());
    lines.push(dice.one_of(&["breaker: off", "breaker: { failures: 3, reset_after: 1s }",
        "breaker: { failures: 5, reset_after: 300ms, probes: 1 }",
        "breaker: { failure_rate: 50%, minimum: 5, window: 5s, reset_after: 2s, max_reset_after: 4s }"]).to_owned());
    lines.push(
        dice.one_of(&[
            "retries: off",
            "retries: { attempts: 2, when: [connect, reset, 503] }",
            "retries: { attempts: 4, when: [timeout, reset, 503], budget: 50%, backoff: 5ms }",
        ])
        .to_owned(),
    );
    lines.push(dice.one_of(&["hedge: off", "hedge: off", "hedge: { after: 50ms }"]).to_owned());
    lines.push(
        dice.one_of(&["max_in_flight: off", "max_in_flight: adaptive", "max_in_flight: 3"])
            .to_owned(),
    );
    lines.push(dice.one_of(&["slow_start: off", "slow_start: 5s"]).to_owned());
    lines.push(dice.one_of(&["health: {}", "health: {}", "health: off"]).to_owned());
    lines.join("\n")
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

/// Clients that ask, get impatient and go; endpoints whose moods change.
async fn history(scene: Rc<Scene>, dice: Rc<Dice>, seen: &RefCell<BTreeMap<String, u64>>) {
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let (scene, dice) = (Rc::clone(&scene), Rc::clone(&dice));
            tokio::task::spawn_local(async move {
                let mut codes = Vec::new();
                for _ in 0..25 {
                    pass(MS * dice.below(300) as u32).await;
                    let method = dice.one_of(&[Method::GET, Method::PUT, Method::POST].each_ref());
                    let patience = MS * dice.one_of(&[10_u32, 100, 10_000, 10_000]);
                    let result = tokio::time::timeout(patience, scene.send(method)).await;
                    codes.push(match result {
                        Err(_) => "gone".to_owned(),
                        Ok(Ok(status)) => status.to_string(),
                        Ok(Err(failure)) => failure.problem.code().name.to_owned(),
                    });
                }
                codes
            })
        })
        .collect();
    for _ in 0..10 {
        pass(MS * dice.below(800) as u32).await;
        let mood = dice.one_of(&MOODS);
        dice.one_of(&scene.endpoints.moods.iter().collect::<Vec<_>>()).set(mood);
    }
    for client in clients {
        for code in client.await.unwrap() {
            *seen.borrow_mut().entry(code).or_default() += 1;
        }
    }
    scene.is_quiet();
    for mood in &scene.endpoints.moods {
        mood.set(Mood::Well);
    }
    // What was sick is found well again by requests alone.
    let begun = tokio::time::Instant::now();
    let mut good = 0;
    while good < 30 {
        pass(200 * MS).await;
        good = if matches!(scene.send(&Method::GET).await, Ok(200)) { good + 1 } else { 0 };
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not come back");
    }
    scene.is_quiet();
}

#[test]
fn random_histories_keep_the_promises() {
    let seen = RefCell::default();
    for seed in 0..2_000 {
        let dice = Rc::new(Dice(Chance::new(seed)));
        let settings = settings(&dice);
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run(async {
                let scene = Rc::new(Scene::new(&settings, &dice));
                history(scene, Rc::clone(&dice), &seen).await;
            });
        }));
        assert!(ran.is_ok(), "seed {seed} with\n{settings}");
    }
    let seen = seen.into_inner();
    let everywhere = [
        "200",
        "500",
        "503",
        "gone",
        "overloaded",
        "upstream_unavailable",
        "upstream_timeout",
        "upstream_reset",
        "upstream_connect_failed",
    ];
    for code in everywhere {
        assert!(seen.get(code).is_some_and(|count| *count >= 50), "{code}: {seen:?}");
    }
}

#[test]
fn with_one_of_three_endpoints_dead_no_idempotent_request_fails() {
    for mood in [Mood::Refusing, Mood::Resetting, Mood::Busy, Mood::Silent] {
        let dice = Rc::new(Dice(Chance::new(7)));
        run(async {
            let text = "endpoints: [http://127.0.0.1:1, http://127.0.0.1:2, http://127.0.0.1:3]\n\
                        timeouts: { request: 1s }\nbreaker: off\nbalance: round_robin\n\
                        retries: { attempts: 2, when: [connect, reset, timeout, 503] }";
            let scene = Scene::new(text, &dice);
            scene.endpoints.moods[1].set(mood);
            let mut sends = Vec::new();
            for minute in 0..10_u64 {
                let before = scene.endpoints.sent.borrow().values().map(|it| it.sends).sum::<u32>();
                for _ in 0..300 {
                    pass(200 * MS).await;
                    let status = scene.send(&Method::GET).await.map_err(|it| it.problem).unwrap();
                    assert_eq!(status, 200, "{mood:?} in minute {minute}");
                }
                let after = scene.endpoints.sent.borrow().values().map(|it| it.sends).sum::<u32>();
                sends.push(after - before);
            }
            assert!(sends[0] > 304, "it was found out by requests: {sends:?}");
            assert!(sends[9] <= 301, "and is hardly asked any more: {sends:?}");
        });
    }
}

#[test]
fn an_endpoint_on_trial_costs_nothing_even_without_retries() {
    let dice = Rc::new(Dice(Chance::new(3)));
    run(async {
        let text = "endpoints: [http://127.0.0.1:1, http://127.0.0.1:2]\nbreaker: off\n\
                    balance: round_robin";
        let scene = Scene::new(text, &dice);
        scene.endpoints.moods[0].set(Mood::Sick);
        let mut bad = 0;
        for number in 0..3_000 {
            pass(100 * MS).await;
            let method = if number % 2 == 0 { Method::GET } else { Method::POST };
            let status = scene.send(&method).await.map_err(|it| it.problem).unwrap();
            bad += u32::from(status != 200);
        }
        assert_eq!(bad, 5, "only what set it aside");
        let phase = scene.endpoints.upstream.status();
        assert_eq!(
            phase["endpoints"][0]["failures"],
            5 + 5,
            "five trials in five and a half minutes"
        );
    });
}

#[test]
fn weights_are_kept_within_two_percent() {
    for balance in ["round_robin", "random", "{ hash: header.number }"] {
        let dice = Rc::new(Dice(Chance::new(1)));
        run(async {
            let line = |(number, weight)| {
                format!("{{ url: \"http://127.0.0.1:{number}\", weight: {weight} }}")
            };
            let lines = [(1, 1), (2, 2), (3, 5)].map(line).join(", ");
            let scene = Scene::new(&format!("endpoints: [{lines}]\nbalance: {balance}"), &dice);
            for _ in 0..20_000 {
                scene.send(&Method::GET).await.map_err(|it| it.problem).unwrap();
            }
            for (asked, weight) in scene.endpoints.asked.iter().zip([1.0, 2.0, 5.0]) {
                let share = f64::from(asked.get()) / 20_000.0;
                assert!((share - weight / 8.0).abs() < 0.02, "{balance}: {share} of {weight}");
            }
        });
    }
}
