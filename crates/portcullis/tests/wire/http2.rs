//! HTTP/2: what is no request is a stream's or the connection's error and reaches nobody, and floods
//! end the connection with a GOAWAY.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;

use crate::frames::{
    CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE,
    Outcome, PING, PRIORITY, RST_STREAM, SETTINGS, WHOLE, WINDOW_UPDATE, block, frame, get,
    request, setting,
};
use crate::kit::BOUND;
use crate::kit::client::{Ask, ask};
use crate::kit::pause::pass;
use crate::run::{House, ROUTES};
use crate::trial;

const PROTOCOL_ERROR: u32 = 1;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("http2: what is no request reaches nobody", malformed),
        trial("http2: a body that is not as long as it says reaches nobody as a whole", lengths),
        trial("http2: heads have bounds, however small they were written", heads),
        trial("http2: floods of frames end their connection, and nobody else notices", floods),
        trial("http2: resets are budgeted, whoever sends them", resets),
        trial("http2: who does honest work may do much of it", honest),
        trial("http2: streams are counted, at a time and in all", streams),
        trial("http2: a head, a window and a connection are not waited for without end", patience),
        trial("http2: a connection that rests is told so, and closed if it does not answer", rests),
    ]
}

type Field<'f> = (&'f [u8], &'f [u8]);

const NOTHING: Field<'_> = (b"content-length", b"0");

/// A head that is no request, and what becomes of it.
struct Malformed {
    what: &'static str,
    head: Vec<u8>,
    outcome: Outcome,
}

fn case(what: &'static str, outcome: Outcome, head: Vec<u8>) -> Malformed {
    Malformed { what, head, outcome }
}

