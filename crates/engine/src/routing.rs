//! From a canonical request to its route, or to the answer that says why there is none.

use std::sync::Arc;

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use portcullis_core::{CanonicalPath, Exchange, Params, PathRules, Problem, Reply, Verdict};

use crate::problems::{BAD_PATH, METHOD_NOT_ALLOWED, ROUTE_NOT_FOUND};
use crate::router::{Missed, Query, TWO_READINGS};
use crate::snapshot::{Route, Snapshot};

/// The route of an exchange, whose record and path parameters then know it.
pub fn find<'a>(snapshot: &'a Snapshot, exchange: &mut Exchange) -> Result<&'a Route, Verdict> {
    if let Some(answers) = &snapshot.answers
        && let Some(answer) = answers.at(exchange.path.as_str())
    {
        let mut reply = Reply { body: answer.into(), ..Reply::empty(StatusCode::OK) };
        let kind = HeaderValue::from_static("application/octet-stream"); // RFC 8555 section 8.3
        reply.headers.insert(CONTENT_TYPE, kind);
        return Err(Ok(Some(reply)));
    }
    if let Some(port) = snapshot.redirect(&exchange.peer.listener) {
        return Err(Ok(Some(to_https(exchange, port))));
    }
    let query = Query {
        host: &exchange.record.host,
        path: exchange.path.as_str(),
        method: &exchange.request.method,
        headers: &exchange.request.headers,
        query: exchange.request.uri.query(),
        announced: None,
    };
    let announced = query.preflight();
    let query = snapshot.router.meant(query, announced.as_ref(), |route| route.answers_preflights);
    let (route, params) = match snapshot.router.find(&query) {
        Ok(found) => (&**found.value, decode(found.params())),
        Err(Missed::NotFound) => {
            let nearest = snapshot.router.nearest(&query).map(|route| route.name.to_string());
            return Err(Err(not_found(nearest)));
        }
        Err(Missed::MethodNotAllowed { allow }) => return Err(no_method(exchange, &allow)),
    };
    if snapshot.plan.path_rules != PathRules::STRICT {
        same_in_all_readings(snapshot, &query, route, &exchange.path).map_err(Err)?;
    }
    let params = params.map_err(Err)?;
    exchange.params = params;
    exchange.record.route = Some(Arc::clone(&route.name));
    if route.has_grpc && exchange.record.rpc.is_some() {
        exchange.body.release(); // a stream of messages: how long they get together says nothing
    }
    Ok(route)
}

/// The same request as https, asked for with the same method (308).
fn to_https(exchange: &Exchange, port: u16) -> Reply {
    let (host, path) = (&exchange.record.host, exchange.path.as_str());
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let query = exchange.request.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut reply = Reply::empty(StatusCode::PERMANENT_REDIRECT);
    if let Ok(location) = HeaderValue::try_from(format!("https://{host}{port}{path}{query}")) {
        reply.headers.insert(LOCATION, location);
    }
    reply
}

/// Where a service may read another path than was routed, that path must not be another route's:
/// its policies would not have been asked.
fn same_in_all_readings(
    snapshot: &Snapshot,
    query: &Query<'_>,
    route: &Route,
    path: &CanonicalPath,
) -> Result<(), Problem> {
    let same = |other: &Arc<Route>| std::ptr::eq(&**other, route);
    let Some((other, reading)) = snapshot.router.read_otherwise(query, path, same) else {
        return Ok(());
    };
    let private = format!("{} as {path}, and {} as {reading}", route.name, other.name);
    Err(Problem::new(&BAD_PATH, TWO_READINGS).private(private))
}

fn decode<'p>(raw: impl Iterator<Item = (&'p Arc<str>, &'p str)>) -> Result<Params, Problem> {
    let mut params = Params::new();
    for (name, value) in raw {
        let value = percent_decode_str(value).decode_utf8().map_err(|_| {
            Problem::new(&BAD_PATH, format!("the path's {name} is not UTF-8 once decoded"))
        })?;
        params.push((Arc::clone(name), value.into()));
    }
    Ok(params)
}

fn not_found(nearest: Option<String>) -> Problem {
    let problem = Problem::new(&ROUTE_NOT_FOUND, "no route of this gateway has this path");
    match nearest {
        Some(name) => problem.private(format!("the nearest route is {name}")),
        None => problem,
    }
}

/// 204 to OPTIONS, 405 to any other method; both say what is allowed.
fn no_method(exchange: &Exchange, allow: &str) -> Verdict {
    let value = HeaderValue::from_str(allow).unwrap_or(HeaderValue::from_static(""));
    if exchange.request.method == Method::OPTIONS {
        let mut reply = Reply::empty(StatusCode::NO_CONTENT);
        reply.headers.insert(ALLOW, value);
        return Ok(Some(reply));
    }
    let detail = format!("{} is not allowed here; allowed: {allow}", exchange.request.method);
    Err(Problem::new(&METHOD_NOT_ALLOWED, detail).header(ALLOW, value))
}
