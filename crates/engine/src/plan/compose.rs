//! A composition's calls, understood: what each refers to, and that no two wait for each other.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};
use portcullis_config::{Node, Span, Spanned};
use portcullis_core::context::VARIABLES;
use portcullis_core::headers;
use portcullis_core::mapping::Program;
use portcullis_core::template::{Place, RESERVED_NAMES, Reference, Template};
use portcullis_policies::planner::program;
use portcullis_upstream::Statuses;

use super::targets::{Desk, TargetPlan, known};
use crate::router::parse_method;
use crate::settings::{CallSettings, ComposeSettings};

/// Calls of one composition.
const MOST_CALLS: usize = 32;

/// One call of a composition.
pub struct CallPlan {
    pub name: Arc<str>,
    pub to: String,
    pub method: Method,
    pub path: Template,
    pub body: Option<Program>,
    pub headers: Vec<(HeaderName, Template)>,
    pub when: Option<Program>,
    pub each: Option<EachPlan>,
    pub timeout: Option<Duration>,
    pub accept: Vec<Statuses>,
    pub otherwise: Option<serde_json::Value>,
    pub optional: bool,
    /// Places of the calls whose answers it needs.
    pub after: Vec<usize>,
}

/// One call for each item.
pub struct EachPlan {
    pub items: Program,
    pub name: String,
    pub distinct: bool,
    pub concurrency: usize,
    pub most: usize,
}

/// Several calls and the mapping of their answers.
pub struct ComposePlan {
    pub timeout: Duration,
    pub calls: Vec<CallPlan>,
    pub body: Program,
    /// Headers that say who asks: every call carries them.
    pub identity: Vec<HeaderName>,
    pub partial_status: u16,
    pub errors: bool,
}

pub fn compose(settings: &ComposeSettings, desk: &mut Desk<'_>) -> Option<TargetPlan> {
    let names: Vec<&str> = settings.calls.iter().map(|entry| entry.name.as_str()).collect();
    let mut sound = true;
    for entry in settings.calls.iter().filter(|it| RESERVED_NAMES.contains(&it.name.as_str())) {
        let message = format!("a call cannot be called `{}`: the word means something", entry.name);
        desk.out.error(entry.span, message);
        sound = false;
    }
    let calls: Vec<_> = settings
        .calls
        .iter()
        .map(|entry| call(&entry.name, &entry.value, entry.span, &names, desk))
        .collect();
    if settings.calls.is_empty() || settings.calls.len() > MOST_CALLS {
        desk.out.error(settings.body.span, format!("a composition has 1 to {MOST_CALLS} calls"));
    }
    let status = *settings.partial_status;
    if !matches!(status, 200..=205 | 207..=299 | 500..=599) {
        desk.out.error(settings.partial_status.span, "it is 200-299 or 500-599, but not 206");
    }
    let body = program(&settings.body, &VARIABLES, desk.sources, desk.out);
    let calls: Vec<CallPlan> = calls.into_iter().collect::<Option<_>>()?;
    let spans: Vec<Span> = settings.calls.iter().map(|entry| entry.span).collect();
    if let Some(circle) = circle(&calls) {
        let names: Vec<&str> =
            circle.iter().filter_map(|at| calls.get(*at)).map(|call| &*call.name).collect();
        let span = circle.first().and_then(|at| spans.get(*at)).copied().unwrap_or_default();
        desk.out.error(span, format!("calls wait for each other: {}", names.join(" -> ")));
        sound = false;
    }
    let plan = ComposePlan {
        timeout: settings.timeout,
        calls,
        body: body?,
        identity: std::mem::take(&mut desk.identity),
        partial_status: status,
        errors: settings.errors,
    };
    sound.then(|| TargetPlan::Compose(Arc::new(plan)))
}

fn call(
    name: &str,
    settings: &CallSettings,
    span: Span,
    names: &[&str],
    desk: &mut Desk<'_>,
) -> Option<CallPlan> {
    let each = settings.for_each.as_ref();
    let item = settings.r#as.as_str();
    without_effect(settings, desk);
    if settings.otherwise.is_some() && *settings.optional {
        desk.out.error(settings.optional.span, "`otherwise` says already what stands in");
    }
    let mut words: Vec<&str> = names.iter().copied().filter(|it| *it != name).collect();
    words.extend(each.map(|_| item));
    let to = known(&settings.to, desk);
    let path = path(&settings.path, &words, desk);
    let mut header = |name: &str, span: Span, text: &Spanned<String>| {
        let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
        let own = parsed.filter(|it| {
            !headers::is_hop_by_hop(it.as_str())
                && !matches!(it.as_str(), "host" | "content-length")
        });
        if own.is_none() {
            desk.out.error(span, format!("`{name}` cannot be sent by a call"));
        }
        own.zip(template(Place::Header, text, &words, desk))
    };
    let sent: Vec<_> =
        settings.headers.iter().map(|it| header(&it.name, it.span, &it.value)).collect();
    let method = parse_method(&settings.method).ok();
    if method.is_none() {
        let message = format!("`{}` is no method", settings.method.shown());
        desk.out.error(settings.method.span, message);
    }
    let mut compile = |text: &Option<Spanned<String>>| match text {
        Some(text) => program(text, &VARIABLES, desk.sources, desk.out).map(Some),
        None => Some(None),
    };
    let (body, when, items) =
        (compile(&settings.body), compile(&settings.when), compile(&settings.for_each));
    let texts = [&settings.body, &settings.when, &settings.for_each];
    let (path, headers) = (path?, sent.into_iter().collect::<Option<Vec<_>>>()?);
    let after = after(names, name, &path, &headers, &texts);
    let each = items?.map(|items| EachPlan {
        items,
        name: item.to_owned(),
        distinct: *settings.distinct,
        concurrency: settings.concurrency.as_usize(),
        most: settings.max.as_usize(),
    });
    let _ = span;
    Some(CallPlan {
        name: Arc::from(name),
        to: to?,
        method: method?,
        path,
        body: body?,
        headers,
        when: when?,
        each,
        timeout: settings.timeout,
        accept: settings.accept.clone(),
        otherwise: settings.otherwise.as_ref().map(Node::to_json),
        optional: *settings.optional,
        after,
    })
}

