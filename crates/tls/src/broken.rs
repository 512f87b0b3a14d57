//! Why bytes are no certificate, no key, or do not belong together.

/// What is wrong with a file, in words for whoever wrote its name into a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("it has no PEM block `{0}`")]
    Missing(&'static str),
    #[error("it is no PEM: {0}")]
    Pem(String),
    #[error("it has no certificate that can be read: {0}")]
    Certificate(String),
    #[error("its key is encrypted")]
    Encrypted,
    #[error("it has no key that can be used: {0}")]
    Key(String),
    #[error("the key is not the certificate's")]
    Mismatch,
    #[error("it has no revocation list that can be read: {0}")]
    Revocations(String),
    #[error("it has no answer of an OCSP responder for this certificate: {0}")]
    Staple(String),
    #[error("the system has no certificates of authorities")]
    NoAuthorities,
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

impl Broken {
    /// What to do about it, where that is not plain.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing("CERTIFICATE") => {
                Some("a certificate file is PEM, the server's own first, then those that signed it")
            }
            Self::Missing(_) => {
                Some("a key file is PEM: PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY")
            }
            Self::Encrypted => Some(
                "decrypt it (openssl pkey -in FILE -out PLAIN) and protect the file by its permissions",
            ),
            Self::Mismatch => Some(
                "the certificate file begins with the server's own certificate; those that signed it follow",
            ),
            Self::Certificate(why) if why.contains("UnsupportedCertVersion") => Some(
                "it is of X.509 version 1: make one of version 3, which says its host in subjectAltName",
            ),
            Self::Staple(_) => {
                Some("get a new one: openssl ocsp -respout FILE, or leave `ocsp` out")
            }
            Self::NoAuthorities => Some("install them (ca-certificates), or name a file with `ca`"),
            _ => None,
        }
    }
}

impl From<rustls::Error> for Broken {
    fn from(error: rustls::Error) -> Self {
        Self::Setup(error.to_string())
    }
}
