//! From settings to a running upstream: what an upstream's block means, checked as a whole.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use portcullis_config::{Diagnostics, OrOff, Percent, Reader, Span, Spanned};
use portcullis_core::breaker::{Rates, Settings as Breaker, Share};
use portcullis_core::template::Reference;
use portcullis_core::{Build, Lasting, fingerprint};

use crate::address::{Address, Host};
use crate::attempt::Timeouts;
use crate::balance::Balance;
use crate::failures::Failures;
use crate::hedge::Hedge;
use crate::names::NameServers;
use crate::overload::InFlightLimit;
use crate::pool::Limits;
use crate::probe::{ProbePlan, Question, keep_probed};
use crate::retry::{Retries, When};
use crate::settings::{
    BalanceSettings, BalanceWord, BreakerSettings, Condition, EndpointSettings, HealthSettings,
    InFlightSettings, Loss, Protocol, RetrySettings, TimeoutSettings, UpstreamSettings,
    WebSocketSettings,
};
use crate::tls;
use crate::upstream::Upstream;

/// The share of requests that may be hedged where no `retries` say another.
pub(crate) const HEDGE_BUDGET: Share = 2_000;
/// When less than this share is healthy, all endpoints are used, where no `health` says otherwise.
const PANIC_BELOW: Share = 5_000;
/// Failures in a row that open a breaker, unless it looks at rates.
const FAILURES: u32 = 5;

/// Longer waits are mistakes.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// An upstream that was understood.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamPlan {
    pub(crate) name: String,
    /// Each with its weight.
    pub(crate) endpoints: Vec<(Address, u32)>,
    pub(crate) balance: Balance,
    pub(crate) slow_start: Option<Duration>,
    pub(crate) timeouts: Timeouts,
    pub(crate) breaker: Option<Breaker>,
    pub(crate) failures: Failures,
    /// Whether endpoints that fail are set aside.
    pub(crate) is_judged: bool,
    pub(crate) panic_below: Share,
    pub(crate) probe: Option<ProbePlan>,
    pub(crate) retries: Option<Retries>,
    pub(crate) hedge: Option<Hedge>,
    pub(crate) in_flight: Option<InFlightLimit>,
    pub(crate) pool: Limits,
}

