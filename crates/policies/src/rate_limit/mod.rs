//! `rate_limit`: how much a client may ask for, by tier.
//!
//! Never more than `requests` are admitted in any window of length `per`; a refused request costs
//! nothing. All lines of a tier hold at once. An inherited, unchanged limit is one counter over all
//! its routes; a route that changes any key has a counter of its own.

mod key;
mod store;
mod tiers;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use portcullis_config::{Decode, Definitions, Node, OneOrMany, Spanned, did_you_mean, settings};
use portcullis_core::metrics::{Counter, Kind, Metric};
use portcullis_core::problem::whole_seconds;
use portcullis_core::{Build, Code, Event, Exchange, Outcome, Policy, Problem, Step};

use crate::planner::{Planned, Planner};
use key::Key;
use store::{Decision, Memory};
pub use tiers::{TierPlan, TierSettings, plan_tiers};

const NAME: &str = "rate_limit";

pub const RATE_LIMITED: Code = Code {
    name: "rate_limited",
    status: StatusCode::TOO_MANY_REQUESTS,
    title: "Too many requests",
    cure: "Wait for as many seconds as Retry-After says; the log names the limit and the tier.",
};
pub const CODES: &[&Code] = &[&RATE_LIMITED];

pub static DECISIONS: Metric = Metric {
    name: "portcullis_rate_limit_decisions_total",
    kind: Kind::Counter,
    help: "Requests that a limit admitted or refused.",
    labels: &["limit", "tier", "decision"],
};
pub const METRICS: &[&Metric] = &[&DECISIONS];

settings! {
    /// How much a client may ask for.
    pub struct RateLimitSettings {
        /// Who is counted: jwt.CLAIM, client_ip, header.NAME or path.NAME; of a list the first that
        /// the request has. The token's subject, else the client's address, when left out.
        pub key: OneOrMany<Spanned<String>> = "[]",
        /// The claim that names the client's tier: jwt.CLAIM.
        pub tier: Option<Spanned<String>>,
        /// The tier of everybody else.
        pub default_tier: Spanned<String>,
    }
}

pub fn schema(definitions: &mut Definitions) -> serde_json::Value {
    RateLimitSettings::schema(definitions)
}

pub fn plan(block: &Node, planner: &mut Planner<'_>) -> Option<Box<dyn Planned>> {
    let settings = RateLimitSettings::decode(block, planner.out)?;
    let keys = key::plan(&settings.key, planner);
    let source = settings.tier.as_ref().map(|tier| tier_source(tier, planner));
    let default_tier = Arc::from(settings.default_tier.as_str());
    if !planner.shared.tiers.contains_key(settings.default_tier.as_str()) {
        let shown = settings.default_tier.shown();
        let problem =
            planner.out.error(settings.default_tier.span, format!("no tier is called `{shown}`"));
        let names = planner.shared.tiers.keys().map(String::as_str);
        if let Some(hint) = did_you_mean(&settings.default_tier, names) {
            problem.hint(hint);
        }
        return None;
    }
    let source = match source {
        Some(source) => Some(source?),
        None => None,
    };
    let name =
        if planner.inherited { Arc::from("default") } else { Arc::clone(&planner.route.name) };
    let understood = |(name, plan): (&String, &Option<_>)| Some((name.clone(), plan.clone()?));
    let tiers = planner.shared.tiers.iter().filter_map(understood).collect();
    Some(Box::new(RateLimitPlan {
        name,
        keys: keys?,
        source,
        default_tier,
        tiers,
        fingerprint: block.fingerprint(),
    }))
}

/// What says a client's tier.
#[derive(Clone, Debug)]
enum TierSource {
    Consumer,
    Claim(Box<str>),
}

fn tier_source(tier: &Spanned<String>, planner: &mut Planner<'_>) -> Option<TierSource> {
    let claim = tier.strip_prefix("jwt.").filter(|claim| !claim.is_empty());
    let source = match tier.as_str() {
        "consumer" => Some(TierSource::Consumer),
        _ => claim.map(|claim| TierSource::Claim(claim.into())),
    };
    if source.is_none() {
        planner
            .out
            .error(tier.span, format!("`{}` names no tier of a client", tier.shown()))
            .hint("write consumer, or jwt.CLAIM such as jwt.tier");
    }
    source
}

