//! A connection to a service that is no HTTP any more, after the service's own 101: what its two ends
//! say goes through as it is.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

/// Both directions of a connection.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// How long a tunnel may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lasting {
    /// Without a byte in either direction.
    pub idle: Duration,
    /// In all.
    pub lifetime: Option<Duration>,
}

/// The service's end of it.
pub struct Tunnel {
    pub service: Box<dyn Duplex>,
    pub lasting: Lasting,
}
