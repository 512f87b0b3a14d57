//! What a file may say about TLS towards endpoints.

use std::path::PathBuf;

use portcullis_config::{Spanned, settings};

settings! {
    /// TLS towards endpoints whose URL begins with https://. Their certificates are always verified.
    pub struct TlsSettings {
        /// The authorities that are believed, as a PEM file; the system's when left out.
        pub ca: Option<Spanned<PathBuf>>,
        /// The name that their certificates have to have, and that they are asked for (SNI); the host of
        /// the endpoint's URL when left out.
        pub server_name: Option<Spanned<String>>,
        /// The gateway's own certificate, for endpoints that ask for one: a PEM file, its own
        /// first, then those that signed it.
        pub certificate: Option<Spanned<PathBuf>>,
        /// The key of that certificate, not encrypted.
        pub key: Option<Spanned<PathBuf>>,
    }
}
