//! Where an upstream's endpoints come from: addresses that were written, and names, of which each
//! address that is found is an endpoint.
//!
//! Names are looked up beside the requests, never on their way: one task per name asks again when
//! the answer's TTL is over, and keeps the last good answer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Resolver, TokioResolver};
use portcullis_core::metrics::Metrics;
use portcullis_core::{Build, Clock, fingerprint};
use tokio::sync::{Notify, watch};

use crate::address::{Address, Host};
use crate::endpoint::Endpoint;
use crate::tls::Secure;

/// An answer is used for its TTL, but neither shorter nor longer than these.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// A name that did not resolve is looked up again after this long.
pub(crate) const RETRY: Duration = Duration::from_secs(5);
/// One look-up, all servers and record types together.
const PATIENCE: Duration = Duration::from_secs(10);
/// More addresses of one name than this are not used.
const MOST_ADDRESSES: usize = 64;

/// Who is asked for names. None: whom the system asks (resolv.conf and the hosts file).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NameServers(pub Vec<SocketAddr>);

/// One line of an upstream's `endpoints`.
pub(crate) enum Source {
    Fixed(Arc<Endpoint>),
    Named(Arc<Name>),
}

/// All lines, each with its weight.
pub(crate) struct Sources(Vec<(Source, u32)>);

impl Sources {
    /// The sources of an upstream; those that the previous snapshot had as well are kept.
    pub(crate) fn build(
        upstream: &str,
        lines: &[(Address, u32)],
        servers: &NameServers,
        build: &mut Build<'_>,
    ) -> Self {
        let source = |(address, weight): &(Address, u32)| {
            let authority = address.authority();
            let scheme = if address.is_https { "https" } else { "http" };
            let part = format!("{upstream} {scheme}://{authority}");
            let secure = address.secure.as_ref();
            let source = match &address.host {
                Host::Ip(ip) => {
                    let socket = SocketAddr::new(*ip, address.port);
                    Source::Fixed(build.keep("endpoint", &part, fingerprint(&secure), |build| {
                        Endpoint::new(upstream, &authority, false, socket, secure, build.metrics)
                    }))
                }
                Host::Name(name) => {
                    let mark = fingerprint(&(servers, secure));
                    Source::Named(build.keep("name", &part, mark, |build| {
                        let found = Name::new(upstream, authority, address, build.metrics);
                        let (weak, gone) = (Arc::downgrade(&found), Arc::clone(&found.gone));
                        let (name, servers) = (name.clone(), servers.clone());
                        build.task(format!("resolve {name} for upstream {upstream}"), move || {
                            keep_resolved(weak, name, servers, gone)
                        });
                        found
                    }))
                }
            };
            (source, *weight)
        };
        Self(lines.iter().map(source).collect())
    }

    /// Those known now, with their weights.
    pub(crate) fn endpoints(&self) -> Vec<(Arc<Endpoint>, u32)> {
        let mut endpoints = Vec::new();
        for (source, weight) in &self.0 {
            match source {
                Source::Fixed(endpoint) => endpoints.push((Arc::clone(endpoint), *weight)),
                Source::Named(name) => {
                    let found = name.found.load();
                    endpoints.extend(found.iter().map(|one| (Arc::clone(one), *weight)));
                }
            }
        }
        endpoints
    }

    /// Another number whenever [`Sources::endpoints`] are others.
    pub(crate) fn generation(&self) -> u64 {
        let names = self.names().map(|name| name.generation.load(Ordering::Acquire));
        names.fold(0, u64::wrapping_add)
    }

    fn names(&self) -> impl Iterator<Item = &Arc<Name>> {
        self.0.iter().filter_map(|(source, _)| match source {
            Source::Named(name) => Some(name),
            Source::Fixed(_) => None,
        })
    }

    /// Names without an address.
    pub(crate) fn unresolved(&self) -> impl Iterator<Item = &str> {
        let unresolved = self.names().filter(|name| name.found.load().is_empty());
        unresolved.map(|name| &*name.authority)
    }

