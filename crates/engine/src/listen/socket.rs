//! The one place where listening sockets are made.
//!
//! Every worker has its own socket on the same address (SO_REUSEPORT), so that the kernel spreads
//! connections and no accept lock exists. That option alone would let a second gateway share the
//! port in silence, so the address is first tried without it.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

/// Connections that may wait to be accepted, per worker.
const BACKLOG: i32 = 1024;

/// Sockets that came from elsewhere, such as the process that this one replaces. A listener takes
/// the ones that are bound to its address instead of making new ones.
#[derive(Debug, Default)]
pub struct Inherited(Vec<TcpListener>);

impl Inherited {
    pub fn new(sockets: Vec<TcpListener>) -> Self {
        Self(sockets)
    }

    fn take(&mut self, address: SocketAddr) -> Vec<TcpListener> {
        let bound = |socket: &TcpListener| socket.local_addr().is_ok_and(|own| own == address);
        let (taken, rest) = self.0.drain(..).partition(bound);
        self.0 = rest;
        taken
    }
}

/// One socket per worker on `address`, and the address that they really have (a port that was
/// given as 0 is chosen by the system).
pub fn open(
    address: SocketAddr,
    workers: usize,
    inherited: &mut Inherited,
) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    let mut sockets = inherited.take(address);
    sockets.truncate(workers);
    if sockets.is_empty() && address.port() != 0 {
        drop(bind(address, false)?);
    }
    let mut real = address;
    if let Some(first) = sockets.first() {
        real = first.local_addr()?;
    }
    while sockets.len() < workers {
        let socket = bind(real, true)?;
        real = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok((real, sockets))
}

/// Closes a listener. Whoever is in its queue was promised a connection and comes back: the kernel is
/// asked, since the runtime may not have heard of all of them yet.
pub fn close(listener: tokio::net::TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let mut waiting = Vec::new();
    // A queue has an end, also while others come.
    for _ in 0..=BACKLOG {
        match listener.accept() {
            Ok((stream, peer)) => {
                let stream =
                    stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                waiting.extend(stream.map(|stream| (stream, peer)));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {} // it went again
            Err(_) => break,
        }
    }
    waiting
}

fn bind(address: SocketAddr, share: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    if share {
        socket.listen(BACKLOG)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn a_port_of_a_running_gateway_is_taken() {
        let (address, sockets) = open(loopback(), 2, &mut Inherited::default()).unwrap();
        assert_eq!(sockets.len(), 2);
        assert!(sockets.iter().all(|socket| socket.local_addr().unwrap() == address));
        let error = open(address, 2, &mut Inherited::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn whoever_connected_before_a_listener_closes_is_let_in() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let (address, mut sockets) = open(loopback(), 1, &mut Inherited::default()).unwrap();
            let listener = tokio::net::TcpListener::from_std(sockets.remove(0)).unwrap();
            let nobody =
                std::future::poll_fn(|cx| Poll::Ready(listener.poll_accept(cx).is_pending()));
            assert!(nobody.await);
            // The runtime is busy and hears of neither.
            let clients = [(); 2].map(|()| std::net::TcpStream::connect(address).unwrap());
            let waiting = close(listener);
            let theirs = clients.each_ref().map(|client| client.local_addr().unwrap());
            let known: Vec<_> = waiting.iter().map(|(_, peer)| *peer).collect();
            assert_eq!(known, theirs);
            assert!(std::net::TcpStream::connect(address).is_err());
            waiting[0].0.writable().await.unwrap();
            assert_eq!(waiting[0].0.try_write(b"hello").unwrap(), 5);
        });
    }

    #[test]
    fn inherited_sockets_are_used_and_the_rest_is_made() {
        let (address, sockets) = open(loopback(), 1, &mut Inherited::default()).unwrap();
        let mut inherited = Inherited::new(sockets);
        let (again, sockets) = open(address, 2, &mut inherited).unwrap();
        assert_eq!((again, sockets.len()), (address, 2));
    }
}
