//! Load at a fixed rate, with the time of every single request. Debian's tools send such load in
//! bursts of all connections at once, which measures the burst; here the requests are spread evenly,
//! and a request that had to wait for its connection is timed from when it was due.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::rows::CONNECTIONS;

/// How long one answer may take before the bench gives up.
const BOUND: Duration = Duration::from_secs(60);

/// Times of all requests, in microseconds, sorted.
pub(crate) struct Times(Vec<u32>);

impl Times {
    pub(crate) fn percentile(&self, percent: usize) -> u64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get(last * percent / 100).copied().unwrap_or_default().into()
    }
}

/// `rate` requests a second in all, for this many seconds.
pub(crate) fn at_rate(port: u16, path: &str, rate: u64, seconds: u64) -> Result<Times> {
    let gap = Duration::from_secs(1) * CONNECTIONS / u32::try_from(rate)?.max(1);
    let count = u32::try_from(rate * seconds / u64::from(CONNECTIONS))?.max(1);
    let open = |_| Connection::open(port, path);
    let connections = (0..CONNECTIONS).map(open).collect::<Result<Vec<_>>>()?;
    let start = now() + Duration::from_millis(50);
    let all: Result<Vec<Vec<u32>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0_u32..)
            .zip(connections)
            .map(|(number, connection)| {
                let first = start + gap * number / CONNECTIONS;
                scope.spawn(move || drive(connection, first, gap, count))
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
pub(crate) fn exactly(port: u16, path: &str, count: u64) -> Result<()> {
    let mut connection = Connection::open(port, path)?;
    (0..count).try_for_each(|_| connection.exchange())
}

fn drive(
    mut connection: Connection,
    first: Instant,
    gap: Duration,
    count: u32,
) -> Result<Vec<u32>> {
    let mut times = Vec::new();
    for number in 0..count {
        let due = first + gap * number;
        let wait = due.checked_duration_since(now());
        // Its connection was busy until after it was due: that wait is the peer's.
        let mut since = due;
        if let Some(wait) = wait {
            std::thread::sleep(wait);
            since = now();
        }
        connection.exchange()?;
        times.push(u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(times)
}

#[allow(clippy::disallowed_methods)] // the time of real requests to a real process
fn now() -> Instant {
    Instant::now()
}

/// One kept-alive connection and the request that it repeats.
struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    fn open(port: u16, path: &str) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(BOUND))?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").into_bytes();
        Ok(Self { stream, request, answer: Vec::new() })
    }

    /// Sends the request and reads the whole answer, which has to be a 200 of a known length.
    fn exchange(&mut self) -> Result<()> {
        self.stream.write_all(&self.request)?;
        self.answer.clear();
        let mut part = [0_u8; 8192];
        loop {
            let read = self.stream.read(&mut part)?;
            if read == 0 {
                bail!("the connection was closed inside an answer");
            }
            self.answer.extend_from_slice(part.get(..read).unwrap_or_default());
            if whole(&self.answer)? {
                return Ok(());
            }
        }
    }
}

/// Whether an answer is complete: head, and as many bytes as its Content-Length says.
fn whole(answer: &[u8]) -> Result<bool> {
    let Some(head_end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(false);
    };
    let head = String::from_utf8_lossy(answer.get(..head_end).unwrap_or_default());
    if !head.starts_with("HTTP/1.1 200 ") {
        bail!("not a success: {head}");
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    let length = length.with_context(|| format!("an answer without a length: {head}"))??;
    Ok(answer.len() >= head_end + 4 + length)
}

#[test]
fn an_answer_ends_where_its_length_says() {
    assert!(!whole(b"HTTP/1.1 200 OK\r\nContent-").unwrap());
    assert!(!whole(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab").unwrap());
    assert!(whole(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").unwrap());
    assert!(whole(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").is_err());
}
