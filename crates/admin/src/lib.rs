//! Floor 4: the admin address: health, readiness, status, metrics, and what may be changed.
//!
//! Loopback by default. Every request must name the address itself in `Host`, so that no page in a
//! browser reaches it through a name of its own (DNS rebinding), and everything that changes
//! something wants the configured token.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use portcullis_core::Worker;
use portcullis_engine::House;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

type Answer = Response<Full<Bytes>>;

/// What the admin address can ask the control thread for.
#[derive(Debug)]
pub enum Ask {
    Reload(tokio::sync::oneshot::Sender<Result<&'static str, String>>),
}

/// What its requests share.
pub struct Admin {
    pub house: Arc<House>,
    pub address: SocketAddr,
    pub listeners: Vec<SocketAddr>,
    /// The files and folders of the configuration.
    pub files: Vec<String>,
    pub requests: mpsc::Sender<Ask>,
    /// Its own place for what workers have: a connection to each store.
    pub worker: Rc<Worker>,
}

const KNOWN: &str = "known: /healthz /readyz /status /metrics /reload /limits/LIMIT/TIER/CLIENT \
                     /breakers/UPSTREAM/STATE\n";

/// After a failure to accept (too many open files) the listener rests for this long.
const REST: Duration = Duration::from_millis(100);

/// Serves until the future is dropped.
pub async fn serve(listener: TcpListener, admin: Rc<Admin>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let admin = Rc::clone(&admin);
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| answer(&admin, request));
            let connection = http1::Builder::new()
                .max_headers(64)
                .serve_connection(TokioIo::new(stream), service);
            let _ = connection.await;
        });
    }
}

async fn answer(admin: &Admin, request: Request<Incoming>) -> Result<Answer, Infallible> {
    if !names_itself(admin, request.headers()) {
        let why = "the Host header does not name the admin address\n";
        return Ok(text(StatusCode::MISDIRECTED_REQUEST, why));
    }
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => text(StatusCode::OK, "ok\n"),
        (&Method::GET, "/readyz") if admin.house.is_ready() => text(StatusCode::OK, "ready\n"),
        (&Method::GET, "/readyz") => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        (&Method::GET, "/metrics") => {
            let mut answer = text(StatusCode::OK, admin.house.metrics.render());
            let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            answer.headers_mut().insert(CONTENT_TYPE, kind);
            answer
        }
        (&Method::GET, "/status") => json(StatusCode::OK, &status(admin)),
        (&Method::POST, "/reload") => match refusal(admin, request.headers()) {
            Some(refused) => refused,
            None => reload(admin).await,
        },
        (_, "/healthz" | "/readyz" | "/metrics" | "/status" | "/reload") => {
            text(StatusCode::METHOD_NOT_ALLOWED, "another method is needed here\n")
        }
        (method, path) => {
            let (limit, breaker) = (path.strip_prefix("/limits/"), path.strip_prefix("/breakers/"));
            match (limit, breaker) {
                (Some(rest), _) => limits(admin, method, rest, request.headers()).await,
                (_, Some(rest)) => breakers(admin, method, rest, request.headers()),
                (None, None) => text(StatusCode::NOT_FOUND, KNOWN),
            }
        }
    })
}

/// `/breakers/UPSTREAM/STATE`: an upstream's breaker is held open or closed, or let go (`auto`).
fn breakers(admin: &Admin, method: &Method, rest: &str, headers: &HeaderMap) -> Answer {
    let Some((name, state)) = rest.split_once('/') else {
        return text(StatusCode::NOT_FOUND, "write /breakers/UPSTREAM/open, closed or auto\n");
    };
    let open = match state {
        "open" => Some(true),
        "closed" => Some(false),
        "auto" => None,
        _ => return text(StatusCode::NOT_FOUND, "a breaker is held open or closed, or auto\n"),
    };
    let snapshot = admin.house.snapshot();
    let Some(upstream) = snapshot.upstreams.get(name) else {
        let known: Vec<&str> = snapshot.upstreams.keys().map(String::as_str).collect();
        let why = format!("no such upstream; there is {}\n", known.join(", "));
        return text(StatusCode::NOT_FOUND, why);
    };
    if *method != Method::POST {
        return text(StatusCode::METHOD_NOT_ALLOWED, "POST is known here\n");
    }
    if let Some(refused) = refusal(admin, headers) {
        return refused;
    }
    match upstream.force_breaker(open) {
        true => text(StatusCode::OK, format!("{state}\n")),
        false => text(StatusCode::CONFLICT, "this upstream has no breaker\n"),
    }
}

