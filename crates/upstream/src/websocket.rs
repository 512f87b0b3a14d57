//! WebSockets to an endpoint: the client's side of the handshake (RFC 6455 section 4.1), and the
//! connection after it, which is no HTTP any more.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Response as Head, StatusCode};
use portcullis_core::headers::lists;
use portcullis_core::{Body, Lasting, Response, Tunnel};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::answer::clean;
use crate::codec::Bad;
use crate::codec::head::Head as Answer;
use crate::connection::Connection;
use crate::deliver::Held;

/// What a key and this text come to proves that the other side knows what it was asked for.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// A request for a WebSocket, and what its answer has to say.
pub(crate) struct Handshake {
    accept: String,
    pub(crate) lasting: Lasting,
}

impl Handshake {
    /// Writes the request's part into its headers. A client of HTTP/2 sends no key (RFC 8441 section 5):
    /// then it is made here.
    pub(crate) fn ask(headers: &mut HeaderMap, lasting: Lasting) -> Self {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, WEBSOCKET);
        headers.entry(SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
        let key = headers.entry(SEC_WEBSOCKET_KEY).or_insert_with(key);
        Self { accept: accept(key), lasting }
    }

    /// Whether a 101 is the one that was asked for.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Bad> {
        let mut accepted = headers.get_all(SEC_WEBSOCKET_ACCEPT).iter();
        let only = (accepted.next(), accepted.next());
        if !lists(headers, &CONNECTION, b"upgrade") || !lists(headers, &UPGRADE, b"websocket") {
            return Err(Bad::new("101 to something else than a WebSocket"));
        }
        match only {
            (Some(accept), None) if accept.as_bytes() == self.accept.as_bytes() => Ok(()),
            _ => Err(Bad::new("101 without the Sec-WebSocket-Accept that belongs to the request")),
        }
    }
}

fn key() -> HeaderValue {
    let mut random = [0; 16];
    // No secret, and were it the same each time, nobody would be harmed.
    let _ = aws_lc_rs::rand::fill(&mut random);
    HeaderValue::try_from(STANDARD.encode(random)).unwrap_or(HeaderValue::from_static(""))
}

fn accept(key: &HeaderValue) -> String {
    let text = [key.as_bytes(), GUID.as_bytes()].concat();
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text))
}

/// The answer as the engine gets it, its connection in place of a body.
pub(crate) fn switched(
    answer: Answer,
    connection: Connection,
    held: Held,
    lasting: Lasting,
) -> Response {
    let mut headers = answer.headers;
    clean(&mut headers);
    let service = Box::new(Raw { connection, _held: held });
    let mut response = Head::new(Body::Tunnel(Tunnel { service, lasting }));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    response
}

/// A connection's bytes, from the first one after the head of its 101.
struct Raw {
    connection: Connection,
    /// Until here the endpoint has this request to do.
    _held: Held,
}

impl AsyncRead for Raw {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (input, stream) = self.connection.raw();
        if input.is_empty() {
            return Pin::new(stream).poll_read(cx, buffer);
        }
        let early = input.split_to(input.len().min(buffer.remaining()));
        buffer.put_slice(&early);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Raw {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.connection.raw().1).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.connection.raw().1).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.connection.raw().1).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn handshake(headers: &mut HeaderMap) -> Handshake {
        Handshake::ask(headers, Lasting { idle: Duration::from_secs(1), lifetime: None })
    }

    fn answer(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn the_key_decides_which_101_it_is() {
        let mut headers = answer(&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]);
        let handshake = handshake(&mut headers);
        assert_eq!(headers[UPGRADE], "websocket");
        assert_eq!(headers[SEC_WEBSOCKET_VERSION], "13");
        // RFC 6455 section 1.3 has these two.
        let accept = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let switch = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        assert!(handshake.check(&answer(&[switch[0], switch[1], accept])).is_ok());
        let other = ("sec-websocket-accept", "t3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for bad in [
            [switch[0], switch[1], other],
            [switch[0], ("upgrade", "h2c"), accept],
            [("connection", "close"), switch[1], accept],
        ] {
            assert!(handshake.check(&answer(&bad)).is_err(), "{bad:?}");
        }
        assert!(handshake.check(&answer(&switch)).is_err());
        assert!(handshake.check(&answer(&[switch[0], switch[1], accept, accept])).is_err());
    }

    #[test]
    fn who_has_no_key_is_given_one() {
        let keys = [0, 1].map(|_| {
            let mut headers = HeaderMap::new();
            handshake(&mut headers);
            headers.remove(SEC_WEBSOCKET_KEY).unwrap()
        });
        assert_ne!(keys[0], keys[1]);
        assert_eq!(STANDARD.decode(keys[0].as_bytes()).unwrap().len(), 16);
    }
}
