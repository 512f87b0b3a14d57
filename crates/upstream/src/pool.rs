//! One worker's connections to one upstream: taken for a request, given back when its answer has
//! ended. The one that was used last is taken first, so that the others can grow old and go.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;
use portcullis_core::metrics::Gauge;
use portcullis_core::{Clock, Worker};

use crate::attempt::Lost;
use crate::connection::{Connection, Counted, Readiness};
use crate::endpoint::Endpoint;
use crate::h2::Streams;
use crate::metrics::UpstreamMetrics;
use crate::set::{Member, Set};
use crate::upstream::Upstream;

/// How often old connections are looked for while there are any.
const SWEEP: Duration = Duration::from_secs(1);

/// How long an exchange whose answer has ended may take to end as well. It is over already unless
/// the endpoint answered before it had read the request.
const SETTLE: Duration = Duration::from_secs(1);

/// How many connections wait, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Limits {
    pub(crate) max_idle: usize,
    pub(crate) idle_timeout: Duration,
    /// Requests that share a connection of HTTP/2; `None`: HTTP/1.1.
    pub(crate) max_streams: Option<usize>,
}

/// What one worker has of an upstream: its endpoints as they are now, with connections to each.
pub(crate) struct Pools {
    set: RefCell<Rc<Set>>,
    sweeping: Cell<bool>,
    gauges: Gauges,
}

/// The connections to one endpoint.
pub(crate) struct Pool {
    /// The worker's own copies: cores that count references to the same text get in each other's way.
    pub(crate) label: Arc<str>,
    pub(crate) host: HeaderValue,
    idle: RefCell<Vec<Idle>>,
    /// Of HTTP/2.
    pub(crate) streams: Option<Streams>,
    open: Rc<Cell<usize>>,
    limits: Limits,
    clock: Clock,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pools {
    pub(crate) fn new(upstream: &Upstream, worker: &Worker) -> Self {
        let set = Set::new(upstream, worker, &[]);
        Self {
            set: RefCell::new(Rc::new(set)),
            sweeping: Cell::new(false),
            gauges: Gauges::new(&upstream.metrics),
        }
    }

    /// The endpoints of now. Connections to those that stay are kept.
    pub(crate) fn set(&self, upstream: &Upstream, worker: &Worker) -> Rc<Set> {
        let set = Rc::clone(&self.set.borrow());
        if set.generation == upstream.sources.generation() {
            return set;
        }
        let next = Rc::new(Set::new(upstream, worker, &set.members));
        *self.set.borrow_mut() = Rc::clone(&next);
        next
    }

    /// Looks after waiting connections for as long as there are any open.
    pub(crate) fn keep_swept(self: &Rc<Self>) {
        if !self.sweeping.replace(true) {
            tokio::task::spawn_local(sweep(Rc::downgrade(self)));
        }
    }

    /// True when nothing is open any more.
    fn sweep(&self) -> bool {
        let (mut open, mut idle) = (0, 0);
        let set = Rc::clone(&self.set.borrow());
        for Member { pool, .. } in &set.members {
            idle += pool.sweep();
            open += pool.open.get();
        }
        self.gauges.show(idle, open.saturating_sub(idle));
        open == 0
    }
}

async fn sweep(pools: Weak<Pools>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(pools) = pools.upgrade() else { return };
        if pools.sweep() {
            pools.sweeping.set(false);
            return;
        }
    }
}

impl Pool {
    pub(crate) fn new(endpoint: &Endpoint, limits: Limits, clock: &Clock) -> Rc<Self> {
        let host = HeaderValue::from_bytes(endpoint.host.as_bytes());
        Rc::new(Self {
            label: Arc::from(&*endpoint.label),
            host: host.unwrap_or_else(|_| endpoint.host.clone()),
            idle: RefCell::default(),
            streams: limits.max_streams.map(Streams::new),
            open: Rc::default(),
            limits,
            clock: clock.clone(),
        })
    }

    /// A waiting connection that can be used.
    pub(crate) fn take(&self, now: Instant) -> Option<Connection> {
        let mut unusable = Vec::new(); // dropped after the borrow
        let mut idle = self.idle.borrow_mut();
        let found = loop {
            let Some(Idle { mut connection, since }) = idle.pop() else { break None };
            let usable = connection.readiness() == Readiness::Ready
                && now.saturating_duration_since(since) < self.limits.idle_timeout;
            match usable {
                true => break Some(connection),
                false => unusable.push(connection),
            }
        };
        drop(idle);
        found
    }

    /// A new connection.
    pub(crate) async fn open(
        &self,
        endpoint: &Endpoint,
        within: Duration,
    ) -> Result<Connection, Lost> {
        let (socket, connector) = (endpoint.socket, endpoint.connector.as_ref());
        Connection::open(socket, connector, within, Counted::new(&self.open)).await
    }

    /// Takes back a connection whose answer has ended.
    pub(crate) fn give_back(self: &Rc<Self>, mut connection: Connection) {
        match connection.readiness() {
            Readiness::Ready => self.keep(connection),
            Readiness::Closed => {}
            Readiness::Busy => {
                tokio::task::spawn_local(settle(Rc::downgrade(self), connection));
            }
        }
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.limits.max_idle {
            idle.push(Idle { connection, since: self.clock.now() });
        } // else it is closed here
    }

    /// The count of open connections.
    pub(crate) fn open_connections(&self) -> &Rc<Cell<usize>> {
        &self.open
    }

    /// Closes what is too old. How many are left that have nothing to do?
    fn sweep(&self) -> usize {
        let now = self.clock.now();
        let fresh = |idle: &mut Idle| {
            idle.connection.readiness() != Readiness::Closed
                && now.saturating_duration_since(idle.since) < self.limits.idle_timeout
        };
        let mut idle = self.idle.borrow_mut();
        let old: Vec<_> = idle.extract_if(.., |idle| !fresh(idle)).collect();
        let count = idle.len();
        drop(idle);
        drop(old);
        let streams = self.streams.as_ref();
        count + streams.map_or(0, |streams| streams.sweep(now, self.limits.idle_timeout))
    }
}

async fn settle(pool: Weak<Pool>, mut connection: Connection) {
    let settled = tokio::time::timeout(SETTLE, connection.settled()).await;
    if let (Ok(true), Some(pool)) = (settled, pool.upgrade()) {
        pool.keep(connection);
    }
}

/// This worker's part of the two gauges that all workers share.
struct Gauges {
    idle: Gauge,
    busy: Gauge,
    shown: Cell<(i64, i64)>,
}

impl Gauges {
    fn new(metrics: &UpstreamMetrics) -> Self {
        let (idle, busy) = (metrics.idle.clone(), metrics.busy.clone());
        Self { idle, busy, shown: Cell::new((0, 0)) }
    }

    fn show(&self, idle: usize, busy: usize) {
        let count = |value| i64::try_from(value).unwrap_or(i64::MAX);
        let (idle, busy) = (count(idle), count(busy));
        let (idle_before, busy_before) = self.shown.replace((idle, busy));
        self.idle.add(idle - idle_before);
        self.busy.add(busy - busy_before);
    }
}

impl Drop for Gauges {
    fn drop(&mut self) {
        self.show(0, 0);
    }
}
