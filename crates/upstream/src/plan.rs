//! From settings to a running upstream: what an upstream's block means, checked as a whole.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::{Diagnostics, Span, Spanned};
use portcullis_core::breaker::Settings as Breaker;
use portcullis_core::template::Reference;
use portcullis_core::{Build, breaker};

use crate::attempt::Timeouts;
use crate::balance::{Balance, Key};
use crate::endpoint::{Address, Host};
use crate::pool::Limits;
use crate::resolve::keep_resolved;
use crate::settings::{BalanceSettings, BalanceWord, EndpointSettings, UpstreamSettings};
use crate::upstream::Upstream;

/// Longer waits are mistakes.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// An upstream that was understood.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamPlan {
    pub(crate) name: String,
    /// Each with its weight.
    pub(crate) endpoints: Vec<(Address, u32)>,
    pub(crate) balance: Balance,
    pub(crate) timeouts: Timeouts,
    pub(crate) breaker: Option<breaker::Settings>,
    pub(crate) pool: Limits,
}

impl UpstreamPlan {
    /// Checks what the types could not: `None` after an error. `span` is the name's.
    pub fn plan(
        name: &str,
        settings: &UpstreamSettings,
        span: Span,
        out: &mut Diagnostics,
    ) -> Option<Self> {
        let endpoints = endpoints(name, &settings.endpoints, span, out);
        let balance = balance(&settings.balance, out);
        let mut wait = |setting: &Spanned<Duration>| wait(setting, out);
        let timeouts = &settings.timeouts;
        let connect = wait(&timeouts.connect);
        let request = wait(&timeouts.request);
        let idle = wait(&timeouts.idle);
        let idle_timeout = wait(&settings.pool.idle_timeout);
        let breaker = settings.breaker.on().map(|breaker| {
            Some(Breaker {
                failures: u32::try_from(breaker.failures.get()).ok()?,
                reset_after: wait(&breaker.reset_after)?,
                probes: u32::try_from(breaker.probes.get()).ok()?,
            })
        });
        Some(Self {
            name: name.to_owned(),
            endpoints: endpoints?,
            balance: balance?,
            timeouts: Timeouts { connect: connect?, request: request?, idle: idle? },
            breaker: match breaker {
                Some(breaker) => Some(breaker?),
                None => None,
            },
            pool: Limits {
                max_idle: settings.pool.max_idle.as_usize(),
                idle_timeout: idle_timeout?,
            },
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A number for everything that the running upstream is made from.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// The running upstream: the present one with its breaker and connections when nothing about it
    /// changed, else a new one and a task for each of its host names.
    pub fn build(&self, build: &mut Build<'_>) -> Arc<Upstream> {
        build.keep("upstream", &self.name, self.fingerprint(), |build| {
            let upstream = Arc::new(Upstream::new(self, &build.clock, build.metrics));
            for endpoint in upstream.endpoints() {
                let Host::Name(name) = &endpoint.address.host else { continue };
                let task = format!("resolve {name} for upstream {}", self.name);
                let (weak, gone) = (Arc::downgrade(endpoint), Arc::clone(&endpoint.gone));
                let (owner, name) = (Arc::clone(upstream.name()), name.clone());
                let port = endpoint.address.port;
                build.task(task, move || keep_resolved(owner, weak, name, port, gone));
            }
            upstream
        })
    }
}

fn endpoints(
    name: &str,
    settings: &Spanned<Vec<EndpointSettings>>,
    span: Span,
    out: &mut Diagnostics,
) -> Option<Vec<(Address, u32)>> {
    if settings.is_empty() {
        let place = if settings.span == Span::default() { span } else { settings.span };
        out.error(place, format!("upstream `{name}` has no endpoint"))
            .hint("write endpoints: [http://HOST:PORT]");
        return None;
    }
    let mut addresses: Vec<(Address, u32)> = Vec::with_capacity(settings.len());
    let mut sound = true;
    for endpoint in settings.iter() {
        match Address::parse(&endpoint.url) {
            Ok(address) if addresses.iter().any(|(known, _)| *known == address) => {
                let message = format!("endpoint `{}` is here already", endpoint.url.shown());
                out.error(endpoint.url.span, message);
                sound = false;
            }
            Ok(address) => addresses.push((address, endpoint.weight)),
            Err(refusal) => {
                let message = format!("{}: `{}`", refusal.message, endpoint.url.shown());
                let complaint = out.error(endpoint.url.span, message);
                if let Some(hint) = refusal.hint {
                    complaint.hint(hint);
                }
                sound = false;
            }
        }
    }
    sound.then_some(addresses)
}

fn balance(settings: &BalanceSettings, out: &mut Diagnostics) -> Option<Balance> {
    let hash = match settings {
        BalanceSettings::Word(BalanceWord::LeastRequests) => return Some(Balance::LeastRequests),
        BalanceSettings::Word(BalanceWord::RoundRobin) => return Some(Balance::RoundRobin),
        BalanceSettings::Word(BalanceWord::Random) => return Some(Balance::Random),
        BalanceSettings::Word(BalanceWord::PeakEwma) => return Some(Balance::PeakEwma),
        BalanceSettings::Hash(settings) => &settings.hash,
    };
    let reference = match hash.split_once('.') {
        None if hash.as_str() == "client_ip" => Some(Reference::Request("client_ip".into())),
        Some(("jwt", claim)) if !claim.is_empty() => Some(Reference::Jwt(claim.into())),
        Some(("header", name)) if !name.is_empty() => Some(Reference::Header(name.into())),
        Some(("query", name)) if !name.is_empty() => Some(Reference::Query(name.into())),
        Some(("path", name)) if !name.is_empty() => Some(Reference::Path(name.into())),
        _ => None,
    };
    if reference.is_none() {
        let message = format!("`{}` is nothing that a request has", hash.shown());
        out.error(hash.span, message)
            .hint("write client_ip, jwt.CLAIM, header.NAME, query.NAME or path.NAME");
    }
    reference.map(|reference| Balance::Hash(Key(reference)))
}

/// A time to wait, from 1 ms to a day.
fn wait(setting: &Spanned<Duration>, out: &mut Diagnostics) -> Option<Duration> {
    let value = setting.value;
    if value.is_zero() || value > LONGEST {
        out.error(setting.span, "a wait of more than nothing and at most a day is needed here");
        return None;
    }
    Some(value)
}
