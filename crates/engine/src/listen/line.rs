//! One client connection as its worker supervises it: pure bookkeeping, no I/O.
//!
//! [`Line::check`] looks at the counters once per tick and says what has to happen: a head that
//! takes too long, a connection that idles, a client that does not read or whose body drips.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use portcullis_core::Intake;

use super::frames::{Allowance, Budget};
use super::watched::Pulse;
use crate::plan::BoundsPlan;

/// What a connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Give memory back until the next request comes.
    Rest,
    /// Finish what is under way, then close (GOAWAY on HTTP/2).
    Finish,
    /// What came is no request: answer what came before, say so, close.
    Refuse,
    /// The head took too long: say so, then close.
    HeaderTimeout,
    /// There are too many frames that carry nothing: say so, then close.
    Flood,
    /// Close now.
    Abort,
}

/// What the last look saw, and for how long it has been so.
#[derive(Debug, Default)]
struct Seen {
    reads: u64,
    writes: u64,
    started: u64,
    taken: u64,
    head: Duration,
    idle: Duration,
    stuck: Duration,
}

/// A body on its way in.
struct Coming {
    intake: Rc<Intake>,
    received: u64,
    age: Duration,
    /// For how long it may still lag behind.
    patience: Duration,
}

/// The state of one connection.
#[derive(Default)]
pub struct Line {
    pub pulse: Arc<Pulse>,
    started: Cell<u64>,
    finished: Cell<u64>,
    reads_at_finish: Cell<u64>,
    /// Answers of which a piece waits for the client to take it.
    offers: Cell<u64>,
    bodies: RefCell<Vec<Coming>>,
    seen: RefCell<Seen>,
    order: Cell<Option<Order>>,
    /// The order was not heard yet.
    is_news: Cell<bool>,
    /// Who waits for an order: one at a time.
    waker: RefCell<Option<Waker>>,
    /// Whether what came ends where a request ends.
    is_between: Cell<bool>,
    /// Only of HTTP/2.
    budget: OnceCell<Box<RefCell<Budget>>>,
}

impl Line {
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// How many requests there were with this one.
    pub fn request_started(&self) -> u64 {
        self.started.set(self.started.get() + 1);
        self.started.get()
    }

    pub fn request_finished(&self) {
        self.finished.set(self.finished.get() + 1);
        self.reads_at_finish.set(self.pulse.reads());
    }

    /// Watches how fast a body comes.
    pub fn watch(&self, intake: &Rc<Intake>, bounds: &BoundsPlan) {
        let mut bodies = self.bodies.borrow_mut();
        bodies.retain(Coming::is_awaited);
        let (intake, patience) = (Rc::clone(intake), bounds.body_stall);
        bodies.push(Coming { intake, received: 0, age: Duration::ZERO, patience });
    }

    /// Says that a piece of an answer is there (1), or has been taken (-1).
    pub fn offer(&self, more: i64) {
        self.offers.set(self.offers.get().saturating_add_signed(more));
    }

    pub fn speak_http2(&self, allowance: Allowance) {
        self.budget.get_or_init(|| Box::new(RefCell::new(Budget::new(allowance))));
    }

    /// The budget of an HTTP/2 connection.
    pub fn budget(&self) -> Option<&RefCell<Budget>> {
        self.budget.get().map(|budget| &**budget)
    }

    pub fn is_http2(&self) -> bool {
        self.budget.get().is_some()
    }

    pub fn is_idle(&self) -> bool {
        self.started.get() == self.finished.get()
    }

    /// Whether all that came belongs to whole requests.
    pub fn set_between(&self, is_between: bool) {
        self.is_between.set(is_between);
    }

    /// The connection may rest: how much was read until now. `None` when something has come.
    pub fn rest(&self) -> Option<u64> {
        if self.order.get() == Some(Order::Rest) {
            self.order.set(None);
        }
        let rests = self.is_quiet() && self.is_between.get() && !self.pulse.write_stuck();
        rests.then(|| self.pulse.reads())
    }

    /// True until the first request has come.
    pub fn is_new(&self) -> bool {
        self.started.get() == 0
    }

