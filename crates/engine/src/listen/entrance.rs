//! What happens at a listener to a connection before its first byte of HTTP, as all workers share it. Doors outlive reloads that leave their address; each connection gets what its listener
//! is then.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{HeaderName, HeaderValue};
use portcullis_acme::{Answers, Keeper};
use portcullis_core::metrics::{Counter, Gauge};
use portcullis_core::{Build, Certificate, Clock, Networks, Secure, headers};
use portcullis_tls::{Accepted, Facts, Failure, Proofs, ServerConfig, Staples, Tickets};
use serde_json::{Map, Value, json};

use crate::metrics::{CERTIFICATE_ENDS, HANDSHAKES, STAPLE_ENDS};
use crate::plan::{ListenerPlan, Shown, TlsPlan};
use crate::router::HostPattern;
use crate::settings::CertificatePart;

/// What a listener does with a new connection.
pub struct Entrance {
    pub tls: Option<Tls>,
    /// Who has to say for whom they connect.
    pub proxies: Option<Networks>,
    /// The port of https that all requests are sent on to.
    pub redirect: Option<u16>,
}

/// TLS towards clients, ready to shake hands.
pub struct Tls {
    pub config: Arc<ServerConfig>,
    /// For clients that are asked for no certificate, because they come for none of these hosts.
    unasked: Option<(Vec<HostPattern>, Arc<ServerConfig>)>,
    headers: Vec<(HeaderName, CertificatePart)>,
    asks_for_certificates: bool,
    hsts: Option<HeaderValue>,
    shaken: Counter,
    failed: HashMap<&'static str, Counter>,
    /// An authority came for a proof.
    proven: Counter,
    /// Held, so that its certificates are kept.
    _keeper: Option<Arc<Keeper>>,
    /// Held, so that they are shown.
    _ends: Vec<Gauge>,
}

impl Entrance {
    /// `address` is the real one. Tickets stay good over a reload, unless certificates of clients are
    /// judged in another way since.
    pub fn build(plan: &ListenerPlan, address: SocketAddr, build: &mut Build<'_>) -> Arc<Self> {
        let tls = plan.tls.as_ref().map(|tls| Tls::build(tls, &address.to_string(), build));
        Arc::new(Self { tls, proxies: plan.proxies.clone(), redirect: plan.redirect })
    }
}

impl Tls {
    fn build(plan: &TlsPlan, listener: &str, build: &mut Build<'_>) -> Self {
        let mark = plan.clients.as_ref().map_or(0, |clients| clients.mark);
        let tickets = build.keep("tickets", listener, mark, |_| Arc::new(Tickets::new()));
        let counter = |outcome| build.metrics.counter(&HANDSHAKES, &[listener, outcome]);
        let failed = Failure::ALL.map(Failure::as_str).map(|reason| (reason, counter(reason)));
        let ends = plan.shown.iter().flat_map(|shown| ends(shown, listener, build)).collect();
        let (clock, name) = (build.clock.clone(), Arc::from(listener));
        let staples: Arc<dyn Staples> = Arc::new(OnTime { clock, listener: name });
        let proven = counter("acme");
        let acme = plan.acme.as_ref();
        let proofs: Option<Arc<dyn Proofs>> = match acme {
            Some(_) => Some(Answers::build(build)),
            None => None,
        };
        // Tickets of their own: what was begun without a certificate is not resumed where one is asked for.
        let unasked = plan.unasked.as_ref().zip(plan.clients.as_ref()).map(|(server, clients)| {
            let tickets = build.keep("tickets unasked", listener, 0, |_| Arc::new(Tickets::new()));
            (clients.hosts.clone(), server.with(&tickets, &staples, proofs.as_ref()))
        });
        Self {
            unasked,
            config: plan.server.with(&tickets, &staples, proofs.as_ref()),
            headers: plan.clients.as_ref().map_or_else(Vec::new, |it| it.headers.clone()),
            asks_for_certificates: plan.clients.is_some(),
            hsts: plan.hsts.clone(),
            shaken: counter("ok"),
            failed: HashMap::from(failed),
            proven,
            _keeper: acme.map(|wanted| Keeper::build(wanted, build)),
            _ends: ends,
        }
    }

    /// Whether only some clients are asked for certificates.
    pub fn asks_some(&self) -> bool {
        self.unasked.is_some()
    }

