//! A flood of tokens whose keys nobody has: it must cost the issuer no more fetches than allowed, and
//! a client with a good token nothing at all. The demo has all that is needed: an issuer, a gateway.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::{Wish, house};
use crate::client::{Connection, now};
use crate::run::{Guest, Room};

const THREADS: u64 = 4;
const TOKENS: u64 = 100_000;
const START: Duration = Duration::from_secs(30);
/// The good client stays below the limit of its tier.
const PACE: Duration = Duration::from_millis(20);
const PATH: &str = "/api/v1/users/u-42/dashboard";
/// Of the demo's ports, counted from the gateway's.
const ISSUER: u16 = 20;
const ADMIN: u16 = 1821;
/// The first fetch, and `max_fetches` of every minute that the flood touches.
const A_MINUTE: u64 = 10;

pub(super) fn run(wish: &Wish) -> Result<String> {
    let seed = wish.seed;
    let room = Room::new("kids")?;
    let port = free_port()?;
    let mut command = Command::new(house::gateway()?);
    command.args(["demo", "--port", &port.to_string()]);
    let mut demo = Guest::start("demo", None, &command, &room)?;
    demo.wait_for(port, START)?;
    let token = Connection::open(port + ISSUER, "/token?tier=premium")?.exchange()?.to_vec();
    let token = String::from_utf8(token)?;
    good(port, &token)?; // the first fetch is over
    let (begun, over) = (now(), AtomicBool::new(false));
    let (flood, asked) = std::thread::scope(|scope| {
        let steady = scope.spawn(|| steady(port, &token, &over));
        let throw = |thread| {
            let token = &token;
            scope.spawn(move || throw(port, token, seed ^ thread))
        };
        let threads: Vec<_> = (0..THREADS).map(throw).collect();
        let thrown: Vec<_> = threads.into_iter().map(|thread| thread.join().ok()).collect();
        over.store(true, Ordering::Relaxed);
        (thrown, steady.join().ok())
    });
    for thrown in flood {
        thrown.context("a thread died")??;
    }
    let asked = asked.context("the good client died")??;
    let seconds = begun.elapsed().as_secs().max(1);
    let fetches = fetches(port)?;
    let allowed = 1 + A_MINUTE * (seconds / 60 + 2);
    if fetches > allowed {
        bail!("{fetches} fetches in {seconds} s; {allowed} are allowed");
    }
    let rate = TOKENS / seconds;
    Ok(format!(
        "{rate} tokens a second caused {fetches} fetches; {asked} good ones beside, all 200"
    ))
}

/// A port whose neighbours, which the demo takes as well, are free too.
fn free_port() -> Result<u16> {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let fits = |port: &u16| [0, 20, 21, 22, 23, ADMIN].iter().all(|more| free(port + more));
    (20_000..30_000).find(fits).context("six free ports")
}

fn good(port: u16, token: &str) -> Result<()> {
    let mut client = Connection::open(port, PATH)?;
    client.set_headers(PATH, &format!("authorization: Bearer {token}\r\n"));
    client.exchange().map(drop)
}

/// A client with a good token, until the flood is over.
fn steady(port: u16, token: &str, over: &AtomicBool) -> Result<u64> {
    let mut client = Connection::open(port, PATH)?;
    client.set_headers(PATH, &format!("authorization: Bearer {token}\r\n"));
    let mut asked = 0;
    while !over.load(Ordering::Relaxed) {
        client.exchange().context("the good token")?;
        asked += 1;
        std::thread::sleep(PACE);
    }
    Ok(asked)
}

/// One thread's share of tokens, each with a kid of its own.
fn throw(port: u16, token: &str, mut seed: u64) -> Result<()> {
    let payload = token.split('.').nth(1).context("a token has three parts")?;
    let mut client = Connection::open(port, PATH)?;
    for _ in 0..TOKENS / THREADS {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let header = base64url(format!("{{\"alg\":\"RS256\",\"kid\":\"{seed:016x}\"}}").as_bytes());
        let authorization = format!("authorization: Bearer {header}.{payload}.c2ln\r\n");
        client.set_headers(PATH, &authorization);
        match client.status()? {
            401 => {}
            other => bail!("a token with an unknown key was answered {other}"),
        }
    }
    Ok(())
}

fn fetches(port: u16) -> Result<u64> {
    let mut admin = Connection::open(port + ADMIN, "/metrics")?;
    let metrics = String::from_utf8(admin.exchange()?.to_vec())?;
    let counts = metrics.lines().filter(|line| line.starts_with("portcullis_jwks_fetches_total"));
    let numbers = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    Ok(numbers.sum())
}

/// Base64url without padding (RFC 4648 section 5).
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..=three.len() {
            let at = (bits >> (18 - 6 * digit)) as usize & 63;
            out.push(char::from(DIGITS.get(at).copied().unwrap_or(b'A')));
        }
    }
    out
}

#[test]
fn base64url_is_as_in_rfc_4648() {
    for (bytes, text) in [("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg")] {
        assert_eq!(base64url(bytes.as_bytes()), text);
    }
}
