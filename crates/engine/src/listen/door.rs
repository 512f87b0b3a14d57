//! A worker's half of a listener: it accepts, watches its connections, and closes without dropping
//! anybody who was already let in.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::Peer;
use portcullis_core::metrics::{Counter, Gauge};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::connection;
use super::line::{Line, Order, Patience};
use super::watched::Arrivals;
use crate::metrics::{ACCEPT_ERRORS, CONNECTIONS, MALFORMED, RESTING};
use crate::plan::DrainPlan;
use crate::worker::Desk;

/// After a failure to accept (too many open files) the listener rests for this long.
const REST: Duration = Duration::from_millis(100);

/// A listener on one worker.
pub struct Door {
    pub address: SocketAddr,
    name: Arc<str>,
    pub desk: Rc<Desk>,
    pub patience: Patience,
    closing: Cell<bool>,
    close: Notify,
    /// Woken when a connection has ended.
    ended: Notify,
    lines: RefCell<Vec<Weak<Line>>>,
    connections: Gauge,
    pub resting: Gauge,
    accept_errors: Counter,
    /// Where every connection's bytes arrive to be looked at.
    pub arrivals: Arrivals,
    pub malformed: Counter,
    pub too_slow: Counter,
}

impl Door {
    pub fn open(desk: &Rc<Desk>, address: SocketAddr, listener: TcpListener) -> Rc<Self> {
        let (metrics, name) = (&desk.house.metrics, address.to_string());
        let bounds = desk.snapshot().bounds;
        let door = Rc::new(Self {
            address,
            desk: Rc::clone(desk),
            patience: Patience { header_read: bounds.header_read, idle: bounds.idle },
            closing: Cell::default(),
            close: Notify::new(),
            ended: Notify::new(),
            lines: RefCell::default(),
            connections: metrics.gauge(&CONNECTIONS, &[&name]),
            resting: metrics.gauge(&RESTING, &[&name]),
            accept_errors: metrics.counter(&ACCEPT_ERRORS, &[&name]),
            arrivals: Arrivals::default(),
            malformed: metrics.counter(&MALFORMED, &[&name, "malformed"]),
            too_slow: metrics.counter(&MALFORMED, &[&name, "too_slow"]),
            name: Arc::from(name),
        });
        tokio::task::spawn_local(Rc::clone(&door).accept(listener));
        tokio::task::spawn_local(Rc::clone(&door).supervise());
        door
    }

    /// True once nobody is let in any more: answers then say `Connection: close`.
    pub fn is_closing(&self) -> bool {
        self.closing.get()
    }

    async fn accept(self: Rc<Self>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.close.notified() => break,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(error) => {
                    self.accept_errors.inc();
                    tracing::warn!(%error, listener = %self.name, "cannot accept a connection");
                    tokio::time::sleep(REST).await;
                }
            }
        }
        // Whoever is already in the kernel's queue was promised a connection.
        while let Some(Ok((stream, peer))) =
            futures_util::FutureExt::now_or_never(listener.accept())
        {
            self.admit(stream, peer);
        }
    }

    fn admit(self: &Rc<Self>, stream: TcpStream, address: SocketAddr) {
        let _ = stream.set_nodelay(true);
        let line = Line::new();
        self.lines.borrow_mut().push(Rc::downgrade(&line));
        self.connections.add(1);
        let peer = Rc::new(Peer::new(address, Arc::clone(&self.name)));
        let door = Rc::clone(self);
        tokio::task::spawn_local(async move {
            connection::serve(&door, &line, peer, stream).await;
            drop(line);
            door.connections.add(-1);
            door.ended.notify_one();
        });
    }

    /// Looks at every connection once per tick, until the door is closed and all are gone.
    async fn supervise(self: Rc<Self>) {
        let shortest = self.patience.header_read.min(self.patience.idle);
        let tick = (shortest / 4).clamp(Duration::from_millis(20), Duration::from_secs(1));
        let mut ticks = tokio::time::interval(tick);
        loop {
            ticks.tick().await;
            self.lines.borrow_mut().retain(|line| line.strong_count() > 0);
            if self.closing.get() && self.lines.borrow().is_empty() {
                return;
            }
            self.each(|line| line.check(tick, self.patience));
        }
    }

    fn each(&self, mut act: impl FnMut(&Line)) {
        for line in self.lines.borrow().iter().filter_map(Weak::upgrade) {
            act(&line);
        }
    }

    /// Lets nobody in any more and waits until everybody has left. Requests are answered with
    /// `Connection: close`, connections that rest are kept for `grace`, and what is left at the
    /// `deadline` is cut off.
    pub async fn shut(self: Rc<Self>, drain: DrainPlan) {
        self.closing.set(true);
        self.close.notify_one();
        self.each(|line| {
            if line.is_http2() {
                line.order(Order::Finish)
            }
        });
        let deadline = tokio::time::sleep(drain.deadline);
        let grace = tokio::time::sleep(drain.grace.min(drain.deadline));
        tokio::pin!(deadline, grace);
        let mut in_grace = true;
        loop {
            tokio::task::yield_now().await;
            self.lines.borrow_mut().retain(|line| line.strong_count() > 0);
            if self.lines.borrow().is_empty() {
                return;
            }
            tokio::select! {
                () = self.ended.notified() => {}
                () = &mut grace, if in_grace => {
                    in_grace = false;
                    self.each(|line| line.order(Order::Finish));
                }
                () = &mut deadline => {
                    self.each(|line| line.order(Order::Abort));
                    return;
                }
            }
        }
    }
}