    /// How those are met who come for a host whose clients are not asked for certificates.
    pub fn unasked(&self, host: &str) -> Option<Arc<ServerConfig>> {
        let (asked, config) = self.unasked.as_ref()?;
        let is_asked = asked.iter().any(|pattern| pattern.takes(host));
        (!is_asked).then(|| Arc::clone(config))
    }

    pub fn count(&self, failure: Failure) {
        if let Some(counter) = self.failed.get(failure.as_str()) {
            counter.inc();
        }
    }

    pub fn count_proof(&self) {
        self.proven.inc();
    }

    /// What requests of a connection are told, and have to keep.
    pub fn secure(&self, accepted: &Accepted) -> Secure {
        self.shaken.inc();
        let facts = accepted.certificate.as_ref();
        let identity = self.headers.iter().filter_map(|(name, part)| {
            Some((name.clone(), header(facts?, *part)?)) // none without a certificate
        });
        Secure {
            version: accepted.version,
            server_name: accepted.server_name.as_deref().map(Arc::from),
            one_host: self.asks_for_certificates,
            certificate: facts.map(|facts| Arc::new(Certificate(members(facts)))),
            identity: identity.collect(),
            hsts: self.hsts.clone(),
        }
    }
}

/// What responders say is shown by the gateway's clock.
#[derive(Debug)]
struct OnTime {
    clock: Clock,
    listener: Arc<str>,
}

impl Staples for OnTime {
    fn now(&self) -> SystemTime {
        self.clock.wall()
    }

    fn ended(&self, facts: &Facts) {
        let (listener, subject) = (&*self.listener, &facts.subject);
        let text = "the OCSP answer of a certificate is too old and not shown: get the next one";
        tracing::warn!(listener, subject, serial = facts.serial, "{text}");
    }
}

/// When a certificate ends, and what a responder said of it.
fn ends(shown: &Shown, listener: &str, build: &Build<'_>) -> Vec<Gauge> {
    let labels = [listener, shown.file.as_str()];
    let gauge = build.metrics.gauge(&CERTIFICATE_ENDS, &labels);
    gauge.set(shown.facts.expires());
    let mut all = vec![gauge];
    if let Some(end) = shown.staple.as_ref().and_then(|(staple, ..)| staple.ends) {
        let since = end.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let gauge = build.metrics.gauge(&STAPLE_ENDS, &labels);
        gauge.set(i64::try_from(since).unwrap_or(i64::MAX));
        all.push(gauge);
    }
    all
}

/// `$client_cert`.
fn members(facts: &Facts) -> Map<String, Value> {
    let members = [
        ("subject", json!(facts.subject)),
        ("cn", json!(facts.cn)),
        ("issuer", json!(facts.issuer)),
        ("serial", json!(facts.serial)),
        ("fingerprint", json!(facts.fingerprint)),
        (
            "sans",
            json!({
                "dns": facts.names.dns,
                "ip": facts.names.ip,
                "uri": facts.names.uri,
                "email": facts.names.email,
            }),
        ),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A part of a certificate as a header: `None` when the certificate does not have it.
fn header(facts: &Facts, part: CertificatePart) -> Option<HeaderValue> {
    let names = &facts.names;
    match part {
        CertificatePart::Subject => headers::visible(&facts.subject),
        CertificatePart::Cn => headers::visible(facts.cn.as_deref()?),
        CertificatePart::Issuer => headers::visible(&facts.issuer),
        CertificatePart::Serial => headers::visible(&facts.serial),
        CertificatePart::Fingerprint => headers::visible(&facts.fingerprint),
        CertificatePart::Dns => list(&names.dns),
        CertificatePart::Uri => list(&names.uri),
        CertificatePart::Email => list(&names.email),
        CertificatePart::Ip => list(&names.ip.iter().map(ToString::to_string).collect::<Vec<_>>()),
    }
}

/// Several in one value. A comma inside of one is encoded: it makes no two of it.
fn list(names: &[String]) -> Option<HeaderValue> {
    let visible = names.iter().filter_map(|name| headers::visible(name));
    let parts: Vec<String> =
        visible.filter_map(|it| Some(it.to_str().ok()?.replace(',', "%2C"))).collect();
    (!parts.is_empty()).then(|| HeaderValue::try_from(parts.join(",")).ok())?
}
