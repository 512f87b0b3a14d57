//! Who answers a route: exactly one target, its names resolved.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use portcullis_config::{Diagnostics, Spanned, did_you_mean};
use portcullis_core::{CanonicalPath, Reply};

use crate::router::Pattern;
use crate::settings::{
    FileSettings, ForwardSettings, RedirectSettings, RespondSettings, RouteSettings, Switch,
};

/// What `Host` says to the upstream.
#[derive(Clone, Debug)]
pub enum HostPlan {
    Endpoint,
    Keep,
    Name(HeaderValue),
}

/// What path is asked for.
#[derive(Clone, Debug)]
pub enum PathPlan {
    Same,
    Strip(String),
}

impl PathPlan {
    /// The prefix that is cut off.
    pub fn stripped(&self) -> Option<&str> {
        match self {
            Self::Strip(prefix) => Some(prefix),
            Self::Same => None,
        }
    }
}

#[derive(Debug)]
pub struct ForwardPlan {
    pub to: String,
    pub path: PathPlan,
    pub host: HostPlan,
    pub rewrite_location: bool,
}

/// Who answers.
pub enum TargetPlan {
    Forward(Arc<ForwardPlan>),
    Fixed(Arc<Reply>),
}

impl TargetPlan {
    /// The upstreams that it needs.
    pub fn upstreams(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::Forward(plan) => Some(plan.to.as_str()),
            Self::Fixed(_) => None,
        }
        .into_iter()
    }
}

pub fn plan(
    route: &Spanned<RouteSettings>,
    pattern: Option<&Pattern>,
    file: &FileSettings,
    out: &mut Diagnostics,
) -> Option<TargetPlan> {
    match (&route.forward, &route.respond, &route.redirect) {
        (Some(forward), None, None) => self::forward(forward, pattern, file, out),
        (None, Some(respond), None) => self::respond(respond, out),
        (None, None, Some(redirect)) => self::redirect(redirect, out),
        (None, None, None) => {
            out.error(route.name.span, format!("the route {} has no target", route.name.shown()))
                .hint("add one of `forward`, `respond` or `redirect`");
            None
        }
        _ => {
            out.error(
                route.name.span,
                format!("the route {} has several targets", route.name.shown()),
            )
            .hint("keep one of `forward`, `respond` or `redirect`");
            None
        }
    }
}

fn forward(
    settings: &ForwardSettings,
    pattern: Option<&Pattern>,
    file: &FileSettings,
    out: &mut Diagnostics,
) -> Option<TargetPlan> {
    let path = match &settings.strip_prefix {
        None => Some(PathPlan::Same),
        Some(prefix) => strip(prefix, pattern, out),
    };
    let host = match settings.host.as_ref() {
        None => Some(HostPlan::Endpoint),
        Some(host) if host.as_str() == "keep" => Some(HostPlan::Keep),
        Some(host) => {
            let value = crate::targets::host_value(host);
            if value.is_none() {
                out.error(host.span, format!("{} is no host", host.shown()))
                    .hint("write `keep`, or a name such as shop.internal");
            }
            value.map(HostPlan::Name)
        }
    };
    if file.upstreams.get(&settings.to).is_none() {
        let problem =
            out.error(settings.to.span, format!("no upstream is called {}", settings.to.shown()));
        if let Some(hint) = did_you_mean(&settings.to, file.upstreams.names()) {
            problem.hint(hint);
        }
        return None;
    }
    Some(TargetPlan::Forward(Arc::new(ForwardPlan {
        to: settings.to.to_string(),
        path: path?,
        host: host?,
        rewrite_location: matches!(settings.rewrite_location, Switch::On),
    })))
}

/// A prefix of whole segments that every path of the route has.
fn strip(
    prefix: &Spanned<String>,
    pattern: Option<&Pattern>,
    out: &mut Diagnostics,
) -> Option<PathPlan> {
    let canonical = CanonicalPath::parse(prefix).is_ok_and(|path| path.as_str() == prefix.as_str());
    if !canonical || prefix.len() < 2 || prefix.ends_with('/') {
        out.error(prefix.span, format!("{} is no prefix of a path", prefix.shown()))
            .hint("write whole segments without a slash at the end, such as /api/v1");
        return None;
    }
    let covers =
        |path: &str| path == prefix.as_str() || path.starts_with(&format!("{}/", prefix.as_str()));
    if let Some(pattern) = pattern
        && !covers(pattern.as_str())
    {
        out.error(prefix.span, format!("the route's path does not begin with {}", prefix.shown()))
            .hint(format!("its path is {}", pattern.as_str()));
        return None;
    }
    Some(PathPlan::Strip(prefix.to_string()))
}

fn respond(settings: &RespondSettings, out: &mut Diagnostics) -> Option<TargetPlan> {
    let status =
        StatusCode::from_u16(*settings.status).ok().filter(|status| status.as_u16() >= 200);
    if status.is_none() {
        out.error(settings.status.span, "a status is a number from 200 to 999");
    }
    let mut headers = HeaderMap::new();
    for entry in settings.headers.iter() {
        let name = HeaderName::from_bytes(entry.name.as_bytes()).ok();
        match (name, HeaderValue::from_str(&entry.value).ok()) {
            (Some(name), Some(value)) => drop(headers.append(name, value)),
            _ => drop(out.error(entry.span, format!("`{}` cannot be a header", entry.name))),
        }
    }
    let (kind, body) = match (&settings.text, &settings.json) {
        (Some(_), Some(json)) => {
            out.error(json.span, "an answer is `text` or `json`, not both");
            return None;
        }
        (Some(text), None) => (Some("text/plain; charset=utf-8"), text.clone()),
        (None, Some(json)) => (Some("application/json"), json.to_json().to_string()),
        (None, None) => (None, String::new()),
    };
    if let Some(kind) = kind {
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
    }
    Some(TargetPlan::Fixed(Arc::new(Reply { status: status?, headers, body: body.into() })))
}

fn redirect(settings: &RedirectSettings, out: &mut Diagnostics) -> Option<TargetPlan> {
    let status = StatusCode::from_u16(*settings.status).ok();
    let status = status.filter(|status| matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308));
    if status.is_none() {
        out.error(settings.status.span, "a redirect's status is 301, 302, 303, 307 or 308");
    }
    let to = HeaderValue::from_str(&settings.to).ok().filter(|_| !settings.to.is_empty());
    if to.is_none() {
        out.error(settings.to.span, format!("{} is no address to go to", settings.to.shown()));
    }
    let mut reply = Reply::empty(status?);
    reply.headers.insert(LOCATION, to?);
    Some(TargetPlan::Fixed(Arc::new(reply)))
}

impl std::fmt::Display for TargetPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Forward(plan) => write!(f, "forward to {}", plan.to),
            Self::Fixed(reply) => write!(f, "answer {}", reply.status.as_u16()),
        }
    }
}