    /// True for what a URL would call one of them: by name or by address.
    pub(crate) fn have(&self, authority: &str) -> bool {
        let socket: Option<SocketAddr> = authority.parse().ok();
        let short = |is_https| {
            let port = if is_https { ":443" } else { ":80" };
            authority.strip_suffix(port).unwrap_or(authority)
        };
        self.names().any(|name| name.authority.eq_ignore_ascii_case(short(name.is_https)))
            || self.endpoints().iter().any(|(endpoint, _)| {
                let short = short(endpoint.connector.is_some());
                endpoint.host.as_bytes().eq_ignore_ascii_case(short.as_bytes())
                    || socket == Some(endpoint.socket)
            })
    }

    /// Waits until every name was looked up once, well or not.
    pub(crate) async fn looked_up(&self) {
        for name in self.names() {
            let mut looked = name.looked.subscribe();
            // An error would mean that the sender is gone, which `self` holds.
            let _ = looked.wait_for(|looked| *looked).await;
        }
    }
}

/// A host name and the endpoints that it stands for.
pub(crate) struct Name {
    upstream: Arc<str>,
    authority: Arc<str>,
    port: u16,
    is_https: bool,
    secure: Option<Secure>,
    found: ArcSwap<Vec<Arc<Endpoint>>>,
    /// One more after each answer that differs from the one before.
    generation: AtomicU64,
    looked: watch::Sender<bool>,
    metrics: Metrics,
    /// Ends the look-ups when the name is dropped.
    gone: Arc<Notify>,
}

impl Name {
    fn new(upstream: &str, authority: String, address: &Address, metrics: &Metrics) -> Arc<Self> {
        Arc::new(Self {
            upstream: Arc::from(upstream),
            authority: Arc::from(authority),
            port: address.port,
            is_https: address.is_https,
            secure: address.secure.clone(),
            found: ArcSwap::default(),
            generation: AtomicU64::new(0),
            looked: watch::Sender::new(false),
            metrics: metrics.clone(),
            gone: Arc::default(),
        })
    }

    /// Takes over an answer; nothing found keeps what was known. An address that stays is the same
    /// endpoint as before.
    fn learn(&self, mut answer: Vec<std::net::IpAddr>) {
        answer.sort_unstable();
        answer.dedup();
        answer.truncate(MOST_ADDRESSES);
        let known = self.found.load();
        let same = known.iter().map(|endpoint| endpoint.socket.ip()).eq(answer.iter().copied());
        if !answer.is_empty() && !same {
            let endpoint = |ip: &std::net::IpAddr| {
                let socket = SocketAddr::new(*ip, self.port);
                let kept = known.iter().find(|endpoint| endpoint.socket == socket);
                kept.cloned().unwrap_or_else(|| {
                    let secure = self.secure.as_ref();
                    Endpoint::new(
                        &self.upstream,
                        &self.authority,
                        true,
                        socket,
                        secure,
                        &self.metrics,
                    )
                })
            };
            self.found.store(Arc::new(answer.iter().map(endpoint).collect()));
            self.generation.fetch_add(1, Ordering::Release);
            // Of endpoints that went earlier: workers have those that went now until they look again.
            self.metrics.sweep();
        }
        self.looked.send_replace(true);
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        self.gone.notify_one(); // kept for the task when it is not waiting right now
    }
}

/// Looks a name up until nobody holds it any more.
async fn keep_resolved(name: Weak<Name>, host: String, servers: NameServers, gone: Arc<Notify>) {
    let mut failing = false;
    loop {
        let answer = tokio::time::timeout(PATIENCE, look_up(&host, &servers)).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
        let Some(name) = name.upgrade() else { return };
        let upstream = &name.upstream;
        let wait = match answer {
            Ok((addresses, wait)) => {
                if failing {
                    tracing::info!(%upstream, host, "host name resolves again");
                }
                (failing, _) = (false, name.learn(addresses));
                wait
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%upstream, host, error, "host name does not resolve");
                }
                (failing, _) = (true, name.learn(Vec::new()));
                RETRY
            }
        };
        drop(name);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = gone.notified() => return,
        }
    }
}

