//! The door: from what hyper parsed to an [`Exchange`] whose path, host, headers and client address
//! everything further in can rely on.

pub mod forwarded;
pub mod headers;
pub mod host;
pub mod ids;
pub mod present;
pub mod websocket;

use std::rc::Rc;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HOST, STRICT_TRANSPORT_SECURITY, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Version};
use hyper::body::{Body as _, Incoming};
use portcullis_core::grpc::Rpc;
use portcullis_core::{Body, CanonicalPath, Exchange, Peer, Problem, Record, Secure, Worker, mask};

use crate::listen::framing::Refusal;
use crate::problems::{BAD_HOST, BAD_PATH, BAD_REQUEST, METHOD_NOT_ALLOWED, MISDIRECTED};
use crate::settings::{MethodOverride, OddHeaderNames};
use crate::snapshot::Snapshot;
use headers::Passing;
use present::Present;

/// Opens an exchange. What is wrong with the request comes beside it, so that the problem's answer
/// has a request id and its record an end.
pub fn open(
    snapshot: &Snapshot,
    worker: &Rc<Worker>,
    peer: &Rc<Peer>,
    last: &host::Last,
    request: http::Request<Incoming>,
) -> (Box<Exchange>, Option<Problem>) {
    let (mut parts, incoming) = request.into_parts();
    let time = worker.clock.wall();
    let present = Present::of(&parts.headers);
    let malformed =
        if parts.version == Version::HTTP_2 { malformed(&parts, present) } else { None };
    if present.upgrade || parts.version == Version::HTTP_2 {
        websocket::mark(&mut parts, incoming.is_end_stream());
    }
    let host = host::of(&parts, last);
    let path = CanonicalPath::parse_by(parts.uri.path(), snapshot.plan.path_rules);
    if let Ok(host) = &host
        && parts.version >= Version::HTTP_2
    {
        parts.headers.insert(HOST, host.authority.clone()); // what `:authority` said
    }

    let believed = snapshot.trusted.contains(peer.ip);
    let rpc = present.content_type.then(|| Rpc::of(&parts.headers)).flatten();
    let unclean = clean(snapshot, &mut parts, present, believed, rpc.is_some());
    let secure = peer.secure.as_deref();
    for (name, value) in secure.iter().flat_map(|secure| &secure.identity) {
        parts.headers.insert(name.clone(), value.clone());
    }
    let (request_id, id_header) = ids::assign(&mut parts.headers, present, time);
    let asked_for = host.as_deref().ok();
    let (client_ip, outer) =
        forwarded::apply(&mut parts.headers, peer, &snapshot.trusted, believed, asked_for);

    let bounds = &snapshot.bounds;
    let declared = present.content_length.then(|| declared_length(&parts.headers)).flatten();
    let mut problem = malformed.map(|why| Problem::new(&BAD_REQUEST, why));
    problem = problem.or_else(|| refusal(&parts, &host, &path));
    if let (Some(secure), Ok(host)) = (secure, &host) {
        problem = problem.or_else(|| misdirected(secure, &host.name));
    }
    problem = problem.or(unclean);
    let record = Record {
        started: worker.clock.now(),
        time,
        client_ip,
        request_id,
        trace_id: present.traceparent.then(|| ids::trace_id(&parts.headers)).flatten(),
        method: parts.method.clone(),
        version: parts.version,
        tls: secure.map(|secure| secure.version),
        host: host.as_ref().map_or_else(|_| Arc::from(""), |host| Arc::clone(&host.name)),
        path: mask::path(path.as_ref().map_or(parts.uri.path(), CanonicalPath::as_str)).into(),
        query: parts.uri.query().map(|query| mask::query(query).into()),
        user_agent: present.user_agent.then(|| parts.headers.get(USER_AGENT).cloned()).flatten(),
        listener: Arc::clone(&peer.listener),
        route: None,
        subject: None,
        consumer: None,
        status: 0,
        rpc,
        bytes_in: declared.unwrap_or(0),
        bytes_out: 0,
        ended: None,
        failure: None,
        calls: Default::default(),
        events: Default::default(),
    };
    let path = path.unwrap_or_default();
    let body = Body::incoming(incoming, bounds.streamed_body);
    let (worker, peer) = (Rc::clone(worker), Rc::clone(peer));
    let buffered = bounds.buffered_body;
    let hsts = peer.secure.as_ref().and_then(|secure| secure.hsts.clone());
    let mut exchange =
        Box::new(Exchange::new(worker, peer, parts, path, body, buffered, record, id_header));
    exchange.outer = outer;
    exchange.answer_headers.extend(hsts.map(|value| (STRICT_TRANSPORT_SECURITY, value)));
    (exchange, problem)
}

