//! TLS towards clients: which certificates are shown, which versions are spoken, whose certificates
//! are asked for.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, WantsServerCert, WebPkiClientVerifier,
};
use rustls::{ConfigBuilder, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use crate::broken::Broken;
use crate::facts::next_list;
use crate::names::{ByName, Now};
use crate::pem::{self, Identity};
use crate::proofs::{self, OrProof, Proofs};
use crate::provider;
use crate::staple::Staples;

/// A version that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Tls12,
    Tls13,
}

/// Whose certificates clients may, or have to, show.
#[derive(Clone, Debug)]
pub struct Clients {
    verifier: Arc<dyn ClientCertVerifier>,
    /// The moment from which on one of the revocation lists is too old: then nobody is believed.
    pub lists_end: Option<SystemTime>,
}

impl Clients {
    /// From the text of a file with authorities, and those of files with revocation lists. With lists,
    /// each certificate has to be signed by somebody whose list is there and not too old.
    pub fn read(ca: &str, lists: &[String], required: bool) -> Result<Self, Broken> {
        let roots: Arc<RootCertStore> = Arc::new(pem::authorities(ca)?);
        let mut revocations = Vec::new();
        for text in lists {
            revocations.extend(pem::revocations(text)?);
        }
        let mut lists_end = None;
        for list in &revocations {
            lists_end = [lists_end, next_list(list)?].into_iter().flatten().min();
        }
        let has_lists = !revocations.is_empty();
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
        if has_lists {
            builder = builder
                .with_crls(revocations)
                .only_check_end_entity_revocation()
                .enforce_revocation_expiration();
        }
        if !required {
            builder = builder.allow_unauthenticated();
        }
        let verifier = builder.build().map_err(|error| match error {
            rustls::server::VerifierBuilderError::InvalidCrl(error) => {
                Broken::Revocations(format!("{error:?}"))
            }
            error => Broken::Setup(error.to_string()),
        })?;
        Ok(Self { verifier, lists_end })
    }
}

/// What a listener does before the first byte of HTTP.
#[derive(Clone, Debug)]
pub struct Server {
    builder: ConfigBuilder<ServerConfig, WantsServerCert>,
    names: Arc<ByName>,
}

/// Keys by which sessions are resumed, in whatever worker: new ones every six hours, good for twelve.
/// A session brings the client's certificate back without looking at it again, so keys must not
/// outlive what certificates are judged by, and no two listeners share any.
#[derive(Debug)]
pub struct Tickets(Option<Arc<dyn ProducesTickets>>);

impl Tickets {
    /// Without random numbers there are none: every handshake is then a whole one.
    pub fn new() -> Self {
        Self(Ticketer::new().ok())
    }
}

impl Default for Tickets {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// Shows one of these; the first is for clients that name no host, or one that nobody has. With none,
    /// nobody gets in.
    pub fn new(
        identities: &[Identity],
        versions: RangeInclusive<Version>,
        clients: Option<&Clients>,
    ) -> Result<Self, Broken> {
        const ALL: [(Version, &SupportedProtocolVersion); 2] =
            [(Version::Tls13, &version::TLS13), (Version::Tls12, &version::TLS12)];
        let spoken = ALL.into_iter().filter(|(version, _)| versions.contains(version));
        let spoken: Vec<_> = spoken.map(|(_, version)| version).collect();
        let builder =
            ServerConfig::builder_with_provider(provider()).with_protocol_versions(&spoken)?;
        let builder = match clients {
            Some(clients) => builder.with_client_cert_verifier(Arc::clone(&clients.verifier)),
            None => builder.with_no_client_auth(),
        };
        Ok(Self { builder, names: Arc::new(ByName::new(identities.iter())) })
    }

    /// What connections are accepted with. `proofs` are for authorities that look.
    pub fn with(
        &self,
        tickets: &Tickets,
        staples: &Arc<dyn Staples>,
        proofs: Option<&Arc<dyn Proofs>>,
    ) -> Arc<ServerConfig> {
        let now = Now { names: Arc::clone(&self.names), staples: Arc::clone(staples) };
        let mut config = self.builder.clone().with_cert_resolver(Arc::new(now));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Ours first: all of these ciphers are good, and whoever looks for weak ones asks for an order.
        config.ignore_client_order = true;
        // What a worker would remember by itself is of no use to the others.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if let Some(proofs) = proofs {
            let (proofs, others) = (Arc::clone(proofs), config.cert_resolver);
            config.cert_resolver = Arc::new(OrProof { proofs, others });
            config.alpn_protocols.push(proofs::PROTOCOL.to_vec());
        }
        if let Some(tickets) = &tickets.0 {
            config.ticketer = Arc::clone(tickets);
        }
        Arc::new(config)
    }
}
