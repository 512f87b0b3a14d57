//! Compositions under a time that jumps, with services that answer as a table says.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use portcullis_core::{Body, Call, Clock, Exchange, Problem, Reply, Response};
use portcullis_upstream::Outbound;
use proptest::prelude::*;
use tokio::time::Instant as RuntimeInstant;

use super::composed;
use super::send::Services;
use crate::plan::{ComposePlan, TargetPlan};
use crate::testing;

/// What a service answers, and after how many milliseconds.
type Answers = BTreeMap<&'static str, (u64, u16, &'static str)>;

struct Table {
    answers: Answers,
    /// What was asked for, in the order of asking.
    asked: RefCell<Vec<String>>,
}

impl Table {
    fn new(answers: &[(&'static str, u64, u16, &'static str)]) -> Self {
        let answers =
            answers.iter().map(|(path, delay, status, body)| (*path, (*delay, *status, *body)));
        Self { answers: answers.collect(), asked: RefCell::default() }
    }

    fn asked(&self, path: &str) -> usize {
        self.asked.borrow().iter().filter(|asked| *asked == path).count()
    }
}

impl Services for Table {
    async fn send(
        &self,
        _: usize,
        outbound: Outbound,
        line: &mut Call,
    ) -> Result<Response, Problem> {
        let path = outbound.path_and_query.as_str();
        self.asked.borrow_mut().push(path.to_owned());
        let (delay, status, body) = self.answers[path];
        testing::pass(Duration::from_millis(delay)).await;
        line.status = status;
        let mut response = Response::new(Body::full(body.as_bytes()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        Ok(response)
    }
}

fn plan(calls: &str, body: &str, more: &str) -> Arc<ComposePlan> {
    let plan = testing::plan(&format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\n\
         upstreams: {{ up: {{ endpoints: [http://127.0.0.1:1] }} }}\n\
         routes:\n\
         - name: a\n  match: {{ path: /a }}\n  compose: {{ calls: {{ {calls} }}, body: '{body}', {more} }}\n"
    ));
    match &plan.routes[0].target {
        TargetPlan::Compose(plan) => Arc::clone(plan),
        _ => panic!("not a composition"),
    }
}

/// How a composition ended, after how many milliseconds.
struct Ended {
    result: Result<Reply, Problem>,
    lines: Vec<Call>,
    after: u128,
}

impl Ended {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.result.as_ref().unwrap().body).unwrap()
    }

    fn problem(&self) -> (&'static str, &str) {
        let problem = self.result.as_ref().err().unwrap();
        (problem.code().name, problem.detail())
    }

    fn partial(&self) -> &str {
        let headers = &self.result.as_ref().unwrap().headers;
        headers.get(super::PARTIAL).map_or("", |names| names.to_str().unwrap())
    }
}

fn run(plan: &ComposePlan, services: &Table) -> Ended {
    fn now() -> Instant {
        RuntimeInstant::now().into_std()
    }
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(async {
        let clock = Clock::of(now);
        let exchange: Exchange = testing::exchange(&clock, "/a");
        let started = clock.now();
        let (lines, result) = composed(plan, services, &exchange).await;
        let after = clock.now().duration_since(started).as_millis();
        Ended { result, lines: lines.into_values().collect(), after }
    })
}

#[test]
fn a_plan_takes_exactly_its_longest_chain() {
    let calls = r#"a: { to: up, path: /a }, b: { to: up, path: "/b/{a.id}" }, c: { to: up, path: /c },
        d: { to: up, path: /d, when: .b.ok }"#;
    let services = Table::new(&[
        ("/a", 100, 200, r#"{"id":1}"#),
        ("/b/1", 200, 200, r#"{"ok":true}"#),
        ("/c", 390, 200, "3"),
        ("/d", 50, 200, "4"),
    ]);
    let ended = run(&plan(calls, "[.a.id, .b.ok, .c, .d]", ""), &services);
    assert_eq!((ended.text(), ended.after), ("[1,true,3,4]", 390));
    let took: Vec<_> =
        ended.lines.iter().map(|line| (&*line.name, line.duration.as_millis())).collect();
    assert_eq!(took, [("a", 100), ("b", 200), ("c", 390), ("d", 50)]);
}

#[test]
fn one_deadline_holds_for_all_and_cuts_only_what_is_out_then() {
    let calls = r#"a: { to: up, path: /a }, b: { to: up, path: "/b/{a}", optional: on },
        c: { to: up, path: "/c/{b}", otherwise: 7 }"#;
    let services =
        Table::new(&[("/a", 1500, 200, "1"), ("/b/1", 1000, 200, "2"), ("/c/2", 0, 200, "3")]);
    let ended = run(&plan(calls, "{ a, b, c }", "timeout: 2s, errors: on"), &services);
    assert_eq!((ended.partial(), ended.after), ("b, c", 2000));
    let errors = r#"{"a":1,"b":null,"c":7,"_errors":[{"call":"b","status":504,"code":"composition_timeout"},{"call":"c","status":502,"code":"composition_failed"}]}"#;
    assert_eq!(ended.text(), errors);
    let codes: Vec<_> = ended.lines.iter().map(|line| (&*line.name, line.code)).collect();
    assert_eq!(codes, [("a", None), ("b", Some("composition_timeout"))]);

    let calls = "a: { to: up, path: /a, optional: on }, b: { to: up, path: /b, when: .a == null }";
    let services = Table::new(&[("/a", 9000, 200, "1"), ("/b", 0, 200, "2")]);
    let ended = run(&plan(calls, "{ a, b }", "timeout: 2s"), &services);
    assert_eq!(ended.problem(), ("composition_timeout", "the call b took longer than 2s"));
    assert_eq!(
        (services.asked("/b"), ended.after),
        (0, 2000),
        "nothing is sent after the deadline"
    );
}

#[test]
fn a_required_call_that_fails_ends_the_others_and_leaves_their_lines() {
    let calls = "a: { to: up, path: /a }, b: { to: up, path: /b, timeout: 300ms }";
    let services = Table::new(&[("/a", 50, 404, "secret"), ("/b", 400, 200, "2")]);
    let ended = run(&plan(calls, ".", ""), &services);
    assert_eq!((ended.problem(), ended.after), (("call_failed", "the call a failed"), 50));
    assert_eq!(ended.result.as_ref().err().unwrap().status(), 404);
    let lines: Vec<_> = ended
        .lines
        .iter()
        .map(|line| (line.status, line.code, line.duration.as_millis()))
        .collect();
    assert_eq!(lines, [(404, Some("call_failed"), 50), (0, Some("cancelled"), 50)]);

    let services = Table::new(&[("/a", 50, 200, "1"), ("/b", 400, 200, "2")]);
    let ended = run(&plan(calls, ".", ""), &services);
    let late = ("composition_timeout", "the call b took longer than 300ms");
    assert_eq!((ended.problem(), ended.after), (late, 300));
}

#[test]
fn equal_gets_share_an_answer_and_each_says_of_itself_what_failed() {
    let calls = r#"a: { to: up, path: /x, optional: on }, b: { to: up, path: /x, optional: on },
        slow: { to: up, path: /x, optional: on, timeout: 1s }, search: { to: up, path: /x, body: "1", optional: on },
        cookie: { to: up, path: /x, optional: on, pass: [set-cookie] }, post: { to: up, path: /x, method: POST, optional: on }"#;
    let plan = plan(calls, ".", "errors: on");
    let services = Table::new(&[("/x", 10, 200, "1")]);
    let ended = run(&plan, &services);
    assert_eq!(ended.text(), r#"{"a":1,"b":1,"slow":1,"search":1,"cookie":1,"post":1}"#);
    assert_eq!(
        services.asked("/x"),
        5,
        "a and b share; what differs in more than its path does not"
    );

    let calls = "a: { to: up, path: /x, optional: on }, b: { to: up, path: /x }";
    let services = Table::new(&[("/x", 10, 500, "")]);
    let ended = run(&self::plan(calls, ".", ""), &services);
    assert_eq!(ended.problem(), ("call_failed", "the call b failed"));
    assert_eq!(services.asked("/x"), 1);
}

#[test]
fn items_stop_at_the_first_failure_that_counts_and_at_their_number() {
    let each = r#"list: { to: up, path: /list }, items: { to: up, path: "/i/{item}", for_each: .list, concurrency: 2"#;
    let services = Table::new(&[
        ("/list", 0, 200, "[1,2,3,4,5]"),
        ("/i/1", 10, 200, "1"),
        ("/i/2", 10, 500, ""),
        ("/i/3", 10, 200, "3"),
        ("/i/4", 10, 200, "4"),
        ("/i/5", 10, 200, "5"),
    ]);
    let ended = run(&plan(&format!("{each} }}"), ".items", ""), &services);
    assert_eq!(ended.problem(), ("call_failed", "the call items failed"));
    assert_eq!(services.asked("/i/5"), 0, "what cannot help any more is not asked for");

    let ended = run(&plan(&format!("{each}, otherwise: 0 }}"), ".items", ""), &services);
    assert_eq!((ended.text(), ended.partial()), ("[1,0,3,4,5]", "items"));

    let ended = run(&plan(&format!("{each}, max: 4 }}"), ".items", ""), &services);
    assert_eq!(ended.problem(), ("composition_failed", "the call items has too many items"));

    let services =
        Table::new(&[("/list", 0, 200, "[7,8,7,7]"), ("/i/7", 5, 200, "1"), ("/i/8", 1, 200, "2")]);
    let ended = run(&plan(&format!("{each}, distinct: on, max: 2 }}"), ".items", ""), &services);
    assert_eq!((ended.text(), services.asked("/i/7")), ("[1,2,1,1]", 1));
}

#[test]
fn what_a_service_leaves_out_is_not_the_clients_mistake() {
    let calls = r#"user: { to: up, path: /user }, team: { to: up, path: "/teams/{user.team}" }"#;
    let services = Table::new(&[("/user", 0, 200, "{}")]);
    let ended = run(&plan(calls, ".team", ""), &services);
    let detail = "the call team cannot be made of the other services' answers";
    assert_eq!(ended.problem(), ("composition_failed", detail));
    let calls = r#"user: { to: up, path: "/users/{query.id}" }"#;
    let ended = run(&plan(calls, ".user", ""), &services);
    assert_eq!(ended.problem().0, "missing_reference");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// 20 runs a case: whoever answers first, the bytes are the same.
    #[test]
    fn the_answer_does_not_depend_on_who_is_first(delays in prop::collection::vec(prop::array::uniform6(0_u64..50), 20)) {
        let calls = r#"a: { to: up, path: /a, pass: [x-a] }, b: { to: up, path: "/b/{a}", optional: on }, c: { to: up, path: /c },
            d: { to: up, path: "/d/{item}", for_each: .c, concurrency: 3, otherwise: 0 }"#;
        let plan = plan(calls, "{ all: . }", "errors: on");
        for [a, b, c, one, two, three] in delays {
            let services = Table::new(&[
                ("/a", a, 200, "1"), ("/b/1", b, 500, ""), ("/c", c, 200, "[1,2,3]"),
                ("/d/1", one, 200, "1"), ("/d/2", two, 503, ""), ("/d/3", three, 200, "3"),
            ]);
            let ended = run(&plan, &services);
            prop_assert_eq!(ended.partial(), "b, d");
            prop_assert_eq!(ended.text(), r#"{"all":{"a":1,"c":[1,2,3],"d":[1,0,3]},"_errors":[{"call":"b","status":502,"code":"call_failed"},{"call":"d","status":502,"code":"call_failed"}]}"#);
            let names: Vec<_> = ended.lines.iter().map(|line| line.name.to_string()).collect();
            prop_assert_eq!(names, ["a", "b", "c", "d", "d", "d"]);
        }
    }
}
