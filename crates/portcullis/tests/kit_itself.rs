//! The kit's own tests: a scripted upstream that does not do what its script says would make every
//! scenario worthless.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // in tests; some of them stand in closures

mod kit;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use kit::BOUND;
use kit::client::{Ask, AskBody, Got, ask, raw};
use kit::fields::Fields;
use kit::issuer::{Issuer, Mood};
use kit::load::Load;
use kit::place::keep_port;
use kit::script::{Answer, Content, Rule, When, wild};
use kit::upstream::Upstream;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

fn get(path: &str) -> Ask {
    Ask { method: "GET".into(), path: path.into(), ..Ask::default() }
}

async fn answer(address: SocketAddr, request: &Ask) -> Got {
    ask(address, request, BOUND).await.unwrap()
}

#[test]
fn an_upstream_without_rules_tells_what_it_saw() {
    run(async {
        let upstream = Upstream::start("orders", Vec::new()).unwrap();
        let mut request = get("/a?b=1");
        request.method = "POST".into();
        request.headers.push("X-One", b"1");
        request.body = AskBody::Chunks(vec!["{\"a\":".into(), "1}".into()]);
        request.trailers.push("x-sum", b"9");
        let got = answer(upstream.address, &request).await.json().unwrap();
        assert_eq!(got["upstream"], "orders");
        assert_eq!(got["path"], "/a?b=1");
        assert_eq!(got["headers"]["x-one"], "1");
        assert_eq!(got["json"], json!({ "a": 1 }));
        assert_eq!(got["trailers"], json!({ "x-sum": "9" }));
        let seen = upstream.seen_since(0);
        assert_eq!(seen.len(), 1);
        assert!(seen[0].complete);
    });
}

