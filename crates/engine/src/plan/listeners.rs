//! Listeners, understood: their certificates read, the networks that they believe.

use std::hash::Hash;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use portcullis_acme::Wanted;
use portcullis_config::{Reader, Span, Spanned};
use portcullis_core::{Networks, fingerprint};
use portcullis_policies::planner::identity_name;
use portcullis_tls::{Broken, Clients, Facts, Identity, Server, Staple, Version};

use super::acme;
use crate::router::HostPattern;
use crate::settings::{
    CertificatePart, CertificateSettings, ClientCertificateSettings, HstsSettings,
    ListenerSettings, Presence, TlsSettings, TlsVersion,
};

/// Where clients come in, understood.
pub struct ListenerPlan {
    pub address: SocketAddr,
    pub tls: Option<TlsPlan>,
    /// Who has to say for whom they connect.
    pub proxies: Option<Networks>,
    /// The port of https that all requests are sent on to.
    pub redirect: Option<u16>,
}

/// TLS towards clients, understood.
pub struct TlsPlan {
    pub server: Server,
    /// For hosts whose clients are asked for no certificate, where others' are.
    pub unasked: Option<Server>,
    pub shown: Vec<Shown>,
    pub clients: Option<ClientsPlan>,
    /// What is got from an authority.
    pub acme: Option<Wanted>,
    pub hsts: Option<HeaderValue>,
}

/// A certificate that is shown, and where the configuration names it.
pub struct Shown {
    pub file: String,
    pub span: Span,
    pub facts: Arc<Facts>,
    /// What a responder said of it, and where that is named.
    pub staple: Option<(Staple, String, Span)>,
    /// The gateway itself gets the next one.
    pub is_renewed: bool,
}

/// Clients with certificates, understood.
pub struct ClientsPlan {
    pub ca: Clients,
    /// Whose clients are asked; none: all.
    pub hosts: Vec<HostPattern>,
    pub headers: Vec<(HeaderName, CertificatePart)>,
    /// Another number when certificates are judged in another way.
    pub mark: u64,
    pub span: Span,
}

/// The listeners of a file; what is wrong with one is told.
pub(super) fn plan(all: &[ListenerSettings], reader: &mut Reader<'_>) -> Vec<ListenerPlan> {
    let mut seen: Vec<SocketAddr> = Vec::new();
    for ListenerSettings { address, .. } in all {
        if seen.contains(address) && address.port() != 0 {
            let message = format!("two listeners have the address `{}`", address.shown());
            reader.out.error(address.span, message);
        }
        seen.push(**address);
    }
    all.iter().filter_map(|settings| listener(settings, reader)).collect()
}

fn listener(settings: &ListenerSettings, reader: &mut Reader<'_>) -> Option<ListenerPlan> {
    let redirect = settings.redirect_to_https.on();
    if let (Some(port), Some(_)) = (redirect, settings.tls.on()) {
        reader
            .out
            .error(port.span, "this listener has `tls`: what comes here is https already")
            .hint("put `redirect_to_https` on a listener without");
    }
    let tls = match settings.tls.on() {
        Some(settings) => Some(tls(settings, reader)?),
        None => None,
    };
    let proxies = settings.proxy_protocol.on().map(|it| {
        if it.from.is_empty() {
            let hint = "name the balancers' networks, or leave proxy_protocol out";
            reader.out.error(it.from.span, "nobody is believed here").hint(hint);
        }
        it.from.iter().copied().collect()
    });
    Some(ListenerPlan {
        address: *settings.address,
        tls,
        proxies,
        redirect: redirect.and_then(|port| u16::try_from(port.get()).ok()),
    })
}

fn tls(settings: &TlsSettings, reader: &mut Reader<'_>) -> Option<TlsPlan> {
    let certificates = &settings.certificates;
    if certificates.is_empty() && settings.acme.on().is_none() {
        let hint =
            "write certificates: [{ certificate: FILE, key: FILE }], or acme: { hosts: [...] }";
        reader.out.error(certificates.span, "there is no certificate to show").hint(hint);
    }
    // All of them first: every mistake is told at once.
    let found: Vec<_> = certificates.iter().map(|it| (it, identity(it, reader))).collect();
    let clients = settings.client_certificates.on().map(|it| clients(it, reader));
    let clients = match clients {
        Some(clients) => Some(clients?),
        None => None,
    };
    let acme = match settings.acme.on().map(|it| acme::plan(it, settings, reader)) {
        Some(kept) => Some(kept?),
        None => None,
    };
    let (mut identities, mut shown) = (Vec::new(), Vec::new());
    for (settings, identity) in found {
        let identity = identity?;
        shown.push(Shown {
            file: settings.certificate.display().to_string(),
            span: settings.certificate.span,
            facts: Arc::clone(&identity.facts),
            staple: identity
                .staple
                .zip(settings.ocsp.as_ref())
                .map(|(staple, file)| (staple, file.display().to_string(), file.span)),
            is_renewed: false,
        });
        identities.push(identity);
    }
    let acme = acme.map(|acme::Kept { wanted, there }| {
        let (got, named): (Vec<_>, Vec<_>) = there.into_iter().unzip();
        identities.extend(got);
        shown.extend(named);
        wanted
    });
    let versions = versions(settings, reader)?;
    let server =
        Server::new(&identities, versions.clone(), clients.as_ref().map(|clients| &clients.ca));
    let server = told(server, "", certificates.span, reader)?;
    let unasked = match &clients {
        Some(clients) if !clients.hosts.is_empty() => {
            Some(told(Server::new(&identities, versions, None), "", certificates.span, reader)?)
        }
        _ => None,
    };
    let hsts = settings.hsts.on().and_then(hsts);
    let has_any = !identities.is_empty() || acme.is_some();
    has_any.then_some(TlsPlan { server, unasked, shown, clients, acme, hsts })
}

