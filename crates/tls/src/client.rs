//! TLS towards endpoints and for errands: certificates are always verified.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use crate::broken::Broken;
use crate::pem::{self, Identity};
use crate::provider;
use crate::stream::Stream;

/// Sessions that are remembered to be resumed, over all workers.
const SESSIONS: usize = 256;

/// How the gateway is a client.
#[derive(Clone, Debug)]
pub struct Client(Arc<ClientConfig>);

impl Client {
    /// Believes the authorities in a file's text, or the system's; shows `identity` to whoever asks;
    /// speaks one protocol, `h2` or `http/1.1`.
    pub fn new(
        ca: Option<&str>,
        identity: Option<&Identity>,
        protocol: &str,
    ) -> Result<Self, Broken> {
        let roots = match ca {
            Some(text) => Arc::new(pem::authorities(text)?),
            None => system()?,
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(
                rustls::sign::SingleCertAndKey::from(Arc::clone(&identity.key)),
            )),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Self(Arc::new(config)))
    }
}

/// The system's authorities, read once.
fn system() -> Result<Arc<RootCertStore>, Broken> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if roots.is_empty() { Err(Broken::NoAuthorities) } else { Ok(Arc::clone(roots)) }
}

/// How one endpoint is connected to: as which client, and whose certificate it has to show.
#[derive(Clone, Debug)]
pub struct Connector {
    client: Client,
    name: ServerName<'static>,
}

impl Connector {
    /// `None` when `name` is neither a host name nor an IP address.
    pub fn new(client: &Client, name: &str) -> Option<Self> {
        let name = ServerName::try_from(name.to_owned()).ok()?;
        Some(Self { client: client.clone(), name })
    }

    /// Shakes hands. The other side has to agree to the protocol if that is HTTP/2: nobody speaks it
    /// by accident. The caller bounds the wait.
    pub async fn connect(&self, stream: TcpStream) -> io::Result<Stream> {
        let config = &self.client.0;
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(self.name.clone(), stream).await?;
        let agreed = stream.get_ref().1.alpn_protocol();
        let wanted = config.alpn_protocols.first().map(Vec::as_slice);
        if wanted == Some(b"h2") && agreed != wanted {
            return Err(io::Error::other("it does not speak HTTP/2 (ALPN h2)"));
        }
        Ok(Stream::Secure(Box::new(TlsStream::Client(stream))))
    }
}
