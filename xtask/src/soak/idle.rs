//! Thousands of connections at rest beside healthy clients: what the rest of them costs those who ask.

use std::time::Duration;

use anyhow::{Result, bail};

use super::healthy::{Healthy, Seen};
use super::house::House;
use crate::client::Connection;

const CONNECTIONS: usize = 5000;
const LOOK: Duration = Duration::from_secs(15);
/// Far above what is normal, far below what a person calls down.
const P99: Duration = Duration::from_millis(250);

pub(crate) fn run(house: &House, _seed: u64) -> Result<String> {
    let alone = healthy(house)?;
    let before = house.memory_kib()?;
    let mut resting = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut connection = Connection::open(house.port, "/idle")?;
        connection.exchange()?;
        resting.push(connection);
    }
    let beside = healthy(house)?;
    let each = house.memory_kib()?.saturating_sub(before) / CONNECTIONS as u64;
    for connection in &mut resting {
        connection.exchange()?; // each of them is still served
    }
    if beside.p99 > P99 {
        bail!("healthy clients waited: p99 {:?}, worst {:?}", beside.p99, beside.worst);
    }
    let ratio = beside.p99.as_secs_f64() / alone.p99.as_secs_f64().max(f64::MIN_POSITIVE);
    Ok(format!(
        "p99 {:?} alone, {:?} beside {CONNECTIONS} connections at rest ({ratio:.2}x, wanted: 1.5x); \
         {each} KiB each",
        alone.p99, beside.p99
    ))
}

fn healthy(house: &House) -> Result<Seen> {
    let healthy = Healthy::start(house.port, 8);
    std::thread::sleep(LOOK);
    healthy.finish()
}