/// `/limits/LIMIT/TIER/CLIENT`: what a client has used, or that it is forgotten.
async fn limits(admin: &Admin, method: &Method, rest: &str, headers: &HeaderMap) -> Answer {
    let decode =
        |part: &str| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
    let mut parts = rest.splitn(3, '/').map(decode);
    let (Some(limit), Some(tier), Some(client)) = (parts.next(), parts.next(), parts.next()) else {
        return text(StatusCode::NOT_FOUND, "write /limits/LIMIT/TIER/CLIENT\n");
    };
    let snapshot = admin.house.snapshot().clone();
    let Some(limit) = snapshot.limits.get(&limit) else {
        let known: Vec<&str> = snapshot.limits.keys().map(String::as_str).collect();
        let why = format!("no such limit; there is {}\n", known.join(", "));
        return text(StatusCode::NOT_FOUND, why);
    };
    match *method {
        Method::GET => match limit.look(&admin.worker, &tier, &client).await {
            Some(told) => json(StatusCode::OK, &told),
            None => text(StatusCode::NOT_FOUND, "this limit has no such tier\n"),
        },
        Method::DELETE => match refusal(admin, headers) {
            Some(refused) => refused,
            None if limit.forget(&admin.worker, &tier, &client).await => {
                text(StatusCode::OK, "forgotten\n")
            }
            None => text(StatusCode::NOT_FOUND, "nothing was counted\n"),
        },
        _ => text(StatusCode::METHOD_NOT_ALLOWED, "GET and DELETE are known here\n"),
    }
}

fn names_itself(admin: &Admin, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let host = host.to_str().unwrap_or_default();
    let name = host.strip_suffix(&format!(":{}", admin.address.port())).unwrap_or(host);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || bare.parse::<std::net::IpAddr>().is_ok()
}

/// Why this request may change nothing.
fn refusal(admin: &Admin, headers: &HeaderMap) -> Option<Answer> {
    let snapshot = admin.house.snapshot();
    let Some(token) = snapshot.plan.admin.as_ref().and_then(|admin| admin.token.clone()) else {
        let why = "set admin.token in the configuration to allow changes\n";
        return Some(text(StatusCode::FORBIDDEN, why));
    };
    let given = headers.get(AUTHORIZATION).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let given = given.strip_prefix(b"Bearer ").unwrap_or_default();
    if same(given, token.as_bytes()) {
        return None;
    }
    let mut answer = text(StatusCode::UNAUTHORIZED, "send admin.token as Authorization: Bearer\n");
    let scheme = http::HeaderValue::from_static("Bearer");
    answer.headers_mut().insert(http::header::WWW_AUTHENTICATE, scheme);
    Some(answer)
}

/// Compares without telling by its duration where the first difference is.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    let differences = given.iter().zip(wanted).fold(0, |sum, (a, b)| sum | (a ^ b));
    given.len() == wanted.len() && differences == 0
}

async fn reload(admin: &Admin) -> Answer {
    let (done, waiting) = tokio::sync::oneshot::channel();
    if admin.requests.send(Ask::Reload(done)).await.is_err() {
        return text(StatusCode::SERVICE_UNAVAILABLE, "the gateway is ending\n");
    }
    match waiting.await {
        Ok(Ok(word)) => text(StatusCode::OK, format!("{word}\n")),
        Ok(Err(why)) => text(StatusCode::UNPROCESSABLE_ENTITY, why),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the gateway is ending\n"),
    }
}

fn status(admin: &Admin) -> serde_json::Value {
    let snapshot = admin.house.snapshot();
    let loaded = snapshot.loaded.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let refusal = admin.house.last_refusal();
    serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "ready": admin.house.is_ready(),
        "configuration": {
            "files": admin.files,
            "hash": format!("{:016x}", snapshot.plan.hash),
            "loaded": loaded,
            "refused": (!refusal.is_empty()).then_some(refusal),
        },
        "listeners": admin.listeners.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "routes": snapshot.plan.routes.iter().map(|route| &*route.name).collect::<Vec<_>>(),
        "upstreams": snapshot.upstreams.values().map(|one| one.status()).collect::<Vec<_>>(),
    })
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    typed(status, "text/plain; charset=utf-8", body.into())
}

fn json(status: StatusCode, body: &serde_json::Value) -> Answer {
    typed(status, "application/json", Bytes::from(format!("{body:#}\n")))
}

fn typed(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_compared_whole() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abd", b"abc") && !same(b"ab", b"abc") && !same(b"", b"abc"));
    }
}
