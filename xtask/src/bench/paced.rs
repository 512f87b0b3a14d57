//! Load at a fixed rate, with the time of every single request. Debian's tools send such load in
//! bursts of all connections at once, which measures the burst; here the requests are spread evenly,
//! and a request that had to wait for its connection is timed from when it was due.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::rows::{CONNECTIONS, Job};
use crate::client::{Connection, now};

/// Times of all requests, in microseconds, sorted.
#[derive(Default)]
pub(crate) struct Times(Vec<u32>);

impl Times {
    pub(crate) fn percentile(&self, percent: usize) -> u64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get(last * percent / 100).copied().unwrap_or_default().into()
    }
}

/// What is asked: the path, and header lines that requests take in turn.
#[derive(Clone, Copy)]
pub(crate) struct Requests<'a> {
    pub(crate) port: u16,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [String],
    pub(crate) job: Job,
    /// Of every answer.
    pub(crate) status: u16,
}

impl Requests<'_> {
    fn open(&self) -> Result<Connection> {
        let mut connection = Connection::open(self.port, self.path)?;
        if let Job::Post(bytes) = self.job {
            connection.set_body(self.path, bytes);
        }
        Ok(connection)
    }

    /// One request, whose answer has to be the right one.
    fn exchange(&self, connection: &mut Connection) -> Result<()> {
        match connection.status()? {
            status if status == self.status => Ok(()),
            status => bail!("answered {status} instead of {}", self.status),
        }
    }

    /// Lets the connection ask as request number `number`.
    fn prepare(&self, connection: &mut Connection, number: u32) {
        let turn = (number as usize).checked_rem(self.headers.len());
        if let Some(headers) = turn.and_then(|turn| self.headers.get(turn)) {
            connection.set_headers(self.path, headers);
        }
    }
}

/// `rate` requests a second in all, for this many seconds.
pub(crate) fn at_rate(requests: Requests<'_>, rate: u64, seconds: u64) -> Result<Times> {
    let gap = Duration::from_secs(1) * CONNECTIONS / u32::try_from(rate)?.max(1);
    let count = u32::try_from(rate * seconds / u64::from(CONNECTIONS))?.max(1);
    let open = |_| requests.open();
    let connections = (0..CONNECTIONS).map(open).collect::<Result<Vec<_>>>()?;
    let start = now() + Duration::from_millis(50);
    let all: Result<Vec<Vec<u32>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0_u32..)
            .zip(connections)
            .map(|(number, connection)| {
                let first = start + gap * number / CONNECTIONS;
                scope.spawn(move || drive(connection, requests, number, first, gap, count))
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join().ok());
        joined.map(|times| times.context("a thread of the load died")?).collect()
    });
    let mut times = all?.concat();
    times.sort_unstable();
    Ok(Times(times))
}

/// Exactly this many requests, one after the other on one connection.
pub(crate) fn exactly(requests: Requests<'_>, count: u32) -> Result<()> {
    let mut connection = requests.open()?;
    (0..count).try_for_each(|number| {
        requests.prepare(&mut connection, number);
        requests.exchange(&mut connection)
    })
}

fn drive(
    mut connection: Connection,
    requests: Requests<'_>,
    own: u32,
    first: Instant,
    gap: Duration,
    count: u32,
) -> Result<Vec<u32>> {
    let mut times = Vec::new();
    for number in 0..count {
        let due = first + gap * number;
        requests.prepare(&mut connection, own + number * CONNECTIONS);
        let wait = due.checked_duration_since(now());
        // Its connection was busy until after it was due: that wait is the peer's.
        let mut since = due;
        if let Some(wait) = wait {
            std::thread::sleep(wait);
            since = now();
        }
        requests.exchange(&mut connection)?;
        times.push(u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(times)
}