    /// True when nothing of a next request has come.
    pub fn is_quiet(&self) -> bool {
        self.is_idle() && self.pulse.reads() == self.reads_at_finish.get()
    }

    /// Gives an order; a sterner one replaces a milder one.
    pub fn order(&self, order: Order) {
        if self.order.get() < Some(order) {
            self.order.set(Some(order));
            self.is_news.set(true);
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }

    /// True once nothing more is to be read.
    pub fn is_told_to_end(&self) -> bool {
        self.order.get() >= Some(Order::Flood)
    }

    /// Waits for the next order. A connection listens at each of its turns: it has to cost next to nothing.
    pub fn ordered(&self) -> impl Future<Output = Order> {
        poll_fn(|cx| {
            if self.is_news.take()
                && let Some(order) = self.order.get()
            {
                return Poll::Ready(order);
            }
            let mut waker = self.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
    }

    fn waits_for_head(&self) -> bool {
        let begun = match self.budget() {
            Some(budget) => budget.borrow().waits_for_head(),
            // One may have begun while a request was under way.
            None => self.is_idle() && !(self.is_quiet() && self.is_between.get()),
        };
        begun || self.is_new()
    }

    /// Waits until it has to be closed at once.
    pub async fn aborted(&self) {
        while self.ordered().await < Order::Abort {}
    }

    /// Looks at the counters, `tick` after the last look.
    pub fn check(&self, tick: Duration, bounds: &BoundsPlan) {
        if let Some(budget) = self.budget() {
            budget.borrow_mut().refill(tick);
        }
        self.check_bodies(tick, bounds);
        let (reads, writes) = (self.pulse.reads(), self.pulse.writes());
        let started = self.started.get();
        // What answers an HTTP/2 client has taken; beside them it may take much that is none.
        let taken = self.budget().map_or(writes, |budget| budget.borrow().data_sent());
        let mut seen = self.seen.borrow_mut();
        let moved = !self.is_http2() && (reads != seen.reads || writes != seen.writes);
        let waits_for_head = self.waits_for_head();
        let rests = self.is_idle() && !waits_for_head && !moved;
        let blocked = self.pulse.write_stuck() || self.offers.get() > 0;
        let goes_on = |is: bool, since: Duration| if is { since + tick } else { Duration::ZERO };
        let same = started == seen.started;
        *seen = Seen {
            reads,
            writes,
            started,
            taken,
            head: goes_on(waits_for_head && same, seen.head),
            idle: goes_on(rests && same, seen.idle),
            stuck: goes_on(blocked && taken == seen.taken, seen.stuck),
        };
        let order = if seen.head >= bounds.header_read {
            Some(Order::HeaderTimeout)
        } else if seen.stuck >= bounds.write_stall || seen.idle >= bounds.idle + bounds.header_read
        {
            Some(Order::Abort) // also who was told to finish and does not answer
        } else if seen.idle >= bounds.idle {
            Some(Order::Finish)
        } else {
            // At the second look that finds nothing new, once.
            let rests = !self.is_http2() && seen.idle >= tick * 2 && seen.idle < tick * 3;
            rests.then_some(Order::Rest)
        };
        drop(seen);
        if let Some(order) = order {
            self.order(order);
        }
    }

    /// Bodies that drip, or take too long altogether, come to their end.
    fn check_bodies(&self, tick: Duration, bounds: &BoundsPlan) {
        let mut bodies = self.bodies.borrow_mut();
        bodies.retain(Coming::is_awaited);
        for body in bodies.iter_mut() {
            body.age += tick;
            let came = body.intake.received() - body.received;
            body.received += came;
            if bounds.body_rate > 0 && body.intake.waits() {
                // What came is worth the time that it may take.
                let earned = came.saturating_mul(1_000_000) / bounds.body_rate;
                let patience = body.patience + Duration::from_micros(earned);
                body.patience = patience.min(bounds.body_stall).saturating_sub(tick);
            }
            if body.patience.is_zero() || body.age >= bounds.body_read {
                body.intake.give_up();
            }
        }
    }
}

impl Coming {
    /// False when the body is gone: it has come to its end, or nobody wants it.
    fn is_awaited(&self) -> bool {
        Rc::strong_count(&self.intake) > 1
    }
}
