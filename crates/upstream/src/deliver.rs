//! The way of one request: through the overload's gate and the breaker to an endpoint, and to
//! another one when that did not work and may be tried.
//!
//! ```text
//! slot ─▶ breaker ─▶ choose ─▶ attempt ─▶ answer
//!           ▲                     │
//!           └── wait ◀── again? ◀─┘ lost, or an answer that is to be asked for again
//! ```

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use portcullis_core::{Problem, Response, Worker};

use crate::attempt::{Lost, Nudge, Outcome};
use crate::balance::Balance;
use crate::carrier::{Carrier, Errand};
use crate::deadline::Deadline;
use crate::endpoint::InFlight;
use crate::grpc;
use crate::hedge::soon;
use crate::overload::Slot;
use crate::request::Ready;
use crate::retry::{asked_for, may_repeat};
use crate::set::{Picked, Set, Tried, Wish};
use crate::trial::Trial;
use crate::upstream::{How, Unsent, Upstream};

/// Sends of one request whatever `retries` say: one more when nobody accepts a connection, or
/// when it tried an endpoint that was set aside.
const WITHOUT_RETRIES: u32 = 2;

/// Why there is no answer.
pub struct Failure {
    pub problem: Problem,
    /// The request, when no byte of it was sent: it can go elsewhere.
    pub unsent: Option<Unsent>,
}

/// What keeps a place for as long as an answer lasts.
pub(crate) struct Held {
    pub(crate) _in_flight: Option<InFlight>,
    pub(crate) _slot: Option<Rc<Slot>>,
}

/// A request on its way.
pub(crate) struct Delivery<'d, C> {
    pub(crate) upstream: &'d Arc<Upstream>,
    pub(crate) worker: &'d Worker,
    pub(crate) set: &'d Rc<Set>,
    carrier: &'d C,
    how: How,
    pub(crate) method: Method,
    /// Sending it twice does no harm, or is wanted.
    is_repeatable: bool,
    deadline: Option<Deadline>,
    tells_deadline: bool,
    /// The present, as it was looked at last: after each wait.
    now: Cell<Instant>,
    sends: Cell<u32>,
    /// Some of it may have reached an endpoint.
    has_reached: Cell<bool>,
    endpoint: RefCell<Option<Arc<str>>>,
}

fn count(tried: &Tried) -> u32 {
    u32::try_from(tried.len()).unwrap_or(u32::MAX)
}

/// What came of an attempt.
pub(crate) enum Ended {
    Answered(Response),
    Lost(Lost, Arc<str>),
}

impl Ended {
    fn into_result(self) -> Result<Response, Problem> {
        match self {
            Self::Answered(response) => Ok(response),
            Self::Lost(lost, label) => Err(lost.problem(&label)),
        }
    }
}

impl<'d, C: Carrier> Delivery<'d, C> {
    pub(crate) fn new(
        upstream: &'d Arc<Upstream>,
        worker: &'d Worker,
        set: &'d Rc<Set>,
        carrier: &'d C,
        how: How,
        request: &Ready,
        now: Instant,
    ) -> Self {
        let method = request.head.method.clone();
        let (timeouts, may_be_grpc) = (&upstream.timeouts, upstream.speaks_grpc());
        let headers = &request.head.headers;
        Self {
            upstream,
            worker,
            set,
            carrier,
            how,
            is_repeatable: may_repeat(&method, how.retry_non_idempotent),
            method,
            deadline: Deadline::of(headers, timeouts.deadline, may_be_grpc, how.spent),
            tells_deadline: timeouts.pass_deadline || may_be_grpc,
            now: Cell::new(now),
            sends: Cell::new(0),
            has_reached: Cell::new(false),
            endpoint: RefCell::default(),
        }
    }

    /// The present, from the clock itself.
    pub(crate) fn look_at_clock(&self) -> Instant {
        self.now.set(self.worker.clock.now());
        self.now.get()
    }

    /// When it was looked at the clock last.
    pub(crate) fn now(&self) -> Instant {
        self.now.get()
    }

    pub(crate) fn sends(&self) -> u32 {
        self.sends.get()
    }

    /// The endpoint that was asked last.
    pub(crate) fn endpoint(&self) -> Option<Arc<str>> {
        self.endpoint.borrow().clone()
    }

    pub(crate) fn answered_by(&self, endpoint: Option<Arc<str>>) {
        self.endpoint.replace(endpoint);
    }

    pub(crate) async fn run(&self, request: Ready) -> Result<Response, Failure> {
        let mut request = Some(request);
        let result = self.attempts(&mut request).await;
        result.map_err(|problem| {
            // What may have reached somebody is not sent elsewhere as well.
            let unsent = request.filter(|_| !self.has_reached.get());
            Failure { problem, unsent: unsent.map(|request| Unsent { request, how: self.how }) }
        })
    }