/// Fields that no request has in HTTP/2 (RFC 9113 section 8.2).
fn bad_fields() -> Vec<Malformed> {
    let stream = Outcome::Reset(PROTOCOL_ERROR);
    let all = Outcome::GoAway(PROTOCOL_ERROR);
    let with =
        |what, outcome, name: &[u8], value: &[u8]| case(what, outcome, get("/", &[(name, value)]));
    vec![
        with("a name in capital letters", all, b"X-Name", b"y"),
        with("one capital letter", all, b"x-namE", b"y"),
        with("connection", stream, b"connection", b"close"),
        with("keep-alive", stream, b"keep-alive", b"timeout=5"),
        with("proxy-connection", stream, b"proxy-connection", b"keep-alive"),
        with("transfer-encoding", stream, b"transfer-encoding", b"chunked"),
        with("upgrade", stream, b"upgrade", b"websocket"),
        with("te that is not trailers", stream, b"te", b"gzip"),
        with("te that is more than trailers", stream, b"te", b"trailers, gzip"),
        with("CR in a value", all, b"x", b"y\rz"),
        with("LF in a value", all, b"x", b"y\nz"),
        with("CR LF in a value", all, b"x", b"y\r\nz: 1"),
        with(
            "a request in a value",
            all,
            b"x",
            b"y\r\n\r\nGET /hidden HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        with("NUL in a value", all, b"x", b"y\0z"),
        with("a colon in a name", all, b"x:y", b"z"),
        with("a space in a name", all, b"x y", b"z"),
        with("CR LF in a name", all, b"x\r\ny", b"z"),
        with("NUL in a name", all, b"x\0", b"z"),
        with("an empty name", all, b"", b"z"),
        with("a name that is not ASCII", all, "n\u{e4}me".as_bytes(), b"z"),
    ]
}

/// Pseudo fields (RFC 9113 section 8.3).
fn bad_pseudo_fields() -> Vec<Malformed> {
    let stream = Outcome::Reset(PROTOCOL_ERROR);
    let all = Outcome::GoAway(PROTOCOL_ERROR);
    let method: Field<'_> = (b":method", b"GET");
    let scheme: Field<'_> = (b":scheme", b"http");
    let host: Field<'_> = (b":authority", b"a");
    let path: Field<'_> = (b":path", b"/");
    let of = |fields: &[Field<'_>]| block(fields);
    vec![
        case("no path", stream, of(&[method, scheme, host])),
        case("no method", stream, of(&[scheme, host, path])),
        case("no scheme", stream, of(&[method, host, path])),
        case("an empty path", stream, of(&[method, scheme, host, (b":path", b"")])),
        case("two paths", stream, of(&[method, scheme, host, path, (b":path", b"/hidden")])),
        case("two methods", stream, of(&[method, method, scheme, host, path])),
        case("two hosts", stream, of(&[method, scheme, host, (b":authority", b"b"), path])),
        case("a path behind a field", stream, of(&[method, scheme, host, (b"x", b"y"), path])),
        case("an unknown one", all, of(&[method, scheme, host, path, (b":proto", b"x")])),
        case("one of an answer", stream, of(&[method, scheme, host, path, (b":status", b"200")])),
        case("a space in a path", stream, get("/a b", &[])),
        case("a request line in a path", stream, get("/ HTTP/1.1\r\nx: y", &[])),
        case("NUL in a path", stream, get("/\0", &[])),
        case("a space in a method", all, request(b"GET /hidden", "/", &[])),
        case("CR LF in a method", all, request(b"GET\r\n", "/", &[])),
        case("an empty method", all, request(b"", "/", &[])),
        case("a space in a host", stream, of(&[method, scheme, (b":authority", b"a b"), path])),
        case("CR LF in a host", stream, of(&[method, scheme, (b":authority", b"a\r\nb"), path])),
    ]
}

/// What is a request to HTTP/2, and none to the gateway.
fn refused() -> Vec<Malformed> {
    let bad = Outcome::Answered(400);
    let method: Field<'_> = (b":method", b"GET");
    let scheme: Field<'_> = (b":scheme", b"http");
    let path: Field<'_> = (b":path", b"/");
    vec![
        case("no host at all", bad, block(&[method, scheme, path])),
        case("a name of a user", bad, block(&[method, scheme, (b":authority", b"u@a"), path])),
        case("a host that is not :authority", bad, get("/", &[(b"host", b"b")])),
        case("two Hosts", bad, get("/", &[(b"host", b"a"), (b"host", b"a")])),
        case(
            "another scheme",
            bad,
            block(&[method, (b":scheme", b"ftp"), (b":authority", b"a"), path]),
        ),
        case("a star for a path", bad, get("*", &[])),
        case("an encoded slash", bad, get("/a%2Fb", &[])),
        case("two slashes", bad, get("/a//b", &[])),
        case("a query for a path", bad, get("?x", &[])),
        case("a value that begins with a space", bad, get("/", &[(b"x", b" y")])),
        case("a value that ends with a tab", bad, get("/", &[(b"x", b"y\t")])),
        case("the same length twice", bad, request(b"POST", "/", &[NOTHING, NOTHING])),
        case("TRACE", Outcome::Answered(405), request(b"TRACE", "/", &[])),
    ]
}

async fn malformed() -> Result<()> {
    let house = House::open(ROUTES, "").await?;
    let mut wrong = Vec::new();
    for Malformed { what, head, outcome } in
        bad_fields().into_iter().chain(bad_pseudo_fields()).chain(refused())
    {
        let mut client = Client::open(house.address, &[]).await?;
        let came = client.ask(1, &head).await?;
        if came != outcome {
            wrong.push(format!("{what}: {came:?}"));
        }
        if !matches!(came, Outcome::GoAway(_))
            && client.ask(3, &get("/probe", &[])).await? != Outcome::Answered(200)
        {
            wrong.push(format!("{what}: and the connection is gone"));
        }
    }
    let seen = house.upstream.seen_since(0);
    let hidden = seen.iter().filter(|seen| seen.head.target != "/probe").count();
    ensure!(hidden == 0, "the upstream saw {seen:#?}");
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("\n")) }
}

