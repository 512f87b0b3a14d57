//! Floor 1: a small hardened HTTP client for the gateway's own errands, such as key sets.
//!
//! A private address is asked only when the configuration itself names it. It follows no redirect, reads at most
//! [`LARGEST`] bytes, and gives up in time. Plain http is for loopback, unless the configuration allows it.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use portcullis_tls::{Broken, Client, Connector, Stream};
use tokio::net::TcpStream;

/// The largest answer that is read, in bytes.
pub const LARGEST: usize = 256 * 1024;
/// How long [`get`] takes at most, from the connection's begin to the answer's last byte.
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
    #[error("no answer within {0:?}")]
    Timeout(Duration),
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

/// A 200 answer.
pub async fn get(url: &str, allow: Allow) -> Result<Answer, FetchError> {
    let uri: Uri = url.parse().map_err(|_| FetchError::Address)?;
    let request = Request::get(uri).header(ACCEPT, "application/json").body(Bytes::new());
    let request = request.map_err(|error| FetchError::Answer(error.to_string()))?;
    let answer = send(request, allow, None, PATIENCE).await?;
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(answer.status()));
    }
    Ok(Answer { max_age: max_age(answer.headers()), body: answer.into_body() })
}

/// Sends any request to its absolute URI; whatever is answered comes back. `client` says who is believed
/// over https: the system's authorities without one.
pub async fn send(
    request: Request<Bytes>,
    allow: Allow,
    client: Option<&Client>,
    patience: Duration,
) -> Result<Response<Bytes>, FetchError> {
    is_allowed(&request.uri().to_string(), allow.http)?;
    let answer = tokio::time::timeout(patience, connect_and_ask(request, allow, client)).await;
    answer.map_err(|_| FetchError::Timeout(patience))?
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

async fn connect_and_ask(
    request: Request<Bytes>,
    allow: Allow,
    client: Option<&Client>,
) -> Result<Response<Bytes>, FetchError> {
    let uri = request.uri();
    let host = uri.host().ok_or(FetchError::Address)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = connect(bare, port, allow).await?;
    if !secure {
        return ask(request, Stream::Plain(stream)).await;
    }
    let own; // an errand is rare enough to be made for itself
    let client = match client {
        Some(client) => client,
        None => {
            own = Client::new(None, None, "http/1.1")?;
            &own
        }
    };
    let connector = Connector::new(client, bare).ok_or(FetchError::Address)?;
    ask(request, connector.connect(stream).await?).await
}

async fn ask(mut request: Request<Bytes>, stream: Stream) -> Result<Response<Bytes>, FetchError> {
    let broken = |error: hyper::Error| FetchError::Answer(error.to_string());
    let wrong = |error: http::Error| FetchError::Answer(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let uri = std::mem::take(request.uri_mut());
    let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let host = HeaderValue::try_from(authority).map_err(|error| wrong(error.into()))?;
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    *request.uri_mut() = path.parse().map_err(|_| FetchError::Address)?;
    request.headers_mut().insert(HOST, host);
    let own = concat!("portcullis/", env!("CARGO_PKG_VERSION"));
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(own));
    let answered = async {
        let answer = sender.send_request(request.map(Full::new)).await.map_err(broken)?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, LARGEST).collect().await;
        let body = body.map_err(|error| FetchError::Answer(error.to_string()))?.to_bytes();
        Ok(Response::from_parts(head, body))
    };
    // Both are driven here. A connection that has ended has handed on all that came.
    let driven = async {
        let _ = connection.await;
        std::future::pending::<std::convert::Infallible>().await
    };
    tokio::select! {
        answer = answered => answer,
        never = driven => match never {},
    }
}

fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(CACHE_CONTROL)?.to_str().ok()?.to_ascii_lowercase();
    let seconds =
        text.split(',').find_map(|part| part.trim().strip_prefix("max-age=")?.parse().ok());
    seconds.map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Asks somebody who begins like this and goes on like that for ever.
    async fn ask_endless(begin: &'static str, more: &'static str) -> FetchError {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let answers = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            let (mut next, mut sent) = (begin.as_bytes(), 0);
            let more = more.repeat(64);
            while stream.write_all(next).await.is_ok() {
                sent += next.len();
                next = more.as_bytes();
            }
            sent
        });
        let request = Request::get(url).body(Bytes::new()).unwrap();
        let allow = Allow { http: false, private: true };
        let error = send(request, allow, None, Duration::from_secs(60)).await.unwrap_err();
        let sent = answers.await.unwrap();
        assert!(sent < 64 * LARGEST, "{sent} bytes were taken, or lie in between");
        error
    }

    #[tokio::test]
    async fn an_answer_without_end_is_given_up() {
        for (begin, more) in [
            ("HTTP/1.1 200 OK\r\n\r\n", "endless "),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "8\r\nendless \r\n"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n", "endless "),
            ("HTTP/1.1 200 OK\r\n", "x-endless: yes\r\n"),
            ("HTTP/1.1 200 OK\r\nx-endless: ", "endless "),
        ] {
            let error = ask_endless(begin, more).await;
            assert!(matches!(error, FetchError::Answer(_)), "{begin:?}: {error}");
        }
    }

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
