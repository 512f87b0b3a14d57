//! Which certificate a client gets: the one that names the host that it asked for (SNI, RFC 6066
//! section 3), exactly before by `*`; the first one when nobody does, or when it asked for none.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::pem::Identity;
use crate::staple::Staples;

/// Certificates by what they are for. Several for one name differ in their keys: a client gets the
/// first whose signatures it can check.
#[derive(Debug, Default)]
pub(crate) struct ByName {
    exact: HashMap<String, Vec<Identity>>,
    /// By what follows `*.`.
    wild: HashMap<String, Vec<Identity>>,
    all: Vec<Identity>,
}

impl ByName {
    pub(crate) fn new<'i>(identities: impl Iterator<Item = &'i Identity>) -> Self {
        let mut this = Self::default();
        for identity in identities {
            for name in &identity.facts.names.dns {
                let (table, name) = match name.strip_prefix("*.") {
                    Some(suffix) => (&mut this.wild, suffix),
                    None => (&mut this.exact, name.as_str()),
                };
                table.entry(name.to_owned()).or_default().push(identity.clone());
            }
            this.all.push(identity.clone());
        }
        this
    }

    /// Those for a host, in lower case; all of them when none is.
    fn find(&self, host: Option<&str>) -> &[Identity] {
        let Some(host) = host else { return &self.all };
        let under = || self.wild.get(host.split_once('.')?.1);
        self.exact.get(host).or_else(under).map_or(&self.all, |found| found)
    }
}

/// Shows them with what is said of them now.
#[derive(Debug)]
pub(crate) struct Now {
    pub(crate) names: Arc<ByName>,
    pub(crate) staples: Arc<dyn Staples>,
}

impl ResolvesServerCert for Now {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let host = hello.server_name().map(str::to_ascii_lowercase);
        let found = self.names.find(host.as_deref());
        let schemes = hello.signature_schemes();
        let fits = |it: &&Identity| it.key.key.choose_scheme(schemes).is_some();
        let chosen = found.iter().find(fits).or(found.first())?;
        Some(Arc::clone(chosen.shown(&*self.staples)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Identity::read(&made.cert.pem(), &made.signing_key.serialize_pem(), None).unwrap()
    }

    #[test]
    fn the_name_that_was_asked_for_decides() {
        let all =
            [&["first.example"][..], &["*.shop.example"], &["www.shop.example", "shop.example"]];
        let all = all.map(identity);
        let table = ByName::new(all.iter());
        let chosen = |host| {
            let found = table.find(host).first().unwrap();
            all.iter().position(|identity| Arc::ptr_eq(&identity.key, &found.key)).unwrap()
        };
        assert_eq!(chosen(Some("shop.example")), 2);
        assert_eq!(chosen(Some("www.shop.example")), 2, "exactly before by *");
        assert_eq!(chosen(Some("api.shop.example")), 1);
        assert_eq!(chosen(Some("a.b.shop.example")), 0, "* is one label");
        assert_eq!(chosen(Some("unknown.example")), 0);
        assert_eq!(chosen(None), 0);
    }
}
