//! Where accounts and certificates are kept: files in a folder of each authority, for the owner alone,
//! written whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use http::Uri;
use portcullis_core::template::encode;

const ACCOUNT: &str = "account.json";
/// What the authority was told of whom to write to; not there for nobody.
const CONTACT: &str = "contact";
const LOCK: &str = "lock";
/// What is shown to the authority now, by whatever process it comes to.
const SHOWN: &str = "shown";

/// The folder of one authority: a change of authority is a new account and new certificates.
#[derive(Clone, Debug)]
pub struct Store(PathBuf);

impl Store {
    /// Below `folder`, for the authority with this directory.
    pub fn new(folder: &Path, directory: &str) -> Self {
        let uri: Uri = directory.parse().unwrap_or_default();
        let mut name = uri.host().unwrap_or("unnamed").to_ascii_lowercase();
        if let Some(port) = uri.port_u16() {
            name.push_str(&format!("_{port}"));
        }
        // One host may be several authorities, such as provisioners. Most are one.
        if !matches!(uri.path(), "/directory" | "/dir" | "/" | "") {
            name.push_str(&encode(uri.path()).to_string().replace('_', "%5F").replace("%2F", "_"));
        }
        Self(folder.join(name))
    }

    /// The file with a host's certificate, those that signed it, and its key.
    pub fn certificate(&self, host: &str) -> PathBuf {
        self.0.join(format!("{host}.pem"))
    }

    /// `None` when there is none yet.
    pub(crate) fn account(&self) -> io::Result<Option<String>> {
        there(fs::read_to_string(self.0.join(ACCOUNT)))
    }

    /// The account's contact, as the authority knows it.
    pub(crate) fn contact(&self) -> io::Result<Option<String>> {
        there(fs::read_to_string(self.0.join(CONTACT)))
    }

    pub(crate) fn keep_contact(&self, contact: Option<&str>) -> io::Result<()> {
        let path = self.0.join(CONTACT);
        match contact {
            Some(contact) => self.write(&path, contact.as_bytes()),
            None => there(fs::remove_file(path)).map(|_| ()),
        }
    }

    pub(crate) fn keep_account(&self, text: &str) -> io::Result<()> {
        self.write(&self.0.join(ACCOUNT), text.as_bytes())
    }

    pub(crate) fn forget_account(&self) -> io::Result<()> {
        fs::remove_file(self.0.join(ACCOUNT))
    }

    pub(crate) fn keep_certificate(&self, host: &str, text: &str) -> io::Result<()> {
        self.write(&self.certificate(host), text.as_bytes())
    }

    /// Shows it to every process with this folder. `name` is one of a file.
    pub(crate) fn show(&self, name: &str, text: &[u8]) -> io::Result<()> {
        let folder = self.0.join(SHOWN);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        self.write(&folder.join(name), text)
    }

    pub(crate) fn shown(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.0.join(SHOWN).join(name)).ok()
    }

    /// What cannot be taken away now is when the next order begins.
    pub(crate) fn withdraw(&self, name: &str) {
        let _ = fs::remove_file(self.0.join(SHOWN).join(name));
    }

    /// Held while something is ordered: of several processes with one folder, one does. `None` while
    /// it is another.
    pub(crate) fn lock(&self) -> io::Result<Option<File>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(self.0.join(LOCK));
        let file = file?;
        match file.try_lock() {
            Ok(()) => {
                // Whoever holds the lock is the only one to show anything: this is of an order that broke off.
                let _ = fs::remove_dir_all(self.0.join(SHOWN));
                Ok(Some(file))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn write(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        let beside = path.with_added_extension("new");
        let mut options = OpenOptions::new();
        let mut file = options.create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    }
}

/// `None` for what is not there.
fn there<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        done => done.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_authority_has_a_folder() {
        let name = |directory| Store::new(Path::new("acme"), directory).0;
        let known = "https://acme-v02.api.letsencrypt.org/directory";
        assert_eq!(name(known), Path::new("acme/acme-v02.api.letsencrypt.org"));
        assert_eq!(name("https://CA.example:9000/dir"), Path::new("acme/ca.example_9000"));
        let one = name("https://ca.example/acme/one/directory");
        assert_eq!(one, Path::new("acme/ca.example_acme_one_directory"));
        assert_ne!(one, name("https://ca.example/acme/two/directory"));
        assert_ne!(one, name("https://ca.example/acme_one_directory"));
    }
}
