//! The handshake with a client: what came of it, or why it failed, in few words.

use std::io;
use std::sync::Arc;

use rustls::pki_types::UnixTime;
use rustls::server::Acceptor;
use rustls::{AlertDescription, Error, ProtocolVersion, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor, TlsStream, server};

use crate::facts::Facts;
use crate::proofs::PROTOCOL;
use crate::stream::Stream;

/// What is known of a client once both sides trust the connection.
#[derive(Debug)]
pub struct Accepted {
    pub stream: Stream,
    /// It agreed to HTTP/2 (ALPN).
    pub http2: bool,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The host that it asked for, in lower case.
    pub server_name: Option<String>,
    /// What its certificate says.
    pub certificate: Option<Facts>,
}

/// Why a handshake failed: one of few words, for a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The client went away.
    Closed,
    /// The client refused, most often because it does not trust the certificate.
    Refused,
    /// No version, cipher or signature that both know.
    Incompatible,
    /// A client's certificate is required, and there was none.
    NoCertificate,
    /// The client's certificate is not good: not signed by one of ours, expired, revoked.
    BadCertificate,
    /// What came is no TLS.
    Malformed,
    /// It took too long.
    Timeout,
    /// As many as may be were under way.
    TooMany,
}

impl Failure {
    pub const ALL: [Self; 8] = [
        Self::Closed,
        Self::Refused,
        Self::Incompatible,
        Self::NoCertificate,
        Self::BadCertificate,
        Self::Malformed,
        Self::Timeout,
        Self::TooMany,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Refused => "refused",
            Self::Incompatible => "incompatible",
            Self::NoCertificate => "no_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::Malformed => "malformed",
            Self::Timeout => "timeout",
            Self::TooMany => "too_many",
        }
    }

    fn of(error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
        match tls {
            None => Self::Closed,
            Some(Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_)) => {
                Self::BadCertificate
            }
            Some(Error::AlertReceived(AlertDescription::CloseNotify)) => Self::Closed,
            Some(Error::AlertReceived(AlertDescription::ProtocolVersion)) => Self::Incompatible,
            Some(Error::AlertReceived(_)) => Self::Refused,
            Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => Self::Incompatible,
            Some(_) => Self::Malformed,
        }
    }
}

/// A handshake that failed, and why in more words, for a log.
#[derive(Debug)]
pub struct Failed {
    pub failure: Failure,
    pub why: String,
}

/// By the host that a client asks for, in lower case: what it is met with in place of the usual, if anything.
pub type Instead<'i> = &'i dyn Fn(&str) -> Option<Arc<ServerConfig>>;

/// Shakes hands as a server. The caller bounds the wait. `None`: an authority came for a proof, which the
/// handshake was; there is nothing to be said to it (RFC 8737 section 3).
pub async fn accept(
    config: Arc<ServerConfig>,
    instead: Option<Instead<'_>>,
    stream: TcpStream,
) -> Result<Option<Accepted>, Failed> {
    let failed = |error: io::Error| Failed { failure: Failure::of(&error), why: error.to_string() };
    let stream = match instead {
        None => TlsAcceptor::from(config).accept(stream).await,
        Some(instead) => choose(config, instead, stream).await,
    };
    let stream = stream.map_err(failed)?;
    let connection = stream.get_ref().1;
    if connection.alpn_protocol() == Some(PROTOCOL) {
        return Ok(None);
    }
    let facts = connection.peer_certificates().and_then(<[_]>::first).map(|der| Facts::of(der));
    let refused = |why: String| Failed { failure: Failure::BadCertificate, why };
    // One that was judged good and cannot be read is nobody's.
    let certificate = facts.transpose().map_err(|broken| refused(broken.to_string()))?;
    // A resumed session brings one that was judged when it began.
    if certificate.as_ref().is_some_and(|facts| facts.has_ended(UnixTime::now())) {
        return Err(refused("the session's certificate has ended".to_owned()));
    }
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    };
    let server_name = connection.server_name().map(str::to_ascii_lowercase);
    let http2 = connection.alpn_protocol() == Some(b"h2");
    let stream = Stream::Secure(Box::new(TlsStream::Server(stream)));
    Ok(Some(Accepted { stream, http2, version, server_name, certificate }))
}

/// Reads what the client begins with before anything is decided.
async fn choose(
    usual: Arc<ServerConfig>,
    instead: Instead<'_>,
    stream: TcpStream,
) -> io::Result<server::TlsStream<TcpStream>> {
    let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let host = begun.client_hello().server_name().map(str::to_ascii_lowercase);
    let config = host.and_then(|host| instead(&host)).unwrap_or(usual);
    begun.into_stream(config).await
}
