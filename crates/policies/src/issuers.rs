//! `issuers:`: who signs tokens, and their keys.
//!
//! Requests read an immutable set without a lock. It is refreshed in the background; an issuer that
//! fails takes no good key away. An unknown `kid` causes one fetch at a time, and no more than
//! `max_fetches` in its period.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use portcullis_config::{Diagnostics, Named, Ranged, Spanned, choices, settings};
use portcullis_core::Build;
use portcullis_core::metrics::{Counter, Gauge, Kind, Metric};
use tokio::sync::{Notify, watch};

use crate::planner::Plans;

/// More keys than this of one issuer are not kept.
const MOST_KEYS: usize = 100;
/// A fetch that failed is tried again after this long.
const RETRY: Duration = Duration::from_secs(2);

pub static FETCHES: Metric = Metric {
    name: "portcullis_jwks_fetches_total",
    kind: Kind::Counter,
    help: "Fetches of an issuer's key set, by outcome.",
    labels: &["issuer", "outcome"],
};
pub static KEYS: Metric = Metric {
    name: "portcullis_jwks_keys",
    kind: Kind::Gauge,
    help: "Usable keys of an issuer.",
    labels: &["issuer"],
};
pub const METRICS: &[&Metric] = &[&FETCHES, &KEYS];

choices! {
    /// How a token is signed.
    pub enum SigningAlgorithm {
        Rs256 = "RS256",
        Rs384 = "RS384",
        Rs512 = "RS512",
        Ps256 = "PS256",
        Ps384 = "PS384",
        Ps512 = "PS512",
        Es256 = "ES256",
        Es384 = "ES384",
        EdDsa = "EdDSA",
    }
}

settings! {
    /// So many in any window of this length.
    pub struct RateSettings {
        /// How many.
        pub requests: Ranged<1, 1000> = "10",
        /// In this time.
        pub per: Duration = "1m",
    }
}

settings! {
    /// Where an issuer's keys are.
    pub struct JwksSettings {
        /// The address of its JSON Web Key Set (RFC 7517): https, or http on loopback.
        pub url: Spanned<String>,
        /// How often the set is fetched again.
        pub refresh: Duration = "10m",
        /// How many fetches tokens with unknown keys may cause.
        pub max_fetches: RateSettings = "{}",
    }
}

settings! {
    /// Who signs tokens.
    pub struct IssuerSettings {
        /// What `iss` must say.
        pub issuer: Spanned<String>,
        /// One of these must stand in `aud`.
        pub audiences: Vec<String>,
        /// How its tokens may be signed.
        pub algorithms: Vec<SigningAlgorithm> = "[RS256, ES256]",
        /// Its keys.
        pub jwks: JwksSettings,
        /// How far its clock may be from ours.
        pub leeway: Duration = "30s",
    }
}

/// An issuer, understood.
#[derive(Debug)]
pub struct IssuerPlan {
    pub name: Arc<str>,
    pub issuer: Box<str>,
    pub audiences: Vec<String>,
    pub algorithms: Vec<Algorithm>,
    pub leeway: u64,
    url: String,
    refresh: Duration,
    most: u64,
    per: Duration,
}

pub fn plan_issuers(issuers: &Named<IssuerSettings>, out: &mut Diagnostics) -> Plans<IssuerPlan> {
    let mut plans: Plans<_> = issuers.broken().iter().map(|name| (name.clone(), None)).collect();
    for entry in issuers.iter() {
        let settings = &entry.value;
        if settings.audiences.is_empty() {
            out.error(entry.span, format!("the issuer `{}` has no audience", entry.name))
                .hint("name the audience of this API, such as audiences: [api://gateway]");
        }
        if let Err(error) = portcullis_fetch::is_allowed(&settings.jwks.url, false) {
            out.error(settings.jwks.url.span, format!("`{}`: {error}", settings.jwks.url.shown()));
        }
        let algorithms =
            settings.algorithms.iter().filter_map(|one| one.as_str().parse().ok()).collect();
        let plan = IssuerPlan {
            name: Arc::from(entry.name.as_str()),
            issuer: settings.issuer.as_str().into(),
            audiences: settings.audiences.clone(),
            algorithms,
            leeway: settings.leeway.as_secs(),
            url: settings.jwks.url.to_string(),
            refresh: settings.jwks.refresh.max(Duration::from_secs(1)),
            most: settings.jwks.max_fetches.requests.get(),
            per: settings.jwks.max_fetches.per,
        };
        plans.insert(entry.name.clone(), Some(Arc::new(plan)));
    }
    plans
}

