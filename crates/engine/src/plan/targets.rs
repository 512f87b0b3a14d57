//! Who answers a route: exactly one target, its names resolved.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use portcullis_config::{Diagnostics, Sources, Spanned, did_you_mean};
use portcullis_core::template::{Place, Template, Words};
use portcullis_core::{CanonicalPath, Env, Lasting, PathRules, Reply};
use portcullis_policies::planner::{self, runs};
use portcullis_upstream::{Protocol, lasting};

use super::compose::{ComposePlan, compose};
use crate::router::Pattern;
use crate::settings::{
    FallbackSettings, FileSettings, ForwardSettings, RedirectSettings, RespondSettings,
    RouteSettings,
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
    Template(Arc<Template>),
}

impl PathPlan {
    /// The prefix that is cut off.
    pub fn stripped(&self) -> Option<&str> {
        match self {
            Self::Strip(prefix) => Some(prefix),
            Self::Same | Self::Template(_) => None,
        }
    }
}

#[derive(Debug)]
pub struct ForwardPlan {
    pub to: String,
    pub path: PathPlan,
    pub path_rules: PathRules,
    pub host: HostPlan,
    pub rewrite_location: bool,
    pub retry_non_idempotent: bool,
    /// How long WebSockets may last, where clients may have them.
    pub websocket: Option<Lasting>,
    pub fallback: Option<FallbackPlan>,
}

/// Who answers in place of an upstream.
#[derive(Debug)]
pub enum FallbackPlan {
    Other(String),
    Fixed(Arc<Reply>),
}

/// Who answers.
pub enum TargetPlan {
    Forward(Arc<ForwardPlan>),
    Compose(Arc<ComposePlan>),
    Fixed(Arc<Reply>),
    Redirect { to: Arc<Template>, status: StatusCode },
}

impl TargetPlan {
    /// Whether clients may have WebSockets here.
    pub fn has_websockets(&self) -> bool {
        matches!(self, Self::Forward(plan) if plan.websocket.is_some())
    }

    /// The upstreams that it needs.
    pub fn upstreams(&self) -> Vec<&str> {
        match self {
            Self::Forward(plan) => match &plan.fallback {
                Some(FallbackPlan::Other(other)) => vec![plan.to.as_str(), other],
                _ => vec![plan.to.as_str()],
            },
            Self::Compose(plan) => plan.calls.iter().map(|call| &*call.to).collect(),
            Self::Fixed(_) | Self::Redirect { .. } => Vec::new(),
        }
    }
}

/// What targets are planned with.
pub struct Desk<'a> {
    pub file: &'a FileSettings,
    pub pattern: Option<&'a Pattern>,
    pub identity: Vec<HeaderName>,
    pub env: &'a Arc<Env>,
    pub sources: &'a Sources,
    pub out: &'a mut Diagnostics,
}

pub fn plan(route: &Spanned<RouteSettings>, desk: &mut Desk<'_>) -> Option<TargetPlan> {
    match (&route.forward, &route.compose, &route.respond, &route.redirect) {
        (Some(settings), None, None, None) => forward(settings, desk),
        (None, Some(settings), None, None) => compose(settings, desk),
        (None, None, Some(settings), None) => {
            respond(settings, desk.out).map(|reply| TargetPlan::Fixed(Arc::new(reply)))
        }
        (None, None, None, Some(settings)) => redirect(settings, desk),
        (None, None, None, None) => {
            desk.out
                .error(route.name.span, format!("the route `{}` has no target", route.name.shown()))
                .hint("add one of `forward`, `compose`, `respond` or `redirect`");
            None
        }
        _ => {
            desk.out
                .error(
                    route.name.span,
                    format!("the route `{}` has several targets", route.name.shown()),
                )
                .hint("keep one of `forward`, `compose`, `respond` or `redirect`");
            None
        }
    }
}

/// A string template of this route, in which calls can be referred to.
pub(super) fn template(
    place: Place,
    text: &Spanned<String>,
    calls: &[&str],
    desk: &mut Desk<'_>,
) -> Option<Template> {
    let path = desk.pattern.map(Pattern::names).unwrap_or_default();
    let words = Words { path, calls, env: Some(desk.env) };
    planner::template(place, text, &words, desk.sources, desk.out)
}

/// A template that is a path.
pub(super) fn path_template(
    text: &Spanned<String>,
    calls: &[&str],
    desk: &mut Desk<'_>,
) -> Option<Template> {
    if !text.starts_with('/') {
        desk.out
            .error(text.span, format!("`{}` is no path", text.shown()))
            .hint("begin it with a slash");
        return None;
    }
    template(Place::Path, text, calls, desk)
}

/// Complains about an upstream that is not there.
pub(super) fn known(name: &Spanned<String>, desk: &mut Desk<'_>) -> Option<String> {
    if desk.file.upstreams.get(name).is_some() {
        return Some(name.to_string());
    }
    if desk.file.upstreams.broken().contains(&name.value) {
        return None;
    }
    let problem = desk.out.error(name.span, format!("no upstream is called `{}`", name.shown()));
    if let Some(hint) = did_you_mean(name, desk.file.upstreams.names()) {
        problem.hint(hint);
    }
    None
}

