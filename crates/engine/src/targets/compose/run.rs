//! One composition while it runs: each call waits for what it needs, is made once or for each item,
//! and says what it means when it fails.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _};
use portcullis_core::mapping::Value;
use portcullis_core::{Call, Exchange, Problem};
use tokio::sync::SetOnce;

use super::failure::Failure;
use super::heard::Heard;
use super::send::{Services, Shared};
use crate::plan::{CallPlan, ComposePlan, EachPlan};

/// How a call ended.
pub(super) enum Answer {
    Whole(Value),
    /// Something stands in for it, or for some of its items.
    Instead(Value, Failure),
    Absent(Failure),
}

impl Answer {
    pub(super) fn value(&self) -> Option<&Value> {
        match self {
            Self::Whole(value) | Self::Instead(value, _) => Some(value),
            Self::Absent(_) => None,
        }
    }
}

/// What a call is made for: its own place in the plan, and the place and value of an item.
#[derive(Clone, Copy)]
pub(super) struct Turn<'t> {
    pub(super) at: usize,
    pub(super) plan: &'t CallPlan,
    pub(super) item: Option<(usize, &'t Value)>,
}

impl Turn<'_> {
    /// By which what it leaves behind is sorted.
    pub(super) fn place(&self) -> (usize, usize) {
        (self.at, self.item.map_or(0, |(place, _)| place))
    }
}

/// What a composition leaves behind, whether it came to its end or not; in the order of the calls and
/// of their items, whoever answered first.
pub(super) struct Made {
    pub(super) lines: BTreeMap<(usize, usize), Call>,
    pub(super) heard: BTreeMap<(usize, usize), Heard>,
    /// By call; `None` for one that had not ended.
    pub(super) answers: Vec<Option<Answer>>,
}

/// A composition while it runs.
pub(super) struct Run<'r, S> {
    pub(super) plan: &'r ComposePlan,
    pub(super) services: &'r S,
    pub(super) exchange: &'r Exchange,
    /// When all calls have to be done.
    pub(super) deadline: Instant,
    pub(super) answers: Vec<SetOnce<Answer>>,
    pub(super) shared: RefCell<HashMap<Shared, super::send::Sharing>>,
    pub(super) lines: RefCell<BTreeMap<(usize, usize), Call>>,
    pub(super) heard: RefCell<BTreeMap<(usize, usize), Heard>>,
}

impl<'r, S: Services> Run<'r, S> {
    pub(super) fn new(plan: &'r ComposePlan, services: &'r S, exchange: &'r Exchange) -> Self {
        Self {
            plan,
            services,
            exchange,
            deadline: exchange.worker.clock.now() + plan.timeout,
            answers: plan.calls.iter().map(|_| SetOnce::new()).collect(),
            shared: RefCell::default(),
            lines: RefCell::default(),
            heard: RefCell::default(),
        }
    }

    /// Makes all calls. The first required one that fails ends the others.
    pub(super) async fn all(self) -> (Result<(), Problem>, Made) {
        let turns = self.plan.calls.iter().enumerate();
        let turns = turns.map(|(at, plan)| Turn { at, plan, item: None });
        let result = try_join_all(turns.map(|turn| self.end(turn))).await.map(|_| ());
        let made = Made {
            lines: self.lines.into_inner(),
            heard: self.heard.into_inner(),
            answers: self.answers.into_iter().map(SetOnce::into_inner).collect(),
        };
        (result, made)
    }

    /// Brings a call to its end, when its turn has come.
    async fn end(&self, turn: Turn<'_>) -> Result<(), Problem> {
        let call = turn.plan;
        for needed in call.after.iter().filter_map(|at| self.answers.get(*at)) {
            needed.wait().await;
        }
        let answer = match (self.made(turn).await, &call.otherwise) {
            (Ok((value, None)), _) => Answer::Whole(value),
            (Ok((value, Some(failure))), _) => Answer::Instead(value, failure),
            (Err(failure), Some(otherwise)) => Answer::Instead(Value::json(otherwise), failure),
            (Err(failure), None) if call.optional => Answer::Absent(failure),
            (Err(failure), None) => return Err(failure.problem(&call.name)),
        };
        if let Some(own) = self.answers.get(turn.at) {
            let _ = own.set(answer); // it is set here only
        }
        Ok(())
    }

    /// A call's value, and the first failure among its items that it can do without.
    async fn made(&self, turn: Turn<'_>) -> Result<(Value, Option<Failure>), Failure> {
        let call = turn.plan;
        if let Some(when) = &call.when
            && !when.is_allowed(self.input(turn), self.exchange)?
        {
            return Ok((Value::NULL, None));
        }
        let Some(each) = &call.each else { return Ok((self.one(turn).await?, None)) };
        let items = each.items.run_one(self.input(turn), self.exchange)?;
        let items = items.items().ok_or_else(|| {
            Failure::unfit(format!("for_each gave {} and no array", items.kind()))
        })?;
        self.for_each(turn, each, items).await
    }

    /// One call for each item, some at a time; the answers in the items' order.
    async fn for_each(
        &self,
        turn: Turn<'_>,
        each: &EachPlan,
        items: Vec<Value>,
    ) -> Result<(Value, Option<Failure>), Failure> {
        let call = turn.plan;
        let (asked, places) = asked(each, items)?;
        let turns = asked.iter().enumerate().map(|item| Turn { item: Some(item), ..turn });
        let mut made = stream::iter(turns.map(|turn| self.one(turn))).buffered(each.concurrency);
        let (mut values, mut missing) = (Vec::with_capacity(asked.len()), None);
        while let Some(result) = made.next().await {
            values.push(match (result, &call.otherwise) {
                (Ok(value), _) => value,
                (Err(failure), None) if !call.optional => return Err(failure),
                (Err(failure), otherwise) => {
                    missing.get_or_insert(failure);
                    otherwise.as_ref().map_or(Value::NULL, Value::json)
                }
            });
        }
        let in_place = places.into_iter().map(|place| values.get(place).cloned());
        Ok((Value::array(in_place.map(|value| value.unwrap_or(Value::NULL))), missing))
    }

    /// The answers that a call needs, and the item that it is made for.
    pub(super) fn input(&self, turn: Turn<'_>) -> Value {
        let needed = turn.plan.after.iter().filter_map(|at| {
            let name = &*self.plan.calls.get(*at)?.name;
            Some((name, self.answers.get(*at)?.get()?.value()?.clone()))
        });
        let each = turn.plan.each.as_ref();
        let item = each.zip(turn.item).map(|(each, (_, item))| (&*each.name, item.clone()));
        Value::object(needed.chain(item))
    }
}

/// The items to ask for, and for each item its place among these.
fn asked(each: &EachPlan, items: Vec<Value>) -> Result<(Vec<Value>, Vec<usize>), Failure> {
    let count = items.len();
    let (mut asked, mut places) = (Vec::new(), Vec::with_capacity(count));
    let mut known = HashMap::new();
    for item in items {
        let next = asked.len();
        let place =
            if each.distinct { *known.entry(item.to_string()).or_insert(next) } else { next };
        places.push(place);
        if place == next {
            if next == each.most {
                return Err(Failure::too_many(if each.distinct { next + 1 } else { count }, next));
            }
            asked.push(item);
        }
    }
    Ok((asked, places))
}