/// Takes from a client's headers what is not for it to say; or says why there is nothing to take.
fn clean(
    snapshot: &Snapshot,
    request: &mut Parts,
    present: Present,
    believed: bool,
    grpc: bool,
) -> Option<Problem> {
    let fields = request.headers.len();
    // gRPC's metadata may have odd names; its calls are all POST.
    let grpc = grpc && request.method == Method::POST;
    let odd_names = if grpc { OddHeaderNames::Pass } else { snapshot.plan.odd_header_names };
    let passing = Passing {
        hints: believed,
        odd_names: odd_names == OddHeaderNames::Pass,
        method_override: snapshot.plan.method_override == MethodOverride::Pass,
        // Over HTTP/2 only gRPC needs it: its services refuse whoever cannot read trailers.
        te: grpc || request.version != Version::HTTP_2,
    };
    let odd = headers::strip(&mut request.headers, &snapshot.identity, passing, present);
    if odd > 0 {
        snapshot.metrics.odd_headers.add(odd);
    }
    if fields > snapshot.bounds.header_fields {
        // HTTP/1.1 was counted before it was read; of HTTP/2 only the bytes are.
        return Some(Refusal::TOO_MANY_FIELDS.problem());
    }
    (odd > 0 && odd_names == OddHeaderNames::Refuse).then(|| {
        let detail = "a header's name has other characters than letters, digits and -";
        Problem::new(&BAD_REQUEST, detail)
    })
}

/// What HTTP/1.1 cannot say, or is refused there before it is read, and hyper takes over HTTP/2: services
/// would read something else than policies did (RFC 9113 sections 8.2.1 and 8.3.1).
fn malformed(request: &Parts, present: Present) -> Option<&'static str> {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let has_edges = |value: &HeaderValue| {
        let bytes = value.as_bytes();
        is_blank(bytes.first()) || is_blank(bytes.last())
    };
    if request.headers.values().any(has_edges) {
        return Some("a field's value begins or ends with a blank");
    }
    if present.content_length && request.headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some() {
        return Some("there is more than one Content-Length");
    }
    let has_no_path = request.uri.path_and_query().is_some_and(|it| it.as_str().starts_with('?'));
    has_no_path.then_some("the target has no path")
}

fn refusal(
    request: &Parts,
    host: &Result<Rc<host::Host>, &'static str>,
    path: &Result<CanonicalPath, portcullis_core::PathError>,
) -> Option<Problem> {
    if matches!(request.method, Method::CONNECT | Method::TRACE) {
        return Some(Problem::new(&METHOD_NOT_ALLOWED, "CONNECT and TRACE are not served here"));
    }
    if !matches!(request.uri.scheme_str(), None | Some("http" | "https")) {
        return Some(Problem::new(&BAD_REQUEST, "the target's scheme is neither http nor https"));
    }
    if let Err(why) = host {
        return Some(Problem::new(&BAD_HOST, *why));
    }
    path.as_ref().err().map(|error| Problem::new(&BAD_PATH, error.to_string()))
}

/// Whom a client's certificate was good for is who its host said: another host may want another one.
fn misdirected(secure: &Secure, host: &str) -> Option<Problem> {
    let asked = secure.server_name.as_deref()?;
    (secure.one_host && asked != host).then(|| {
        Problem::new(&MISDIRECTED, "the connection was made for another host")
            .private(format!("the connection was made for {asked}"))
    })
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
