//! The gateway that a job works on, and the upstream behind it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::client::Connection;
use crate::gauge;
use crate::run::{self, Guest, Room};

/// What `/large` answers, in bytes.
const LARGE: usize = 128 * 1024;

/// Open files that a job may want, ours and the gateway's alike.
const FILES: u64 = 16_384;

pub(crate) struct House {
    pub(crate) guest: Guest,
    pub(crate) port: u16,
    admin: u16,
    upstream: u16,
    file: PathBuf,
    /// Goes last: the gateway writes into it.
    room: Room,
}

impl House {
    pub(crate) fn start(upstream: &Upstream) -> Result<Self> {
        let room = Room::new("soak")?;
        let (port, admin) = (run::free_port()?, run::free_port()?);
        let file = room.path().join("portcullis.yaml");
        let mut command = Command::new(gateway()?);
        command.arg("run").arg(&file);
        let text = configuration(&room, port, admin, upstream.port, 0);
        fs::write(&file, text)?;
        let mut guest = Guest::start("portcullis", None, &command, &room)?;
        guest.wait_for(port, Duration::from_secs(10))?;
        Ok(Self { guest, port, admin, upstream: upstream.port, file, room })
    }

    /// Replaces the configuration as an editor would; `/generation` answers with the number.
    pub(crate) fn write(&self, generation: u32) -> Result<()> {
        let text = configuration(&self.room, self.port, self.admin, self.upstream, generation);
        let fresh = self.file.with_extension("fresh");
        fs::write(&fresh, text)?;
        fs::rename(&fresh, &self.file).context("replacing the configuration")
    }

    pub(crate) fn memory_kib(&self) -> Result<u64> {
        gauge::pss_kib(&run::tree(self.guest.pid()))
    }

    /// It lives, it answers, and no part of it has panicked.
    pub(crate) fn ensure_well(&self) -> Result<()> {
        let mut connection = Connection::open(self.port, "/well").context("afterwards")?;
        connection.exchange().context("afterwards")?;
        let said = self.guest.said();
        match said.lines().find(|line| line.contains("panicked")) {
            None => Ok(()),
            Some(line) => bail!("the gateway panicked: {line}"),
        }
    }
}

/// Memory may settle, but must not grow with the work: a tenth and 8 MiB are allowed.
pub(crate) fn ensure_flat(before_kib: u64, after_kib: u64) -> Result<String> {
    let told = format!("{} -> {} MiB", before_kib / 1024, after_kib / 1024);
    if after_kib > before_kib + before_kib / 10 + 8192 {
        bail!("memory grew: {told}");
    }
    Ok(told)
}

fn configuration(room: &Room, port: u16, admin: u16, upstream: u16, generation: u32) -> String {
    let folder = room.path().display();
    let large = "x".repeat(LARGE);
    format!(
        "listeners: [{{ address: \"127.0.0.1:{port}\" }}]
admin: {{ address: \"127.0.0.1:{admin}\" }}
log: {{ file: \"{folder}/access.log\" }}
bounds: {{ connections: 20000, connections_per_client: 20000 }}
upstreams: {{ up: {{ endpoints: [\"http://127.0.0.1:{upstream}\"] }} }}
routes:
  - {{ name: generation, match: {{ path: /generation }}, respond: {{ text: \"{generation}\" }} }}
  - {{ name: large, match: {{ path: /large }}, respond: {{ text: \"{large}\" }} }}
  - {{ name: all, match: {{ path: \"/*\" }}, forward: {{ to: up }} }}
"
    )
}

/// The release binary, beside the folder that this program was built into.
pub(crate) fn gateway() -> Result<PathBuf> {
    let own = std::env::current_exe().context("where this program is")?;
    let target = own.parent().and_then(|folder| folder.parent()).context("no target folder")?;
    Ok(target.join("release").join("portcullis"))
}

/// Thousands of connections want thousands of open files, here and in the gateway, which inherits
/// our limit.
pub(crate) fn raise_file_limit() -> Result<()> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let mut numbers = line.context("no limit of open files")?.split_whitespace().skip(3);
    let mut next = || numbers.next().map_or(0, |word| word.parse().unwrap_or(u64::MAX));
    let (soft, hard) = (next(), next());
    if soft >= FILES {
        return Ok(());
    }
    if hard < FILES {
        bail!("{FILES} open files are needed, {hard} are allowed: run `ulimit -n {FILES}` as root");
    }
    let (pid, limit) = (std::process::id().to_string(), format!("--nofile={FILES}:{hard}"));
    run::output(Command::new("prlimit").args(["--pid", &pid, &limit])).map(|_| ())
}

/// A small upstream inside this process: 200 and two bytes for every head.
pub(crate) struct Upstream {
    port: u16,
}

impl Upstream {
    /// Its threads live as long as this process.
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || serve(stream));
            }
        });
        Ok(Self { port })
    }
}

/// Ends at the first error, and after a request with a body, which is not read.
fn serve(mut stream: TcpStream) {
    let mut pending = Vec::new();
    let mut part = [0_u8; 8192];
    let _ = stream.set_nodelay(true);
    while let Ok(read @ 1..) = stream.read(&mut part) {
        pending.extend_from_slice(part.get(..read).unwrap_or_default());
        let end = pending.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end.filter(|_| pending.len() < 1 << 20) else { continue };
        let head = String::from_utf8_lossy(&pending).to_ascii_lowercase();
        let has_body =
            head.contains("\r\ncontent-length:") || head.contains("\r\ntransfer-encoding:");
        let answer: &[u8] = match has_body {
            true => b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
            false => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        };
        if stream.write_all(answer).is_err() || has_body {
            return;
        }
        pending.drain(..end + 4);
    }
}