#[test]
fn the_first_rule_that_fits_and_is_not_used_up_answers() {
    run(async {
        let once = Rule::at("/a*", Answer::status(503));
        once.left.set(Some(1));
        let posts = When { method: Some("POST".into()), ..When::default() };
        let rules = vec![
            once,
            Rule { when: posts, answer: Answer::text("post"), ..Rule::default() },
            Rule::at("/a*", Answer::json(json!({ "n": 2 }))),
        ];
        let upstream = Upstream::start("x", rules).unwrap();
        let post = Ask { method: "POST".into(), ..get("/abc") };
        assert_eq!(answer(upstream.address, &get("/abc")).await.status, 503);
        assert_eq!(answer(upstream.address, &get("/abc")).await.text(), r#"{"n":2}"#);
        assert_eq!(answer(upstream.address, &post).await.text(), "post");
        assert_eq!(upstream.count(), 3);
    });
}

#[test]
fn answers_come_in_chunks_with_trailers_or_as_raw_bytes() {
    run(async {
        let mut trailers = Fields::default();
        trailers.push("x-sum", b"abc");
        let chunks = vec!["one".into(), "two".into()];
        let chunked = Answer { content: Content::Chunks(chunks), trailers, ..Answer::default() };
        let bytes = b"HTTP/1.1 203 Odd\r\nx-a: 1\r\nx-a: 2\r\ncontent-length: 2\r\n\r\nhi".to_vec();
        let odd = Answer { content: Content::Raw(bytes), ..Answer::default() };
        let rules = vec![Rule::at("/chunks", chunked), Rule::at("/raw", odd)];
        let upstream = Upstream::start("x", rules).unwrap();
        let got = answer(upstream.address, &get("/chunks")).await;
        assert_eq!(got.text(), "onetwo");
        assert_eq!(got.trailers.get("x-sum"), Some("abc"));
        let got = answer(upstream.address, &get("/raw")).await;
        assert_eq!((got.status, got.text().as_str()), (203, "hi"));
        assert_eq!(got.headers.joined("x-a").as_deref(), Some("1, 2"));
    });
}

#[test]
fn a_port_that_is_kept_is_for_whoever_lets_it_be_used_again() {
    run(async {
        let (kept, port) = keep_port().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        for _ in 0..2 {
            assert!(TcpStream::connect(address).await.is_err());
            let socket = TcpSocket::new_v4().unwrap();
            assert!(socket.bind(address).is_err(), "for nobody else");
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(address).unwrap();
            let _listener = socket.listen(1).unwrap();
            TcpStream::connect(address).await.unwrap();
        }
        drop(kept);
    });
}

#[test]
fn an_upstream_goes_and_comes_back_on_its_port() {
    run(async {
        let upstream = Upstream::start("x", Vec::new()).unwrap();
        let address = upstream.address;
        assert_eq!(answer(address, &get("/")).await.status, 200);
        upstream.down().await.unwrap();
        assert!(ask(address, &get("/"), BOUND).await.is_err());
        upstream.up().unwrap();
        assert_eq!(answer(address, &get("/")).await.status, 200);
    });
}

#[test]
fn a_held_answer_waits_for_its_release_and_a_reset_is_no_answer() {
    run(async {
        let held = Answer { hold: true, ..Answer::status(204) };
        let reset = Answer { reset: true, ..Answer::default() };
        let rules = vec![Rule::at("/held", held), Rule::at("/reset", reset)];
        let upstream = Upstream::start("x", rules).unwrap();
        assert!(ask(upstream.address, &get("/reset"), BOUND).await.is_err());
        let address = upstream.address;
        let waiting = tokio::task::spawn_local(async move { answer(address, &get("/held")).await });
        upstream.wait_for(2, BOUND).await.unwrap();
        assert!(!waiting.is_finished());
        upstream.release();
        assert_eq!(waiting.await.unwrap().status, 204);
    });
}

#[test]
fn raw_bytes_are_answered_one_after_the_other() {
    run(async {
        let upstream = Upstream::start("x", vec![Rule::always(Answer::text("ok"))]).unwrap();
        let bytes = b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.0\r\n\r\n";
        let got = raw(upstream.address, bytes, 2, true, BOUND).await.unwrap();
        assert_eq!(got.answers.len(), 2);
        assert!(got.closed);
        assert_eq!(upstream.seen_since(1)[0].head.target, "/2");
    });
}

#[test]
fn load_counts_what_fails() {
    run(async {
        let rule = Rule::always(Answer::status(500));
        rule.left.set(Some(2));
        let upstream = Upstream::start("x", vec![rule, Rule::always(Answer::text("ok"))]).unwrap();
        let good = |got: &Got| if got.status == 200 { Ok(()) } else { Err("bad".to_owned()) };
        let load = Load::start(upstream.address, 4, &get("/"), good);
        load.more(100).await.unwrap();
        let tally = load.stop().await.unwrap();
        assert_eq!(tally.failed.get(), 2);
        assert_eq!(tally.connections.get(), 4);
    });
}

fn claims(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().cloned().unwrap()
}

#[test]
fn tokens_verify_against_the_published_keys_also_after_a_rotation() {
    run(async {
        let issuer = Issuer::start().unwrap();
        let address: SocketAddr = issuer.url().strip_prefix("http://").unwrap().parse().unwrap();
        let verify = async |token: &str, algorithm: Algorithm| {
            let set = answer(address, &get("/.well-known/jwks.json")).await;
            let set: JwkSet = serde_json::from_slice(&set.body).unwrap();
            let header = jsonwebtoken::decode_header(token).unwrap();
            let jwk = set.find(&header.kid.unwrap()).unwrap();
            let mut validation = Validation::new(algorithm);
            validation.set_audience(&["api://gateway"]);
            validation.set_issuer(&[issuer.url()]);
            let key = DecodingKey::from_jwk(jwk).unwrap();
            jsonwebtoken::decode::<Value>(token, &key, &validation).map(|token| token.claims)
        };
        let first = issuer.token(&claims(json!({ "tier": "free" }))).unwrap();
        assert_eq!(verify(&first, Algorithm::RS256).await.unwrap()["tier"], "free");
        let ec = issuer.token(&claims(json!({ "alg": "ES256", "sub": "u-2" }))).unwrap();
        assert_eq!(verify(&ec, Algorithm::ES256).await.unwrap()["sub"], "u-2");
        issuer.rotate().unwrap();
        let second = issuer.token(&claims(json!({}))).unwrap();
        for token in [&first, &second] {
            verify(token, Algorithm::RS256).await.unwrap();
        }
        for bad in [json!({ "key": "forged" }), json!({ "signature": "broken" })] {
            let token = issuer.token(&claims(bad)).unwrap();
            assert!(verify(&token, Algorithm::RS256).await.is_err());
        }
        let late = issuer.token(&claims(json!({ "exp": "-5m" }))).unwrap();
        assert!(verify(&late, Algorithm::RS256).await.is_err());
    });
}

#[test]
fn an_issuer_has_moods_and_counts_its_fetches() {
    run(async {
        let issuer = Issuer::start().unwrap();
        let address: SocketAddr = issuer.url().strip_prefix("http://").unwrap().parse().unwrap();
        let set = get("/.well-known/jwks.json");
        issuer.set_mood(Mood::Failing).unwrap();
        assert_eq!(answer(address, &set).await.status, 500);
        issuer.set_mood(Mood::Empty).unwrap();
        assert_eq!(answer(address, &set).await.text(), r#"{"keys":[]}"#);
        assert_eq!(issuer.fetches(), 2);
        issuer.down().await.unwrap();
        assert!(ask(address, &set, Duration::from_secs(1)).await.is_err());
    });
}

#[test]
fn a_star_stands_for_anything() {
    for (pattern, text) in
        [("*", ""), ("a*", "a"), ("*a*b*", "xaxbx"), ("a*b", "ab"), ("abc", "abc"), ("a*a", "aba")]
    {
        assert!(wild(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in [("a", "ab"), ("a*b", "abc"), ("a*a", "a"), ("*x", "a"), ("", "a")] {
        assert!(!wild(pattern, text), "{pattern} {text}");
    }
}
