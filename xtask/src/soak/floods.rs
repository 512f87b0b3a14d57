//! Floods of HTTP/2 frames that cost a client little: each connection has to be ended, memory stays
//! flat, and healthy clients beside must not notice.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, HEADERS, PING, RST_STREAM, SETTINGS, WHOLE, WINDOW_UPDATE,
    frame, greeting, request,
};
use super::healthy::Healthy;
use super::house::{House, ensure_flat};

const THREADS: usize = 4;
/// Of each kind, in each round.
const CONNECTIONS: usize = 200;
/// On each connection, if it is let.
const FRAMES: u32 = 20_000;
const END_WITHIN: Duration = Duration::from_secs(15);
const P99: Duration = Duration::from_millis(250);

/// A flood: what comes before it, and its frames by number.
struct Flood {
    name: &'static str,
    before: fn() -> Vec<u8>,
    one: fn(u32) -> Vec<u8>,
}

const FLOODS: [Flood; 6] = [
    Flood { name: "rapid reset", before: Vec::new, one: rapid_reset },
    Flood { name: "resets that we have to send", before: Vec::new, one: made_reset },
    Flood { name: "CONTINUATION", before: begun, one: |_| frame(CONTINUATION, 0, 1, &[]) },
    Flood { name: "PING", before: Vec::new, one: |_| frame(PING, 0, 0, &[0; 8]) },
    Flood { name: "SETTINGS", before: Vec::new, one: |_| frame(SETTINGS, 0, 0, &[]) },
    Flood { name: "empty DATA", before: opened, one: |_| frame(DATA, 0, 1, &[]) },
];

fn stream(number: u32) -> u32 {
    2 * number + 1
}

fn rapid_reset(number: u32) -> Vec<u8> {
    let (stream, cancel) = (stream(number), 8_u32.to_be_bytes());
    let head = frame(HEADERS, WHOLE, stream, &request("GET", "/flood"));
    [head, frame(RST_STREAM, 0, stream, &cancel)].concat()
}

/// A window beyond all bounds is an error of its stream (CVE-2025-8671).
fn made_reset(number: u32) -> Vec<u8> {
    let (stream, window) = (stream(number), 0x7fff_ffff_u32.to_be_bytes());
    let head = frame(HEADERS, END_HEADERS, stream, &request("POST", "/flood"));
    [head, frame(WINDOW_UPDATE, 0, stream, &window)].concat()
}

fn begun() -> Vec<u8> {
    frame(HEADERS, 0, 1, &request("POST", "/flood"))
}

fn opened() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &request("POST", "/flood"))
}

/// The first round brings memory to its working size; the second must not add to it.
pub(crate) fn run(house: &House, _seed: u64) -> Result<String> {
    let healthy = Healthy::start(house.port, 4);
    round(house.port)?;
    let before = house.memory_kib()?;
    let sent = round(house.port)?;
    let memory = ensure_flat(before, house.memory_kib()?)?;
    let seen = healthy.finish()?;
    if seen.p99 > P99 {
        bail!("healthy clients waited: p99 {:?}, worst {:?}", seen.p99, seen.worst);
    }
    let all = FLOODS.len() * CONNECTIONS;
    Ok(format!(
        "{all} connections got {} MiB through before they were ended, memory {memory}; {} healthy \
         requests, p99 {:?}",
        sent >> 20,
        seen.requests,
        seen.p99
    ))
}

/// Every flood on all its connections; gives how many bytes were sent.
fn round(port: u16) -> Result<u64> {
    let sent = AtomicU64::new(0);
    for flood in &FLOODS {
        let frames: Vec<u8> = (0..FRAMES).flat_map(flood.one).collect();
        let start = [greeting(), (flood.before)()].concat();
        std::thread::scope(|scope| {
            let (start, frames, sent) = (&start, &frames, &sent);
            let one = move || -> Result<()> {
                for _ in 0..CONNECTIONS / THREADS {
                    sent.fetch_add(connection(port, start, frames)?, Ordering::Relaxed);
                }
                Ok(())
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(one)).collect();
            let mut joined = threads.into_iter().map(|thread| thread.join().ok());
            joined.try_for_each(|result| result.context("a thread died")?)
        })
        .context(flood.name)?;
    }
    Ok(sent.into_inner())
}

/// Sends for as long as it is let, and waits for the end.
fn connection(port: u16, start: &[u8], frames: &[u8]) -> Result<u64> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(END_WITHIN))?;
    let mut reader = stream.try_clone()?;
    let drain = std::thread::spawn(move || {
        let mut part = [0_u8; 8192];
        loop {
            match reader.read(&mut part) {
                Ok(1..) => {}
                Ok(0) => return true,
                // A reset is an end as well; no word for so long is none.
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    });
    let mut sent = 0;
    for piece in [start, frames].iter().flat_map(|bytes| bytes.chunks(4096)) {
        match stream.write(piece) {
            Ok(count) => sent += count as u64,
            Err(_) => break,
        }
    }
    match drain.join() {
        Ok(true) => Ok(sent),
        _ => bail!("a flood was taken to its end, and its connection stayed open"),
    }
}
