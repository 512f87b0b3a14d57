//! From the text of PEM files (RFC 7468) to certificates, keys and lists.

use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};

use crate::broken::Broken;
use crate::facts::Facts;
use crate::provider;
use crate::staple::{Staple, Stapled, Staples};

/// Whoever can show a certificate and has its key: the gateway, towards either side.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(crate) key: Arc<CertifiedKey>,
    pub facts: Arc<Facts>,
    /// What is said of it to whoever asks for that.
    pub staple: Option<Staple>,
    stapled: Option<Arc<Stapled>>,
}

impl Identity {
    /// From the text of a certificate file (its own certificate first, then those that signed it),
    /// that of a key file, and what a responder said of the certificate (RFC 6960, DER).
    pub fn read(certificate: &str, key: &str, ocsp: Option<Vec<u8>>) -> Result<Self, Broken> {
        let chain = certificates(certificate)?;
        let own = chain.first().ok_or(Broken::Missing("CERTIFICATE"))?;
        let facts = Arc::new(Facts::of(own)?);
        let certified = CertifiedKey::from_der(chain, private_key(key)?, &provider());
        let certified = certified.map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Broken::Mismatch,
            Error::InvalidCertificate(_) => Broken::Certificate(error.to_string()),
            _ => Broken::Key(error.to_string()),
        })?;
        let staple = ocsp.as_ref().map(|it| Staple::read(it, &facts.serial)).transpose()?;
        let stapled = staple.map(|staple| {
            let certified = CertifiedKey { ocsp, ..certified.clone() };
            Arc::new(Stapled::new(certified, staple.ends))
        });
        Ok(Self { key: Arc::new(certified), facts, staple, stapled })
    }

    /// As it is shown now: with what is said of it, unless that is too old.
    pub(crate) fn shown(&self, staples: &dyn Staples) -> &Arc<CertifiedKey> {
        let stapled = self.stapled.as_ref().and_then(|it| it.shown(&self.facts, staples));
        stapled.unwrap_or(&self.key)
    }
}

pub(crate) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, Broken> {
    all(text, "CERTIFICATE")
}

pub(crate) fn revocations(
    text: &str,
) -> Result<Vec<CertificateRevocationListDer<'static>>, Broken> {
    all(text, "X509 CRL")
}

/// The authorities in a file's text.
pub(crate) fn authorities(text: &str) -> Result<RootCertStore, Broken> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(text)? {
        let added = roots.add(certificate);
        added.map_err(|error| Broken::Certificate(error.to_string()))?;
    }
    Ok(roots)
}

fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, Broken> {
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(Broken::Encrypted);
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        pem::Error::NoItemsFound => Broken::Missing("PRIVATE KEY"),
        error => Broken::Pem(error.to_string()),
    })
}

fn all<T: PemObject>(text: &str, block: &'static str) -> Result<Vec<T>, Broken> {
    let found = T::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<T>, _>>();
    let found = found.map_err(|error| Broken::Pem(error.to_string()))?;
    if found.is_empty() { Err(Broken::Missing(block)) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_and_its_key_belong_together() {
        let ((first, key), (second, other)) = (made("a.example"), made("b.example"));
        assert!(Identity::read(&first, &key, None).unwrap().facts.covers("a.example"));
        let broken =
            |certificate: &str, key: &str| Identity::read(certificate, key, None).unwrap_err();
        assert_eq!(broken(&first, &other), Broken::Mismatch);
        assert_eq!(broken(&format!("{second}{first}"), &key), Broken::Mismatch);
        assert_eq!(broken("", &key), Broken::Missing("CERTIFICATE"));
        assert_eq!(broken(&key, &key), Broken::Missing("CERTIFICATE"));
        assert_eq!(broken(&first, &first), Broken::Missing("PRIVATE KEY"));
        let locked = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        assert_eq!(broken(&first, &locked), Broken::Encrypted);
        let cut = first.replace("-----END", "-----END OF");
        assert!(matches!(broken(&cut, &key), Broken::Pem(_)));
    }
}
