//! One upstream answers: the outer path becomes the inner one, the answer comes back with its
//! addresses turned outward.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::{HOST, HeaderValue};
use http::uri::PathAndQuery;
use portcullis_core::problem::Origin;
use portcullis_core::template::{Lookup, Template};
use portcullis_core::{Call, CanonicalPath, Exchange, PathRules, Problem, Reply, Response};
use portcullis_upstream::{Failure, Outbound, Upstream};

use super::{location, unresolved};
use crate::open::websocket;
use crate::plan::{FallbackPlan, ForwardPlan, HostPlan, PathPlan};
use crate::problems::BAD_PATH;
use crate::snapshot::Route;

/// One upstream, how its requests are written, and who answers in its place.
pub struct Forward {
    upstream: Arc<Upstream>,
    fallback: Option<Fallback>,
    plan: Arc<ForwardPlan>,
    no_name: Arc<str>,
}

enum Fallback {
    Other(Arc<Upstream>),
    Fixed(Arc<Reply>),
}

impl Fallback {
    /// As [`Upstream::affinity`].
    fn affinity(&self, exchange: &Exchange) -> Option<u64> {
        match self {
            Self::Other(upstream) => upstream.affinity(exchange),
            Self::Fixed(_) => None,
        }
    }
}

impl Forward {
    pub fn build(
        plan: &Arc<ForwardPlan>,
        upstreams: &BTreeMap<String, Arc<Upstream>>,
    ) -> Option<Self> {
        let upstream = Arc::clone(upstreams.get(&plan.to)?);
        let fallback = match &plan.fallback {
            None => None,
            Some(FallbackPlan::Fixed(reply)) => Some(Fallback::Fixed(Arc::clone(reply))),
            Some(FallbackPlan::Other(name)) => {
                Some(Fallback::Other(Arc::clone(upstreams.get(name)?)))
            }
        };
        Some(Self { upstream, fallback, plan: Arc::clone(plan), no_name: Arc::from("") })
    }

    pub async fn answer(
        &self,
        exchange: &mut Exchange,
        route: &Route,
    ) -> Result<Response, Problem> {
        let path_and_query = self.path_and_query(exchange)?;
        let host = match &self.plan.host {
            HostPlan::Endpoint => None,
            HostPlan::Keep => exchange.request.headers.get(HOST).cloned(),
            HostPlan::Name(name) => Some(name.clone()),
        };
        // While the headers are here.
        let affinity = self.upstream.affinity(exchange);
        let affinity_there = self.fallback.as_ref().and_then(|it| it.affinity(exchange));
        let headers = if route.reads_request_late {
            exchange.request.headers.clone()
        } else {
            std::mem::take(&mut exchange.request.headers)
        };
        let outbound = Outbound {
            method: exchange.request.method.clone(),
            path_and_query,
            headers,
            host,
            affinity,
            retry_non_idempotent: self.plan.retry_non_idempotent,
            websocket: self.plan.websocket.filter(|_| websocket::is_asked_for(exchange)),
            body: std::mem::take(&mut exchange.body),
        };
        let mut call = self.call(&self.upstream);
        let result = self.upstream.send(&exchange.worker, outbound, &mut call).await;
        exchange.record.calls.push(call);
        let (mut response, upstream) = match (result, &self.fallback) {
            (Ok(response), _) => (response, &self.upstream),
            (Err(failure), None) => return Err(failure.problem),
            (Err(failure), Some(fallback)) => {
                // On the heap: it is another delivery, and few requests need it.
                let instead = self.instead(exchange, failure, fallback, affinity_there);
                match Box::pin(instead).await? {
                    (response, Some(upstream)) => (response, upstream),
                    (response, None) => return Ok(response),
                }
            }
        };
        if self.plan.rewrite_location {
            let prefix = self.plan.path.stripped();
            location::rewrite(response.headers_mut(), upstream, &exchange.outer, prefix);
        }
        Ok(response)
    }

    fn call(&self, upstream: &Upstream) -> Call {
        Call::new(&self.no_name, upstream.name())
    }