/// The addresses of a name, and for how long they hold. The resolver is made anew each time, so that
/// a changed resolv.conf or hosts file is seen.
async fn look_up(
    host: &str,
    servers: &NameServers,
) -> Result<(Vec<std::net::IpAddr>, Duration), String> {
    let said = |error: hickory_resolver::net::NetError| error.to_string();
    let found = resolver(servers).map_err(said)?.lookup_ip(host).await.map_err(said)?;
    let addresses: Vec<_> = found.iter().collect();
    if addresses.is_empty() {
        return Err("it has no address".to_owned());
    }
    // By the resolver's own clock, which no test moves.
    let left = found.valid_until().saturating_duration_since(Clock::system().now());
    Ok((addresses, left.clamp(SHORTEST, LONGEST)))
}

fn resolver(servers: &NameServers) -> Result<TokioResolver, hickory_resolver::net::NetError> {
    let mut builder = match servers.0.as_slice() {
        [] => Resolver::builder_tokio()?,
        servers => {
            let server = |socket: &SocketAddr| {
                let connections =
                    [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut it| {
                        it.port = socket.port();
                        it
                    });
                NameServerConfig::new(socket.ip(), true, connections.into())
            };
            let servers = servers.iter().map(server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.cache_size = 0;
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::EndpointMetrics;

    fn name() -> Arc<Name> {
        let address = Address::parse("http://orders:81").unwrap();
        Name::new("orders", address.authority(), &address, &Metrics::default())
    }

    fn sources(name: &Arc<Name>) -> Sources {
        Sources(vec![(Source::Named(Arc::clone(name)), 2)])
    }

    #[test]
    fn every_address_is_an_endpoint_and_those_that_stay_are_the_same() {
        let name = name();
        let sources = sources(&name);
        assert_eq!(sources.unresolved().collect::<Vec<_>>(), ["orders:81"]);
        let [one, two, three] = ["10.0.0.1", "10.0.0.2", "::3"].map(|ip| ip.parse().unwrap());
        name.learn(vec![two, one, two]);
        let (before, first) = (sources.generation(), sources.endpoints());
        let labels: Vec<&str> = first.iter().map(|(endpoint, _)| &*endpoint.label).collect();
        assert_eq!(labels, ["orders:81 (10.0.0.1)", "orders:81 (10.0.0.2)"]);
        assert!(
            first.iter().all(|(endpoint, weight)| endpoint.host == "orders:81" && *weight == 2)
        );
        name.learn(vec![one, two]);
        assert_eq!(sources.generation(), before, "the same in another order");
        name.learn(vec![three, two]);
        assert_ne!(sources.generation(), before);
        let second = sources.endpoints();
        assert_eq!(second.len(), 2);
        assert!(Arc::ptr_eq(&second[0].0, &first[1].0), "10.0.0.2 has kept what is known of it");
        assert!(sources.have("10.0.0.2:81") && sources.have("Orders:81"));
        assert!(!sources.have("10.0.0.1:81") && !sources.have("orders"));
    }

    #[test]
    fn an_address_that_goes_leaves_no_series_behind() {
        let name = name();
        let asides = |ip| {
            EndpointMetrics::new(&name.metrics, "orders", &format!("orders:81 ({ip})")).set_aside
        };
        name.learn(vec!["10.0.0.1".parse().unwrap()]);
        asides("10.0.0.1").inc();
        let held = sources(&name).endpoints();
        name.learn(vec!["10.0.0.2".parse().unwrap()]);
        assert_eq!(asides("10.0.0.1").value(), 1, "somebody still has it");
        drop(held);
        name.learn(vec!["10.0.0.3".parse().unwrap()]);
        assert_eq!(asides("10.0.0.1").value(), 0, "it would begin anew");
    }

    #[test]
    fn an_empty_answer_keeps_what_was_known() {
        let name = name();
        name.learn(vec!["10.0.0.1".parse().unwrap()]);
        name.learn(Vec::new());
        assert_eq!(sources(&name).endpoints().len(), 1);
    }
}