struct RateLimitPlan {
    name: Arc<str>,
    keys: Vec<Key>,
    source: Option<TierSource>,
    default_tier: Arc<str>,
    tiers: BTreeMap<String, Arc<TierPlan>>,
    fingerprint: u64,
}

impl Planned for RateLimitPlan {
    fn build(&self, build: &mut Build<'_>) -> Arc<dyn Policy> {
        let store = build.keep("limit", &self.name, self.fingerprint, |build| {
            Arc::new(Memory::new(build.clock.now()))
        });
        let tier = |(name, plan): (&String, &Arc<TierPlan>)| {
            let counter = |word| build.metrics.counter(&DECISIONS, &[&self.name, name, word]);
            let tier = Tier {
                name: Arc::from(name.as_str()),
                plan: Arc::clone(plan),
                admitted: counter("admitted"),
                refused: counter("refused"),
            };
            (name.clone(), tier)
        };
        Arc::new(RateLimit {
            name: Arc::clone(&self.name),
            keys: self.keys.clone(),
            source: self.source.clone(),
            default_tier: Arc::clone(&self.default_tier),
            tiers: self.tiers.iter().map(tier).collect(),
            store,
        })
    }
}

struct Tier {
    name: Arc<str>,
    plan: Arc<TierPlan>,
    admitted: Counter,
    refused: Counter,
}

struct RateLimit {
    name: Arc<str>,
    keys: Vec<Key>,
    source: Option<TierSource>,
    default_tier: Arc<str>,
    tiers: BTreeMap<String, Tier>,
    store: Arc<Memory>,
}

impl RateLimit {
    /// The client's tier: what its key or token says, if there is such a tier.
    fn tier(&self, exchange: &Exchange) -> Option<&Tier> {
        let own = match &self.source {
            None => None,
            Some(TierSource::Consumer) => exchange
                .consumer
                .as_ref()
                .and_then(|consumer| Some(consumer.tier.as_deref()?.into())),
            Some(TierSource::Claim(claim)) => {
                exchange.jwt.as_ref().and_then(|claims| claims.text(claim))
            }
        };
        own.and_then(|own: std::borrow::Cow<'_, str>| self.tiers.get(own.as_ref()))
            .or_else(|| self.tiers.get(&*self.default_tier))
    }

    /// The limit's state, on this answer whatever it becomes.
    fn announce(&self, exchange: &mut Exchange, decision: Decision) {
        let (quota, window) = (decision.line.requests, decision.line.per.as_secs().max(1));
        let wait = if decision.wait.is_zero() { 0 } else { whole_seconds(decision.wait) };
        let texts = [
            ("ratelimit-policy", format!("\"{}\";q={quota};w={window}", self.name)),
            ("ratelimit", format!("\"{}\";r={};t={wait}", self.name, decision.remaining)),
            ("x-ratelimit-limit", quota.to_string()),
            ("x-ratelimit-remaining", decision.remaining.to_string()),
            ("x-ratelimit-reset", wait.to_string()),
        ];
        for (name, text) in texts {
            if let Ok(value) = HeaderValue::try_from(text) {
                exchange.answer_headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

impl Policy for RateLimit {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let Some(tier) = self.tier(exchange) else { return Step::Next };
        let key = key::read(&self.keys, exchange, &tier.name);
        let now = self.store.time(exchange.worker.clock.now());
        let Some(decision) = self.store.decide(&key, &tier.plan.lines, now) else {
            return Step::Next;
        };
        self.announce(exchange, decision);
        let outcome = if decision.admitted { Outcome::Passed } else { Outcome::Refused };
        exchange.record.event(
            Event::new(NAME, outcome)
                .with("limit", Arc::clone(&self.name))
                .with("tier", Arc::clone(&tier.name))
                .with("remaining", decision.remaining),
        );
        if decision.admitted {
            tier.admitted.inc();
            return Step::Next;
        }
        tier.refused.inc();
        let detail = "this client has asked for as much as its limit allows";
        let reason = format!("limit {}, tier {}", self.name, tier.name);
        Problem::new(&RATE_LIMITED, detail).retry_after(decision.wait).private(reason).into()
    }
}