    /// Who answers in place of the upstream, if that is right: another upstream gets nothing that the
    /// first may have got already, and mistakes of the client stay what they are.
    async fn instead<'f>(
        &self,
        exchange: &mut Exchange,
        failure: Failure,
        fallback: &'f Fallback,
        affinity: Option<u64>,
    ) -> Result<(Response, Option<&'f Arc<Upstream>>), Problem> {
        let is_delivery = failure.problem.origin() == Origin::Upstream;
        match (fallback, failure.unsent) {
            (Fallback::Fixed(reply), _) if is_delivery => Ok((Reply::clone(reply).into(), None)),
            (Fallback::Other(upstream), Some(unsent)) if is_delivery => {
                let mut call = self.call(upstream);
                let worker = &exchange.worker;
                let sent = upstream.send_instead(worker, unsent, affinity, &mut call).await;
                exchange.record.calls.push(call);
                sent.map(|response| (response, Some(upstream)))
            }
            _ => Err(failure.problem),
        }
    }

    /// What is asked for: canonical again after every rewrite, so that what was checked is what is
    /// sent (what is left of a canonical path behind a prefix always is). The client's query passes.
    fn path_and_query(&self, exchange: &Exchange) -> Result<PathAndQuery, Problem> {
        let uri = &exchange.request.uri;
        if let (PathPlan::Same, Some(own)) = (&self.plan.path, uri.path_and_query())
            && let Some(query) = own.as_str().strip_prefix(exchange.path.as_str())
            && (query.is_empty() || query.starts_with('?'))
        {
            return Ok(own.clone()); // it was canonical as it came
        }
        let query = uri.query();
        let mut text = match &self.plan.path {
            PathPlan::Same => exchange.path.as_str().to_owned(),
            PathPlan::Strip(prefix) => strip(exchange.path.as_str(), prefix).to_owned(),
            PathPlan::Template(template) => render(template, exchange, self.plan.path_rules)?,
        };
        if let Some(query) = query {
            text.push(if text.contains('?') { '&' } else { '?' });
            text.push_str(query);
        }
        PathAndQuery::try_from(text).map_err(|error| {
            Problem::new(&BAD_PATH, "the path cannot be sent on").private(error.to_string())
        })
    }
}

/// The path without a prefix of whole segments.
fn strip<'p>(path: &'p str, prefix: &str) -> &'p str {
    match path.strip_prefix(prefix) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

/// A template's path and query. A slash in a value stays encoded, which the rules may refuse.
fn render(template: &Template, values: &dyn Lookup, rules: PathRules) -> Result<String, Problem> {
    canonical(template.render(values).map_err(|missing| unresolved(&missing))?, rules)
}

/// A rendered path and query, its path canonical.
pub fn canonical(rendered: String, rules: PathRules) -> Result<String, Problem> {
    let (path, query) = match rendered.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rendered.as_str(), None),
    };
    let path = CanonicalPath::parse_by(path, rules)
        .map_err(|error| Problem::new(&BAD_PATH, error.to_string()).private(rendered.clone()))?;
    Ok(match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_string(),
    })
}

/// A fixed Host header, checked at load.
pub fn host_value(name: &str) -> Option<HeaderValue> {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':' | b'[' | b']' | b'_')
    };
    (!name.is_empty() && name.bytes().all(plain))
        .then(|| HeaderValue::from_str(name).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_cut_at_segment_boundaries_only() {
        assert_eq!(strip("/api/v1/products", "/api/v1"), "/products");
        assert_eq!(strip("/api/v1", "/api/v1"), "/");
        assert_eq!(strip("/api/v1/", "/api/v1"), "/");
        assert_eq!(strip("/api/v12/products", "/api/v1"), "/api/v12/products");
    }

    #[test]
    fn a_fixed_host_is_a_host() {
        assert!(host_value("shop.internal:8080").is_some());
        assert!(
            host_value("a b").is_none() && host_value("").is_none() && host_value("a/b").is_none()
        );
    }
}
