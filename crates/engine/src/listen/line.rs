//! One client connection as its worker supervises it: pure bookkeeping, no I/O.
//!
//! [`Line::check`] looks at the counters once per tick and says what has to happen: a head that
//! takes too long, a connection that idles, a client that does not read.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::watched::Pulse;

/// What a connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Give memory back until the next request comes.
    Rest,
    /// Finish what is under way, then close (GOAWAY on HTTP/2).
    Finish,
    /// What came is no request: answer what came before, say so, close.
    Refuse,
    /// The head took too long: 408, then close.
    HeaderTimeout,
    /// Close now.
    Abort,
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub header_read: Duration,
    pub idle: Duration,
}

#[derive(Debug, Default)]
struct Seen {
    reads: u64,
    writes: u64,
    quiet: Duration,
}

/// The state of one connection.
#[derive(Default)]
pub struct Line {
    pub pulse: Arc<Pulse>,
    started: Cell<u64>,
    finished: Cell<u64>,
    reads_at_finish: Cell<u64>,
    seen: RefCell<Seen>,
    order: Cell<Option<Order>>,
    wake: Notify,
    http2: Cell<bool>,
    /// Whether what came ends where a request ends.
    is_between: Cell<bool>,
}

impl Line {
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    pub fn request_started(&self) {
        self.started.set(self.started.get() + 1);
    }

    pub fn request_finished(&self) {
        self.finished.set(self.finished.get() + 1);
        self.reads_at_finish.set(self.pulse.reads());
    }

    pub fn set_http2(&self) {
        self.http2.set(true);
    }

    pub fn is_http2(&self) -> bool {
        self.http2.get()
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
            self.wake.notify_one();
        }
    }

    /// Waits for the next order.
    pub async fn ordered(&self) -> Order {
        loop {
            self.wake.notified().await;
            if let Some(order) = self.order.get() {
                return order;
            }
        }
    }

    /// Looks at the counters, `tick` after the last look.
    pub fn check(&self, tick: Duration, patience: Patience) {
        let mut seen = self.seen.borrow_mut();
        let (reads, writes) = (self.pulse.reads(), self.pulse.writes());
        let moved = reads != seen.reads || writes != seen.writes;
        let waits_for_head = self.is_idle() && !self.is_quiet() || self.is_new();
        seen.quiet = if moved && !waits_for_head { Duration::ZERO } else { seen.quiet + tick };
        (seen.reads, seen.writes) = (reads, writes);
        let order = if waits_for_head {
            (seen.quiet >= patience.header_read).then_some(Order::HeaderTimeout)
        } else if self.is_idle() {
            // At the second look that finds nothing new, once.
            let rests = !self.http2.get() && seen.quiet >= tick * 2 && seen.quiet < tick * 3;
            let is_over = seen.quiet >= patience.idle;
            if is_over { Some(Order::Finish) } else { rests.then_some(Order::Rest) }
        } else {
            let stuck = self.pulse.write_stuck() && seen.quiet >= patience.idle;
            stuck.then_some(Order::Abort)
        };
        drop(seen);
        if let Some(order) = order {
            self.order(order);
        }
    }
}
