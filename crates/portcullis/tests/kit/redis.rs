//! Real servers of Redis and Valkey, each on a free port, killed with the value that holds them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::pause::eventually;
use super::place::{Place, hold_port};
use super::{BOUND, pause};

pub struct Redis {
    program: PathBuf,
    /// `PORT` stands for its port.
    arguments: Vec<String>,
    pub place: Place,
    child: Option<Child>,
    pub port: u16,
}

impl Redis {
    pub async fn start() -> Result<Self> {
        Self::start_as(Path::new("redis-server"), &["--port", "PORT"], Place::new()?).await
    }

    /// Another server, in a folder that holds what its arguments name.
    pub async fn start_as(program: &Path, arguments: &[&str], place: Place) -> Result<Self> {
        let (held, port) = hold_port()?;
        drop(held);
        let arguments = arguments.iter().map(|it| it.replace("PORT", &port.to_string())).collect();
        let mut redis = Self { program: program.to_owned(), arguments, place, child: None, port };
        redis.up().await?;
        Ok(redis)
    }

    /// Starts it (again) on its port, and waits until it answers.
    pub async fn up(&mut self) -> Result<()> {
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .args(["--save", "", "--appendonly", "no"])
            .current_dir(self.place.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        self.child = Some(child);
        let reached = async || Ok(TcpStream::connect(("127.0.0.1", self.port)).await?);
        eventually(BOUND, reached).await.map(drop)
    }

    /// Ends it at once.
    pub async fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { bail!("it is down already") };
        child.kill().await.context("killing the store")
    }

    /// Sends a signal, such as STOP.
    pub async fn signal(&self, name: &str) -> Result<()> {
        let pid = self.child.as_ref().and_then(Child::id).context("it is down")?;
        let kill = ["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()];
        let status = Command::new("sh").args(kill).status().await?;
        if status.success() { Ok(()) } else { bail!("kill -s {name} failed") }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// One inline command, and the first line of its answer.
    pub async fn say(&self, command: &str) -> Result<String> {
        let talk = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream.write_all(format!("{command}\r\n").as_bytes()).await?;
            let mut answer = vec![0; 16 * 1024];
            let read = stream.read(&mut answer).await?;
            let text = String::from_utf8_lossy(answer.get(..read).unwrap_or_default());
            Ok::<_, anyhow::Error>(text.into_owned())
        };
        let answer = pause::within(BOUND, command, talk).await??;
        let first = answer.lines().next().unwrap_or_default().to_owned();
        if first.starts_with('-') {
            bail!("{command}: {first}")
        }
        Ok(answer)
    }
}
