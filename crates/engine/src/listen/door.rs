//! A worker's half of a listener: it accepts, watches its connections, and closes without dropping
//! anybody who was already let in.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portcullis_core::metrics::{Counter, Gauge};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::clients::{Admitted, Full, Most};
use super::connection;
use super::entrance::Entrance;
use super::line::{Line, Order};
use super::socket;
use super::watched::Arrivals;
use crate::metrics::{ACCEPT_ERRORS, CONNECTIONS, MALFORMED, REFUSED, RESTING};
use crate::plan::DrainPlan;
use crate::worker::Desk;

/// After a failure to accept (too many open files) the listener rests for this long.
const REST: Duration = Duration::from_millis(100);

/// Failed handshakes are told of once in this time, for each worker.
const QUIET: Duration = Duration::from_secs(1);
/// How long those who are cut off may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(2);

/// A listener, as all threads know it.
pub struct Listener {
    /// What was configured, and what it really has (port 0).
    pub written: SocketAddr,
    pub address: SocketAddr,
    closing: AtomicBool,
}

impl Listener {
    pub fn new(written: SocketAddr, address: SocketAddr) -> Arc<Self> {
        Arc::new(Self { written, address, closing: AtomicBool::default() })
    }

    /// From now on all workers' answers say `Connection: close`. Said before the first of them closes
    /// its socket: who was refused by one worker finds none that does not know.
    pub fn begin_to_close(&self) {
        self.closing.store(true, Ordering::Release);
    }
}

/// A listener on one worker.
pub struct Door {
    pub listener: Arc<Listener>,
    pub name: Arc<str>,
    /// What it was when a connection came last: after a reload has closed it, somebody may still be let
    /// in who came before.
    entrance: RefCell<Option<Arc<Entrance>>>,
    pub desk: Rc<Desk>,
    /// Until its socket is closed.
    listening: Cell<bool>,
    close: Notify,
    /// Woken when a connection has ended, or the listening.
    ended: Notify,
    lines: RefCell<Vec<Weak<Line>>>,
    connections: Gauge,
    pub resting: Gauge,
    accept_errors: Counter,
    /// Where every connection's bytes arrive to be looked at.
    pub arrivals: Arrivals,
    pub malformed: Counter,
    pub no_proxy_header: Counter,
    pub too_slow: Counter,
    /// TLS handshakes that are under way.
    pub handshakes: Cell<u32>,
    told: Cell<Option<Instant>>,
    pub flood: Counter,
    refused_in_all: Counter,
    refused_per_client: Counter,
}

impl Door {
    pub fn open(desk: &Rc<Desk>, listener: Arc<Listener>, socket: TcpListener) -> Rc<Self> {
        let (metrics, name) = (&desk.house.metrics, listener.address.to_string());
        let door = Rc::new(Self {
            listener,
            entrance: RefCell::default(),
            handshakes: Cell::default(),
            told: Cell::default(),
            desk: Rc::clone(desk),
            listening: Cell::new(true),
            close: Notify::new(),
            ended: Notify::new(),
            lines: RefCell::default(),
            connections: metrics.gauge(&CONNECTIONS, &[&name]),
            resting: metrics.gauge(&RESTING, &[&name]),
            accept_errors: metrics.counter(&ACCEPT_ERRORS, &[&name]),
            arrivals: Arrivals::default(),
            malformed: metrics.counter(&MALFORMED, &[&name, "malformed"]),
            no_proxy_header: metrics.counter(&MALFORMED, &[&name, "proxy"]),
            too_slow: metrics.counter(&MALFORMED, &[&name, "too_slow"]),
            flood: metrics.counter(&MALFORMED, &[&name, "flood"]),
            refused_in_all: metrics.counter(&REFUSED, &[&name, "total"]),
            refused_per_client: metrics.counter(&REFUSED, &[&name, "client"]),
            name: Arc::from(name),
        });
        door.entrance();
        tokio::task::spawn_local(Rc::clone(&door).accept(socket));
        tokio::task::spawn_local(Rc::clone(&door).supervise());
        door
    }

    /// What happens here to a connection now.
    pub fn entrance(&self) -> Option<Arc<Entrance>> {
        let mut known = self.entrance.borrow_mut();
        if let Some(entrance) = self.desk.snapshot().entrance(self.listener.address) {
            *known = Some(Arc::clone(entrance));
        }
        known.clone()
    }

