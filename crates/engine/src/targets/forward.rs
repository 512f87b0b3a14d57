//! One upstream answers: the outer path becomes the inner one, the answer comes back with its
//! addresses turned outward.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderValue};
use http::uri::PathAndQuery;
use portcullis_core::template::Template;
use portcullis_core::{Call, CanonicalPath, Exchange, Problem, Response};
use portcullis_upstream::{Outbound, Upstream};

use super::{location, unresolved};
use crate::plan::{ForwardPlan, HostPlan, PathPlan};
use crate::problems::BAD_PATH;
use crate::snapshot::Route;

/// One upstream, and how its requests are written.
pub struct Forward {
    upstream: Arc<Upstream>,
    plan: Arc<ForwardPlan>,
    no_name: Arc<str>,
}

impl Forward {
    pub fn build(
        plan: &Arc<ForwardPlan>,
        upstreams: &BTreeMap<String, Arc<Upstream>>,
    ) -> Option<Self> {
        let upstream = Arc::clone(upstreams.get(&plan.to)?);
        Some(Self { upstream, plan: Arc::clone(plan), no_name: Arc::from("") })
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
        let outer = location::Outer::of(exchange);
        let affinity = self.upstream.affinity(exchange);
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
            body: std::mem::take(&mut exchange.body),
        };
        let mut call = Call {
            name: Arc::clone(&self.no_name),
            upstream: Arc::clone(self.upstream.name()),
            endpoint: None,
            attempts: 0,
            status: 0,
            duration: Duration::ZERO,
            code: None,
        };
        let result = self.upstream.send(&exchange.worker, outbound, &mut call).await;
        exchange.record.calls.push(call);
        let mut response = result?;
        if self.plan.rewrite_location {
            let prefix = self.plan.path.stripped();
            location::rewrite(response.headers_mut(), &self.upstream, &outer, prefix);
        }
        Ok(response)
    }

    /// What is asked for: canonical again after every rewrite, so that what was checked is what is
    /// sent. The client's query passes.
    fn path_and_query(&self, exchange: &Exchange) -> Result<PathAndQuery, Problem> {
        let query = exchange.request.uri.query();
        let mut text = match &self.plan.path {
            PathPlan::Same => exchange.path.as_str().to_owned(),
            PathPlan::Strip(prefix) => strip(exchange.path.as_str(), prefix).to_owned(),
            PathPlan::Template(template) => render(template, exchange)?,
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

/// A template's path and query: the path canonical again, so that what was checked is what is sent.
/// An encoded slash in a value stays one segment.
pub fn render(template: &Template, exchange: &Exchange) -> Result<String, Problem> {
    let rendered = template.render(exchange).map_err(|missing| unresolved(&missing))?;
    let (path, query) = match rendered.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rendered.as_str(), None),
    };
    let path = CanonicalPath::parse(path)
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
