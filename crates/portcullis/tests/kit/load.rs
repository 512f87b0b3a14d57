//! Steady load on kept-alive connections that counts every failure: for tests that say "no request
//! fails meanwhile".

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;

use super::BOUND;
use super::client::{Ask, Connection, Got};

/// What the load has seen so far.
#[derive(Debug, Default)]
pub struct Tally {
    pub answered: Cell<u64>,
    /// Connections that were opened, also again after a `Connection: close`.
    pub connections: Cell<u64>,
    /// The first failures, in words.
    pub failures: RefCell<Vec<String>>,
    pub failed: Cell<u64>,
}

impl Tally {
    fn fail(&self, why: String) {
        self.failed.set(self.failed.get() + 1);
        let mut failures = self.failures.borrow_mut();
        if failures.len() < 10 {
            failures.push(why);
        }
    }
}

/// Clients that ask again as soon as they are answered, until they are stopped.
pub struct Load {
    pub tally: Rc<Tally>,
    stop: Rc<Cell<bool>>,
    clients: JoinSet<()>,
}

impl Load {
    /// `good` says what counts as a success; anything else is a failure.
    pub fn start(
        address: SocketAddr,
        clients: usize,
        ask: &Ask,
        good: fn(&Got) -> Result<(), String>,
    ) -> Self {
        let mut load = Self { tally: Rc::default(), stop: Rc::default(), clients: JoinSet::new() };
        for _ in 0..clients {
            let (tally, stop) = (Rc::clone(&load.tally), Rc::clone(&load.stop));
            load.clients.spawn_local(client(address, ask.clone(), good, tally, stop));
        }
        load
    }

    /// Waits until this many more requests have been answered.
    pub async fn more(&self, requests: u64) -> Result<()> {
        let goal = self.tally.answered.get() + requests;
        super::pause::eventually(BOUND * 3, || async {
            let answered = self.tally.answered.get();
            anyhow::ensure!(answered >= goal, "{answered} answers, waiting for {goal}");
            Ok(())
        })
        .await
    }

    /// No client begins another request.
    pub fn stop_asking(&self) {
        self.stop.set(true);
    }

    /// Stops the clients, each after the answer that it waits for.
    pub async fn stop(mut self) -> Result<Rc<Tally>> {
        self.stop_asking();
        let ended = async { while self.clients.join_next().await.is_some() {} };
        super::pause::within(Duration::from_secs(20), "the end of all clients", ended).await?;
        Ok(self.tally)
    }
}

async fn client(
    address: SocketAddr,
    ask: Ask,
    good: fn(&Got) -> Result<(), String>,
    tally: Rc<Tally>,
    stop: Rc<Cell<bool>>,
) {
    let mut kept: Option<Connection> = None;
    while !stop.get() {
        let opened = match kept.take() {
            Some(connection) => Ok(connection),
            None => {
                tally.connections.set(tally.connections.get() + 1);
                Connection::open_for(address, &ask).await
            }
        };
        let mut connection = match opened {
            Ok(connection) => connection,
            // A port that nobody listens on any more ends the load: whether that is right is
            // for the test to say.
            Err(error) => return tally.fail(format!("connect: {error:#}")),
        };
        match connection.send(&ask, BOUND).await {
            Ok(got) => {
                if let Err(why) = good(&got) {
                    tally.fail(why);
                }
                tally.answered.set(tally.answered.get() + 1);
                let close = got.headers.joined("connection").is_some_and(|it| it.contains("close"));
                kept = (!close).then_some(connection);
            }
            Err(error) => tally.fail(format!("{error:#}")),
        }
    }
}
