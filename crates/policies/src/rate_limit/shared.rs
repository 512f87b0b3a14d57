//! Limits whose counters live in a store that several gateways share.
//!
//! Each gateway keeps a log of its own admissions beside it. While the store does not answer, and for
//! one `per` after it answers again, a request has to fit into this gateway's share of the limit by
//! that log. What the store refused is refused here until it would admit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use portcullis_config::choices;
use portcullis_core::{Code, Live, Problem, Worker};
use smallvec::SmallVec;

use super::decision::{Asked, Decision, Decisions, is_admitted};
use super::lease::Leases;
use super::limit::{Place, Question};
use super::memory::{self, Memory};
use crate::stores::{Ask, Store, Told};

choices! {
    /// What a limit does while its store does not answer.
    pub enum OnStoreFailure {
        /// Each gateway admits its share.
        Local = "local",
        /// Everything passes.
        Allow = "allow",
        /// Nothing passes.
        Deny = "deny",
    }
}

/// When to come back while a store is down.
const RETRY_AFTER: Duration = Duration::from_secs(2);

pub const STORE_UNAVAILABLE: Code = Code {
    name: "store_unavailable",
    status: StatusCode::SERVICE_UNAVAILABLE,
    title: "Limits cannot be checked",
    cure: "Wait: the store of a limit does not answer, and on_store_failure says deny.",
};

/// Where a limit's counters are shared.
pub struct Shared {
    pub store: Arc<Store>,
    /// What this gateway admitted itself.
    pub own: Arc<Memory>,
    pub on_failure: OnStoreFailure,
    /// Permits that are taken in advance for a hot key; 0: none.
    pub lease: u64,
    /// Each worker's leases.
    pub live: Arc<Live>,
    /// What its keys begin with.
    pub prefix: Box<[u8]>,
}

/// A question about a shared limit, with its place among all of the request.
struct Open<'a> {
    at: usize,
    question: &'a Question<'a>,
    shared: &'a Shared,
    key: SmallVec<[u8; 128]>,
}

/// How one of them was answered.
#[derive(Clone, Copy)]
struct Answered {
    decision: Decision,
    /// What the store has charged.
    told: Option<Told>,
    /// This gateway's own log has the request already.
    logged: bool,
}

/// Decides one request of several limits, some of them in stores: all are charged, or none.
pub async fn decide(questions: &[Question<'_>], worker: &Worker) -> Result<Decisions, Problem> {
    let now = worker.clock.now();
    let mut decisions: Decisions = questions.iter().map(|it| it.look(now)).collect();
    let open: Vec<Open<'_>> = questions.iter().enumerate().filter_map(open).collect();
    // What the store said before is as good as asking again.
    for one in &open {
        if let Some(known) = one.shared.own.known_refusal(&one.question.asked(), now) {
            set(&mut decisions, one.at, known);
            if one.question.limit.enforced {
                return Ok(decisions);
            }
        }
    }
    let mut all: Vec<(&Open<'_>, Answered)> = Vec::new();
    for group in groups(&open) {
        let answered = ask(group, worker).await?;
        let said: Decisions = answered.iter().map(|answered| answered.decision).collect();
        for (one, answered) in group.iter().zip(answered) {
            set(&mut decisions, one.at, answered.decision);
            all.push((one, answered));
        }
        if !admits(group, &said) {
            give_back(&all, worker).await;
            return Ok(decisions);
        }
    }
    if !in_memory(questions, &mut decisions, worker.clock.now()) {
        give_back(&all, worker).await;
        return Ok(decisions);
    }
    let now = worker.clock.now();
    for (one, answered) in all.iter().filter(|(_, answered)| answered.told.is_some()) {
        let log = !answered.logged;
        one.shared.own.admitted(&one.question.asked(), &answered.decision, log, now);
    }
    Ok(decisions)
}

fn open<'a>((at, question): (usize, &'a Question<'a>)) -> Option<Open<'a>> {
    let Place::Store(shared) = &question.limit.place else { return None };
    let mut key = SmallVec::from_slice(&shared.prefix);
    key.extend_from_slice(&question.key);
    Some(Open { at, question, shared, key })
}

fn set(decisions: &mut Decisions, at: usize, decision: Decision) {
    if let Some(place) = decisions.get_mut(at) {
        *place = decision;
    }
}

/// Questions that one round trip answers: neighbours of the same store.
fn groups<'a, 'b>(open: &'b [Open<'a>]) -> impl Iterator<Item = &'b [Open<'a>]> {
    open.chunk_by(|one, other| {
        Arc::ptr_eq(&one.shared.store, &other.shared.store) && !one.shared.store.asks_one_by_one()
    })
}

