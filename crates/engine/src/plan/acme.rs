//! Certificates from an authority, understood: for which hosts, and those that are there already.

use std::net::IpAddr;

use portcullis_acme::{Challenge, Store, Wanted};
use portcullis_config::{Reader, Span};
use portcullis_tls::{Broken, Identity};

use super::listeners::{Shown, told};
use crate::router::HostPattern;
use crate::settings::{AcmeChallenge, AcmeSettings, Presence, TlsSettings};

/// So many hosts of one listener: each is an order, and authorities count them.
const MOST: usize = 100;

/// What is wanted, and what of it is there.
pub(super) struct Kept {
    pub wanted: Wanted,
    pub there: Vec<(Identity, Shown)>,
}

pub(super) fn plan(
    settings: &AcmeSettings,
    tls: &TlsSettings,
    reader: &mut Reader<'_>,
) -> Option<Kept> {
    let before = reader.out.errors().count();
    let wanted = wanted(settings, reader);
    if !*settings.agree_to_terms {
        let hint = "read the authority's terms of service and write agree_to_terms: on";
        reader.out.error(settings.agree_to_terms.span, "there is no account without").hint(hint);
    }
    let asked = tls.client_certificates.on().filter(|it| it.presence == Presence::Required);
    let is_asked = asked.is_some_and(|it| {
        let patterns: Vec<_> =
            it.hosts.iter().filter_map(|it| HostPattern::parse(it).ok()).collect();
        let is_one = |host: &String| patterns.iter().any(|pattern| pattern.takes(host));
        it.hosts.is_empty() || wanted.hosts.iter().any(is_one)
    });
    if settings.challenge == AcmeChallenge::TlsAlpn01 && is_asked {
        let message = "the authority has no client certificate, and would not get in to look";
        reader.out.error(settings.hosts.span, message).hint("write challenge: http-01");
    }
    if let Err(error) = portcullis_fetch::is_allowed(&wanted.directory, false) {
        let message = format!("`{}`: {error}", settings.directory.shown());
        reader.out.error(settings.directory.span, message);
    } else if !wanted.directory.starts_with("https:") {
        reader.out.error(settings.directory.span, "an authority is asked over https only");
    }
    let store = Store::new(&wanted.folder, &wanted.directory);
    let mut there = Vec::new();
    for host in settings.hosts.iter() {
        there.extend(identity(&store, &host.to_ascii_lowercase(), host.span, reader));
    }
    (reader.out.errors().count() == before).then_some(Kept { wanted, there })
}

fn wanted(settings: &AcmeSettings, reader: &mut Reader<'_>) -> Wanted {
    let count = settings.hosts.len();
    if count == 0 || count > MOST {
        let message = format!("{count} hosts, where 1 to {MOST} can be");
        reader.out.error(settings.hosts.span, message);
    }
    let mut hosts: Vec<String> = Vec::new();
    for written in settings.hosts.iter() {
        let host = written.to_ascii_lowercase();
        if let Some((message, hint)) = wrong(&host, &hosts) {
            let message = format!("`{}` {message}", written.shown());
            reader.out.error(written.span, message).hint(hint);
        }
        hosts.push(host);
    }
    if let Some(contact) = settings.contact.as_ref().filter(|it| !it.contains('@')) {
        let message = format!("`{}` is no mail address", contact.shown());
        reader.out.error(contact.span, message).hint("write it plainly, such as ops@example.com");
    }
    let folder = &settings.folder;
    Wanted {
        hosts,
        directory: settings.directory.to_string(),
        ca: settings.ca.as_ref().and_then(|file| reader.read(file, file.span)),
        contact: settings.contact.as_ref().map(|it| it.value.clone()),
        challenge: match settings.challenge {
            AcmeChallenge::Http01 => Challenge::Http01,
            AcmeChallenge::TlsAlpn01 => Challenge::TlsAlpn01,
        },
        folder: reader.sources.beside(folder, folder.span),
    }
}

/// Why a host cannot have a certificate in this way, and what to do.
fn wrong(host: &str, others: &[String]) -> Option<(&'static str, &'static str)> {
    if others.iter().any(|other| other == host) {
        return Some(("stands here twice", "each host gets one certificate"));
    }
    if host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok() {
        return Some(("is an address", "authorities are asked for host names only"));
    }
    match HostPattern::parse(host) {
        Ok(HostPattern::Exact(_)) => None,
        Ok(_) => Some((
            "has a *, which only a challenge in DNS can prove",
            "name each host, or get it elsewhere and put it into `certificates`",
        )),
        Err(_) => Some(("is no host name", "write it plainly, such as api.example.com")),
    }
}

fn identity(
    store: &Store,
    host: &str,
    span: Span,
    reader: &mut Reader<'_>,
) -> Option<(Identity, Shown)> {
    let path = store.certificate(host);
    let text = reader.read_own(&path, span)?;
    let file = path.display().to_string();
    let read: Result<Identity, Broken> = Identity::read(&text, &text, None);
    let identity = told(read, &format!("{file} (remove it to get a new one)"), span, reader)?;
    let facts = std::sync::Arc::clone(&identity.facts);
    Some((identity, Shown { file, span, facts, staple: None, is_renewed: true }))
}
