//! Where a peer performs: its configuration filled in, ports of its own, the upstream behind it, each
//! on its core. Every measurement has a fresh process, so that no luck of memory layout lasts.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::load::{self, Full};
use super::paced::{self, Requests, Times};
use super::report::Sample;
use super::rows::{self, DEAD, Job, OTHER_CORE, PEER_CORE, Peer, Row};
use super::tokens;
use crate::client::Connection;
use crate::gauge;
use crate::run::{self, Guest, Room};

/// Long enough for a start under valgrind.
const START: Duration = Duration::from_secs(60);
/// What the upstream answers with, in bytes.
const BODY: usize = 255;
/// How long a started process is left alone before its memory is read.
const SETTLE: Duration = Duration::from_millis(500);

/// Folder and ports of one performance.
pub(crate) struct Stage {
    pub(crate) room: Room,
    pub(crate) listen: u16,
    upstream: u16,
    store: u16,
    admin: u16,
    /// Header lines that requests take in turn; empty for rows without.
    headers: Vec<String>,
}

impl Stage {
    pub(crate) fn new(row: &Row) -> Result<Self> {
        let room = Room::new("bench")?;
        fs::write(room.path().join("large.txt"), rows::LARGE.repeat(6400))?;
        let headers = tokens::headers(row.tokens)?;
        if row.tokens > 0 {
            tokens::publish(room.path())?;
            load::in_turn(room.path(), &headers)?;
        }
        match row.job {
            Job::Post(bytes) => load::with_body(room.path(), bytes)?,
            Job::Json(_) => load::with_json(room.path(), &json(row)?)?,
            Job::Tls => certificate(room.path())?,
            Job::Get | Job::Http2 | Job::Rest(_) => {}
        }
        let (listen, upstream, admin) = (run::free_port()?, run::free_port()?, run::free_port()?);
        let store = run::free_port()?;
        Ok(Self { room, listen, upstream, store, admin, headers })
    }

    pub(crate) fn requests<'a>(&'a self, row: &'a Row) -> Requests<'a> {
        let (port, job) = (self.listen, row.job);
        Requests { port, path: row.path, headers: &self.headers, job, status: 200 }
    }

    /// Copies a configuration into the room with `${NAME}` filled in.
    fn fill(&self, template: &Path) -> Result<PathBuf> {
        let text = fs::read_to_string(template).with_context(|| template.display().to_string())?;
        let text = text
            .replace("${DIR}", &self.room.path().to_string_lossy())
            .replace("${LISTEN}", &self.listen.to_string())
            .replace("${UPSTREAM}", &self.upstream.to_string())
            .replace("${STORE}", &self.store.to_string())
            .replace("${ADMIN}", &self.admin.to_string())
            .replace("${ROUTES}\n", &rows::routes())
            .replace("${TOKENS}", &self.headers.len().to_string())
            .replace("${BODY}", &"x".repeat(BODY));
        let name = template.file_name().context("a configuration without a name")?;
        let path = self.room.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// What stands behind a peer: the upstream, and a store where it keeps its limits in one.
    pub(crate) fn start_services(&self, peer: &Peer) -> Result<Vec<Guest>> {
        let file = self.fill(&folder().join("upstream.conf"))?;
        let mut services = vec![("upstream", rows::nginx(&file)?, self.upstream)];
        if peer.has_store {
            let mut store = Command::new("redis-server");
            store.args(["--port", &self.store.to_string(), "--bind", "127.0.0.1", "--save", ""]);
            services.push(("store", store, self.store));
        }
        let start = |(name, command, port): (&str, Command, u16)| {
            let mut guest = Guest::start(name, Some(OTHER_CORE), &command, &self.room)?;
            guest.wait_for(port, START)?;
            Ok(guest)
        };
        services.into_iter().map(start).collect()
    }

    /// How this peer is started with its filled-in configuration.
    pub(crate) fn command(&self, row: &Row, peer: &Peer) -> Result<Command> {
        (peer.command)(&self.fill(&configuration(row, peer))?)
    }

    pub(crate) fn start(&self, name: &str, command: &Command) -> Result<Guest> {
        let mut guest = Guest::start(name, Some(PEER_CORE), command, &self.room)?;
        guest.wait_for(self.listen, START)?;
        Ok(guest)
    }

    fn flat_out(&self, row: &Row, peer: &Peer, seconds: u64) -> Result<Full> {
        let url = self.url(row);
        match row.job {
            Job::Http2 => load::http2(&url, seconds),
            Job::Get | Job::Post(_) | Job::Json(_) | Job::Rest(_) | Job::Tls => {
                load::flat_out(&url, self.room.path(), seconds, peer.refuses)
            }
        }
    }

    fn url(&self, row: &Row) -> String {
        let scheme = if row.job == Job::Tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}{}", self.listen, row.path)
    }