/// Keys that only mean something beside `for_each`.
fn without_effect(settings: &CallSettings, desk: &mut Desk<'_>) {
    if settings.for_each.is_some() {
        return;
    }
    for (key, span) in [
        ("as", settings.r#as.span),
        ("distinct", settings.distinct.span),
        ("concurrency", settings.concurrency.span),
        ("max", settings.max.span),
    ] {
        if span != Span::default() {
            desk.out.error(span, format!("`{key}` has no effect without `for_each`"));
        }
    }
}

fn path(text: &Spanned<String>, words: &[&str], desk: &mut Desk<'_>) -> Option<Template> {
    if !text.starts_with('/') {
        let message = format!("`{}` is no path", text.shown());
        desk.out.error(text.span, message).hint("begin it with a slash");
        return None;
    }
    template(Place::Path, text, words, desk)
}

fn template(
    place: Place,
    text: &Spanned<String>,
    words: &[&str],
    desk: &mut Desk<'_>,
) -> Option<Template> {
    let params = desk.pattern.map(crate::router::Pattern::names).unwrap_or_default();
    Template::parse_among(place, text, params, words)
        .map_err(|error| {
            let span = text.inside(desk.sources, error.offset);
            let complaint = desk.out.error(span, error.message);
            if let Some(hint) = error.hint {
                complaint.hint(hint);
            }
        })
        .ok()
}

/// The calls that one refers to: in its templates, and as `.NAME` in its programs.
fn after(
    names: &[&str],
    own: &str,
    path: &Template,
    headers: &[(HeaderName, Template)],
    texts: &[&Option<Spanned<String>>],
) -> Vec<usize> {
    let templates = std::iter::once(path).chain(headers.iter().map(|(_, template)| template));
    let mut referred: Vec<String> = templates
        .flat_map(Template::references)
        .filter_map(|reference| match reference {
            Reference::Call(name, _) => Some(name.to_string()),
            _ => None,
        })
        .collect();
    for text in texts.iter().filter_map(|text| text.as_ref()) {
        referred.extend(names.iter().filter(|it| mentions(text, it)).map(|it| (*it).to_owned()));
    }
    let is_needed = |name: &&str| **name != *own && referred.iter().any(|it| it == *name);
    names.iter().enumerate().filter(|(_, name)| is_needed(name)).map(|(at, _)| at).collect()
}

/// Whether a program says `.NAME`, at the beginning of a path.
fn mentions(program: &str, name: &str) -> bool {
    let word = |byte: Option<u8>| byte.is_some_and(|it| it.is_ascii_alphanumeric() || it == b'_');
    let dotted = format!(".{name}");
    program.match_indices(&dotted).any(|(at, _)| {
        let bytes = program.as_bytes();
        let before = at.checked_sub(1).and_then(|before| bytes.get(before)).copied();
        let after = bytes.get(at + dotted.len()).copied();
        !word(before) && !matches!(before, Some(b']' | b')' | b'"' | b'?')) && !word(after)
    })
}

/// Calls that wait for each other, if there are any.
fn circle(calls: &[CallPlan]) -> Option<Vec<usize>> {
    let mut done = vec![false; calls.len()];
    loop {
        let ready = |(at, call): &(usize, &CallPlan)| {
            !done.get(*at).copied().unwrap_or(true)
                && call.after.iter().all(|it| done.get(*it).copied().unwrap_or(true))
        };
        let next: Vec<usize> = calls.iter().enumerate().filter(ready).map(|(at, _)| at).collect();
        if next.is_empty() {
            break;
        }
        for at in next {
            if let Some(done) = done.get_mut(at) {
                *done = true;
            }
        }
    }
    // From any call that never gets its turn, along what it waits for, one comes round.
    let mut at = done.iter().position(|done| !done)?;
    let mut way = Vec::new();
    while !way.contains(&at) {
        way.push(at);
        let waits = calls.get(at)?.after.iter().copied();
        at = waits.into_iter().find(|it| !done.get(*it).copied().unwrap_or(true))?;
    }
    let begin = way.iter().position(|it| *it == at)?;
    let mut round = way.split_off(begin);
    round.push(at);
    Some(round)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_mentions_a_call_where_a_path_begins() {
        for text in
            [".user", "{ id: .user.id }", "[.user]", ".a + .user", "(.user|.id)", "$x|.user"]
        {
            assert!(mentions(text, "user"), "{text}");
        }
        for text in [".users", ".a.user", ".[0].user", ".user_id", "user", "x.user"] {
            assert!(!mentions(text, "user"), "{text}");
        }
    }
}
