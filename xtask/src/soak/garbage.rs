//! Bytes that no honest client sends. Every such connection has to end soon after the client's side
//! does, nothing may panic, and healthy clients beside must not notice.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::frames::{PREFACE, frame, greeting};
use super::healthy::Healthy;
use super::house::House;

const THREADS: u64 = 4;
const CONNECTIONS: u64 = 20_000;
/// The client's side has ended, so nothing is left to wait for; this is for a busy machine.
const END_WITHIN: Duration = Duration::from_secs(15);
const REQUEST: &[u8] =
    b"POST /garbage/a%20b?c=d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\
    Accept: */*\r\nConnection: keep-alive\r\nX-Forwarded-For: 192.0.2.1\r\n\r\nhello";
const CHUNKED: &[u8] =
    b"POST /garbage HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";

pub(crate) fn run(house: &House, seed: u64) -> Result<String> {
    let healthy = Healthy::start(house.port, 4);
    let port = house.port;
    let answers: Result<Vec<u64>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || throw(port, seed, thread))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().ok());
        joined.map(|answers| answers.context("a thread died")?).collect()
    });
    let answered: u64 = answers?.iter().sum();
    let seen = healthy.finish()?;
    Ok(format!(
        "{answered} of {CONNECTIONS} were answered; {} healthy requests, p99 {:?}",
        seen.requests, seen.p99
    ))
}

/// One thread's share; gives how many connections got an answer at all.
fn throw(port: u16, seed: u64, thread: u64) -> Result<u64> {
    let mut answered = 0;
    for number in (thread..CONNECTIONS).step_by(THREADS as usize) {
        // Its own dice for each connection: any one can be repeated alone.
        let mut dice = Dice(seed ^ (number << 32));
        let bytes = bytes(&mut dice);
        let answer = send(port, &bytes).with_context(|| {
            let start = bytes.get(..bytes.len().min(80)).unwrap_or_default();
            format!(
                "connection {number}, seed {seed}, {} bytes: {}",
                bytes.len(),
                start.escape_ascii()
            )
        })?;
        answered += u64::from(!answer.is_empty());
        if answer.starts_with(b"HTTP/1.1 500 ") {
            bail!("a 500 for connection {number}, seed {seed}: {}", answer.escape_ascii());
        }
    }
    Ok(answered)
}

fn send(port: u16, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(END_WITHIN))?;
    stream.set_write_timeout(Some(END_WITHIN))?;
    // The gateway may hang up before it has read everything: that is its right.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    let mut part = [0_u8; 8192];
    loop {
        match stream.read(&mut part) {
            Ok(0) => return Ok(answer),
            Ok(read) if answer.len() < 1 << 20 => {
                answer.extend_from_slice(part.get(..read).unwrap_or_default());
            }
            Ok(_) => bail!("an answer without end"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                bail!("still open {END_WITHIN:?} after its client's end")
            }
            // A reset is an end as well.
            Err(_) => return Ok(answer),
        }
    }
}

fn bytes(dice: &mut Dice) -> Vec<u8> {
    match dice.below(8) {
        0 => dice.bytes(2048),
        1 | 2 => mutated(dice),
        3 => REQUEST.get(..dice.below(REQUEST.len())).unwrap_or_default().to_vec(),
        4 => [PREFACE, &dice.bytes(2048)].concat(),
        5 => frames(dice),
        6 => [CHUNKED, chunks(dice).as_bytes()].concat(),
        _ => oversize(dice),
    }
}

fn mutated(dice: &mut Dice) -> Vec<u8> {
    let mut request = REQUEST.repeat(1 + dice.below(3));
    for _ in 0..=dice.below(6) {
        let at = dice.below(request.len());
        let any = dice.next() as u8;
        let byte = dice.pick(&[any, b'\r', b'\n', b'\0', b' ', b':', b'%']);
        match dice.below(3) {
            0 => request.insert(at, byte),
            1 => drop(request.remove(at)),
            _ => request.splice(at..=at, [byte]).for_each(drop),
        }
    }
    request
}

/// Well-formed HTTP/2 frame heads (RFC 9113, section 4.1) around nonsense.
fn frames(dice: &mut Dice) -> Vec<u8> {
    let mut out = greeting();
    for _ in 0..=dice.below(20) {
        let payload = dice.bytes(64);
        let (kind, flags) = (dice.below(12) as u8, dice.next() as u8);
        out.extend(frame(kind, flags, dice.below(7) as u32, &payload));
    }
    out
}

fn chunks(dice: &mut Dice) -> String {
    let sizes = ["5", "0", "-1", "ffffffffffffffff", "5;a=b", " 5", "0x5", "", "5\n", "G"];
    let parts = (0..=dice.below(5)).map(|_| format!("{}\r\nhello\r\n", dice.pick(&sizes)));
    parts.collect::<String>() + "0\r\n\r\n"
}

fn oversize(dice: &mut Dice) -> Vec<u8> {
    let mut head = b"GET /garbage".to_vec();
    match dice.below(3) {
        0 => head.extend(vec![b'a'; 70_000]),
        1 => head.extend(b" HTTP/1.1\r\nhost: localhost\r\na: b".repeat(200)),
        _ => head.extend([b" HTTP/1.1\r\nx: ".as_slice(), &vec![b'b'; 500_000]].concat()),
    }
    head.extend(b"\r\n\r\n");
    head
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 for an empty range.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % (end as u64).max(1)) as usize
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..=self.below(most)).map(|_| self.next() as u8).collect()
    }

    /// The default for an empty choice.
    fn pick<T: Copy + Default>(&mut self, from: &[T]) -> T {
        from.get(self.below(from.len())).copied().unwrap_or_default()
    }
}