async fn lengths() -> Result<()> {
    let policies = "policies: { validate: { body: {} } }"; // nothing goes on before it is whole
    let house = House::open(ROUTES, policies).await?;
    let kind: Field<'_> = (b"content-type", b"application/json");
    for (length, data, outcome) in [
        (b"4".as_slice(), "true", Outcome::Answered(200)),
        (b"5", "true", Outcome::Reset(PROTOCOL_ERROR)),
        (b"3", "true", Outcome::Reset(PROTOCOL_ERROR)),
        (b"0", "true", Outcome::Reset(PROTOCOL_ERROR)),
        (b"+4", "true", Outcome::Reset(PROTOCOL_ERROR)),
        (b"-1", "true", Outcome::Reset(PROTOCOL_ERROR)),
        (b"4, 4", "true", Outcome::Reset(PROTOCOL_ERROR)),
        (b"", "true", Outcome::Reset(PROTOCOL_ERROR)),
    ] {
        let mark = house.upstream.count();
        let mut client = Client::open(house.address, &[]).await?;
        let head = request(b"POST", "/a", &[kind, (b"content-length", length)]);
        client.send(&frame(HEADERS, END_HEADERS, 1, &head)).await?;
        client.send(&frame(DATA, END_STREAM, 1, data.as_bytes())).await?;
        let came = client.outcome(1).await?;
        let length = length.escape_ascii();
        ensure!(came == outcome, "a length of {length}: {came:?}");
        let seen = house.upstream.seen_since(mark);
        let good = usize::from(outcome == Outcome::Answered(200));
        ensure!(seen.len() == good, "a length of {length}: the upstream saw {seen:#?}");
    }
    let mut client = Client::open(house.address, &[]).await?;
    let lengths: [Field<'_>; 3] = [kind, (b"content-length", b"4"), (b"content-length", b"5")];
    client.send(&frame(HEADERS, END_HEADERS, 1, &request(b"POST", "/a", &lengths))).await?;
    client.send(&frame(DATA, END_STREAM, 1, b"true")).await?;
    let came = client.outcome(1).await?;
    ensure!(came == Outcome::Reset(PROTOCOL_ERROR), "two lengths: {came:?}");
    Ok(())
}

async fn heads() -> Result<()> {
    let house = House::open(ROUTES, "bounds: { header_bytes: 16KiB, header_fields: 50 }").await?;
    // Remembered once (RFC 7541 section 6.2.1), then named by one byte each.
    let bomb = |name: &[u8], size: usize, times: usize| {
        let mut head = get("/", &[]);
        let mut field = block(&[(name, &vec![b'y'; size])]);
        field[0] = 0x40;
        head.extend(field);
        head.extend(vec![0x80 | 62; times]);
        head
    };
    let (field, cookie): (Field<'_>, Field<'_>) = ((b"x", b"y"), (b"cookie", b"a=b"));
    for (what, head, outcomes) in [
        ("many small fields", get("/", &[field; 60]), [Outcome::Answered(431); 2]),
        ("many cookies", get("/", &[cookie; 60]), [Outcome::Answered(431); 2]),
        (
            "a field that is named often",
            bomb(b"x", 1000, 20),
            [Outcome::Answered(431), Outcome::GoAway(ENHANCE_YOUR_CALM)],
        ),
        (
            "a cookie that is named a thousand times",
            bomb(b"cookie", 3000, 1000),
            [Outcome::Answered(431), Outcome::GoAway(ENHANCE_YOUR_CALM)],
        ),
    ] {
        let mut client = Client::open(house.address, &[]).await?;
        let came = client.ask(1, &head).await?;
        ensure!(outcomes.contains(&came), "{what}: {came:?}");
    }
    ensure!(house.upstream.count() == 0, "the upstream saw {:?}", house.upstream.seen_since(0));
    Ok(())
}

async fn floods() -> Result<()> {
    let house = House::open(ROUTES, "").await?;
    let open = frame(HEADERS, END_HEADERS, 1, &request(b"POST", "/a", &[]));
    let begun = frame(HEADERS, 0, 1, &request(b"POST", "/a", &[]));
    let floods = [
        ("PING", frame(PING, 0, 0, &[0; 8]), &[][..]),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[]), &[]),
        ("settings that change", frame(SETTINGS, 0, 0, &setting(INITIAL_WINDOW_SIZE, 9)), &[]),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()), &[]),
        ("windows of a stream", frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes()), &open),
        ("PRIORITY", frame(PRIORITY, 0, 5, &[0, 0, 0, 3, 1]), &[]),
        ("empty DATA", frame(DATA, 0, 1, &[]), &open),
        ("CONTINUATION", frame(CONTINUATION, 0, 1, &[]), &begun),
        ("a frame that nobody knows", frame(0xbe, 0, 0, &[0; 100]), &[]),
    ];
    for (what, one, before) in floods {
        let mut client = Client::open(house.address, &[]).await?;
        client.send(before).await?;
        client.flood(&one.repeat(20_000)).await;
        let reason = client.end().await?;
        ensure!(reason == Some(ENHANCE_YOUR_CALM), "{what}: {reason:?}");
        let mut healthy = Client::open(house.address, &[]).await?;
        let came = healthy.ask(1, &get("/probe", &[])).await?;
        ensure!(came == Outcome::Answered(200), "beside {what}: {came:?}");
    }
    let counted = house.metric("portcullis_malformed_requests_total", "flood").await?;
    // h2 itself ends those that it counts as well.
    ensure!(counted >= 6.0, "{counted} floods were counted");
    Ok(())
}

