//! Certificates by which an authority sees that a host is ours (TLS-ALPN-01, RFC 8737): shown to whoever
//! speaks `acme-tls/1`, and to nobody else.

use std::fmt::Debug;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::provider;

/// The protocol's name (RFC 8737 section 6.2).
pub(crate) const PROTOCOL: &[u8] = b"acme-tls/1";

/// What is to be shown now.
pub trait Proofs: Debug + Send + Sync {
    /// For a host in lower case, which a stranger named: a certificate in DER and its key (PKCS #8, DER).
    /// Nobody verifies it in the usual way: what proves is an extension that has to be unknown to
    /// everybody else.
    fn find(&self, host: &str) -> Option<(Vec<u8>, Vec<u8>)>;
}

/// A proof for whoever asks for one, and for all others what they would get without.
#[derive(Debug)]
pub(crate) struct OrProof {
    pub(crate) proofs: Arc<dyn Proofs>,
    pub(crate) others: Arc<dyn ResolvesServerCert>,
}

impl ResolvesServerCert for OrProof {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut protocols = hello.alpn().into_iter().flatten();
        if protocols.next() != Some(PROTOCOL) || protocols.next().is_some() {
            return self.others.resolve(hello);
        }
        let (proof, key) = self.proofs.find(&hello.server_name()?.to_ascii_lowercase())?;
        let key = PrivatePkcs8KeyDer::from(key).into();
        let key = provider().key_provider.load_private_key(key).ok()?;
        Some(Arc::new(CertifiedKey::new(vec![CertificateDer::from(proof)], key)))
    }
}
