//! `rate_limit`: how much a client may ask for, by tier.
//!
//! Never more than `requests` are admitted in any window of length `per`; a refused request costs
//! nothing. All lines of a tier and all limits of a request hold at once: it is charged on all of
//! them or on none. Limits that need not know who asks are decided before keys and tokens are looked
//! at, so that bad ones are limited guesses.

mod answer;
mod block;
mod decision;
mod inspect;
mod lease;
mod limit;
mod memory;
mod shared;
#[cfg(test)]
mod simulation;
mod source;
mod tiers;
pub(crate) mod window;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use portcullis_config::{Definitions, Node};
use portcullis_core::metrics::{Kind, Metric};
use portcullis_core::{
    Build, Code, Event, Exchange, Inspected, Outcome, Policy, Problem, Response, Step,
};
use smallvec::SmallVec;

use crate::planner::{Planned, Planner};
pub(crate) use answer::ANNOUNCED;
use decision::{Asked, Decision, Decisions, is_admitted, is_nearer};
use limit::{Limit, LimitPlan, Place, Question};
use shared::STORE_UNAVAILABLE;
pub use tiers::{TierPlan, TierSettings, plan_tiers};

/// The counters by themselves, for what measures them.
pub mod counting {
    pub use super::decision::{Asked, Decision};
    pub use super::memory::Memory;
    pub use super::window::Line;
}

const NAME: &str = "rate_limit";

pub const RATE_LIMITED: Code = Code {
    name: "rate_limited",
    status: StatusCode::TOO_MANY_REQUESTS,
    title: "Too many requests",
    cure: "Wait for as many seconds as Retry-After says; the log names the limit and the tier.",
};
pub const CODES: &[&Code] = &[&RATE_LIMITED, &STORE_UNAVAILABLE];

pub static DECISIONS: Metric = Metric {
    name: "portcullis_rate_limit_decisions_total",
    kind: Kind::Counter,
    help: "Requests that a limit admitted or refused, or would have refused (observed).",
    labels: &["limit", "tier", "decision"],
};
pub static EVICTED: Metric = Metric {
    name: "portcullis_rate_limit_evicted_total",
    kind: Kind::Counter,
    help: "Clients that were forgotten before their time, because max_keys was reached.",
    labels: &["limit"],
};
pub const METRICS: &[&Metric] = &[&DECISIONS, &EVICTED];

pub fn schema(definitions: &mut Definitions) -> serde_json::Value {
    block::schema(definitions)
}

/// The limits that need not know who asks.
pub fn plan_first(block: &Node, planner: &mut Planner<'_>) -> Option<Box<dyn Planned>> {
    stage(block::plan(block, planner), |limit| !limit.needs_identity())
}

/// The limits that do.
pub fn plan(block: &Node, planner: &mut Planner<'_>) -> Option<Box<dyn Planned>> {
    // What is wrong with the block was said when its first stage was planned.
    let mut said = portcullis_config::Diagnostics::new();
    let limits = block::plan(block, &mut Planner { out: &mut said, ..planner.again() });
    stage(limits, LimitPlan::needs_identity)
}

fn stage(
    limits: Option<Vec<LimitPlan>>,
    belongs: impl Fn(&LimitPlan) -> bool,
) -> Option<Box<dyn Planned>> {
    let limits: Vec<_> = limits?.into_iter().filter(belongs).collect();
    (!limits.is_empty()).then(|| Box::new(RateLimitPlan(limits)) as _)
}

struct RateLimitPlan(Vec<LimitPlan>);

impl Planned for RateLimitPlan {
    fn build(&self, build: &mut Build<'_>) -> Arc<dyn Policy> {
        Arc::new(RateLimit(self.0.iter().map(|limit| Arc::new(limit.build(build))).collect()))
    }

    fn counters(&self) -> Vec<(Arc<str>, u64)> {
        self.0.iter().map(|limit| (Arc::clone(&limit.name), limit.mark)).collect()
    }

    fn notes(&self) -> Vec<String> {
        self.0.iter().map(LimitPlan::note).collect()
    }
}

