//! Running other programs: to their end, or beside us as guests that never outlive us.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// The workspace's root, as Cargo says it now: two clones may share one built xtask.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    Path::new(&here).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// The same Cargo that runs us, without what it told us about our own package: a nested run would
/// take it for a change and build again.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a command to its end on our own terminal, saying which.
pub(crate) fn loudly(command: &mut Command) -> Result<()> {
    println!("$ {}", line(command));
    let status = command.status().with_context(|| format!("starting {}", line(command)))?;
    ensure(status, command)
}

/// Runs a command to its end and gives what it wrote to standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {}", line(command)))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        bail!("{} failed ({}): {}", line(command), done.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Instructions of one of the calls that a program makes as often as its last argument says, by
/// callgrind: the difference between few and many, so that start and end cancel out.
pub(crate) fn instructions(program: &Path, arguments: &[&str], counts: [u64; 2]) -> Result<u64> {
    let total = |count: u64| -> Result<u64> {
        let room = Room::new("instructions")?;
        let out = room.path().join("callgrind.out");
        let mut command = Command::new("valgrind");
        command.args(["--quiet", "--tool=callgrind"]);
        command.arg(format!("--callgrind-out-file={}", out.display()));
        command.arg(program).args(arguments).arg(count.to_string());
        output(&mut command)?;
        let text = fs::read_to_string(&out)?;
        let line = text.lines().find_map(|line| line.strip_prefix("totals:"));
        Ok(line.context("callgrind counted nothing")?.trim().parse()?)
    };
    let [few, many] = counts;
    Ok(total(many)?.saturating_sub(total(few)?) / many.saturating_sub(few).max(1))
}

/// The first line that a program says about its version, on whichever stream it says it.
pub(crate) fn version(program: impl AsRef<OsStr>, argument: &str) -> String {
    let done = Command::new(program).arg(argument).stdin(Stdio::null()).output();
    let text = done.map(|done| [done.stdout, done.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").trim().to_owned()
}

fn ensure(status: ExitStatus, command: &Command) -> Result<()> {
    if status.success() { Ok(()) } else { bail!("{} failed ({status})", line(command)) }
}

fn line(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// A folder of our own that goes when this value goes.
pub(crate) struct Room(PathBuf);

impl Room {
    pub(crate) fn new(name: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("portcullis-{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A TCP port on loopback that nobody uses at the moment.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A process that runs beside us. It ends when this value goes and, by the kernel's word, when we
/// are killed ourselves.
pub(crate) struct Guest {
    name: String,
    child: Child,
    said: PathBuf,
}

impl Guest {
    /// Starts `command`, on one core alone when said so; what it says goes to a file in `room`.
    pub(crate) fn start(
        name: &str,
        core: Option<usize>,
        command: &Command,
        room: &Room,
    ) -> Result<Self> {
        let said = room.path().join(format!("{name}.said"));
        let file = File::create(&said)?;
        let mut whole = Command::new("setpriv");
        whole.args(["--pdeathsig", "TERM"]);
        if let Some(core) = core {
            whole.args(["taskset", "--cpu-list", &core.to_string()]);
        }
        whole.arg(command.get_program()).args(command.get_args()).current_dir(room.path());
        let child = whole
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self { name: name.to_owned(), child, said })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the port takes connections; the error shows what the guest said.
    pub(crate) fn wait_for(&mut self, port: u16, bound: Duration) -> Result<()> {
        const STEP: Duration = Duration::from_millis(10);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        for _ in 0..bound.as_millis() / STEP.as_millis() {
            if TcpStream::connect(address).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}); it said:\n{}", self.name, self.tail());
            }
            std::thread::sleep(STEP);
        }
        bail!("{}: no port {port} within {bound:?}; it said:\n{}", self.name, self.tail())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        output(&mut kill(name, &[self.pid()])).map(|_| ())
    }

    /// All that it said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// The last lines of what it said.
    pub(crate) fn tail(&self) -> String {
        let text = self.said();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }

    /// Ends it in order, as its owner would: it is told to, then made to.
    pub(crate) fn end(&mut self) {
        const STEP: Duration = Duration::from_millis(20);
        const PATIENCE: u32 = 500;
        let tree = tree(self.pid());
        let _ = self.signal("TERM");
        for _ in 0..PATIENCE {
            if !self.is_running() {
                return;
            }
            std::thread::sleep(STEP);
        }
        let _ = output(&mut kill("KILL", &tree));
        let _ = self.child.wait();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if self.is_running() {
            self.end();
        }
    }
}

// The shell's own `kill` is there wherever a shell is.
fn kill(signal: &str, pids: &[u32]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "kill -s \"$@\"", "kill", signal]);
    command.args(pids.iter().map(u32::to_string));
    command
}

/// A process and all that it started, directly or not.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let mut found = vec![root];
    let mut at = 0;
    while let Some(&one) = found.get(at) {
        found.extend(parents.iter().filter(|(_, parent)| *parent == one).map(|(pid, _)| *pid));
        at += 1;
    }
    found
}

/// Field 4 of /proc/PID/stat. Field 2, the name in brackets, may hold anything.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
