//! What is refused and where requests end, however the bytes are cut.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { bytes: 512, fields: 5 };

fn fed(bytes: &str) -> (usize, Option<Refusal>) {
    let mut framing = Framing::new(LIMITS);
    (framing.feed(bytes.as_bytes()), framing.refused())
}

fn refused(bytes: &str) -> &'static str {
    match fed(bytes) {
        (0, Some(Refusal::Malformed(rule))) => rule,
        other => panic!("{bytes:?}: {other:?}"),
    }
}

#[test]
fn requests_follow_each_other() {
    let all = "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\
               POST /2 HTTP/1.0\r\ncontent-length: 2 \r\n\r\nhi\
               POST /3 HTTP/1.1\r\nTRANSFER-ENCODING: Chunked\r\n\r\n\
               5;x=\"y\"\r\nhello\r\n0A \r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n\
               OPTIONS * HTTP/1.1\r\n\r\nGET http://a.example/?q=`";
    assert_eq!(fed(all), (all.len(), None));
    let mut framing = Framing::new(LIMITS);
    framing.feed(b"PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\na");
    assert!(framing.owes_body());
    framing.feed(b"bGET /");
    assert!(!framing.owes_body());
}

#[test]
fn a_head_that_can_be_read_in_two_ways_is_refused() {
    let post = |fields: &str| refused(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0"));
    assert!(post("Content-Length: 5\r\nTransfer-Encoding: chunked").contains("two ways"));
    assert!(post("Transfer-Encoding: chunked\r\nContent-Length: 5").contains("two ways"));
    for twice in ["5", "6"] {
        let fields = format!("Content-Length: 5\r\nContent-Length: {twice}");
        assert!(post(&fields).contains("more than one Content-Length"));
    }
    for length in ["", "+5", "-1", "5, 5", "0x5", "5 5", "1234567890123456789"] {
        assert!(post(&format!("Content-Length: {length}")).contains("not a number"), "{length}");
    }
    for coding in ["identity", "gzip, chunked", "chunked, chunked", "xchunked", "chunked;q=1"] {
        assert!(post(&format!("Transfer-Encoding: {coding}")).contains("exactly"), "{coding}");
    }
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked";
    assert!(post(twice).contains("more than one"));
    assert!(refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").contains("1.0"));
}

#[test]
fn a_line_that_is_none_is_refused() {
    for line in ["HELLO", "GET  / HTTP/1.1", "GET / HTTP/1.1 ", "GET\t/ HTTP/1.1", "G(T / HTTP/1.1"]
    {
        assert!(refused(&format!("{line}\r\n\r\n")).contains("first line"), "{line}");
    }
    for version in ["HTTP/1.2", "http/1.1", "HTTP/2.0", "HTTP/1.10"] {
        assert!(refused(&format!("GET / {version}\r\n\r\n")).contains("version"), "{version}");
    }
    let mut framing = Framing::new(LIMITS);
    assert_eq!(framing.feed(b"GET /\xff HTTP/1.1\r\n"), 0, "hyper would refuse it without a word");
    for target in ["a b", "/<x>", "/\u{1}", "/`", "/#a", "/?\"", "x//", "http://[::1"] {
        let head = format!("GET {target} HTTP/1.1\r\n\r\n");
        assert!(matches!(fed(&head), (0, Some(Refusal::Malformed(_)))), "{target}");
    }
    for field in ["X-A : 1", " folded: 1", "X-A", ": 1", "X\u{e4}: 1", "X-A: 1\u{0}", "X-A: 1\r2"] {
        let head = format!("GET / HTTP/1.1\r\n{field}\r\n\r\n");
        assert!(matches!(fed(&head), (0, Some(Refusal::Malformed(_)))), "{field:?}");
    }
    assert!(refused("GET / HTTP/1.1\nHost: a\n\n").contains("LF alone"));
    for size in ["", "x", "-1", "1 1", " 1", "1\r", "1\u{c}", "1234567890abcdef"] {
        let all = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\n");
        assert!(refused(&all).contains("chunk"), "{size}");
    }
    let longer = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n";
    assert!(refused(longer).contains("longer than it says"));
}

#[test]
fn a_head_has_an_end() {
    let head = |more: &str| fed(&format!("GET / HTTP/1.1\r\n{more}")).1;
    let wide = format!("X-A: {}", "a".repeat(600));
    assert!(matches!(head(&wide), Some(Refusal::HeadTooLarge(what)) if what.contains("bytes")));
    let many = "X-A: 1\r\n".repeat(6);
    assert!(matches!(head(&many), Some(Refusal::HeadTooLarge(what)) if what.contains("fields")));
    assert_eq!(head(&"X-A: 1\r\n".repeat(5)), None);
    assert_eq!(fed(&format!("GET /{}", "a".repeat(600))).1, Some(Refusal::TargetTooLong));
    let blank = fed(&"\r\n".repeat(40)).1;
    assert!(matches!(blank, Some(Refusal::Malformed(rule)) if rule.contains("empty lines")));
}

#[test]
fn what_stands_before_a_refused_request_is_read() {
    let first = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut framing = Framing::new(LIMITS);
    assert_eq!(framing.feed(format!("{first}HELLO\r\n").as_bytes()), first.len());
    assert!(framing.refused().is_some());
    assert_eq!(framing.feed(first.as_bytes()), 0, "and nothing after it");
}

#[test]
fn a_body_that_goes_wrong_behind_its_begin_breaks_off() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let mut framing = Framing::new(LIMITS);
    assert_eq!(framing.feed(head.as_bytes()), head.len());
    assert_eq!(framing.feed(b"x\r\n"), 0);
    assert!(framing.refused().is_some() && framing.broke_off());
    let mut framing = Framing::new(LIMITS);
    framing.feed(head.as_bytes());
    assert_eq!(framing.feed(b"0\r\n\r\nHELLO\r\n"), 5, "this one came to its end");
    assert!(framing.refused().is_some() && !framing.broke_off());
    let mut framing = Framing::new(LIMITS);
    framing.feed(format!("{head}x\r\n").as_bytes());
    assert!(framing.refused().is_some() && !framing.broke_off(), "nothing of it was let through");
}

/// Pieces of requests, good and bad, in any order.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "POST /a HTTP/1.1\r\n",
        "Host: a\r\n",
        "\r\n",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "abc",
        "3\r\nabc\r\n",
        "0\r\n\r\n",
        "\n",
        ":",
        "X: y\r\n",
    ]);
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn it_does_not_matter_how_the_bytes_are_cut(bytes in pieces(), cuts in prop::collection::vec(1_usize..9, 1..60)) {
        let mut whole = Framing::new(LIMITS);
        whole.feed(&bytes);
        let mut cut = Framing::new(LIMITS);
        let (mut at, mut sizes) = (0, cuts.iter().cycle());
        while at < bytes.len() {
            let end = (at + sizes.next().unwrap()).min(bytes.len());
            cut.feed(&bytes[at..end]);
            at = end;
        }
        prop_assert_eq!(whole.refused(), cut.refused());
        if whole.refused().is_none() {
            prop_assert_eq!(whole.state, cut.state);
        }
    }

    #[test]
    fn hyper_takes_every_target_that_passes(rest in "[ -~\u{80}-\u{ff}]{0,20}", bytes in any::<[u8; 3]>()) {
        let whole = format!("/{rest}").into_bytes();
        for target in [&[&whole, &bytes[..]].concat(), &whole] {
            if is_target(target) {
                prop_assert!(http::Uri::try_from(&target[..]).is_ok(), "{}", target.escape_ascii());
            }
        }
    }
}

#[test]
fn behind_a_request_for_a_websocket_nothing_is_read() {
    let ask = "GET / HTTP/1.1\r\nUpgrade: h2c, WebSocket\r\n\r\n";
    let with_body = "POST / HTTP/1.1\r\nupgrade:websocket\r\nContent-Length: 2\r\n\r\nhi";
    let chunked = "POST / HTTP/1.1\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n\
                   2\r\nhi\r\n0\r\n\r\n";
    for ask in [ask, with_body, chunked] {
        let all = format!("GET /1 HTTP/1.1\r\n\r\n{ask}\u{1}no HTTP");
        for cut in 1..all.len() {
            let mut framing = Framing::new(LIMITS);
            let good: usize = all.as_bytes().chunks(cut).map(|it| framing.feed(it)).sum();
            assert_eq!((good, framing.refused()), (all.len() - 8, None), "{cut}");
            assert!(framing.waits() && framing.owes_body() && !framing.is_between());
        }
    }
    let mut framing = Framing::new(LIMITS);
    framing.feed(
        b"GET / HTTP/1.1\r\nUpgrade: h2c\r\nX-Upgrade: websocket\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    );
    assert!(!framing.waits() && framing.is_between());
}
