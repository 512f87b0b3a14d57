//! A reload is rare for one gateway and routine for a thousand: each must be seen, cost no request,
//! and leave nothing behind.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::healthy::Healthy;
use super::house::{House, ensure_flat};
use crate::client::{Connection, now};

const RELOADS: u32 = 1000;
/// After this many, memory has its working size.
const WARM: u32 = 100;
const EACH: Duration = Duration::from_secs(10);

pub(crate) fn run(house: &House, _seed: u64) -> Result<String> {
    let healthy = Healthy::start(house.port, 8);
    let mut asking = Connection::open(house.port, "/generation")?;
    let mut before = 0;
    for generation in 1..=RELOADS {
        house.write(generation)?;
        house.guest.signal("HUP")?;
        wait_for(&mut asking, generation)?;
        if generation == WARM {
            before = house.memory_kib()?;
        }
    }
    let after = house.memory_kib()?;
    let seen = healthy.finish()?;
    let memory = ensure_flat(before, after)?;
    Ok(format!("{} requests beside, p99 {:?}, {memory}", seen.requests, seen.p99))
}

/// The same kept connection has to see the new configuration.
fn wait_for(asking: &mut Connection, generation: u32) -> Result<()> {
    let begun = now();
    let wanted = generation.to_string();
    while begun.elapsed() < EACH {
        if asking.exchange().context("/generation")? == wanted.as_bytes() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("reload {generation} was not seen within {EACH:?}")
}
