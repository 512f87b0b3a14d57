//! From an accepted socket to bytes of HTTP: for whom a balancer connects, TLS, which protocol follows.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_core::{Peer, Problem};
use portcullis_tls::{Failure, Instead, Stream, accept};
use tokio::net::TcpStream;

use super::door::Door;
use super::entrance::{Entrance, Tls};
use super::protocol::{Protocol, detect};
use super::proxy::{self, Source};
use crate::problems::HTTPS_REQUIRED;

/// A client that came in.
pub enum Entered {
    Speaks(Protocol, Rc<Peer>, Stream),
    /// It is to be told this, and to go.
    Refused(Problem, Rc<Peer>, Stream),
}

/// What a TLS connection begins with: a record of the handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

/// Waits for what comes in front of HTTP. `None` when the connection is to be closed without a word.
/// The caller bounds the wait.
pub async fn enter(
    door: &Rc<Door>,
    entrance: &Entrance,
    mut address: SocketAddr,
    mut stream: TcpStream,
) -> Option<Entered> {
    if let Some(proxies) = &entrance.proxies
        && proxies.contains(address.ip().to_canonical())
    {
        // On the heap, as all that few connections need: the others do not carry it along.
        match Box::pin(proxy::read(&mut stream)).await {
            Ok(Some(Source::Address(client))) => address = client,
            Ok(Some(Source::Peer)) => {}
            Ok(None) => {
                door.no_proxy_header.inc();
                return None;
            }
            Err(_) => return None,
        }
    }
    if let Some(tls) = &entrance.tls {
        return Box::pin(shake_hands(door, tls, address, stream)).await;
    }
    let peer = Rc::new(Peer::new(address, Arc::clone(&door.name)));
    let protocol = detect(&stream).await.ok()??;
    Some(Entered::Speaks(protocol, peer, Stream::Plain(stream)))
}

async fn shake_hands(
    door: &Rc<Door>,
    tls: &Tls,
    address: SocketAddr,
    stream: TcpStream,
) -> Option<Entered> {
    let mut peer = Peer::new(address, Arc::clone(&door.name));
    // What a handshake needs is made when one begins: whoever only connects gets none of it.
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(0) | Err(_) => {
            tls.count(Failure::Closed);
            return None;
        }
        Ok(_) if first == [HANDSHAKE] => {}
        Ok(_) => {
            tls.count(Failure::Malformed);
            let problem = Problem::new(&HTTPS_REQUIRED, "what came is not TLS");
            let is_http = first.iter().all(u8::is_ascii_uppercase);
            let stream = Stream::Plain(stream);
            return is_http.then(|| Entered::Refused(problem, Rc::new(peer), stream));
        }
    }
    let Some(_turn) = Turn::take(&door.handshakes, door.desk.snapshot().bounds.handshakes) else {
        tls.count(Failure::TooMany);
        return None;
    };
    let unasked = |host: &str| tls.unasked(host);
    let instead = tls.asks_some().then_some(&unasked as Instead<'_>);
    match accept(Arc::clone(&tls.config), instead, stream).await {
        Ok(None) => {
            tls.count_proof();
            None
        }
        Ok(Some(accepted)) => {
            peer.secure = Some(Box::new(tls.secure(&accepted)));
            let protocol = if accepted.http2 { Protocol::Http2 } else { Protocol::Http1 };
            Some(Entered::Speaks(protocol, Rc::new(peer), accepted.stream))
        }
        Err(failed) => {
            tls.count(failed.failure);
            if failed.failure != Failure::Closed {
                door.tell(&failed.why, peer.ip);
            }
            None
        }
    }
}

/// One of the handshakes that may be under way, for as long as it lives.
struct Turn<'d>(&'d Cell<u32>);

impl<'d> Turn<'d> {
    fn take(count: &'d Cell<u32>, most: u32) -> Option<Self> {
        (count.get() < most).then(|| {
            count.set(count.get() + 1);
            Self(count)
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}
