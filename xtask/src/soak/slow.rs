//! Clients that open a request and never finish it: they must be shown out in time, cost little
//! memory, and no healthy client may notice them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::healthy::Healthy;
use super::house::{House, ensure_flat};
use crate::client::now;

const CLIENTS: usize = 5000;
/// The gateway gives a head 10 s; the rest is for a busy machine.
const OUT_WITHIN: Duration = Duration::from_secs(25);
const REST: Duration = Duration::from_secs(5);
const DRIP: Duration = Duration::from_secs(1);
/// Far above what is normal, far below what a person calls down.
const P99: Duration = Duration::from_millis(250);

/// Two waves: what the second adds to memory is what would be lost with every one.
pub(crate) fn run(house: &House, _seed: u64) -> Result<String> {
    let healthy = Healthy::start(house.port, 8);
    let first = wave(house)?;
    let after_first = rested(house, 0)?;
    let second = wave(house)?;
    let after_second = rested(house, after_first)?;
    let seen = healthy.finish()?;
    if seen.p99 > P99 {
        bail!("healthy clients waited: p99 {:?}, worst {:?}", seen.p99, seen.worst);
    }
    let memory = ensure_flat(after_first, after_second)?;
    let full = first.full_kib.max(second.full_kib) / 1024;
    let out = first.out.max(second.out).as_secs();
    Ok(format!(
        "all out after {out} s, {full} MiB with all of them, then {memory}; {} healthy requests, p99 {:?}",
        seen.requests, seen.p99
    ))
}

/// Memory once the last client has gone and the allocator has given back what it held for it: the
/// least of some seconds, or the first that is flat. What leaks does not go by waiting.
pub(super) fn rested(house: &House, before_kib: u64) -> Result<u64> {
    let begun = now();
    let mut least = house.memory_kib()?;
    while begun.elapsed() < REST && (before_kib == 0 || ensure_flat(before_kib, least).is_err()) {
        std::thread::sleep(DRIP);
        least = least.min(house.memory_kib()?);
    }
    Ok(least)
}

struct Wave {
    /// Until the last one was shown out.
    out: Duration,
    /// Memory while all of them were there.
    full_kib: u64,
}

fn wave(house: &House) -> Result<Wave> {
    let begun = now();
    let mut clients = Vec::with_capacity(CLIENTS);
    for number in 0..CLIENTS {
        let client = open(house.port).with_context(|| format!("slow client {number}"))?;
        clients.push(client);
    }
    let full_kib = house.memory_kib()?;
    while !clients.is_empty() {
        if begun.elapsed() > OUT_WITHIN {
            bail!(
                "{} of {CLIENTS} slow clients are still there after {OUT_WITHIN:?}",
                clients.len()
            );
        }
        std::thread::sleep(DRIP);
        clients.retain_mut(still_there);
    }
    Ok(Wave { out: begun.elapsed(), full_kib })
}

fn open(port: u16) -> Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.write_all(b"GET /slow HTTP/1.1\r\nhost: localhost\r\nx-slow: ")?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Sends one more byte. An answer is fine; only the end of the connection counts as the end.
fn still_there(stream: &mut TcpStream) -> bool {
    if stream.write(b"x").is_err_and(|error| error.kind() != ErrorKind::WouldBlock) {
        return false;
    }
    let mut part = [0_u8; 2048];
    loop {
        match stream.read(&mut part) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}
