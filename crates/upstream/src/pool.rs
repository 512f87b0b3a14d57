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
use crate::balance::{Balance, Picker};
use crate::connection::{Connection, Counted, Readiness};
use crate::endpoint::Endpoint;
use crate::health::is_panic;
use crate::metrics::UpstreamMetrics;

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
}

/// One worker's pools, in the order of the upstream's endpoints.
pub(crate) struct Pools {
    pools: Vec<Rc<Pool>>,
    picker: Picker,
    sweeping: Cell<bool>,
    gauges: Gauges,
}

/// The connections to one endpoint.
pub(crate) struct Pool {
    /// The worker's own copies: cores that count references to the same text get in each other's way.
    pub(crate) label: Arc<str>,
    pub(crate) host: HeaderValue,
    idle: RefCell<Vec<Idle>>,
    open: Rc<Cell<usize>>,
    /// How many were opened: names with several addresses take them in turn.
    opened: Cell<usize>,
    limits: Limits,
    clock: Clock,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pools {
    pub(crate) fn new(
        endpoints: &[Arc<Endpoint>],
        balance: &Balance,
        limits: Limits,
        metrics: &UpstreamMetrics,
        worker: &Worker,
    ) -> Self {
        let pool = |endpoint: &Arc<Endpoint>| {
            let host = HeaderValue::from_bytes(endpoint.host_header.as_bytes());
            Rc::new(Pool {
                label: Arc::from(endpoint.authority.as_str()),
                host: host.unwrap_or_else(|_| endpoint.host_header.clone()),
                idle: RefCell::default(),
                open: Rc::default(),
                opened: Cell::new(worker.index),
                limits,
                clock: worker.clock.clone(),
            })
        };
        Self {
            pools: endpoints.iter().map(pool).collect(),
            picker: Picker::new(
                balance,
                endpoints.iter().map(|endpoint| (endpoint.authority.as_str(), endpoint.weight)),
                worker.index as u64,
            ),
            sweeping: Cell::new(false),
            gauges: Gauges::new(metrics),
        }
    }

    /// The endpoint that a request goes to: one that resolves and was not asked yet, and that is not
    /// set aside while there are others. `now` is as health counts.
    pub(crate) fn pick<'e>(
        &self,
        endpoints: &'e [Arc<Endpoint>],
        asked: Option<usize>,
        affinity: Option<u64>,
        now: Duration,
    ) -> Option<(usize, &'e Arc<Endpoint>, &Rc<Pool>)> {
        let usable =
            |place| asked != Some(place) && endpoints.get(place).is_some_and(|it| it.is_resolved());
        let load = |place: usize| endpoints.get(place).map(|endpoint| &endpoint.load);
        let aside = |endpoint: &Arc<Endpoint>| endpoint.health.is_aside(now);
        let count = endpoints.iter().filter(|endpoint| aside(endpoint)).count();
        let in_use = |place| usable(place) && !endpoints.get(place).is_some_and(aside);
        let healthy = (count > 0 && !is_panic(count, endpoints.len()))
            .then(|| self.picker.pick(in_use, load, affinity))
            .flatten();
        let place = healthy.or_else(|| self.picker.pick(usable, load, affinity))?;
        Some((place, endpoints.get(place)?, self.pools.get(place)?))
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
        for pool in &self.pools {
            pool.sweep();
            open += pool.open.get();
            idle += pool.idle.borrow().len();
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
    /// A waiting connection that can be used.
    pub(crate) fn take(&self, endpoint: &Endpoint, now: Instant) -> Option<Connection> {
        let mut unusable = Vec::new(); // dropped after the borrow
        let mut idle = self.idle.borrow_mut();
        let found = loop {
            let Some(Idle { connection, since }) = idle.pop() else { break None };
            let usable = connection.readiness() == Readiness::Ready
                && now.saturating_duration_since(since) < self.limits.idle_timeout
                && endpoint.has(connection.peer);
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
        let turn = self.opened.get();
        self.opened.set(turn.wrapping_add(1));
        let open = Counted::new(&self.open);
        Connection::open(&endpoint.addresses(), turn, within, open).await
    }

    /// Takes back a connection whose answer has ended.
    pub(crate) fn give_back(self: &Rc<Self>, connection: Connection) {
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

    fn sweep(&self) {
        let now = self.clock.now();
        let fresh = |idle: &Idle| {
            idle.connection.readiness() != Readiness::Closed
                && now.saturating_duration_since(idle.since) < self.limits.idle_timeout
        };
        let mut idle = self.idle.borrow_mut();
        let (kept, old): (Vec<_>, Vec<_>) = idle.drain(..).partition(fresh);
        *idle = kept;
        drop(idle);
        drop(old);
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