fn versions(settings: &TlsSettings, reader: &mut Reader<'_>) -> Option<RangeInclusive<Version>> {
    let version = |setting| match setting {
        TlsVersion::Tls12 => Version::Tls12,
        TlsVersion::Tls13 => Version::Tls13,
    };
    let versions = version(settings.min_version)..=version(*settings.max_version);
    if versions.is_empty() {
        let message = "the newest version is older than the oldest: nothing would be spoken";
        reader.out.error(settings.max_version.span, message).hint("leave one of the two out");
        return None;
    }
    Some(versions)
}

fn identity(settings: &CertificateSettings, reader: &mut Reader<'_>) -> Option<Identity> {
    let certificate = read(&settings.certificate, reader);
    let key = read(&settings.key, reader);
    let ocsp = match &settings.ocsp {
        Some(file) => Some(reader.read_bytes(file, file.span)?),
        None => None,
    };
    let (certificate, key) = (certificate?, key?);
    let identity = Identity::read(&certificate, &key, ocsp);
    let file = match &identity {
        Err(Broken::Staple(_)) => settings.ocsp.as_ref().unwrap_or(&settings.certificate),
        Err(Broken::Encrypted | Broken::Key(_) | Broken::Mismatch) => &settings.key,
        Err(Broken::Missing(block)) if block.ends_with("KEY") => &settings.key,
        _ => &settings.certificate,
    };
    told(identity, &file.display().to_string(), file.span, reader)
}

fn clients(settings: &ClientCertificateSettings, reader: &mut Reader<'_>) -> Option<ClientsPlan> {
    let ca = read(&settings.ca, reader);
    let lists: Vec<_> = settings.crl.iter().map(|file| read(file, reader)).collect();
    let mut headers = Vec::new();
    for entry in &settings.headers {
        headers
            .extend(identity_name(&entry.name, entry.span, reader.out).map(|it| (it, entry.value)));
    }
    let hosts = hosts(&settings.hosts, reader);
    let (ca, lists) = (ca?, lists.into_iter().collect::<Option<Vec<_>>>()?);
    let required = settings.presence == Presence::Required;
    let read = Clients::read(&ca, &lists, required);
    let (file, span) = match (&read, settings.crl.first()) {
        (Err(Broken::Revocations(_) | Broken::Missing("X509 CRL")), Some(list)) => {
            (list.display().to_string(), list.span)
        }
        _ => (settings.ca.display().to_string(), settings.ca.span),
    };
    let mark = fingerprint(&Judged { ca: &ca, lists: &lists, required });
    Some(ClientsPlan { ca: told(read, &file, span, reader)?, hosts: hosts?, headers, mark, span })
}

/// Patterns of hosts; what is none is told.
fn hosts(all: &[Spanned<String>], reader: &mut Reader<'_>) -> Option<Vec<HostPattern>> {
    let parsed = all.iter().map(|host| match HostPattern::parse(host) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let message = format!("`{}`: {}", host.shown(), error.message);
            let hint = error.hint.unwrap_or_else(|| "write api.example.com".to_owned());
            reader.out.error(host.span, message).hint(hint);
            None
        }
    });
    parsed.collect::<Vec<_>>().into_iter().collect()
}

/// All that decides whether a client's certificate is good.
#[derive(Hash)]
struct Judged<'a> {
    ca: &'a str,
    lists: &'a [String],
    required: bool,
}

fn hsts(settings: &HstsSettings) -> Option<HeaderValue> {
    let subdomains = if settings.subdomains { "; includeSubDomains" } else { "" };
    HeaderValue::try_from(format!("max-age={}{subdomains}", settings.max_age.as_secs())).ok()
}

fn read(file: &Spanned<impl AsRef<Path>>, reader: &mut Reader<'_>) -> Option<String> {
    reader.read(file.as_ref(), file.span)
}

/// What is wrong with a file, told where it is named.
pub(super) fn told<T>(
    read: Result<T, Broken>,
    file: &str,
    span: Span,
    reader: &mut Reader<'_>,
) -> Option<T> {
    read.map_err(|broken| {
        let place = if file.is_empty() { String::new() } else { format!("{file}: ") };
        let complaint = reader.out.error(span, format!("{place}{broken}"));
        if let Some(hint) = broken.hint() {
            complaint.hint(hint);
        }
    })
    .ok()
}
