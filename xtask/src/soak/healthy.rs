//! Healthy clients beside whatever a job does: they must not notice it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::client::{Connection, now};

/// Between two requests of one client, so that load leaves room for the job.
const PAUSE: Duration = Duration::from_millis(2);

pub(crate) struct Healthy {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Tally>>,
}

#[derive(Default)]
struct Tally {
    times_us: Vec<u32>,
    failures: u64,
    first: Option<String>,
}

/// What all of them saw together.
pub(crate) struct Seen {
    pub(crate) requests: usize,
    pub(crate) p99: Duration,
    pub(crate) worst: Duration,
}

impl Healthy {
    pub(crate) fn start(port: u16, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || ask(port, &stop))
        };
        Self { clients: (0..clients).map(client).collect(), stop }
    }

    /// Stops them. One failed request is an error.
    pub(crate) fn finish(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for client in self.clients {
            let one = client.join().ok().context("a healthy client died")?;
            all.times_us.extend(one.times_us);
            all.failures += one.failures;
            all.first = all.first.or(one.first);
        }
        if let Some(first) = all.first {
            let requests = all.times_us.len();
            bail!("{} failures beside {requests} good requests; the first: {first}", all.failures);
        }
        all.times_us.sort_unstable();
        let last = all.times_us.len().saturating_sub(1);
        let at = |at: usize| all.times_us.get(at).copied().unwrap_or_default();
        let time = |us: u32| Duration::from_micros(us.into());
        Ok(Seen {
            requests: all.times_us.len(),
            p99: time(at(last * 99 / 100)),
            worst: time(at(last)),
        })
    }
}

/// One client on one kept connection, until told to stop.
fn ask(port: u16, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let mut connection = None;
    while !stop.load(Ordering::Relaxed) {
        let begun = now();
        let result = connection
            .take()
            .map_or_else(|| Connection::open(port, "/healthy"), Ok)
            .and_then(|mut open| open.exchange().map(|_| ()).map(|()| open));
        match result {
            Ok(open) => {
                let time = begun.elapsed().as_micros();
                tally.times_us.push(u32::try_from(time).unwrap_or(u32::MAX));
                connection = Some(open);
            }
            Err(error) => {
                tally.failures += 1;
                tally.first.get_or_insert_with(|| format!("{error:#}"));
            }
        }
        std::thread::sleep(PAUSE);
    }
    tally
}