impl IssuerPlan {
    pub fn build(self: &Arc<Self>, build: &mut Build<'_>) -> Arc<KeySet> {
        let mark = crate::planner::fingerprint(&(&self.url, self.refresh, self.most, self.per));
        build.keep("issuer", &self.name, mark, |build| {
            let set = Arc::new(KeySet::new(self, build));
            let (weak, plan, clock) = (Arc::downgrade(&set), Arc::clone(self), build.clock.clone());
            let wake = Arc::clone(&set.wake);
            build.task(format!("keys of {}", self.name), move || async move {
                let mut recent: Vec<std::time::Instant> = Vec::new();
                let mut asked = false;
                loop {
                    let now = clock.now();
                    recent.retain(|at| now.saturating_duration_since(*at) < plan.per);
                    let spent = asked && recent.len() as u64 >= plan.most;
                    let Some(set) = weak.upgrade() else { return };
                    if !spent {
                        if asked {
                            recent.push(now);
                        }
                        set.busy.store(true, Ordering::Release);
                        set.fetch(&plan).await;
                    }
                    set.settle();
                    let pause = if set.last_failed() { RETRY } else { plan.refresh };
                    drop(set);
                    asked = tokio::select! {
                        () = tokio::time::sleep(pause) => false,
                        () = wake.notified() => true,
                    };
                }
            });
            set
        })
    }
}

/// One usable key.
pub struct Key {
    id: Option<String>,
    pub key: DecodingKey,
    pub fits: Vec<Algorithm>,
}

/// The keys of one issuer, shared by all workers.
pub struct KeySet {
    keys: ArcSwap<Vec<Key>>,
    /// Counts settled fetches; waiting requests watch it.
    rounds: watch::Sender<u64>,
    wake: Arc<Notify>,
    /// 0 before the first answer, 1 after a good one, 2 after a failure.
    state: AtomicU64,
    fetched: Counter,
    failed: Counter,
    count: Gauge,
    name: Arc<str>,
    /// True while a fetch is under way: who needs a key waits for that one. True from the start,
    /// since the first fetch begins with the first snapshot.
    busy: AtomicBool,
}

impl KeySet {
    fn new(plan: &IssuerPlan, build: &Build<'_>) -> Self {
        let counter = |outcome| build.metrics.counter(&FETCHES, &[&plan.name, outcome]);
        Self {
            keys: ArcSwap::default(),
            rounds: watch::Sender::new(0),
            wake: Arc::default(),
            state: AtomicU64::new(0),
            fetched: counter("good"),
            failed: counter("failed"),
            count: build.metrics.gauge(&KEYS, &[&plan.name]),
            name: Arc::clone(&plan.name),
            busy: AtomicBool::new(true),
        }
    }

    /// The key of this id, for this algorithm.
    pub fn find<T>(&self, id: Option<&str>, take: impl Fn(&Key) -> T) -> Option<T> {
        let keys = self.keys.load();
        let found = match id {
            Some(id) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
            None => keys.first().filter(|_| keys.len() == 1),
        };
        found.map(take)
    }

    /// True when the last fetch failed, or none was ever good.
    pub fn last_failed(&self) -> bool {
        self.state.load(Ordering::Relaxed) != 1 || self.keys.load().is_empty()
    }

    /// Asks for a fetch and waits for it, at most `limit`.
    pub async fn refreshed(&self, limit: Duration) {
        let mut rounds = self.rounds.subscribe();
        rounds.mark_unchanged();
        if !self.busy.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
        let _ = tokio::time::timeout(limit, rounds.changed()).await;
    }

    fn settle(&self) {
        self.busy.store(false, Ordering::Release);
        self.rounds.send_modify(|round| *round += 1);
    }

    /// Fetches the set. A failing, empty or unparsable answer replaces nothing.
    async fn fetch(&self, plan: &IssuerPlan) {
        let keys = match portcullis_fetch::get(&plan.url, false).await {
            Ok(body) => usable(&body),
            Err(error) => Err(error.to_string()),
        };
        match keys {
            Ok(keys) if keys.is_empty() => {
                // It was reached, and knows no key: what is known stays good.
                self.failed.inc();
                self.state.store(1, Ordering::Relaxed);
                tracing::warn!(issuer = %self.name, "the key set is empty; the old one is kept");
            }
            Ok(keys) => {
                self.fetched.inc();
                self.count.set(i64::try_from(keys.len()).unwrap_or(0));
                self.keys.store(Arc::new(keys));
                self.state.store(1, Ordering::Relaxed);
            }
            Err(error) => {
                self.failed.inc();
                self.state.store(2, Ordering::Relaxed);
                tracing::warn!(issuer = %self.name, %error, "cannot fetch the key set");
            }
        }
    }
}

pub(crate) fn usable(body: &[u8]) -> Result<Vec<Key>, String> {
    let document: serde_json::Value =
        serde_json::from_slice(body).map_err(|error| format!("no JSON: {error}"))?;
    let all = document.get("keys").and_then(|keys| keys.as_array()).ok_or("no key set")?;
    Ok(all.iter().take(MOST_KEYS).filter_map(key).collect())
}

fn key(value: &serde_json::Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    if jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
        return None;
    }
    let family: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(_) => &[Algorithm::EdDSA],
        _ => return None,
    };
    let own: Option<Algorithm> = match value.get("alg") {
        Some(name) => Some(name.as_str()?.parse().ok()?),
        None => None,
    };
    let fits = family.iter().copied().filter(|one| own.is_none_or(|own| own == *one)).collect();
    Some(Key { id: jwk.common.key_id.clone(), key: DecodingKey::from_jwk(&jwk).ok()?, fits })
}
