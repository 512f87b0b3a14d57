//! One thread, one single-threaded runtime, one share of every listener.

use std::cell::RefCell;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::{Clock, Worker};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use crate::gateway::House;
use crate::listen::{Door, Listener};
use crate::plan::DrainPlan;
use crate::snapshot::Snapshot;

/// How often a worker drops what belongs to parts that are gone.
const SWEEP: Duration = Duration::from_secs(1);

/// What the control thread tells a worker.
pub enum Command {
    Listen {
        listener: Arc<Listener>,
        socket: TcpListener,
    },
    /// Close these, and say when everybody has left.
    Shut {
        listeners: Vec<Arc<Listener>>,
        drain: DrainPlan,
        done: oneshot::Sender<()>,
    },
}

/// What a worker's parts share: itself, the house, and the snapshot that it saw last.
pub struct Desk {
    pub worker: Rc<Worker>,
    pub house: Arc<House>,
    seen: RefCell<Rc<Arc<Snapshot>>>,
}

impl Desk {
    /// The running snapshot. A shared reference count is written only when it is a new one.
    pub fn snapshot(&self) -> Rc<Arc<Snapshot>> {
        let current = self.house.snapshot();
        if Arc::ptr_eq(&current, &self.seen.borrow()) {
            return Rc::clone(&self.seen.borrow());
        }
        let new = Rc::new(Arc::clone(&current));
        drop(self.seen.replace(Rc::clone(&new)));
        new
    }
}

/// A worker's thread, until its commands end.
pub fn run(
    index: usize,
    house: Arc<House>,
    commands: mpsc::Receiver<Command>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let worker = Worker::new(index, Clock::clone(&house.clock));
    let seen = RefCell::new(Rc::new(Arc::clone(&house.snapshot())));
    let desk = Rc::new(Desk { worker, house, seen });
    let local = LocalSet::new();
    local.block_on(&runtime, serve(Rc::clone(&desk), commands));
    let log = Arc::clone(&desk.snapshot().log);
    drop(local); // connections that were cut off write their records now
    log.flush(&desk.worker);
    Ok(())
}

async fn serve(desk: Rc<Desk>, mut commands: mpsc::Receiver<Command>) {
    let mut doors: Vec<Rc<Door>> = Vec::new();
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        let command = tokio::select! {
            command = commands.recv() => command,
            _ = sweep.tick() => {
                desk.worker.sweep();
                desk.snapshot();
                continue;
            }
        };
        match command {
            None => return,
            Some(Command::Listen { listener, socket }) => {
                let address = listener.address;
                match tokio::net::TcpListener::from_std(socket) {
                    Ok(socket) => doors.push(Door::open(&desk, listener, socket)),
                    Err(error) => tracing::error!(%error, %address, "cannot listen"),
                }
            }
            Some(Command::Shut { listeners, drain, done }) => {
                let goes = |door: &Rc<Door>| {
                    listeners.iter().any(|listener| Arc::ptr_eq(listener, &door.listener))
                };
                let (closing, open) = doors.drain(..).partition(goes);
                doors = open;
                tokio::task::spawn_local(shut(closing, drain, done));
            }
        }
    }
}

async fn shut(doors: Vec<Rc<Door>>, drain: DrainPlan, done: oneshot::Sender<()>) {
    futures_util::future::join_all(doors.into_iter().map(|door| door.shut(drain))).await;
    let _ = done.send(());
}