fn forward(settings: &ForwardSettings, desk: &mut Desk<'_>) -> Option<TargetPlan> {
    let path = match (&settings.path, &settings.strip_prefix) {
        (None, None) => Some(PathPlan::Same),
        (Some(text), None) => {
            path_template(text, &[], desk).map(|path| PathPlan::Template(Arc::new(path)))
        }
        (None, Some(prefix)) => strip(prefix, desk.pattern, desk.out),
        (Some(_), Some(prefix)) => {
            desk.out
                .error(prefix.span, "`path` and `strip_prefix` both say what path to ask for")
                .hint("keep one of them");
            None
        }
    };
    let host = match settings.host.as_ref() {
        None => Some(HostPlan::Endpoint),
        Some(host) if host.as_str() == "keep" => Some(HostPlan::Keep),
        Some(host) => {
            let value = crate::targets::host_value(host);
            if value.is_none() {
                desk.out
                    .error(host.span, format!("`{}` is no host", host.shown()))
                    .hint("write `keep`, or a name such as shop.internal");
            }
            value.map(HostPlan::Name)
        }
    };
    let to = known(&settings.to, desk);
    let fallback = fallback(settings, desk);
    let websocket = websocket(settings, desk);
    Some(TargetPlan::Forward(Arc::new(ForwardPlan {
        to: to?,
        path: path?,
        path_rules: desk.file.made_path_rules(),
        host: host?,
        rewrite_location: settings.rewrite_location,
        retry_non_idempotent: settings.retry_non_idempotent,
        websocket: websocket?,
        fallback: fallback?,
    })))
}

/// `Some(None)` where there are none.
fn websocket(settings: &ForwardSettings, desk: &mut Desk<'_>) -> Option<Option<Lasting>> {
    let Some(limits) = settings.websocket.on() else { return Some(None) };
    let other = match &settings.fallback {
        Some(FallbackSettings::Other(other)) => Some(&other.to),
        _ => None,
    };
    for name in [Some(&settings.to), other].into_iter().flatten() {
        let upstream = desk.file.upstreams.get(name);
        if upstream.is_some_and(|upstream| upstream.protocol == Protocol::H2) {
            let message =
                format!("`{}` has protocol h2, over which there is no WebSocket", name.shown());
            desk.out.error(settings.websocket.span, message).hint("leave its protocol at h1");
        }
    }
    lasting(limits, desk.out).map(Some)
}

/// `Some(None)` when there is none.
fn fallback(settings: &ForwardSettings, desk: &mut Desk<'_>) -> Option<Option<FallbackPlan>> {
    match &settings.fallback {
        None => Some(None),
        Some(FallbackSettings::Fixed(settings)) => {
            let reply = respond(settings, desk.out)?;
            Some(Some(FallbackPlan::Fixed(Arc::new(reply))))
        }
        Some(FallbackSettings::Other(other)) => {
            let name = known(&other.to, desk)?;
            if name == *settings.to {
                desk.out.error(other.to.span, format!("`{name}` is the upstream itself"));
            }
            Some(Some(FallbackPlan::Other(name)))
        }
    }
}

/// A prefix of whole segments that every path of the route has.
fn strip(
    prefix: &Spanned<String>,
    pattern: Option<&Pattern>,
    out: &mut Diagnostics,
) -> Option<PathPlan> {
    let canonical = CanonicalPath::parse(prefix).is_ok_and(|path| path.as_str() == prefix.as_str());
    if !canonical || prefix.len() < 2 || prefix.ends_with('/') {
        out.error(prefix.span, format!("`{}` is no prefix of a path", prefix.shown()))
            .hint("write whole segments without a slash at the end, such as /api/v1");
        return None;
    }
    let covers =
        |path: &str| path == prefix.as_str() || path.starts_with(&format!("{}/", prefix.as_str()));
    if let Some(pattern) = pattern
        && !covers(pattern.as_str())
    {
        out.error(
            prefix.span,
            format!("the route's path does not begin with `{}`", prefix.shown()),
        )
        .hint(format!("its path is {}", pattern.as_str()));
        return None;
    }
    Some(PathPlan::Strip(prefix.to_string()))
}

fn respond(settings: &RespondSettings, out: &mut Diagnostics) -> Option<Reply> {
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
    Some(Reply { status: status?, headers, body: body.into() })
}

fn redirect(settings: &RedirectSettings, desk: &mut Desk<'_>) -> Option<TargetPlan> {
    let status = StatusCode::from_u16(*settings.status).ok();
    let status = status.filter(|status| matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308));
    if status.is_none() {
        desk.out.error(settings.status.span, "a redirect's status is 301, 302, 303, 307 or 308");
    }
    let to = template(Place::Path, &settings.to, &[], desk)?;
    Some(TargetPlan::Redirect { to: Arc::new(to), status: status? })
}

impl std::fmt::Display for TargetPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Forward(plan) => {
                match &plan.path {
                    PathPlan::Same => write!(f, "forward to {}", plan.to),
                    PathPlan::Strip(prefix) => write!(f, "forward to {} without {prefix}", plan.to),
                    PathPlan::Template(path) => write!(f, "forward to {}, {path}", plan.to),
                }?;
                if plan.websocket.is_some() {
                    write!(f, ", with WebSockets")?;
                }
                match &plan.fallback {
                    None => Ok(()),
                    Some(FallbackPlan::Other(other)) => write!(f, ", or else to {other}"),
                    Some(FallbackPlan::Fixed(reply)) => {
                        write!(f, ", or else answer {}", reply.status.as_u16())
                    }
                }
            }
            Self::Compose(plan) => {
                let calls: Vec<_> = plan.calls.iter().map(|call| &*call.name).collect();
                write!(f, "compose {}; {}", calls.join(", "), runs("the body", &plan.body))
            }
            Self::Fixed(reply) => write!(f, "answer {}", reply.status.as_u16()),
            Self::Redirect { status, .. } => write!(f, "redirect {}", status.as_u16()),
        }
    }
}
