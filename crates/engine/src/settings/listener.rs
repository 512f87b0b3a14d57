//! What a file may say about where clients come in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use portcullis_config::{
    Decode, Definitions, Diagnostics, Named, Node, OneOrMany, OrOff, Ranged, Spanned, Value,
    choices, settings,
};

settings! {
    /// An address on which clients connect: HTTP/1.1 and HTTP/2 (with prior knowledge; with TLS as
    /// both sides agree).
    pub struct ListenerSettings {
        /// IP address and port; port 0 lets the system choose. An IPv6 address is for IPv6 alone: have
        /// `0.0.0.0:80` beside `[::]:80`.
        pub address: Spanned<SocketAddr>,
        /// Certificates; without them everything comes in the clear.
        pub tls: OrOff<TlsSettings> = "off",
        /// The port to which all requests are sent on, as https (308). Nothing else is served here.
        pub redirect_to_https: OrOff<Spanned<Ranged<1, 65_535>>> = "off",
        /// Who says for whom they connect (PROXY protocol, version 1 or 2).
        pub proxy_protocol: OrOff<ProxyProtocolSettings> = "off",
    }
}

settings! {
    /// Balancers that pass bytes on and say in front of them who their client is.
    pub struct ProxyProtocolSettings {
        /// Networks such as 10.0.0.0/8. Who connects from there has to say it; nobody else may.
        pub from: Spanned<Vec<IpNet>>,
    }
}

settings! {
    /// TLS towards clients.
    pub struct TlsSettings {
        /// A client gets the one that names the host that it asks for (SNI): exactly before by `*`, the
        /// first one when none does. Read again when a file changes.
        pub certificates: Spanned<Vec<CertificateSettings>> = "[]",
        /// Certificates that are got from an authority, and renewed.
        pub acme: OrOff<AcmeSettings> = "off",
        /// The oldest version that is spoken.
        pub min_version: TlsVersion = "1.2",
        /// The newest version that is spoken.
        pub max_version: Spanned<TlsVersion> = "1.3",
        /// Certificates of clients.
        pub client_certificates: OrOff<ClientCertificateSettings> = "off",
        /// For how long browsers are to use https only (`Strict-Transport-Security`).
        pub hsts: OrOff<HstsSettings> = "off",
    }
}

settings! {
    /// Certificates from an authority that speaks ACME (RFC 8555), such as Let's Encrypt.
    pub struct AcmeSettings {
        /// Host names; each gets a certificate of its own.
        pub hosts: Spanned<Vec<Spanned<String>>>,
        /// Whether you agree to the authority's terms of service: without that there is no account.
        pub agree_to_terms: Spanned<bool>,
        /// A mail address at which the authority may warn you.
        pub contact: Option<Spanned<String>>,
        /// The authority's directory.
        pub directory: Spanned<String> = "https://acme-v02.api.letsencrypt.org/directory",
        /// The authorities that signed the directory's own certificate, as a PEM file; without it the
        /// system's are believed.
        pub ca: Option<Spanned<PathBuf>>,
        /// How the authority sees that a host is yours.
        pub challenge: AcmeChallenge = "tls-alpn-01",
        /// Where account and certificates are kept.
        pub folder: Spanned<PathBuf> = "acme",
    }
}

choices! {
    /// How an authority sees that a host is yours.
    pub enum AcmeChallenge {
        /// By a request to port 80 of the host, which any listener answers (RFC 8555).
        Http01 = "http-01",
        /// By a handshake with port 443 of the host (RFC 8737).
        TlsAlpn01 = "tls-alpn-01",
    }
}

choices! {
    /// A version of TLS.
    pub enum TlsVersion {
        /// RFC 5246.
        Tls12 = "1.2",
        /// RFC 8446.
        Tls13 = "1.3",
    }
}

settings! {
    /// A certificate and its key, as PEM files.
    pub struct CertificateSettings {
        /// The server's own certificate first, then those that signed it.
        pub certificate: Spanned<PathBuf>,
        /// Not encrypted.
        pub key: Spanned<PathBuf>,
        /// What its authority's responder says of it (OCSP, DER), for whoever asks.
        pub ocsp: Option<Spanned<PathBuf>>,
    }
}

choices! {
    /// Whether a client has to have a certificate.
    pub enum Presence {
        /// Without a good one there is no connection.
        Required = "required",
        /// It may have none; a bad one is refused all the same.
        Optional = "optional",
    }
}

choices! {
    /// A part of a client's certificate.
    pub enum CertificatePart {
        /// The whole subject, as RFC 4514 writes it.
        Subject = "subject",
        /// The subject's CN.
        Cn = "cn",
        /// Who signed it, as RFC 4514 writes it.
        Issuer = "issuer",
        /// Hexadecimal.
        Serial = "serial",
        /// SHA-256 of the certificate, hexadecimal.
        Fingerprint = "fingerprint",
        /// Host names, joined by commas.
        Dns = "dns",
        /// IP addresses, joined by commas.
        Ip = "ip",
        /// URIs, joined by commas.
        Uri = "uri",
        /// Mail addresses, joined by commas.
        Email = "email",
    }
}

settings! {
    /// Clients show who they are by certificates of their own.
    pub struct ClientCertificateSettings {
        /// The authorities that sign them, as a PEM file.
        pub ca: Spanned<PathBuf>,
        /// The hosts, such as api.example.com or *.api.example.com, whose clients are asked for one; left out, all
        /// of the listener's. Clients that name no host in the handshake (SNI) are always asked.
        pub hosts: OneOrMany<Spanned<String>> = "[]",
        /// Whether they have to.
        pub presence: Presence = "required",
        /// Revocation lists, as PEM files: one for each authority that signs clients, none too old.
        pub crl: OneOrMany<Spanned<PathBuf>> = "[]",
        /// Headers by which upstreams learn of it, each with a part of the certificate. Clients cannot
        /// set them.
        pub headers: Named<CertificatePart> = "{}",
    }
}

settings! {
    /// For how long browsers are to use https only, and for which hosts.
    struct HstsBlock {
        /// How long, from each answer on.
        max_age: Duration,
        /// Whether hosts below this one are meant as well.
        subdomains: bool = "off",
    }
}

/// A duration, or a map that holds it.
#[derive(Clone, Debug)]
pub struct HstsSettings {
    pub max_age: Duration,
    pub subdomains: bool,
}

impl Decode for HstsSettings {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        if let Value::Map(_) = &node.value {
            let HstsBlock { max_age, subdomains } = HstsBlock::decode(node, out)?;
            return Some(Self { max_age, subdomains });
        }
        Some(Self { max_age: Duration::decode(node, out)?, subdomains: false })
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        let (time, block) = (Duration::schema(definitions), HstsBlock::schema(definitions));
        serde_json::json!({ "anyOf": [time, block] })
    }
}
