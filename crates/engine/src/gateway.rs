//! The whole gateway from the control thread's view: start, reload, end.
//!
//! Reload is read -> decode -> plan -> build -> swap. Whatever fails, fails before anything changed.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use arc_swap::{ArcSwap, Guard};
use portcullis_core::metrics::{Counter, Gauge, Metrics};
use portcullis_core::{Clock, Task};
use tokio::sync::{mpsc, oneshot};

use crate::listen::Listener;
use crate::listen::clients::Clients;
use crate::listen::socket::{self, Inherited};
use crate::load::{Source, load};
use crate::metrics::{CONFIG_INFO, DROPPED_LINES, RELOADS};
use crate::plan::{DrainPlan, ListenerPlan, LogPlan, Plan};
use crate::records::writer::{Destination, Writer};
use crate::records::{AccessLog, Format};
use crate::snapshot::{self, Snapshot};
use crate::worker::{self, Command};

/// What all threads share.
pub struct House {
    snapshot: ArcSwap<Snapshot>,
    pub metrics: Metrics,
    pub clock: Clock,
    pub clients: Arc<Clients>,
    draining: AtomicBool,
    report: Mutex<String>,
}

impl House {
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// False from the moment on at which the gateway was told to end.
    pub fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed)
    }

    /// What the last reload complained about; empty when it was applied.
    pub fn last_refusal(&self) -> String {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn say(&self, refusal: String) {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }
}

/// What came of a reload.
#[derive(Debug, PartialEq, Eq)]
pub enum Reload {
    Applied,
    Unchanged,
    /// Nothing changed; the text says why.
    Refused(String),
}

/// Metrics of the process itself: those that nobody holds are swept.
struct Told {
    applied: Counter,
    unchanged: Counter,
    refused: Counter,
    configuration: Gauge,
}

impl Told {
    fn new(house: &House) -> Self {
        let reloads = |outcome| house.metrics.counter(&RELOADS, &[outcome]);
        Self {
            applied: reloads("applied"),
            unchanged: reloads("unchanged"),
            refused: reloads("refused"),
            configuration: Self::running(house),
        }
    }

    /// Names the running configuration.
    fn running(house: &House) -> Gauge {
        let hash = format!("{:016x}", house.snapshot().plan.hash);
        let gauge = house.metrics.gauge(&CONFIG_INFO, &[&hash]);
        gauge.set(1);
        gauge
    }
}

struct Thread {
    commands: mpsc::Sender<Command>,
    handle: JoinHandle<io::Result<()>>,
}

/// A running gateway.
pub struct Gateway {
    pub house: Arc<House>,
    told: Told,
    source: Source,
    threads: Vec<Thread>,
    listeners: Vec<Arc<Listener>>,
    log: Arc<AccessLog>,
    log_plan: LogPlan,
}