/// The limits of the request that live in this process's memory: decided last, because a charge
/// there needs no other machine to be taken back.
fn in_memory(questions: &[Question<'_>], decisions: &mut Decisions, now: Instant) -> bool {
    let own: SmallVec<[(usize, (&Memory, Asked<'_>)); 4]> = questions
        .iter()
        .enumerate()
        .filter_map(|(at, question)| match &question.limit.place {
            Place::Memory(memory) => Some((at, (&**memory, question.asked()))),
            Place::Store(_) => None,
        })
        .collect();
    let limits: SmallVec<[_; 4]> = own.iter().map(|(_, limit)| *limit).collect();
    let told = memory::decide(&limits, now);
    for ((at, _), decision) in own.iter().zip(&told) {
        set(decisions, *at, *decision);
    }
    let asked: SmallVec<[Asked<'_>; 4]> = limits.iter().map(|(_, asked)| *asked).collect();
    is_admitted(&asked, &told)
}

async fn give_back(all: &[(&Open<'_>, Answered)], worker: &Worker) {
    for (one, answered) in all {
        if let Some(told) = answered.told.filter(|told| told.granted > 0 && told.began > 0) {
            one.shared.store.refund(worker, &one.ask(), &told).await;
        }
    }
}

impl<'a> Open<'a> {
    fn ask(&'a self) -> Ask<'a> {
        let Question { tier, cost, limit, .. } = self.question;
        let (enforced, key) = (limit.enforced, &self.key[..]);
        Ask { key, lines: &tier.lines, cost: *cost, enforced, wanted: 0, ahead: 0 }
    }

    /// The question as this gateway asks itself.
    fn alone(&self) -> Asked<'a> {
        let shares = self.shared.on_failure == OnStoreFailure::Local;
        let share = shares.then(|| self.shared.store.gateways());
        Asked { share, ..self.question.asked() }
    }

    fn keeps_to_its_share(&self, now: Instant) -> bool {
        let longest = self.question.tier.lines.iter().map(|line| line.per).max().unwrap_or(0);
        self.shared.on_failure == OnStoreFailure::Local
            && self.shared.store.is_unsettled(longest, now)
    }
}

/// Asks the store, and this gateway itself while the store does not know everything.
async fn ask(group: &[Open<'_>], worker: &Worker) -> Result<SmallVec<[Answered; 2]>, Problem> {
    let Some(first) = group.first() else { return Ok(SmallVec::new()) };
    let unsettled = |now| group.iter().any(|one| one.keeps_to_its_share(now));
    let mut alone = None;
    if unsettled(worker.clock.now()) {
        let decisions = decide_alone(group, worker.clock.now());
        if !admits(group, &decisions) {
            return Ok(by_itself(decisions));
        }
        alone = Some(decisions);
    }
    let told = match group {
        [one] if one.shared.lease > 1 && alone.is_none() => {
            let Question { cost, .. } = one.question;
            let leases = worker.local(&one.shared.live, Leases::default);
            let wanted = cost.saturating_mul(one.shared.lease);
            leases.decide(&one.shared.store, worker, one.ask(), wanted).await.map(|it| vec![it])
        }
        several => {
            let asks: SmallVec<[Ask<'_>; 2]> = several.iter().map(Open::ask).collect();
            first.shared.store.decide(worker, &asks).await
        }
    };
    let now = worker.clock.now();
    let Ok(told) = told else { return without_store(group, alone, now) };
    for (one, told) in group.iter().zip(&told).filter(|(_, told)| !told.fits) {
        one.shared.own.refused(&one.question.asked(), &decision(told), now);
    }
    // The answer itself may have shown that the store has lost what it knew.
    if alone.is_none() && unsettled(now) {
        let decisions = decide_alone(group, now);
        if !admits(group, &decisions) {
            return Ok(by_itself(decisions));
        }
        alone = Some(decisions);
    }
    let logged = alone.is_some();
    Ok(told.into_iter().map(|told| answered(decision(&told), Some(told), logged)).collect())
}

/// What this gateway decided without the store.
fn by_itself(decisions: Decisions) -> SmallVec<[Answered; 2]> {
    decisions.into_iter().map(|decision| answered(decision, None, true)).collect()
}

fn answered(decision: Decision, told: Option<Told>, logged: bool) -> Answered {
    Answered { decision, told, logged }
}

pub fn decision(told: &Told) -> Decision {
    let Told { fits, line, remaining, wait, reset, .. } = *told;
    Decision { fits, line, remaining, wait, reset }
}

fn admits(group: &[Open<'_>], decisions: &[Decision]) -> bool {
    group.iter().zip(decisions).all(|(one, it)| it.fits || !one.question.limit.enforced)
}

/// Decides, and charges, by this gateway's own log.
fn decide_alone(group: &[Open<'_>], now: Instant) -> Decisions {
    let limits: SmallVec<[_; 4]> =
        group.iter().map(|one| (&*one.shared.own, one.alone())).collect();
    memory::decide(&limits, now)
}

/// The store does not answer: every limit does what it says for that.
fn without_store(
    group: &[Open<'_>],
    alone: Option<Decisions>,
    now: Instant,
) -> Result<SmallVec<[Answered; 2]>, Problem> {
    let denied = |one: &&Open<'_>| {
        one.shared.on_failure == OnStoreFailure::Deny && one.question.limit.enforced
    };
    if let Some(one) = group.iter().find(denied) {
        let why =
            format!("the store {} of the limit {}", one.shared.store.name, one.question.limit.name);
        return Err(Problem::new(&STORE_UNAVAILABLE, "a limit cannot be checked now")
            .retry_after(RETRY_AFTER)
            .private(format!("{why} does not answer")));
    }
    let decisions = alone.unwrap_or_else(|| decide_alone(group, now));
    let decided = group.iter().zip(decisions).map(|(one, decision)| {
        let fits = decision.fits || one.shared.on_failure == OnStoreFailure::Allow;
        answered(Decision { fits, ..decision }, None, true)
    });
    Ok(decided.collect())
}
