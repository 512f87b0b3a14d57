//! Three gateways that share a limit through a real store, which is killed, stopped, slowed, emptied and
//! brought back in the middle of floods: no request may see an error, and no client more than the bound.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::{Wish, house};
use crate::client::{Connection, now};
use crate::run::{self, Guest, Room};

const GATEWAYS: usize = 3;
const THREADS: usize = 6;
/// Requests of a thread in one round.
const EACH: usize = 120;
/// What a client may have, and the bound while the store is in trouble, for clients that are spread.
const LIMIT: u64 = 300;
const BOUND: u64 = LIMIT + LIMIT / 10;
const ROUNDS: u64 = 60;
const START: Duration = Duration::from_secs(10);
/// What every gateway says once it has heard of all, and of a store that answers.
const KNOWN: [&str; 2] = [
    "portcullis_store_gateways{store=\"shared\"} 3\n",
    "portcullis_store_up{store=\"shared\"} 1\n",
];

pub(super) fn run(wish: &Wish) -> Result<String> {
    let seed = wish.seed;
    let room = Room::new("stores")?;
    let port = run::free_port()?;
    let mut redis = Some(redis(port, &room)?);
    let mut gateways = Vec::new();
    for number in 0..GATEWAYS {
        gateways.push(gateway(number, port, &room)?);
    }
    await_all(&gateways)?;
    let ports: Vec<u16> = gateways.iter().map(|gateway| gateway.port).collect();
    let (mut most, mut troubles) = (0, 0);
    for round in 0..ROUNDS {
        let admitted = AtomicU64::new(0);
        let trouble = seed.wrapping_add(round.wrapping_mul(7)) % 8;
        std::thread::scope(|scope| -> Result<()> {
            let (ports, admitted) = (&ports, &admitted);
            let flood = |thread| scope.spawn(move || flood(ports, round, thread, admitted));
            let threads: Vec<_> = (0..THREADS).map(flood).collect();
            while admitted.load(Ordering::Relaxed) < LIMIT / 4
                && !threads.iter().all(|it| it.is_finished())
            {
                std::thread::yield_now();
            }
            match trouble {
                0 => drop(redis.take()),
                1 => redis.as_ref().map_or(Ok(()), |redis| redis.signal("STOP"))?,
                2 => say(port, "FLUSHALL")?,
                3 => say(port, "SCRIPT FLUSH")?,
                4 => say(port, "CLIENT PAUSE 300 ALL")?,
                _ => {}
            }
            for thread in threads {
                thread.join().ok().context("a thread died")??;
            }
            Ok(())
        })?;
        match trouble {
            0 => redis = Some(self::redis(port, &room)?),
            1 => redis.as_ref().map_or(Ok(()), |redis| redis.signal("CONT"))?,
            _ => {}
        }
        troubles += u64::from(trouble < 5);
        let admitted = admitted.into_inner();
        if admitted > BOUND {
            bail!("round {round}, trouble {trouble}: {admitted} admitted of {LIMIT}");
        }
        most = most.max(admitted);
        if trouble < 2 || trouble == 4 {
            await_all(&gateways)?; // all have heard of its return
        }
    }
    Ok(format!(
        "{ROUNDS} floods, {troubles} with trouble: no error, at most {most} admitted of {LIMIT}"
    ))
}

fn redis(port: u16, room: &Room) -> Result<Guest> {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
    let mut guest = Guest::start("redis", None, &command, room)?;
    guest.wait_for(port, START)?;
    Ok(guest)
}

struct Gateway {
    _guest: Guest,
    port: u16,
    admin: u16,
}

/// Waits until every gateway knows of all, and of a store that answers.
fn await_all(gateways: &[Gateway]) -> Result<()> {
    for gateway in gateways {
        let begun = now();
        loop {
            let mut admin = Connection::open(gateway.admin, "/metrics")?;
            let text = String::from_utf8_lossy(admin.exchange()?).into_owned();
            if KNOWN.iter().all(|line| text.contains(line)) {
                break;
            }
            if begun.elapsed() > START {
                bail!("a gateway does not know the others or the store: {text}");
            }
            std::thread::yield_now();
        }
    }
    Ok(())
}

fn gateway(number: usize, store: u16, room: &Room) -> Result<Gateway> {
    let (port, admin) = (run::free_port()?, run::free_port()?);
    let file = room.path().join(format!("{number}.yaml"));
    let config = format!(
        "listeners: [{{ address: 127.0.0.1:{port} }}]\n\
         admin: {{ address: 127.0.0.1:{admin} }}\n\
         workers: 1\n\
         log: {{ file: {number}.log }}\n\
         stores: {{ shared: {{ redis: \"redis://127.0.0.1:{store}\", timeout: 50ms, gateways: {GATEWAYS} }} }}\n\
         tiers: {{ t: [{{ requests: {LIMIT}, per: 1h }}] }}\n\
         policies: {{ rate_limit: {{ key: header.x-client, default_tier: t, store: shared }} }}\n\
         routes: [{{ name: all, match: {{ path: /a }}, respond: {{ text: ok }} }}]\n"
    );
    std::fs::write(&file, config)?;
    let mut command = Command::new(house::gateway()?);
    command.arg("run").arg(&file);
    let mut guest = Guest::start(&format!("gateway-{number}"), None, &command, room)?;
    guest.wait_for(port, START)?;
    Ok(Gateway { _guest: guest, port, admin })
}

/// Asks every gateway in turn, and counts what is admitted.
fn flood(ports: &[u16], round: u64, thread: usize, admitted: &AtomicU64) -> Result<()> {
    let open = |port: &u16| {
        let mut connection = Connection::open(*port, "/a")?;
        connection.set_headers("/a", &format!("x-client: {round}\r\n"));
        Ok(connection)
    };
    let mut connections = ports.iter().map(open).collect::<Result<Vec<_>>>()?;
    for number in 0..EACH {
        let count = connections.len();
        let connection = connections.get_mut((number + thread) % count).context("a gateway")?;
        match connection.status()? {
            200 => drop(admitted.fetch_add(1, Ordering::Relaxed)),
            429 => {}
            status => bail!("{status} is neither 200 nor 429"),
        }
    }
    Ok(())
}

fn say(port: u16, command: &str) -> Result<()> {
    let mut cli = Command::new("redis-cli");
    cli.args(["-p", &port.to_string()]).args(command.split(' '));
    run::output(&mut cli).map(|_| ())
}
