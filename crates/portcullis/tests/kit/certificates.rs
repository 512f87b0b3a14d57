//! Certificates that are made when a test wants them, and TLS in front of what a test stands on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a certificate is to be.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Host names and addresses.
    pub names: Vec<String>,
    /// Who signs it; itself when left out.
    pub by: Option<String>,
    pub authority: bool,
    /// In how many days it ends; fewer than none: it has ended.
    pub days: i64,
    /// Names of certificates that this authority takes back, in a list of its own.
    pub revokes: Vec<String>,
    /// In how many days the next list comes.
    pub list_days: i64,
}

struct Made {
    params: CertificateParams,
    key: KeyPair,
    certificate: String,
}

/// Certificates by name.
#[derive(Default)]
pub struct Certificates(BTreeMap<String, Made>);

impl Certificates {
    /// Makes one and writes `NAME.pem`, `NAME.key` and, where it takes any back, `NAME.crl`.
    pub fn make(&mut self, folder: &Path, name: &str, wish: &Wish) -> Result<()> {
        let mut params = CertificateParams::new(wish.names.clone())?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), name); // CN
        params.serial_number = Some(SerialNumber::from(serial(name)));
        params.not_before = day(wish.days.min(0) - 30).into();
        params.not_after = day(wish.days).into();
        if wish.authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        } else {
            params.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        }
        let key = KeyPair::generate()?;
        let certificate = match &wish.by {
            None => params.self_signed(&key)?,
            Some(by) => {
                let by = self.made(by)?;
                params.signed_by(&key, &Issuer::from_params(&by.params, &by.key))?
            }
        };
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem())?;
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem())?;
        let made = Made { params, key, certificate: certificate.pem() };
        if wish.authority && (!wish.revokes.is_empty() || wish.list_days != 0) {
            std::fs::write(folder.join(format!("{name}.crl")), made.list(wish)?)?;
        }
        self.0.insert(name.to_owned(), made);
        Ok(())
    }

    fn made(&self, name: &str) -> Result<&Made> {
        self.0.get(name).with_context(|| format!("no certificate {name} was made"))
    }

    fn identity(
        &self,
        name: &str,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let made = self.made(name)?;
        let chain = vec![CertificateDer::from_pem_slice(made.certificate.as_bytes())?];
        Ok((chain, PrivateKeyDer::from_pem_slice(made.key.serialize_pem().as_bytes())?))
    }

    fn roots(&self, name: &str) -> Result<Arc<RootCertStore>> {
        let mut roots = RootCertStore::empty();
        let text = self.made(name)?.certificate.as_bytes();
        roots.add(CertificateDer::from_pem_slice(text)?)?;
        Ok(Arc::new(roots))
    }

    /// A client that believes one certificate and may show one.
    pub fn client(&self, ca: &str, own: Option<&str>, http2: bool) -> Result<Arc<ClientConfig>> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots(ca)?);
        let mut config = match own {
            Some(own) => {
                let (chain, key) = self.identity(own)?;
                builder.with_client_auth_cert(chain, key)?
            }
            None => builder.with_no_client_auth(),
        };
        let protocol = if http2 { b"h2".as_slice() } else { b"http/1.1" };
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Arc::new(config))
    }

    /// A server that shows a certificate and may ask for one.
    fn server(&self, own: &str, clients: Option<&str>) -> Result<Arc<ServerConfig>> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?;
        let builder = match clients {
            Some(ca) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(self.roots(ca)?, provider());
                builder.with_client_cert_verifier(verifier.build()?)
            }
            None => builder.with_no_client_auth(),
        };
        let (chain, key) = self.identity(own)?;
        Ok(Arc::new(builder.with_single_cert(chain, key)?)) // of ALPN it knows nothing
    }

    /// Speaks TLS on a port of its own in front of `address`.
    pub async fn front(
        &self,
        address: SocketAddr,
        own: &str,
        clients: Option<&str>,
    ) -> Result<Front> {
        let acceptor = TlsAcceptor::from(self.server(own, clients)?);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let own = listener.local_addr()?;
        let task = tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let accepting = acceptor.accept(stream);
                tokio::task::spawn_local(async move {
                    // What goes wrong is for the client to notice.
                    let (Ok(mut outer), Ok(mut inner)) =
                        (accepting.await, TcpStream::connect(address).await)
                    else {
                        return;
                    };
                    let _ =
                        tokio::io::copy_bidirectional::<server::TlsStream<TcpStream>, TcpStream>(
                            &mut outer, &mut inner,
                        )
                        .await;
                });
            }
        });
        Ok(Front { address: own, task: task.abort_handle() })
    }
}

/// Ends with its value.
pub struct Front {
    pub address: SocketAddr,
    task: AbortHandle,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Made {
    fn list(&self, wish: &Wish) -> Result<String> {
        let revoked = wish.revokes.iter().map(|name| RevokedCertParams {
            serial_number: SerialNumber::from(serial(name)),
            revocation_time: day(-1).into(),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: day(wish.list_days.min(0) - 2).into(),
            next_update: day(if wish.list_days == 0 { 10 } else { wish.list_days }).into(),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&Issuer::from_params(&self.params, &self.key))?.pem()?)
    }
}

/// A number for a name, the same in every run.
fn serial(name: &str) -> u64 {
    name.bytes().fold(7, |sum, byte| sum * 31 % 0x7fff_ffff + u64::from(byte))
}

#[allow(clippy::disallowed_methods)] // certificates are for real clients, who know what time it is
fn day(days: i64) -> SystemTime {
    let distance = DAY * u32::try_from(days.unsigned_abs()).unwrap_or(u32::MAX);
    let now = SystemTime::now();
    if days < 0 { now - distance } else { now + distance }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Shakes hands as a client that asks for `name`.
pub async fn connect(
    config: &Arc<ClientConfig>,
    name: &str,
    stream: TcpStream,
) -> Result<client::TlsStream<TcpStream>> {
    let server = ServerName::try_from(name.to_owned()).map_err(|_| anyhow!("no name: {name}"))?;
    let connector = TlsConnector::from(Arc::clone(config));
    connector.connect(server, stream).await.context("shaking hands")
}
