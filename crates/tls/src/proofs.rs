//! Certificates by which an authority sees that a host is ours (TLS-ALPN-01, RFC 8737): shown to whoever
//! speaks `acme-tls/1`, and to nobody else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::broken::Broken;
use crate::provider;

/// The protocol's name (RFC 8737 section 6.2).
pub(crate) const PROTOCOL: &[u8] = b"acme-tls/1";

/// What is to be shown now, by host. Whoever shows it takes it away.
#[derive(Debug, Default)]
pub struct Proofs(Mutex<HashMap<String, Arc<CertifiedKey>>>);

impl Proofs {
    /// `proof` is a certificate in DER, `key` its key (PKCS #8, DER). Nobody verifies it in the usual way:
    /// what proves is an extension that has to be unknown to everybody else.
    pub fn show(&self, host: &str, proof: Vec<u8>, key: Vec<u8>) -> Result<(), Broken> {
        let key = PrivatePkcs8KeyDer::from(key).into();
        let key = provider().key_provider.load_private_key(key)?;
        let proof = CertifiedKey::new(vec![CertificateDer::from(proof)], key);
        self.all().insert(host.to_owned(), Arc::new(proof));
        Ok(())
    }

    pub fn withdraw(&self, host: &str) {
        self.all().remove(host);
    }

    /// Only who asks for a proof takes this lock, and it is held for a look.
    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<CertifiedKey>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A proof for whoever asks for one, and for all others what they would get without.
#[derive(Debug)]
pub(crate) struct OrProof {
    pub(crate) proofs: Arc<Proofs>,
    pub(crate) others: Arc<dyn ResolvesServerCert>,
}

impl ResolvesServerCert for OrProof {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut protocols = hello.alpn().into_iter().flatten();
        if protocols.next() != Some(PROTOCOL) || protocols.next().is_some() {
            return self.others.resolve(hello);
        }
        let host = hello.server_name()?.to_ascii_lowercase();
        self.proofs.all().get(&host).cloned()
    }
}