    /// One request by hand: that the peer does its job is seen, not assumed.
    pub(crate) fn try_once(&self, row: &Row, peer: &Peer) -> Result<()> {
        if peer.refuses {
            self.ask(row)?; // opens its breaker
            let answer = self.ask(row)?;
            return match answer.starts_with("HTTP/1.1 503 ") {
                true => Ok(()),
                false => bail!("not an open breaker's answer:\n{answer}"),
            };
        }
        let answer = self.ask(row)?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let is_right = match row.answer {
            "" => body.len() == BODY,
            text => body.contains(text) && !body.contains("internal"),
        };
        if !answer.starts_with("HTTP/1.1 200 ") || !is_right {
            bail!("not the upstream's answer:\n{}", answer.chars().take(500).collect::<String>());
        }
        Ok(())
    }

    fn ask(&self, row: &Row) -> Result<String> {
        let curl = |how: &[&str]| {
            run::output(Command::new("curl").arg("-si").args(how).arg(self.url(row)))
        };
        match row.job {
            Job::Http2 => {
                let answer = curl(&["--http2-prior-knowledge"])?;
                return Ok(answer.replacen("HTTP/2 200 ", "HTTP/1.1 200 ", 1));
            }
            Job::Tls => return curl(&["-k", "--http1.1"]),
            _ => {}
        }
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.listen))?;
        stream.set_read_timeout(Some(START))?;
        let own = self.headers.first().map_or("", String::as_str);
        let path = row.path;
        let (method, body) = match row.job {
            Job::Json(_) => ("POST", json(row)?),
            _ => ("GET", String::new()),
        };
        let described = match body.len() {
            0 => String::new(),
            length => format!("content-type: application/json\r\ncontent-length: {length}\r\n"),
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n{described}{own}\r\n{body}"
        );
        stream.write_all(head.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// A peer that writes no access log does less than its job.
    fn ensure_logged(&self) -> Result<()> {
        let log = self.room.path().join("access.log");
        let bytes = fs::metadata(&log).map(|meta| meta.len()).unwrap_or_default();
        if bytes == 0 { bail!("no access log was written") } else { Ok(()) }
    }
}

/// How long connections rest before their memory is read.
const REST: Duration = Duration::from_secs(5);