impl Gateway {
    /// Binds, starts the workers and begins to serve. Runs on a `LocalSet`: tasks of parts start
    /// there. An error leaves nothing behind.
    pub async fn start(
        plan: Plan,
        source: Source,
        clock: Clock,
        mut inherited: Inherited,
    ) -> Result<Self, String> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = plan.workers.unwrap_or(cores);
        let metrics = Metrics::default();
        let log_plan = plan.log.clone();
        let log = open_log(&log_plan, &metrics).map_err(|error| cannot_log(&log_plan, &error))?;
        let mut bound = Vec::new();
        for ListenerPlan { address, .. } in &plan.listeners {
            bound.push(bind(*address, count, &mut inherited)?);
        }
        let real: Vec<_> = bound.iter().map(|(listener, _)| listener.address).collect();
        let (snapshot, tasks) =
            snapshot::build(Arc::new(plan), &real, &clock, &metrics, Arc::clone(&log), None);
        let house = Arc::new(House {
            snapshot: ArcSwap::from_pointee(snapshot),
            metrics,
            clock,
            clients: Arc::default(),
            draining: AtomicBool::default(),
            report: Mutex::default(),
        });
        start(tasks);
        let threads =
            spawn(count, &house).map_err(|error| format!("cannot start a worker: {error}"))?;
        let told = Told::new(&house);
        let listeners = Vec::new();
        let mut gateway = Self { house, told, source, threads, listeners, log, log_plan };
        for (listener, sockets) in bound {
            gateway.listen(listener, sockets).await;
        }
        Ok(gateway)
    }

    /// The addresses that clients can connect to now.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.listeners.iter().map(|listener| listener.address)
    }

    /// The same as URLs.
    pub fn urls(&self) -> Vec<String> {
        let snapshot = self.house.snapshot();
        let is_secure = |address| snapshot.entrance(address).is_some_and(|it| it.tls.is_some());
        let url = |address| match is_secure(address) {
            true => format!("https://{address}"),
            false => format!("http://{address}"),
        };
        self.addresses().map(url).collect()
    }

    /// Opens the access log's file again.
    pub fn reopen_log(&self) {
        self.log.writer().reopen();
    }

    /// Reads the configuration again and, if it is good, runs it.
    pub async fn reload(&mut self) -> Reload {
        let loaded = load(&self.source);
        let outcome = match loaded.plan {
            None => Reload::Refused(loaded.diagnostics.render(&loaded.sources, false)),
            Some(plan) if plan.hash == self.house.snapshot().plan.hash && plan.files.is_empty() => {
                Reload::Unchanged
            }
            Some(plan) => match self.apply(plan).await {
                Ok(()) => Reload::Applied,
                Err(why) => Reload::Refused(why),
            },
        };
        match &outcome {
            Reload::Applied => &self.told.applied,
            Reload::Unchanged => &self.told.unchanged,
            Reload::Refused(_) => &self.told.refused,
        }
        .inc();
        self.house.say(match &outcome {
            Reload::Refused(why) => why.clone(),
            Reload::Applied | Reload::Unchanged => String::new(),
        });
        outcome
    }

    async fn apply(&mut self, plan: Plan) -> Result<(), String> {
        let mut log = None;
        if plan.log != self.log_plan {
            let new = open_log(&plan.log, &self.house.metrics);
            log = Some((plan.log.clone(), new.map_err(|error| cannot_log(&plan.log, &error))?));
        }
        let mut gone = self.listeners.clone();
        let (mut kept, mut bound, mut real) = (Vec::new(), Vec::new(), Vec::new());
        for ListenerPlan { address, .. } in &plan.listeners {
            if let Some(known) = gone.iter().position(|known| known.written == *address) {
                kept.push(gone.remove(known));
                real.extend(kept.last().map(|listener| listener.address));
                continue;
            }
            let new = bind(*address, self.threads.len(), &mut Inherited::default())?;
            real.push(new.0.address);
            bound.push(new);
        }
        if let Some((plan, log)) = log {
            (self.log_plan, self.log) = (plan, log);
        }
        let drain = plan.drain;
        let old = self.house.snapshot.load_full();
        let log = Arc::clone(&self.log);
        let house = Arc::clone(&self.house);
        let (snapshot, tasks) =
            snapshot::build(Arc::new(plan), &real, &house.clock, &house.metrics, log, Some(&old));
        house.snapshot.store(Arc::new(snapshot));
        start(tasks);
        self.listeners = kept;
        for (listener, sockets) in bound {
            self.listen(listener, sockets).await;
        }
        if !gone.is_empty() {
            drop(self.shut(gone, drain).await); // connections leave in their own time
        }
        drop(old);
        self.told.configuration = Told::running(&self.house);
        self.house.metrics.sweep();
        Ok(())
    }

    /// /readyz says no from now on; everything else goes on.
    pub fn announce_end(&self) {
        self.house.draining.store(true, Ordering::Relaxed);
    }

    /// Ends: the listeners drain, then the workers and the log stop.
    pub async fn stop(self) {
        self.announce_end();
        let drain = self.house.snapshot().plan.drain;
        tokio::time::sleep(drain.delay).await;
        let all = self.listeners.clone();
        for done in self.shut(all, drain).await {
            let _ = done.await;
        }
        for thread in self.threads {
            drop(thread.commands);
            let _ = thread.handle.join();
        }
        self.log.writer().finish();
    }

    async fn listen(&mut self, listener: Arc<Listener>, sockets: Vec<TcpListener>) {
        for (thread, socket) in self.threads.iter().zip(sockets) {
            let listener = Arc::clone(&listener);
            let _ = thread.commands.send(Command::Listen { listener, socket }).await;
        }
        self.listeners.push(listener);
    }

    async fn shut(
        &self,
        listeners: Vec<Arc<Listener>>,
        drain: DrainPlan,
    ) -> Vec<oneshot::Receiver<()>> {
        listeners.iter().for_each(|listener| listener.begin_to_close());
        let mut all = Vec::new();
        for thread in &self.threads {
            let (done, waiting) = oneshot::channel();
            let listeners = listeners.clone();
            let _ = thread.commands.send(Command::Shut { listeners, drain, done }).await;
            all.push(waiting);
        }
        all
    }
}

fn start(tasks: Vec<Task>) {
    for task in tasks {
        tokio::task::spawn_local((task.start)());
    }
}

fn bind(
    address: SocketAddr,
    count: usize,
    inherited: &mut Inherited,
) -> Result<(Arc<Listener>, Vec<TcpListener>), String> {
    let (real, sockets) = socket::open(address, count, inherited)
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    Ok((Listener::new(address, real), sockets))
}

fn spawn(count: usize, house: &Arc<House>) -> io::Result<Vec<Thread>> {
    let thread = |index| {
        let (commands, queue) = mpsc::channel(64);
        let house = Arc::clone(house);
        let builder = std::thread::Builder::new().name(format!("worker-{index}"));
        let handle = builder.spawn(move || worker::run(index, house, queue))?;
        Ok(Thread { commands, handle })
    };
    (0..count).map(thread).collect()
}

fn open_log(plan: &LogPlan, metrics: &Metrics) -> io::Result<Arc<AccessLog>> {
    let destination = match &plan.file {
        Some(path) => Destination::File(path.clone()),
        None => Destination::Stdout,
    };
    let terminal = plan.file.is_none() && io::IsTerminal::is_terminal(&io::stdout());
    let format = plan.format.unwrap_or(if terminal { Format::Text } else { Format::Json });
    let dropped = metrics.counter(&DROPPED_LINES, &[]);
    Ok(Arc::new(AccessLog::new(Writer::start(destination)?, format, dropped)))
}

fn cannot_log(plan: &LogPlan, error: &io::Error) -> String {
    let place =
        plan.file.as_ref().map_or("standard output".into(), |path| path.display().to_string());
    format!("cannot write the access log to {place}: {error}")
}
