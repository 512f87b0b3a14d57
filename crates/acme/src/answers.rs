//! What is shown to an authority that looks whether a host is ours, for as long as an order needs it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use instant_acme::{ChallengeType, KeyAuthorization};
use portcullis_tls::Proofs;
use rcgen::{CertificateParams, CustomExtension, KeyPair};

use crate::{Challenge, Failed};

/// Where an authority looks (RFC 8555 section 8.3).
pub(crate) const PATH: &str = "/.well-known/acme-challenge/";

/// All answers of the process: several listeners show them, whichever the authority comes to.
#[derive(Debug, Default)]
pub struct Answers {
    /// By token. Only requests below [`PATH`] look here, and only while HTTP-01 is configured.
    http: RwLock<HashMap<String, String>>,
    pub tls: Arc<Proofs>,
}

impl Answers {
    /// What to say at this path, if an order waits for it.
    pub fn at(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(PATH)?;
        self.http.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    /// Shows one until what comes back is dropped.
    pub(crate) fn show<'a>(
        &'a self,
        host: &'a str,
        how: Challenge,
        token: &str,
        key: &KeyAuthorization,
    ) -> Result<Shown<'a>, Failed> {
        let mut token = token.to_owned();
        match how {
            Challenge::Http01 => {
                let mut all = self.http.write().unwrap_or_else(PoisonError::into_inner);
                all.insert(token.clone(), key.as_str().to_owned());
            }
            Challenge::TlsAlpn01 => {
                let (proof, own) = proof(host, key.digest().as_ref())?;
                self.tls.show(host, proof, own)?;
                token.clear();
            }
        }
        Ok(Shown { answers: self, host, token })
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

/// An answer that is shown.
pub(crate) struct Shown<'a> {
    answers: &'a Answers,
    host: &'a str,
    /// Empty for one that is shown in handshakes.
    token: String,
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if self.token.is_empty() {
            self.answers.tls.withdraw(self.host);
        } else {
            let mut all = self.answers.http.write().unwrap_or_else(PoisonError::into_inner);
            all.remove(&self.token);
        }
    }
}

/// A certificate that signed itself, with the proof inside (RFC 8737 section 3), and its key, both in DER.
/// `digest` is a SHA-256.
fn proof(host: &str, digest: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Failed> {
    let mut params = CertificateParams::new([host.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.der().to_vec(), key.serialize_der()))
}