impl UpstreamPlan {
    /// Checks what the types could not: `None` after an error. `span` is the name's.
    pub fn plan(
        name: &str,
        settings: &UpstreamSettings,
        span: Span,
        reader: &mut Reader<'_>,
    ) -> Option<Self> {
        let is_h2 = settings.protocol == Protocol::H2;
        let mut endpoints = endpoints(name, &settings.endpoints, span, reader.out);
        if let Some(addresses) = &mut endpoints {
            let spoken = if is_h2 { "h2" } else { "http/1.1" };
            let secured = tls::secure(addresses, settings, spoken, span, reader);
            endpoints = endpoints.filter(|_| secured.is_some());
        }
        let out = &mut *reader.out;
        let balance = balance(&settings.balance, out);
        let timeouts = timeouts(&settings.timeouts, out);
        let slow_start = optional(settings.slow_start.on(), |it| wait(it, out));
        let breaker = optional(settings.breaker.on(), |it| breaker(it, out));
        let probe = optional(settings.health.on(), |it| probe(it, is_h2, out)).map(Option::flatten);
        let retries = optional(settings.retries.on(), |it| retries(it, out));
        let hedge = optional(settings.hedge.on(), |it| {
            optional(it.after.as_ref(), |after| wait(after, out)).map(|after| Hedge { after })
        });
        let in_flight = in_flight(settings, out);
        if let (Some([(only, _)]), OrOff::On(_)) = (endpoints.as_deref(), &settings.hedge)
            && matches!(only.host, Host::Ip(_))
        {
            out.warning(span, format!("`hedge` of `{name}` has no effect: it has one endpoint"));
        }
        let pool = pool(settings, out);
        let failures = match settings.breaker.on() {
            Some(breaker) => Some(Failures::new(breaker)),
            None => BreakerSettings::defaults().as_ref().map(Failures::new),
        };
        let health = settings.health.on();
        Some(Self {
            name: name.to_owned(),
            endpoints: endpoints?,
            balance: balance?,
            slow_start: slow_start?,
            timeouts: timeouts?,
            breaker: breaker?,
            failures: failures?,
            is_judged: health.is_some(),
            panic_below: health.map_or(PANIC_BELOW, |it| share(it.panic_below)),
            probe: probe?,
            retries: retries?,
            hedge: hedge?,
            in_flight: in_flight?,
            pool: pool?,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether its endpoints speak HTTP/2, over which there may be gRPC and is no WebSocket.
    pub fn is_h2(&self) -> bool {
        self.pool.max_streams.is_some()
    }

    /// The running upstream: the present one when nothing about it changed, else a new one. Breaker,
    /// endpoints and names that did not change are taken over in either case, with all that is known
    /// of them.
    pub fn build(&self, servers: &NameServers, build: &mut Build<'_>) -> Arc<Upstream> {
        let mark = fingerprint(&(self, servers));
        let upstream = build.keep("upstream", &self.name, mark, |build| {
            let upstream = Arc::new(Upstream::new(self, servers, build));
            if self.probe.is_some() {
                let weak = Arc::downgrade(&upstream);
                build.task(format!("probe upstream {}", self.name), move || keep_probed(weak));
            } else {
                upstream.forget_health();
            }
            upstream
        });
        upstream.keep_parts(self, servers, build);
        upstream
    }
}

/// `Some(None)` for what is not there, `None` for what is wrong.
fn optional<T, U>(value: Option<T>, plan: impl FnOnce(T) -> Option<U>) -> Option<Option<U>> {
    match value {
        Some(value) => plan(value).map(Some),
        None => Some(None),
    }
}

/// In hundredths of a percent.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // it is from 0 to 1
fn share(percent: Percent) -> Share {
    (percent.share() * 10_000.0).round() as Share
}

fn timeouts(settings: &TimeoutSettings, out: &mut Diagnostics) -> Option<Timeouts> {
    let connect = wait(&settings.connect, out);
    let request = wait(&settings.request, out);
    let idle = wait(&settings.idle, out);
    let deadline = optional(settings.deadline.on(), |it| wait(it, out));
    let pass_deadline = *settings.pass_deadline;
    if pass_deadline && settings.deadline.is_off() {
        out.error(settings.pass_deadline.span, "there is no deadline to pass on")
            .hint("set `deadline` as well");
    }
    Some(Timeouts {
        connect: connect?,
        request: request?,
        idle: idle?,
        deadline: deadline?,
        pass_deadline,
    })
}

/// What a route says about how long its WebSockets may last.
pub fn lasting(settings: &WebSocketSettings, out: &mut Diagnostics) -> Option<Lasting> {
    let idle = wait(&settings.idle, out);
    let lifetime = optional(settings.lifetime.on(), |it| wait(it, out));
    Some(Lasting { idle: idle?, lifetime: lifetime? })
}

fn breaker(settings: &BreakerSettings, out: &mut Diagnostics) -> Option<Breaker> {
    let looks_at_rates = settings.failure_rate.is_some() || settings.slow_rate.is_some();
    let needs = |needed: bool, span: Span, key: &str, out: &mut Diagnostics| {
        if !needed && span != Span::default() {
            out.error(span, format!("`{key}` has no effect here"))
                .hint("it is for `failure_rate` and `slow_rate`");
        }
    };
    needs(settings.slow_rate.is_some(), settings.slow_after.span, "slow_after", out);
    needs(looks_at_rates, settings.window.span, "window", out);
    needs(looks_at_rates, settings.minimum.span, "minimum", out);
    let (slow_after, window) = (wait(&settings.slow_after, out), wait(&settings.window, out));
    let (reset_after, max) =
        (wait(&settings.reset_after, out), wait(&settings.max_reset_after, out));
    if *settings.max_reset_after < *settings.reset_after
        && settings.max_reset_after.span != Span::default()
    {
        out.error(settings.max_reset_after.span, "it is shorter than `reset_after`");
    }
    let written = settings.failures.and_then(|failures| u32::try_from(failures.get()).ok());
    let rates = Rates {
        failure_rate: settings.failure_rate.map(share),
        slow_rate: settings.slow_rate.map(share),
        slow_after: slow_after?,
        window: window?,
        minimum: u32::try_from(settings.minimum.get()).ok()?,
    };
    Some(Breaker {
        failures: written.or((!looks_at_rates).then_some(FAILURES)),
        rates: looks_at_rates.then_some(rates),
        reset_after: reset_after?,
        max_reset_after: max?,
        probes: u32::try_from(settings.probes.get()).ok()?,
    })
}

fn probe(
    settings: &HealthSettings,
    is_h2: bool,
    out: &mut Diagnostics,
) -> Option<Option<ProbePlan>> {
    let Some(question) = question(settings, is_h2, out) else {
        let port = settings.port.as_ref().map_or(Span::default(), |port| port.span);
        for (key, span) in [
            ("statuses", settings.statuses.span),
            ("every", settings.every.span),
            ("timeout", settings.timeout.span),
            ("unhealthy_after", settings.unhealthy_after.span),
            ("healthy_after", settings.healthy_after.span),
            ("port", port),
        ] {
            if span != Span::default() {
                out.error(span, format!("`{key}` has no effect without `path` or `grpc`"))
                    .hint("say what to ask for, such as path: /healthz");
            }
        }
        return Some(None);
    };
    let (every, timeout) = (wait(&settings.every, out), wait(&settings.timeout, out));
    Some(Some(ProbePlan {
        question: question?,
        every: every?,
        timeout: timeout?,
        unhealthy_after: u32::try_from(settings.unhealthy_after.get()).ok()?,
        healthy_after: u32::try_from(settings.healthy_after.get()).ok()?,
        port: settings.port.as_ref().and_then(|port| u16::try_from(port.get()).ok()),
        is_h2,
    }))
}

/// What endpoints are asked: nothing, or `Some(None)` after a complaint.
fn question(
    settings: &HealthSettings,
    is_h2: bool,
    out: &mut Diagnostics,
) -> Option<Option<Question>> {
    let path = match (&settings.path, &settings.grpc) {
        (None, None) => return None,
        (Some(path), None) => path,
        (None, Some(service)) => {
            if !is_h2 {
                out.error(service.span, "gRPC needs an upstream that speaks HTTP/2")
                    .hint("add protocol: h2");
            }
            if settings.statuses.span != Span::default() {
                out.error(settings.statuses.span, "`statuses` has no effect with `grpc`");
            }
            return Some(Some(Question::Grpc { service: service.to_string() }));
        }
        (Some(_), Some(service)) => {
            out.error(service.span, "`path` and `grpc` both say what to ask for")
                .hint("keep one of them");
            return Some(None);
        }
    };
    let asked = PathAndQuery::try_from(path.as_str()).ok().filter(|_| path.starts_with('/'));
    if asked.is_none() {
        out.error(path.span, format!("`{}` is no path", path.shown()))
            .hint("begin it with a slash");
    }
    let statuses = settings.statuses.value.clone();
    Some(asked.map(|path| Question::Get { path, statuses }))
}

fn retries(settings: &RetrySettings, out: &mut Diagnostics) -> Option<Retries> {
    if settings.when.is_empty() {
        out.error(settings.when.span, "there is nothing after which to send again")
            .hint("name some, or write retries: off");
    }
    let mut when = When::default();
    for condition in settings.when.iter() {
        match condition {
            Condition::Lost(Loss::Connect) => when.connect = true,
            Condition::Lost(Loss::Timeout) => when.timeout = true,
            Condition::Lost(Loss::Reset) => when.reset = true,
            Condition::Lost(Loss::BadAnswer) => when.bad_answer = true,
            Condition::Answered(statuses) => when.statuses.push(*statuses),
        }
    }
    let (backoff, max_backoff) = (wait(&settings.backoff, out), wait(&settings.max_backoff, out));
    Some(Retries {
        attempts: u32::try_from(settings.attempts.get()).ok()?,
        when,
        budget: settings.budget.on().copied().map(share),
        replay_limit: settings.replay_limit.0,
        backoff: backoff?,
        max_backoff: max_backoff?,
    })
}

fn pool(settings: &UpstreamSettings, out: &mut Diagnostics) -> Option<Limits> {
    let pool = &settings.pool;
    let is_h2 = settings.protocol == Protocol::H2;
    let (key, span) = match is_h2 {
        true => ("max_idle", pool.max_idle.span),
        false => ("max_streams", pool.max_streams.span),
    };
    if span != Span::default() {
        let protocol = settings.protocol.as_str();
        out.error(span, format!("`{key}` has no effect with protocol {protocol}"));
    }
    Some(Limits {
        max_idle: pool.max_idle.as_usize(),
        idle_timeout: wait(&pool.idle_timeout, out)?,
        max_streams: is_h2.then(|| pool.max_streams.as_usize()),
    })
}

fn in_flight(settings: &UpstreamSettings, out: &mut Diagnostics) -> Option<Option<InFlightLimit>> {
    let queue = &settings.queue;
    let wait = wait(&queue.wait, out);
    let Some(limit) = settings.max_in_flight.on() else {
        if queue.span != Span::default() {
            out.error(queue.span, "`queue` has no effect without `max_in_flight`");
        }
        return Some(None);
    };
    let most = match limit {
        InFlightSettings::Adaptive => None,
        InFlightSettings::Most(most) => Some(*most),
    };
    Some(Some(InFlightLimit { most, queue: queue.max.as_usize(), wait: wait? }))
}

fn endpoints(
    name: &str,
    settings: &Spanned<Vec<EndpointSettings>>,
    span: Span,
    out: &mut Diagnostics,
) -> Option<Vec<(Address, u32)>> {
    if settings.is_empty() {
        let place = if settings.span == Span::default() { span } else { settings.span };
        out.error(place, format!("upstream `{name}` has no endpoint"))
            .hint("write endpoints: [http://HOST:PORT]");
        return None;
    }
    let mut addresses: Vec<(Address, u32)> = Vec::with_capacity(settings.len());
    let mut sound = true;
    for endpoint in settings.iter() {
        match Address::parse(&endpoint.url) {
            Ok(address) if addresses.iter().any(|(known, _)| *known == address) => {
                let message = format!("endpoint `{}` is here already", endpoint.url.shown());
                out.error(endpoint.url.span, message);
                sound = false;
            }
            Ok(address) => addresses.push((address, endpoint.weight)),
            Err(refusal) => {
                let message = format!("{}: `{}`", refusal.message, endpoint.url.shown());
                let complaint = out.error(endpoint.url.span, message);
                if let Some(hint) = refusal.hint {
                    complaint.hint(hint);
                }
                sound = false;
            }
        }
    }
    sound.then_some(addresses)
}

fn balance(settings: &BalanceSettings, out: &mut Diagnostics) -> Option<Balance> {
    let hash = match settings {
        BalanceSettings::Word(BalanceWord::LeastRequests) => return Some(Balance::LeastRequests),
        BalanceSettings::Word(BalanceWord::RoundRobin) => return Some(Balance::RoundRobin),
        BalanceSettings::Word(BalanceWord::Random) => return Some(Balance::Random),
        BalanceSettings::Word(BalanceWord::PeakEwma) => return Some(Balance::PeakEwma),
        BalanceSettings::Hash(settings) => &settings.hash,
    };
    let reference = match hash.split_once('.') {
        None if hash.as_str() == "client_ip" => Reference::parse("request.client_ip"),
        Some(("jwt" | "header" | "query", _)) => Reference::parse(hash),
        Some(("path", name)) if !name.is_empty() => Some(Reference::Path(name.into())),
        _ => None,
    };
    if reference.is_none() {
        let message = format!("`{}` is nothing that a request has", hash.shown());
        out.error(hash.span, message)
            .hint("write client_ip, jwt.CLAIM, header.NAME, query.NAME or path.NAME");
    }
    reference.map(Balance::Hash)
}

/// A time to wait, from 1 ms to a day.
fn wait(setting: &Spanned<Duration>, out: &mut Diagnostics) -> Option<Duration> {
    let value = setting.value;
    if value.is_zero() || value > LONGEST {
        out.error(setting.span, "a wait of more than nothing and at most a day is needed here");
        return None;
    }
    Some(value)
}
