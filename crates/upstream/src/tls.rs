//! TLS towards endpoints, understood: whom to believe, and as whom to come.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;

use portcullis_config::{Reader, Span, Spanned};
use portcullis_core::fingerprint;
use portcullis_tls::{Broken, Client, Connector, Identity};

use crate::address::Address;
use crate::settings::{TlsSettings, UpstreamSettings};

/// How an endpoint is connected to through TLS. Two are the same when they were made from the same
/// settings and files.
#[derive(Clone)]
pub(crate) struct Secure {
    pub(crate) connector: Connector,
    mark: u64,
}

impl PartialEq for Secure {
    fn eq(&self, other: &Self) -> bool {
        self.mark == other.mark
    }
}

impl Eq for Secure {}

impl Hash for Secure {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.mark.hash(state);
    }
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secure({:x})", self.mark)
    }
}

/// What is made once for all endpoints of an upstream.
struct Shared {
    client: Client,
    /// Of everything that it was made from.
    mark: u64,
}

/// Gives every https endpoint what it is connected to with. `None` after an error.
pub(crate) fn secure(
    endpoints: &mut [(Address, u32)],
    settings: &UpstreamSettings,
    protocol: &str,
    span: Span,
    reader: &mut Reader<'_>,
) -> Option<()> {
    let tls = settings.tls.as_ref();
    if !endpoints.iter().any(|(address, _)| address.is_https) {
        if let Some(tls) = tls {
            reader
                .out
                .error(tls.span, "`tls` has no effect: no endpoint's URL begins with https://");
            return None;
        }
        return Some(());
    }
    let shared = client(tls.map(|tls| &tls.value), protocol, span, reader)?;
    let name = tls.and_then(|tls| tls.server_name.as_ref());
    for (address, _) in endpoints.iter_mut().filter(|(address, _)| address.is_https) {
        let host = name.map_or_else(|| address.host.to_string(), |name| name.value.clone());
        let Some(connector) = Connector::new(&shared.client, &host) else {
            let message = format!("`{host}` is no name that a certificate could have");
            let place = name.map_or(span, |name| name.span);
            reader.out.error(place, message).hint("say which it has with tls.server_name");
            return None;
        };
        let mark = fingerprint(&(shared.mark, host));
        address.secure = Some(Secure { connector, mark });
    }
    Some(())
}

fn client(
    settings: Option<&TlsSettings>,
    protocol: &str,
    span: Span,
    reader: &mut Reader<'_>,
) -> Option<Shared> {
    let ca = settings.and_then(|it| it.ca.as_ref());
    let own = settings.and_then(|it| it.certificate.as_ref());
    let key = settings.and_then(|it| it.key.as_ref());
    if let (Some(alone), None) | (None, Some(alone)) = (own, key) {
        reader.out.error(alone.span, "`certificate` and `key` belong together");
        return None;
    }
    let (ca_text, own_text, key_text) = (text(ca, reader), text(own, reader), text(key, reader));
    let (ca_text, own_text, key_text) = (ca_text?, own_text?, key_text?);
    let mut identity = None;
    if let (Some(certificate), Some(text), Some(own)) = (&own_text, &key_text, own) {
        let read = Identity::read(certificate, text, None);
        identity = Some(told(read, own.span, reader)?);
    }
    let client = Client::new(ca_text.as_deref(), identity.as_ref(), protocol);
    let client = told(client, ca.map_or(span, |ca| ca.span), reader)?;
    let mark = fingerprint(&(ca_text, own_text, key_text, protocol));
    Some(Shared { client, mark })
}

/// The text of a file, if there is one to read; `None` after an error.
fn text(file: Option<&Spanned<PathBuf>>, reader: &mut Reader<'_>) -> Option<Option<String>> {
    match file {
        Some(file) => reader.read(file, file.span).map(Some),
        None => Some(None),
    }
}

fn told<T>(read: Result<T, Broken>, span: Span, reader: &mut Reader<'_>) -> Option<T> {
    read.map_err(|broken| {
        let complaint = reader.out.error(span, broken.to_string());
        if let Some(hint) = broken.hint() {
            complaint.hint(hint);
        }
    })
    .ok()
}
