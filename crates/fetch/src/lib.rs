//! Floor 1: a small hardened HTTP client for the gateway's own errands, such as key sets.
//!
//! It asks only for addresses that the configuration itself names; that is why a private address is
//! no error here. It follows no redirect, reads at most [`LARGEST`] bytes, and gives up after
//! [`PATIENCE`]. Plain http is for loopback, unless the configuration allows it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The largest answer that is read, in bytes.
pub const LARGEST: usize = 256 * 1024;
/// From the connection's begin to the answer's last byte.
pub const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the address is no http or https URL with a host")]
    Address,
    #[error("plain http leaves this machine: use https, or allow_http")]
    Plain,
    #[error("no connection: {0}")]
    Connect(#[from] std::io::Error),
    #[error("no answer within {PATIENCE:?}")]
    Timeout,
    #[error("the answer's status is {0}")]
    Status(StatusCode),
    #[error("the answer is broken, or larger than {LARGEST} bytes: {0}")]
    Answer(String),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// True for an address that [`get`] would ask.
pub fn is_allowed(url: &str, allow_http: bool) -> Result<(), FetchError> {
    let uri: Uri = url.parse().map_err(|_| FetchError::Address)?;
    let host = uri.host().ok_or(FetchError::Address)?;
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if allow_http || is_loopback(host) => Ok(()),
        Some("http") => Err(FetchError::Plain),
        _ => Err(FetchError::Address),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The body of a 200 answer. Runs on a `LocalSet`.
pub async fn get(url: &str, allow_http: bool) -> Result<Bytes, FetchError> {
    is_allowed(url, allow_http)?;
    let uri: Uri = url.parse().map_err(|_| FetchError::Address)?;
    tokio::time::timeout(PATIENCE, connect_and_get(&uri)).await.map_err(|_| FetchError::Timeout)?
}

async fn connect_and_get(uri: &Uri) -> Result<Bytes, FetchError> {
    let host = uri.host().ok_or(FetchError::Address)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((bare, port)).await?;
    if secure {
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| FetchError::Address)?;
        let connector = TlsConnector::from(tls()?);
        ask(uri, connector.connect(name, stream).await?).await
    } else {
        ask(uri, stream).await
    }
}

/// Verifies against the system's certificates, read once.
fn tls() -> Result<Arc<rustls::ClientConfig>, FetchError> {
    static CONFIG: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::clone(CONFIG.get_or_init(|| Arc::new(config))))
}

async fn ask(
    uri: &Uri,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
) -> Result<Bytes, FetchError> {
    let broken = |error: hyper::Error| FetchError::Answer(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let request = Request::get(path)
        .header(HOST, authority)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("portcullis/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| FetchError::Answer(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(answer.status()));
    }
    let body = Limited::new(answer.into_body(), LARGEST).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|error| FetchError::Answer(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        assert!(is_allowed("https://auth.example.com/jwks", false).is_ok());
        assert!(is_allowed("http://127.0.0.1:1/jwks", false).is_ok());
        assert!(is_allowed("http://[::1]:1/jwks", false).is_ok());
        assert!(is_allowed("http://auth.example.com/jwks", false).is_err());
        assert!(is_allowed("http://auth.example.com/jwks", true).is_ok());
        assert!(is_allowed("ftp://auth.example.com/jwks", true).is_err());
    }
}