async fn resets() -> Result<()> {
    let house = House::open(ROUTES, "").await?;
    let mut client = Client::open(house.address, &[]).await?;
    let mut flood = Vec::new();
    for number in 0..5000 {
        let stream = 2 * number + 1;
        flood.extend(frame(HEADERS, WHOLE, stream, &get("/a", &[])));
        flood.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
    }
    client.flood(&flood).await;
    let reason = client.end().await?;
    ensure!(reason == Some(ENHANCE_YOUR_CALM), "streams that are given up: {reason:?}");
    let mut client = Client::open(house.address, &[]).await?;
    let mut flood = Vec::new();
    for number in 0..5000 {
        let stream = 2 * number + 1;
        flood.extend(frame(HEADERS, END_HEADERS, stream, &request(b"POST", "/a", &[])));
        flood.extend(frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes()));
    }
    client.flood(&flood).await;
    let reason = client.end().await?;
    ensure!(reason == Some(ENHANCE_YOUR_CALM), "streams that we have to give up: {reason:?}");
    let seen = house.upstream.count();
    ensure!(seen <= 400, "the upstream saw {seen} of 10,000 requests");
    Ok(())
}

async fn honest() -> Result<()> {
    let house = House::open(ROUTES, "").await?;
    let mut client = Client::open(house.address, &[]).await?;
    for number in 0..1000 {
        let stream = 2 * number + 1;
        client.send(&frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 1])).await?;
        let came = client.ask(stream, &get("/a", &[])).await?;
        ensure!(came == Outcome::Answered(200), "request {number}: {came:?}");
        for target in [0, stream] {
            client.send(&frame(WINDOW_UPDATE, 0, target, &1000_u32.to_be_bytes())).await?;
        }
        client.send(&frame(PING, 0, 0, &[0; 8])).await?;
    }
    ensure!(house.upstream.count() == 1000);
    Ok(())
}