struct RateLimit(Vec<Arc<Limit>>);

impl Policy for RateLimit {
    fn on_response<'a>(
        &'a self,
        exchange: &'a mut Exchange,
        response: &'a mut Response,
    ) -> Step<'a> {
        answer::expose(exchange, response.headers_mut());
        Step::Next
    }

    fn inspected(&self) -> Vec<Arc<dyn Inspected>> {
        self.0.iter().map(|limit| Arc::clone(limit) as _).collect()
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let questions: SmallVec<[Question<'_>; 1]> =
            self.0.iter().filter_map(|limit| limit.question(exchange)).collect();
        if questions.iter().any(|one| matches!(one.limit.place, Place::Store(_))) {
            return Step::Wait(Box::pin(async move {
                let worker = Rc::clone(&exchange.worker);
                let decisions = shared::decide(&questions, &worker).await?;
                conclude(exchange, &questions, &decisions)?;
                Ok(None)
            }));
        }
        let decisions = decide_here(&questions, exchange.worker.clock.now());
        match conclude(exchange, &questions, &decisions) {
            Ok(()) => Step::Next,
            Err(problem) => problem.into(),
        }
    }
}

/// Decides limits whose counters are all in this process.
fn decide_here(questions: &[Question<'_>], now: Instant) -> Decisions {
    let limits: SmallVec<[(&memory::Memory, Asked<'_>); 2]> = questions
        .iter()
        .filter_map(|one| match &one.limit.place {
            Place::Memory(memory) => Some((&**memory, one.asked())),
            Place::Store(_) => None,
        })
        .collect();
    match limits.as_slice() {
        [(memory, asked)] => SmallVec::from_slice(&[memory.decide(asked, memory.time(now))]),
        several => memory::decide(several, now),
    }
}

/// Tells what was decided: on the answer, in the record, in the metrics, and to a client that is
/// refused.
fn conclude(
    exchange: &mut Exchange,
    questions: &[Question<'_>],
    decisions: &[Decision],
) -> Result<(), Problem> {
    let both = || questions.iter().zip(decisions);
    answer::announce(
        exchange,
        both()
            .filter_map(|(it, decision)| Some((it.tier.announced.get(decision.line)?, *decision))),
    );
    let enforced: SmallVec<[Asked<'_>; 2]> = questions.iter().map(Question::asked).collect();
    let admitted = is_admitted(&enforced, decisions);
    let mut refusing: Option<(&Question<'_>, Decision)> = None;
    for (question, decision) in both() {
        let (outcome, [passed, refused, observed]) =
            (outcome(question, decision), &question.tier.decisions);
        match outcome {
            Outcome::Refused => refused.inc(),
            Outcome::Observed => observed.inc(),
            _ if admitted => passed.inc(),
            _ => {}
        }
        exchange.record.event(
            Event::new(NAME, outcome)
                .with("limit", Arc::clone(&question.limit.name))
                .with("tier", Arc::clone(&question.tier.name))
                .with("remaining", decision.remaining),
        );
        if outcome == Outcome::Refused
            && refusing.is_none_or(|(_, known)| is_nearer(decision, &known))
        {
            refusing = Some((question, *decision));
        }
    }
    let Some((question, decision)) = refusing else { return Ok(()) };
    let detail = "this client has asked for as much as its limit allows";
    let problem = Problem::new(&RATE_LIMITED, detail)
        .private(format!("limit {}, tier {}", question.limit.name, question.tier.name));
    Err(match decision.wait {
        Some(wait) => problem.retry_after(Duration::from_micros(wait)),
        None => problem, // it costs more than the limit ever gives
    })
}

fn outcome(question: &Question<'_>, decision: &Decision) -> Outcome {
    match (decision.fits, question.limit.enforced) {
        (true, _) => Outcome::Passed,
        (false, true) => Outcome::Refused,
        (false, false) => Outcome::Observed,
    }
}

/// For the tests of stores.
#[cfg(test)]
pub(crate) mod testing {
    pub(crate) use super::decision::{Asked, is_admitted};
    pub(crate) use super::memory::{Memory, decide};
}
