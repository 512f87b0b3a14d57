//! A composition's calls, understood: what each refers to, and that no two wait for each other.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};
use portcullis_config::{Node, Span, Spanned, did_you_mean};
use portcullis_core::context::VARIABLES;
use portcullis_core::mapping::Program;
use portcullis_core::template::{Place, RESERVED_NAMES, Reference, Template};
use portcullis_core::{PathRules, headers};
use portcullis_policies::planner::program;
use portcullis_upstream::Statuses;

use super::targets::{Desk, TargetPlan, known, path_template, template};
use crate::router::parse_method;
use crate::settings::{CallSettings, ComposeSettings};

/// One call of a composition.
pub struct CallPlan {
    pub name: Arc<str>,
    pub to: Arc<str>,
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
    /// Headers of its answer that reach the client.
    pub pass: Vec<HeaderName>,
    /// Places of the calls whose answers it needs.
    pub after: Vec<usize>,
    /// The group of calls that share the answers to equal requests.
    pub shares: Option<usize>,
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
    pub path_rules: PathRules,
    pub partial_status: u16,
    pub errors: bool,
}

pub fn compose(settings: &ComposeSettings, desk: &mut Desk<'_>) -> Option<TargetPlan> {
    let names: Vec<&str> = settings.calls.iter().map(|entry| entry.name.as_str()).collect();
    let mut sound = true;
    for entry in &settings.calls {
        sound &= is_free(&entry.name, entry.span, "a call", desk);
    }
    let calls: Vec<_> =
        settings.calls.iter().map(|entry| call(&entry.name, &entry.value, &names, desk)).collect();
    let most = settings.max_calls.as_usize();
    if settings.calls.is_empty() || settings.calls.len() > most {
        let message = format!("a composition has 1 to {most} calls, and this one {}", names.len());
        desk.out.error(settings.body.span, message).hint("`max_calls` allows more");
        sound = false;
    }
    let status = *settings.partial_status;
    if !matches!(status, 200..=205 | 207..=299 | 500..=599) {
        desk.out.error(settings.partial_status.span, "it is 200-299 or 500-599, but not 206");
        sound = false;
    }
    sound &= is_partial(settings, desk);
    let body = program(&settings.body, &VARIABLES, desk.env, desk.sources, desk.out);
    sound &= reads_known(body.as_ref(), Some(&settings.body), &names, desk);
    let mut calls: Vec<CallPlan> = calls.into_iter().collect::<Option<_>>()?;
    for call in &mut calls {
        call.after = after(call, &names);
    }
    share(&mut calls);
    if let Some(circle) = circle(&calls) {
        let round: Vec<&str> = circle.iter().filter_map(|at| names.get(*at)).copied().collect();
        let first = circle.first().and_then(|at| settings.calls.iter().nth(*at));
        let message = format!("calls wait for each other: {}", round.join(" -> "));
        desk.out.error(first.map_or(Span::default(), |entry| entry.span), message).hint(
            "a program waits for all calls whose names it reads, and with `.` as a whole for all",
        );
        sound = false;
    }
    let plan = ComposePlan {
        timeout: settings.timeout,
        calls,
        body: body?,
        identity: std::mem::take(&mut desk.identity),
        path_rules: desk.file.made_path_rules(),
        partial_status: status,
        errors: *settings.errors,
    };
    sound.then(|| TargetPlan::Compose(Arc::new(plan)))
}

/// Whether a name can be given: one that means something else already cannot.
fn is_free(name: &str, span: Span, what: &str, desk: &mut Desk<'_>) -> bool {
    let params = desk.pattern.map(crate::router::Pattern::names).unwrap_or_default();
    let taken = if RESERVED_NAMES.contains(&name) {
        "the word means something"
    } else if params.iter().any(|param| AsRef::<str>::as_ref(param) == name) {
        "the route's path has that name"
    } else {
        return true;
    };
    desk.out.error(span, format!("{what} cannot be called `{name}`: {taken}"));
    false
}

fn call(
    name: &str,
    settings: &CallSettings,
    names: &[&str],
    desk: &mut Desk<'_>,
) -> Option<CallPlan> {
    let item = &settings.r#as;
    without_effect(settings, desk);
    if settings.otherwise.is_some() && *settings.optional {
        desk.out.error(settings.optional.span, "`otherwise` says already what stands in");
    }
    let mut words: Vec<&str> = names.iter().copied().filter(|it| *it != name).collect();
    if settings.for_each.is_some() {
        is_free(item, item.span, "an item", desk);
        if names.contains(&item.as_str()) {
            desk.out.error(item.span, format!("a call is called `{}` already", item.shown()));
        }
        words.push(item);
    }
    let to = known(&settings.to, desk);
    let path = path_template(&settings.path, &words, desk);
    let sent: Vec<_> = settings
        .headers
        .iter()
        .map(|it| header(&it.name, it.span, &it.value, &words, desk))
        .collect();
    let pass: Vec<_> = settings.pass.iter().map(|name| passed(name, desk)).collect();
    let method = parse_method(&settings.method).ok();
    if method.is_none() {
        let message = format!("`{}` is no method", settings.method.shown());
        desk.out.error(settings.method.span, message);
    }
    let mut compile = |text: &Option<Spanned<String>>| match text {
        Some(text) => program(text, &VARIABLES, desk.env, desk.sources, desk.out).map(Some),
        None => Some(None),
    };
    let (body, when, items) =
        (compile(&settings.body), compile(&settings.when), compile(&settings.for_each));
    let programs = [(&body, &settings.body), (&when, &settings.when), (&items, &settings.for_each)];
    let mut sound = true;
    for (program, text) in programs {
        let program = program.as_ref().and_then(Option::as_ref);
        sound &= reads_known(program, text.as_ref(), &words, desk);
    }
    let each = items?.map(|items| EachPlan {
        items,
        name: item.to_string(),
        distinct: *settings.distinct,
        concurrency: settings.concurrency.as_usize(),
        most: settings.max.as_usize(),
    });
    sound.then_some(())?;
    Some(CallPlan {
        name: Arc::from(name),
        to: Arc::from(to?),
        method: method?,
        path: path?,
        body: body?,
        headers: sent.into_iter().collect::<Option<_>>()?,
        when: when?,
        each,
        timeout: settings.timeout,
        accept: settings.accept.clone(),
        otherwise: settings.otherwise.as_ref().map(Node::to_json),
        optional: *settings.optional,
        pass: pass.into_iter().collect::<Option<_>>()?,
        after: Vec::new(),
        shares: None,
    })
}

