//! Floor 1: a small hardened HTTP client for the gateway's own errands, such as key sets.
//!
//! A private address is asked only when the configuration itself names it. It follows no redirect, reads at most [`LARGEST`] bytes, and gives up after
//! [`PATIENCE`]. Plain http is for loopback, unless the configuration allows it.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, HOST, USER_AGENT};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use portcullis_tls::{Broken, Client, Connector};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

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
    #[error("it is on a private network, and the configuration does not name it")]
    Private,
    #[error("no connection: {0}")]
    Connect(#[from] std::io::Error),
    #[error("no answer within {PATIENCE:?}")]
    Timeout,
    #[error("the answer's status is {0}")]
    Status(StatusCode),
    #[error("the answer is broken, or larger than {LARGEST} bytes: {0}")]
    Answer(String),
    #[error("TLS: {0}")]
    Tls(#[from] Broken),
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

/// What an errand may do.
#[derive(Clone, Copy, Debug)]
pub struct Allow {
    /// Plain http beyond this machine.
    pub http: bool,
    /// Private and loopback addresses: only when the configuration itself names the host.
    pub private: bool,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub body: Bytes,
    /// How long it may be kept (RFC 9111 section 5.2.2.1).
    pub max_age: Option<Duration>,
}

/// True when both addresses name the same host.
pub fn same_host(one: &str, two: &str) -> bool {
    let host = |url: &str| {
        let uri: Option<Uri> = url.parse().ok();
        uri.and_then(|uri| uri.host().map(str::to_ascii_lowercase))
    };
    host(one).is_some() && host(one) == host(two)
}

/// A 200 answer. Runs on a `LocalSet`.
pub async fn get(url: &str, allow: Allow) -> Result<Answer, FetchError> {
    is_allowed(url, allow.http)?;
    let uri: Uri = url.parse().map_err(|_| FetchError::Address)?;
    let answer = tokio::time::timeout(PATIENCE, connect_and_get(&uri, allow)).await;
    answer.map_err(|_| FetchError::Timeout)?
}

async fn connect(host: &str, port: u16, allow: Allow) -> Result<TcpStream, FetchError> {
    let addresses = tokio::net::lookup_host((host, port)).await?;
    let mut last = FetchError::Private;
    for address in addresses.filter(|address| allow.private || is_public(address.ip())) {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// False for addresses of this machine or of a network of its own.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let shared = first == 100 && second & 0xc0 == 64; // RFC 6598
            !(ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_unspecified()
                || shared)
        }
        IpAddr::V6(ip) => {
            let local = ip.is_unique_local() || ip.is_unicast_link_local();
            !(ip.is_loopback() || ip.is_unspecified() || local)
        }
    }
}

async fn connect_and_get(uri: &Uri, allow: Allow) -> Result<Answer, FetchError> {
    let host = uri.host().ok_or(FetchError::Address)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = connect(bare, port, allow).await?;
    if !secure {
        return ask(uri, stream).await;
    }
    let client = Client::new(None, None, "http/1.1")?; // an errand is rare enough to be made for itself
    let connector = Connector::new(&client, bare).ok_or(FetchError::Address)?;
    ask(uri, connector.connect(stream).await?).await
}

async fn ask(
    uri: &Uri,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
) -> Result<Answer, FetchError> {
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
    let max_age = max_age(answer.headers());
    let body = Limited::new(answer.into_body(), LARGEST).collect().await;
    let body = body.map_err(|error| FetchError::Answer(error.to_string()))?.to_bytes();
    Ok(Answer { body, max_age })
}

fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(CACHE_CONTROL)?.to_str().ok()?.to_ascii_lowercase();
    let seconds =
        text.split(',').find_map(|part| part.trim().strip_prefix("max-age=")?.parse().ok());
    seconds.map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks_are_told_apart() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
            "0.0.0.0",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        assert!(is_public("93.184.216.34".parse().unwrap()));
        assert!(is_public("2606:2800:220:1::1".parse().unwrap()));
        assert!(same_host("https://A.example/x", "http://a.example:8080/y"));
        assert!(!same_host("https://a.example/x", "https://b.example/x"));
    }

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
