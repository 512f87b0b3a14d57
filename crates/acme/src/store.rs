//! Where accounts and certificates are kept: files in a folder of each authority, for the owner alone,
//! written whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use http::Uri;

const ACCOUNT: &str = "account.json";
const LOCK: &str = "lock";

/// The folder of one authority: a change of authority is a new account and new certificates.
#[derive(Clone, Debug)]
pub struct Store(PathBuf);

impl Store {
    /// Below `folder`, for the authority with this directory.
    pub fn new(folder: &Path, directory: &str) -> Self {
        let uri: Uri = directory.parse().unwrap_or_default();
        let port = uri.port_u16().map(|port| format!("_{port}")).unwrap_or_default();
        Self(folder.join(format!("{}{port}", uri.host().unwrap_or("unnamed"))))
    }

    /// The file with a host's certificate, those that signed it, and its key.
    pub fn certificate(&self, host: &str) -> PathBuf {
        self.0.join(format!("{host}.pem"))
    }

    /// `None` when there is none yet.
    pub(crate) fn account(&self) -> io::Result<Option<String>> {
        match fs::read_to_string(self.0.join(ACCOUNT)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn keep_account(&self, text: &str) -> io::Result<()> {
        self.write(&self.0.join(ACCOUNT), text)
    }

    pub(crate) fn forget_account(&self) -> io::Result<()> {
        fs::remove_file(self.0.join(ACCOUNT))
    }

    pub(crate) fn keep_certificate(&self, host: &str, text: &str) -> io::Result<()> {
        self.write(&self.certificate(host), text)
    }

    /// Held while something is ordered: of several processes with one folder, one does. `None` while
    /// it is another.
    pub(crate) fn lock(&self) -> io::Result<Option<File>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(self.0.join(LOCK));
        let file = file?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        let beside = path.with_added_extension("new");
        let mut options = OpenOptions::new();
        let mut file = options.create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    }
}