/// Somebody who asks for a dead upstream 200 times a second, until this is dropped.
struct Neighbour {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Neighbour {
    fn start(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut connection = Connection::open(port, DEAD).ok();
            while !stopped.load(Ordering::Relaxed) {
                connection = connection.and_then(|mut open| open.status().is_ok().then_some(open));
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// A certificate that nobody trusts: `site.pem`, `site.key`, and both together in `both.pem`.
fn certificate(folder: &Path) -> Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    openssl.args(["-nodes", "-days", "2", "-subj", "/CN=bench", "-out", "site.pem"]);
    run::output(openssl.args(["-keyout", "site.key"]).current_dir(folder))?;
    let read = |name| fs::read_to_string(folder.join(name));
    Ok(fs::write(folder.join("both.pem"), read("site.pem")? + &read("site.key")?)?)
}

pub(crate) fn folder() -> PathBuf {
    run::root().join("bench")
}

/// The body of a row's requests.
fn json(row: &Row) -> Result<String> {
    let Job::Json(file) = row.job else { bail!("the row {} has no body", row.name) };
    let path = folder().join(row.folder).join(file);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

pub(crate) fn configuration(row: &Row, peer: &Peer) -> PathBuf {
    folder().join(row.folder).join(peer.file)
}

/// Requests per second that are a quarter of what the slowest of the peers can do: enough for queues
/// to form where a peer is slow, and little enough that the load on its own core is never late.
pub(crate) fn quarter_load(row: &Row, peers: &[&Peer]) -> Result<u64> {
    let mut slowest = u64::MAX;
    for peer in peers {
        let stage = Stage::new(row)?;
        let _services = stage.start_services(peer)?;
        let _guest = stage.start(peer.name, &stage.command(row, peer)?)?;
        stage.try_once(row, peer)?;
        stage.flat_out(row, peer, 1)?;
        slowest = slowest.min(stage.flat_out(row, peer, 2)?.per_second());
    }
    Ok((slowest / 4).max(1))
}

/// One peer, once: memory before it has a neighbour, then load.
pub(crate) fn measure(row: &Row, peer: &Peer, rate: u64, seconds: u64) -> Result<Sample> {
    let stage = Stage::new(row)?;
    let command = stage.command(row, peer)?;
    let guest = stage.start(peer.name, &command)?;
    std::thread::sleep(SETTLE);
    // The upstream is the same program as one of the peers: pages that they share would count half.
    let idle_kib = gauge::pss_kib(&run::tree(guest.pid()))?;
    let _services = stage.start_services(peer)?;
    stage.try_once(row, peer)?;
    if let Job::Rest(count) = row.job {
        let connection_kib = rest(&stage, row, count, &guest)?;
        return Ok(Sample { idle_kib, connection_kib, ..Sample::default() });
    }
    stage.flat_out(row, peer, 1)?;

    let neighbour = peer.has_dead_neighbour.then(|| Neighbour::start(stage.listen));
    let before = gauge::cpu_ns(&run::tree(guest.pid()))?;
    let full = stage.flat_out(row, peer, seconds)?;
    let after = gauge::cpu_ns(&run::tree(guest.pid()))?;
    let requests = stage.requests(row);
    let status = if peer.refuses { 503 } else { 200 };
    // The evenly spaced load speaks HTTP/1.1 only, and has no body of its own.
    let paced = match row.job {
        Job::Http2 | Job::Json(_) | Job::Tls => Times::default(),
        _ => paced::at_rate(Requests { status, ..requests }, rate, seconds)?,
    };
    drop(neighbour);
    let loaded_kib = gauge::pss_kib(&run::tree(guest.pid()))?;
    drop(guest);
    stage.ensure_logged()?;

    let cpu_us = after.saturating_sub(before) as f64 / 1000.0;
    Ok(Sample {
        requests: full.requests,
        per_second: full.per_second(),
        cpu_us: cpu_us / full.requests.max(1) as f64,
        p50_us: paced.percentile(50),
        p99_us: paced.percentile(99),
        idle_kib,
        loaded_kib,
        ..Sample::default()
    })
}

/// KiB that a connection at rest costs, beyond what the first ones needed.
fn rest(stage: &Stage, row: &Row, count: u32, guest: &Guest) -> Result<f64> {
    const FIRST: u32 = 100;
    let mut resting = Vec::new();
    let mut kib = |more: u32| -> Result<u64> {
        for _ in 0..more {
            let mut connection = Connection::open(stage.listen, row.path)?;
            connection.exchange()?;
            resting.push(connection);
        }
        std::thread::sleep(REST);
        gauge::pss_kib(&run::tree(guest.pid()))
    };
    let (few, many) = (kib(FIRST)?, kib(count)?);
    Ok(many.saturating_sub(few) as f64 / f64::from(count))
}
