//! Floor 0: TLS (rustls with aws-lc-rs) for both sides of the gateway, and what certificates say.
//!
//! Everything here works on bytes and connections that somebody else has read and opened: which files
//! they come from, and where in a configuration they are named, is known further up.

mod broken;
pub mod client;
mod facts;
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod names;
mod pem;
mod proofs;
pub mod server;
mod staple;
mod stream;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use broken::Broken;
pub use client::{Client, Connector};
pub use facts::{Facts, Names};
pub use handshake::{Accepted, Failed, Failure, Instead, accept};
pub use pem::Identity;
pub use proofs::Proofs;
pub use rustls::ServerConfig;
pub use server::{Clients, Server, Tickets, Version};
pub use staple::{Staple, Staples};
pub use stream::Stream;

/// The one source of cryptography. Never the process's default: which one that is would depend on
/// who asks first.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
