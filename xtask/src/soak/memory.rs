//! Ordinary work for long enough that a byte lost per request or per connection would show.

use std::net::{Ipv4Addr, TcpStream};

use anyhow::{Context as _, Result};

use super::house::{House, ensure_flat};
use crate::client::Connection;

const CLIENTS: usize = 16;
/// Per round and client.
const REQUESTS: usize = 12_500;
const CONNECTIONS: usize = 625;

/// The first round brings memory to its working size; the second must not add to it.
pub(crate) fn run(house: &House, _seed: u64) -> Result<String> {
    round(house.port)?;
    let before = house.memory_kib()?;
    round(house.port)?;
    ensure_flat(before, house.memory_kib()?)
}

fn round(port: u16) -> Result<()> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(move || client(port))).collect();
        let mut joined = clients.into_iter().map(|client| client.join().ok());
        joined.try_for_each(|result| result.context("a client died")?)
    })
}

fn client(port: u16) -> Result<()> {
    let mut kept = Connection::open(port, "/memory")?;
    for number in 0..REQUESTS {
        kept.exchange()?;
        if number % (REQUESTS / CONNECTIONS) == 0 {
            // One connection that says nothing, and one that asks once.
            drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?);
            Connection::open(port, "/memory")?.exchange()?;
        }
    }
    Ok(())
}