    async fn attempts(&self, request: &mut Option<Ready>) -> Result<Response, Problem> {
        if self.set.members.is_empty() {
            return Err(self.upstream.nowhere());
        }
        // One slot for all attempts: an answer that is to be asked for again still holds it.
        let slot = self.enter().await?;
        let mut tried = Tried::new();
        let mut last: Option<Box<Ended>> = None;
        loop {
            let now = self.now.get();
            // The breaker first: what it refuses is not to take the trial of an endpoint.
            let permit = match self.upstream.breaker.as_ref().map(|it| it.admit(now)).transpose() {
                Ok(permit) => permit,
                // It opened between attempts: the last answer goes back.
                Err(refused) => return last.map_or(Err(refused), |last| last.into_result()),
            };
            let Some(picked) = self.choose(&tried, now) else { break };
            if let (true, Some(budget)) = (tried.is_empty(), &self.upstream.budget) {
                budget.first(self.upstream.since(now));
            }
            tried.push(picked.place);
            let trial = Trial::new(self.upstream, self.set, &picked, permit);
            let attempts = count(&tried);
            // A block, so that what came of an attempt is not carried through the wait.
            let wait = {
                let nudge = self.nudge(&tried, request.as_ref());
                let head = request.as_ref().filter(|_| nudge.is_some());
                let head = head.map(|request| Rc::clone(&request.head));
                let ended = {
                    let mut first =
                        pin!(self.once(trial, slot.clone(), request, attempts, nudge.as_ref()));
                    if let Some(ended) = soon(first.as_mut(), nudge.as_ref()).await {
                        ended
                    } else {
                        Box::pin(self.race(first, head, &mut tried)).await
                    }
                };
                let again = || self.again(&ended, count(&tried), picked.on_trial);
                let Some(wait) = request.as_ref().and_then(|_| again()) else {
                    return ended.into_result();
                };
                last = Some(Box::new(ended));
                wait
            };
            self.upstream.metrics.retried.inc();
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
                self.look_at_clock();
            }
        }
        last.map_or_else(|| Err(self.upstream.nowhere()), |last| last.into_result())
    }

    /// A slot where there is a limit, perhaps after a wait.
    async fn enter(&self) -> Result<Option<Rc<Slot>>, Problem> {
        let Some(overload) = &self.upstream.overload else { return Ok(None) };
        if let Some(slot) = overload.try_enter() {
            return Ok(Some(Rc::new(slot)));
        }
        // On the heap, as all that few requests need: the others do not carry it along.
        let left = self.deadline.map(|deadline| deadline.left());
        let entered = Box::pin(overload.enter(left)).await;
        self.look_at_clock();
        entered
            .map(|slot| Some(Rc::new(slot)))
            .inspect_err(|_| self.upstream.metrics.overloaded.inc())
    }

    /// An endpoint that was not tried; with `retries`, when all were, any.
    pub(crate) fn choose(&self, tried: &[usize], now: Instant) -> Option<Picked<'d>> {
        let affinity = self.how.affinity;
        let can_repeat = self.is_repeatable;
        let wish = Wish { tried, affinity, can_repeat, now: self.upstream.since(now) };
        let picked = self.set.pick(self.upstream, &wish);
        picked.or_else(|| {
            self.upstream.retries.as_ref()?;
            self.set.pick(self.upstream, &Wish { tried: &[], ..wish })
        })
    }

    /// One attempt, from its departure to its end in all books. Not an `async fn`: its arguments would be
    /// stored twice.
    pub(crate) fn once(
        &self,
        mut trial: Trial<'d>,
        slot: Option<Rc<Slot>>,
        request: &mut Option<Ready>,
        attempts: u32,
        nudge: Option<&Nudge>,
    ) -> impl Future<Output = Ended> {
        let (place, pool) = (trial.place, trial.pool);
        async move {
            let label = &pool.label;
            if let Some(outgoing) = request.as_mut() {
                if !self.how.keeps_host {
                    outgoing.host = pool.host.clone();
                }
                if let Some(deadline) = self.deadline.filter(|_| self.tells_deadline) {
                    let pass = self.upstream.timeouts.pass_deadline;
                    let clock = pass.then_some(&self.worker.clock);
                    outgoing.told = deadline.told(&outgoing.head.headers, clock);
                }
            }
            self.endpoint.replace(Some(Arc::clone(label)));
            self.sends.set(self.sends.get() + 1);
            let begun = self.now.get();
            let wants_back = |status| self.asks_again(status, attempts, trial.on_trial);
            let errand = Errand {
                upstream: self.upstream,
                place,
                begun,
                deadline: self.deadline,
                sends: &self.sends,
                wants_back: &wants_back,
                held: self.hold(place, slot),
                nudge,
            };
            let carried = self.carrier.carry(errand, request).await;
            let now = self.look_at_clock();
            let nothing_sent = matches!(&carried, Err(lost) if lost.before_sending());
            self.has_reached.set(self.has_reached.get() || !nothing_sent);
            match carried {
                Ok(response) => {
                    self.told(place, now.saturating_duration_since(begun), now);
                    Ended::Answered(self.judge(trial, label, response))
                }
                Err(lost) => {
                    trial.end(lost.outcome(), now, || format!("{label}: {}", lost.reason()));
                    Ended::Lost(lost, Arc::clone(label))
                }
            }
        }
    }

    /// Says how an attempt went that was answered, or lets the answer say it.
    fn judge(&self, mut trial: Trial<'_>, label: &str, response: Response) -> Response {
        let (upstream, status) = (self.upstream, response.status().as_u16());
        let mut outcome = upstream.failures.of_status(status);
        let may_be_grpc = upstream.speaks_grpc() && outcome == Outcome::Answered;
        if may_be_grpc && grpc::is_open(&response) {
            return grpc::put_off(response, trial.put_off(), self.deadline);
        }
        let ended = may_be_grpc.then(|| grpc::status(&response)).flatten();
        if let Some(ended) = ended {
            outcome = upstream.failures.of_grpc(ended, self.deadline);
        }
        trial.end(outcome, self.now.get(), || match ended {
            Some(ended) => format!("{label}: ended {}", ended.name()),
            None => format!("{label}: answered {status}"),
        });
        response
    }

    /// What an attempt keeps until its answer has ended: its slot, and that the endpoint has something
    /// to do, where that is looked at.
    fn hold(&self, place: usize, slot: Option<Rc<Slot>>) -> Held {
        let counts = self.upstream.balance.looks_at_load() && self.set.members.len() > 1;
        let member = self.set.members.get(place).filter(|_| counts);
        let in_flight = member.map(|member| InFlight::begin(&member.endpoint));
        Held { _in_flight: in_flight, _slot: slot }
    }

    /// Tells how long an answer took to those who want to know.
    fn told(&self, place: usize, took: Duration, now: Instant) {
        let upstream = self.upstream;
        if upstream.balance == Balance::PeakEwma
            && let Some(member) = self.set.members.get(place)
        {
            member.endpoint.load.took(took, upstream.since(now));
        }
        if upstream.hedge.is_some() {
            upstream.most.took(took);
        }
        if let Some(overload) = &upstream.overload {
            overload.took(took, upstream.since(now));
        }
    }

    /// Whether an answer of this status may be asked for again.
    fn asks_again(&self, status: u16, attempts: u32, on_trial: bool) -> bool {
        let retries = self.upstream.retries.as_ref();
        let fails = self.upstream.failures.of_status(status).is_failure();
        self.is_repeatable
            && (on_trial && fails && attempts < WITHOUT_RETRIES
                || retries.is_some_and(|it| attempts < it.attempts && it.when.answered(status)))
    }

    /// Whether there is to be one more attempt, and after which wait.
    fn again(&self, ended: &Ended, attempts: u32, on_trial: bool) -> Option<Duration> {
        let retries = self.upstream.retries.as_ref();
        let most = retries.map_or(WITHOUT_RETRIES, |retries| retries.attempts.max(WITHOUT_RETRIES));
        if attempts >= most || self.deadline.is_some_and(|deadline| deadline.left().is_zero()) {
            return None;
        }
        // Another one, once, whatever the settings say.
        let free = self.set.members.len() > attempts as usize && attempts < WITHOUT_RETRIES;
        let (nothing_sent, fits, asked) = match ended {
            Ended::Lost(lost, _) => {
                let nothing_sent = lost.before_sending();
                // Where nobody listens, or nobody was known to, another one is asked at once.
                let fails = lost.outcome().is_failure();
                if free && (nothing_sent || on_trial && fails && self.is_repeatable) {
                    return Some(Duration::ZERO);
                }
                (nothing_sent, retries.is_some_and(|it| it.when.lost(lost)), None)
            }
            Ended::Answered(response) => {
                let status = response.status().as_u16();
                if free && on_trial && self.asks_again(status, attempts, true) {
                    return Some(Duration::ZERO);
                }
                let fits = retries.is_some_and(|it| it.when.answered(status));
                (false, fits, asked_for(response.headers()))
            }
        };
        let retries = retries.filter(|it| attempts < it.attempts && fits)?;
        if !(nothing_sent || self.is_repeatable) {
            return None;
        }
        let wait = retries.wait(attempts, asked, self.set.chance());
        let left = self.deadline.map_or(self.upstream.timeouts.request, |deadline| deadline.left());
        (wait < left && self.afford()).then_some(wait)
    }

    /// Takes one more attempt out of the budget.
    pub(crate) fn afford(&self) -> bool {
        let now = self.upstream.since(self.now.get());
        let affords = self.upstream.budget.as_ref().is_none_or(|budget| budget.take(now));
        if !affords {
            self.upstream.metrics.unbudgeted.inc();
        }
        affords
    }
}
