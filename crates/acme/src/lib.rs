//! Floor 2: certificates from an authority that speaks ACME (RFC 8555): ordered, proven, renewed.
//!
//! A [`Keeper`] orders a certificate for each of its hosts and writes it into a folder, from which the
//! configuration reads it like any other: what has changed there is a change of the configuration.
//! Meanwhile [`Answers`] are what requests and handshakes show to the authority.

mod answers;
mod errands;
mod keeper;
mod order;
mod store;

use std::path::PathBuf;

use portcullis_core::metrics::{Kind, Metric};

pub use answers::Answers;
pub use keeper::Keeper;
pub use store::Store;

/// Whom to ask for what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Each gets a certificate of its own: one whose name does not lead here keeps none from the others.
    pub hosts: Vec<String>,
    /// The URL at which the authority says what it can do.
    pub directory: String,
    /// The text of a file with the authorities that sign the directory's own certificate; the system's without.
    pub ca: Option<String>,
    /// A mail address.
    pub contact: Option<String>,
    pub challenge: Challenge,
    pub folder: PathBuf,
}

/// How the authority sees that a host is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Challenge {
    /// It asks port 80 for a path (RFC 8555 section 8.3).
    Http01,
    /// It shakes hands at port 443 (RFC 8737).
    TlsAlpn01,
}

pub static ORDERS: Metric = Metric {
    name: "portcullis_acme_orders_total",
    kind: Kind::Counter,
    help: "Orders of certificates, by host and outcome: good or failed.",
    labels: &["host", "outcome"],
};

pub const METRICS: &[&Metric] = &[&ORDERS];

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("{0}")]
    Acme(#[from] instant_acme::Error),
    #[error("the authority does not offer the challenge")]
    NotOffered,
    /// What the authority said of its look.
    #[error("the authority was not content with the proof: {0}")]
    Refused(String),
    #[error("not done within {0:?}")]
    Timeout(std::time::Duration),
    #[error("the folder: {0}")]
    Folder(#[from] std::io::Error),
    #[error("what the authority sent: {0}")]
    Broken(#[from] portcullis_tls::Broken),
    #[error("the certificate is not for this host")]
    Other,
    /// Ordering again at once would bring the same.
    #[error(
        "the new certificate is as good as over already: see whether this machine's clock is right"
    )]
    Over,
    #[error("the authority's token is none (RFC 8555 section 8.1)")]
    Token,
    #[error("the account's file account.json (remove it to get a new account): {0}")]
    Account(#[from] serde_json::Error),
}