    /// Says why a handshake failed; not more often than is worth reading.
    pub fn tell(&self, why: &str, client: IpAddr) {
        let now = self.desk.house.clock.now();
        let is_due = |last| now.saturating_duration_since(last) >= QUIET;
        if self.told.get().is_none_or(is_due) {
            self.told.set(Some(now));
            tracing::info!(listener = %self.name, %client, why, "a TLS handshake failed");
        }
    }

    /// True once it is about to let nobody in any more: answers then say `Connection: close`.
    pub fn is_closing(&self) -> bool {
        self.listener.closing.load(Ordering::Acquire)
    }

    async fn accept(self: Rc<Self>, socket: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = self.close.notified() => break,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer),
                // The client's doing, and over with it.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {
                    self.accept_errors.inc();
                }
                Err(error) => {
                    self.accept_errors.inc();
                    tracing::warn!(%error, listener = %self.name, "cannot accept a connection");
                    tokio::time::sleep(REST).await;
                }
            }
        }
        for (stream, peer) in socket::close(socket) {
            self.admit(stream, peer);
        }
        self.listening.set(false);
        self.ended.notify_one();
    }

    /// Nobody is here any more, and nobody comes.
    fn is_empty(&self) -> bool {
        self.lines.borrow_mut().retain(|line| line.strong_count() > 0);
        !self.listening.get() && self.lines.borrow().is_empty()
    }

    /// Whether there is room for one more connection of this client.
    fn room(&self, address: SocketAddr) -> Result<Admitted, Full> {
        let snapshot = self.desk.snapshot();
        let (bounds, ip) = (&snapshot.bounds, address.ip().to_canonical());
        let entrance = self.entrance();
        let proxies = entrance.as_ref().and_then(|entrance| entrance.proxies.as_ref());
        let is_many = snapshot.trusted.contains(ip) || proxies.is_some_and(|it| it.contains(ip));
        let per_client = (!is_many).then_some(bounds.connections_per_client);
        let most = Most { in_all: bounds.connections, per_client };
        self.desk.house.clients.admit(ip, most)
    }

    fn admit(self: &Rc<Self>, stream: TcpStream, address: SocketAddr) {
        let admitted = match self.room(address) {
            Ok(admitted) => admitted,
            Err(Full::InAll) => return self.refused_in_all.inc(),
            Err(Full::PerClient) => return self.refused_per_client.inc(),
        };
        let _ = stream.set_nodelay(true);
        let line = Line::new();
        self.lines.borrow_mut().push(Rc::downgrade(&line));
        self.connections.add(1);
        let door = Rc::clone(self);
        tokio::task::spawn_local(async move {
            connection::serve(&door, &line, address, stream).await;
            drop((line, admitted));
            door.connections.add(-1);
            door.ended.notify_one();
        });
    }

    /// Looks at every connection once per tick, until the door is closed and all are gone.
    async fn supervise(self: Rc<Self>) {
        loop {
            let bounds = self.desk.snapshot().bounds;
            let tick = bounds.tick();
            tokio::time::sleep(tick).await;
            if self.is_empty() {
                return;
            }
            self.each(|line| line.check(tick, &bounds));
        }
    }

    fn each(&self, mut act: impl FnMut(&Line)) {
        for line in self.lines.borrow().iter().filter_map(Weak::upgrade) {
            act(&line);
        }
    }

    /// After [`Listener::begin_to_close`]: lets nobody in any more and waits until everybody has left.
    /// Requests are answered with `Connection: close`, connections that rest are kept for `grace`, and
    /// what is left at the `deadline` is cut off.
    pub async fn shut(self: Rc<Self>, drain: DrainPlan) {
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
            if self.is_empty() {
                return;
            }
            tokio::select! {
                () = self.ended.notified() => {}
                () = &mut grace, if in_grace => {
                    in_grace = false;
                    self.each(|line| line.order(Order::Finish));
                }
                () = &mut deadline => break,
            }
        }
        self.each(|line| line.order(Order::Abort));
        let _ = tokio::time::timeout(FAREWELL, async {
            tokio::task::yield_now().await;
            while !self.is_empty() {
                self.ended.notified().await;
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}
