//! A directory of a test's own, and ports that nobody else has.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use tokio::net::TcpSocket;

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A fresh directory that goes with its value.
#[derive(Debug)]
pub struct Place(PathBuf);

impl Place {
    pub fn new() -> Result<Self> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("portcullis-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file below the directory, with the folders on its way. The file is replaced in one
    /// step, as editors do it: nobody ever reads half of it.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let draft = self.0.join(format!(".draft-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        std::fs::write(&draft, text).with_context(|| format!("writing {name}"))?;
        std::fs::rename(&draft, &path).with_context(|| format!("writing {name}"))?;
        Ok(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A port for a gateway that is yet to start, and a socket that keeps it: bound, but not listening. The
/// gateway can listen there, since both let the address be used again; to nobody else does the system give
/// it, and who connects is refused.
pub fn keep_port() -> Result<(TcpSocket, u16)> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let port = socket.local_addr()?.port();
    Ok((socket, port))
}

/// A socket on a port that the system chose. While it is held, nobody else can have the port.
pub fn hold_port() -> Result<(TcpListener, u16)> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}
