//! What is shown to an authority that looks whether a host is ours, for as long as an order needs it.
//!
//! It lies in the folder: the authority may come to another process than the one that ordered.

use std::sync::{Arc, PoisonError, RwLock, Weak};

use instant_acme::{ChallengeType, KeyAuthorization};
use portcullis_tls::Proofs;
use rcgen::{CertificateParams, CustomExtension, KeyPair};

use crate::store::Store;
use crate::{Challenge, Failed};

/// Where an authority looks (RFC 8555 section 8.3).
pub(crate) const PATH: &str = "/.well-known/acme-challenge/";
/// Behind a host: its name among what is shown. No token has a dot.
const DIGEST: &str = ".digest";

/// All answers of the process: several listeners show them, whichever the authority comes to.
#[derive(Debug, Default)]
pub struct Answers {
    /// The folders of those who keep certificates. Only requests below [`PATH`] and handshakes of an
    /// authority look there.
    stores: RwLock<Vec<Weak<Store>>>,
}

impl Answers {
    /// What to say at this path, if an order waits for it.
    pub fn at(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(PATH).filter(|token| is_token(token))?;
        String::from_utf8(self.shown(token)?).ok()
    }

    /// Looks into this folder as long as somebody holds it.
    pub(crate) fn know(&self, store: &Arc<Store>) {
        let mut all = self.stores.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|store| store.strong_count() > 0);
        all.push(Arc::downgrade(store));
    }

    fn shown(&self, name: &str) -> Option<Vec<u8>> {
        let all = self.stores.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).find_map(|store| store.shown(name))
    }
}

impl Proofs for Answers {
    /// Made anew for each look: authorities look seldom.
    fn find(&self, host: &str) -> Option<(Vec<u8>, Vec<u8>)> {
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_host = !host.is_empty() && host.len() <= 253 && host.bytes().all(is_plain);
        let digest = is_host.then(|| self.shown(&format!("{host}{DIGEST}")))??;
        proof(host, digest.as_slice().try_into().ok()?).ok()
    }
}

impl Challenge {
    pub(crate) fn kind(self) -> ChallengeType {
        match self {
            Self::Http01 => ChallengeType::Http01,
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
        }
    }
}

/// An answer that is shown until this is dropped.
pub(crate) struct Shown<'s> {
    store: &'s Store,
    name: String,
}

impl<'s> Shown<'s> {
    pub(crate) fn new(
        store: &'s Store,
        host: &str,
        how: Challenge,
        token: &str,
        key: &KeyAuthorization,
    ) -> Result<Self, Failed> {
        if !is_token(token) {
            return Err(Failed::Token);
        }
        let (name, text) = match how {
            Challenge::Http01 => (token.to_owned(), key.as_str().as_bytes().to_vec()),
            Challenge::TlsAlpn01 => (format!("{host}{DIGEST}"), key.digest().as_ref().to_vec()),
        };
        store.show(&name, &text)?;
        Ok(Self { store, name })
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.store.withdraw(&self.name);
    }
}

/// Tokens are base64url without padding (RFC 8555 section 8.1), and become names of files.
fn is_token(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=200).contains(&text.len()) && text.bytes().all(is_letter)
}

/// A certificate that signed itself, with the proof inside (RFC 8737 section 3), and its key, both in DER.
/// `digest` is a SHA-256.
fn proof(host: &str, digest: &[u8; 32]) -> Result<(Vec<u8>, Vec<u8>), rcgen::Error> {
    let mut params = CertificateParams::new([host.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.der().to_vec(), key.serialize_der()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_found_by_every_process_with_the_folder_until_it_is_taken_away() {
        let folder = std::env::temp_dir().join(format!("portcullis-acme-{}", std::process::id()));
        let [one, two] = [1, 2].map(|_| Arc::new(Store::new(&folder, "https://ca.example/dir")));
        let answers = Answers::default();
        answers.know(&two);
        let lock = one.lock().unwrap().unwrap();
        assert!(two.lock().unwrap().is_none(), "one at a time orders");
        one.show("t-1_x", b"t-1_x.print").unwrap();
        one.show("shop.example.digest", &[7; 32]).unwrap();
        let at = |token: &str| answers.at(&format!("{PATH}{token}"));
        assert_eq!(at("t-1_x").as_deref(), Some("t-1_x.print"));
        assert!(answers.find("shop.example").is_some());
        for token in ["", "t-1_y", "../lock", "shop.example.digest", ".", "%2e"] {
            assert_eq!(at(token), None, "{token}");
        }
        for host in ["", "other.example", "../shop.example", "/shop.example"] {
            assert!(answers.find(host).is_none(), "{host}");
        }
        one.withdraw("t-1_x");
        assert_eq!(at("t-1_x"), None);
        drop(lock);
        let lock = two.lock().unwrap().unwrap();
        assert!(answers.find("shop.example").is_none(), "what a broken order left is cleared away");
        drop((lock, two));
        one.show("t-2", b"t-2.print").unwrap();
        assert_eq!(at("t-2"), None, "nobody keeps certificates there any more");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