async fn streams() -> Result<()> {
    let house = House::open(ROUTES, "bounds: { streams: 4, requests: 6 }").await?;
    let mut client = Client::open(house.address, &[]).await?;
    client.until(SETTINGS).await?;
    for stream in [1, 3, 5, 7, 9] {
        let head = request(b"POST", "/a", &[]);
        client.send(&frame(HEADERS, END_HEADERS, stream, &head)).await?;
    }
    let came = client.outcome(9).await?;
    ensure!(came == Outcome::Reset(REFUSED_STREAM), "the fifth at a time: {came:?}");
    for stream in [1, 3, 5, 7] {
        client.send(&frame(DATA, END_STREAM, stream, &[])).await?;
        let came = client.outcome(stream).await?;
        ensure!(came == Outcome::Answered(200), "{stream}: {came:?}");
    }
    let came = client.ask(11, &get("/a", &[])).await?;
    ensure!(came == Outcome::Answered(200), "the fifth: {came:?}");
    client.send(&frame(HEADERS, WHOLE, 13, &get("/a", &[]))).await?;
    let goaway = client.until(GOAWAY).await?;
    ensure!(goaway.is_some(), "no GOAWAY behind the sixth");
    let came = client.outcome(13).await?;
    ensure!(came == Outcome::Answered(200), "the sixth: {came:?}");
    ensure!(house.upstream.count() == 6);
    Ok(())
}

async fn patience() -> Result<()> {
    let bounds = "bounds: { header_read: 300ms, write_stall: 300ms, body_stall: 300ms, idle: 60s }";
    let house = House::open(ROUTES, bounds).await?;
    let mut client = Client::open(house.address, &[]).await?;
    client.send(&frame(HEADERS, 0, 1, &get("/a", &[]))).await?;
    let reason = client.end().await.context("a head without end")?;
    ensure!(reason == Some(0), "a head without end: {reason:?}");
    let mut client = Client::open(house.address, &[]).await?;
    client.send(&frame(HEADERS, WHOLE, 1, &get("/a", &[]))[..12]).await?;
    let reason = client.end().await.context("half a frame")?;
    ensure!(reason == Some(0), "half a frame: {reason:?}");
    let mut client = Client::connect(house.address).await?;
    client.send(b"PRI * HTTP/2.0\r\n").await?;
    client.end().await.context("half a preface")?;
    let mut client = Client::open(house.address, &setting(INITIAL_WINDOW_SIZE, 0)).await?;
    let came = client.ask(1, &get("/a", &[])).await?;
    ensure!(came == Outcome::Answered(200), "an answer that cannot be taken: {came:?}");
    client.end().await.context("an answer that cannot be taken")?;
    let mut client = Client::open(house.address, &[]).await?;
    client.send(&frame(HEADERS, END_HEADERS, 1, &request(b"POST", "/a", &[]))).await?;
    client.send(&frame(DATA, 0, 1, b"x")).await?;
    let came = client.outcome(1).await.context("a body that does not come")?;
    ensure!(came == Outcome::Answered(408), "a body that does not come: {came:?}");
    Ok(())
}

async fn rests() -> Result<()> {
    let house = House::open(ROUTES, "bounds: { header_read: 200ms, idle: 1s }").await?;
    let mut client = Client::open(house.address, &[]).await?;
    let came = client.ask(1, &get("/a", &[])).await?;
    ensure!(came == Outcome::Answered(200), "{came:?}");
    // A connection that pings rests as well, but has not begun a head.
    let begun = tokio::time::Instant::now();
    loop {
        pass(Duration::from_millis(20)).await;
        client.send(&frame(PING, 0, 0, &[0; 8])).await?;
        let came = client.next().await?.context("closed without a word")?;
        if came.kind == GOAWAY {
            ensure!(came.code() == 0, "{came:?}");
            break;
        }
    }
    ensure!(begun.elapsed().as_millis() >= 700, "after {:?}", begun.elapsed());
    client.end().await?; // though it never said that it has heard
    let ask_again = Ask { method: "GET".into(), path: "/probe".into(), ..Ask::default() };
    ensure!(ask(house.address, &ask_again, BOUND).await?.status == 200);
    Ok(())
}