/// Whether all that a program reads by name is there: anything else is null in every answer.
fn reads_known(
    program: Option<&Program>,
    text: Option<&Spanned<String>>,
    words: &[&str],
    desk: &mut Desk<'_>,
) -> bool {
    let Some((program, text)) = program.zip(text) else { return true };
    let unknown = program.named_members().filter(|(name, _)| !words.contains(name));
    let unknown: Vec<_> = unknown.collect();
    for (name, offset) in &unknown {
        let span = text.inside(desk.sources, *offset);
        let complaint = desk.out.error(span, format!("no call is called `{name}`"));
        let near = did_you_mean(name, words.iter().copied());
        complaint.hint(near.unwrap_or_else(|| format!("there are {}", words.join(", "))));
    }
    unknown.is_empty()
}

/// Keys that only mean something where a call may be missing.
fn is_partial(settings: &ComposeSettings, desk: &mut Desk<'_>) -> bool {
    let may_fail = |call: &CallSettings| *call.optional || call.otherwise.is_some();
    if settings.calls.iter().any(|entry| may_fail(&entry.value)) {
        return true;
    }
    let keys = [("partial_status", settings.partial_status.span), ("errors", settings.errors.span)];
    let mut sound = true;
    for (key, span) in keys.into_iter().filter(|(_, span)| *span != Span::default()) {
        desk.out
            .error(span, format!("`{key}` has no effect: every call is required"))
            .hint("give a call that may fail `otherwise`, or `optional: on`");
        sound = false;
    }
    sound
}

/// A header that a call sends.
fn header(
    name: &str,
    span: Span,
    text: &Spanned<String>,
    words: &[&str],
    desk: &mut Desk<'_>,
) -> Option<(HeaderName, Template)> {
    let own = end_to_end(name).filter(|it| !matches!(it.as_str(), "host" | "content-length"));
    if own.is_none() {
        desk.out.error(span, format!("`{name}` cannot be sent by a call"));
    }
    own.zip(template(Place::Header, text, words, desk))
}

/// A header of an answer that reaches the client: none that says how this answer's body is written
/// or kept.
fn passed(name: &Spanned<String>, desk: &mut Desk<'_>) -> Option<HeaderName> {
    let own = end_to_end(name).filter(|it| {
        let it = it.as_str();
        !it.starts_with("content-")
            && !matches!(
                it,
                "cache-control" | "vary" | "age" | "expires" | "etag" | "last-modified"
            )
            && !matches!(it, "accept-ranges" | "x-portcullis-partial" | "x-request-id")
    });
    if own.is_none() {
        let message =
            format!("`{}` cannot pass: it says something about another body", name.shown());
        desk.out.error(name.span, message);
    }
    own
}

fn end_to_end(name: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).ok().filter(|it| !headers::is_hop_by_hop(it.as_str()))
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

/// The calls that one refers to: in its templates, and by what its programs read.
fn after(call: &CallPlan, names: &[&str]) -> Vec<usize> {
    let templates = std::iter::once(&call.path).chain(call.headers.iter().map(|(_, it)| it));
    let references: Vec<&Reference> = templates.flat_map(Template::references).collect();
    let items = call.each.as_ref().map(|each| &each.items);
    let programs = [&call.body, &call.when].into_iter().flatten().chain(items);
    let programs: Vec<&Program> = programs.collect();
    let refers = |name: &str| {
        let is_name = |it: &&Reference| matches!(it, Reference::Call(other, _) if **other == *name);
        references.iter().any(is_name) || programs.iter().any(|it| it.reads_member(name))
    };
    let is_needed = |name: &&str| **name != *call.name && refers(name);
    names.iter().enumerate().filter(|(_, name)| is_needed(name)).map(|(at, _)| at).collect()
}

/// Gives calls that differ in nothing but their paths and headers a group: the place of the first of
/// them. What changes something, and what passes headers of its answer on, is sent by each.
fn share(calls: &mut [CallPlan]) {
    for at in 0..calls.len() {
        let Some((call, before)) = calls.get_mut(..=at).and_then(<[_]>::split_last_mut) else {
            continue;
        };
        if call.method != Method::GET || call.body.is_some() || !call.pass.is_empty() {
            continue;
        }
        let names = |call: &CallPlan| call.headers.iter().map(|(name, _)| name.clone()).collect();
        let mine: Vec<HeaderName> = names(call);
        let equal = before.iter().find(|other| {
            (&other.to, other.timeout, &other.accept) == (&call.to, call.timeout, &call.accept)
                && names(other) == mine
        });
        call.shares = equal.and_then(|other| other.shares).or(Some(at));
    }
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
