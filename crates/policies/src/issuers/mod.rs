//! `issuers:`: who signs tokens, and where their keys come from: a key set's address, the issuer's
//! own discovery document (OpenID Connect Discovery 1.0), a file, the configuration itself, or a
//! shared secret.

pub mod keys;
pub mod set;

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use jsonwebtoken::Algorithm;
use portcullis_config::{
    Decode, Definitions, Diagnostics, Named, Node, OneOrMany, Ranged, Reader, Secret, Span,
    Spanned, choices, settings,
};
use portcullis_core::metrics::{Gauge, Kind, Metric};
use portcullis_core::{Build, Clock, fingerprint};
use portcullis_fetch::Allow;
use tokio::sync::Notify;

use crate::planner::{Plans, plan_all};
use keys::Key;
pub use set::{Budget, KeySet, NoKey};

/// A fetch that failed is tried again after this long.
const RETRY: Duration = Duration::from_secs(2);
/// However short an issuer says that its set may be kept, it is kept for this long.
const SHORTEST: Duration = Duration::from_secs(60);
const DISCOVERY: &str = "/.well-known/openid-configuration";

pub static FETCHES: Metric = Metric {
    name: "portcullis_jwks_fetches_total",
    kind: Kind::Counter,
    help: "Fetches of an issuer's key set, by outcome: good or failed.",
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
    /// How a token is signed. HS algorithms want a `secret`, the others keys.
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
        Hs256 = "HS256",
        Hs384 = "HS384",
        Hs512 = "HS512",
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
    /// Where an issuer's keys are: one of `url`, `file` and `keys`. Without any the issuer's
    /// discovery document says.
    pub struct JwksSettings {
        /// The address of its JSON Web Key Set (RFC 7517): https, or http on loopback.
        pub url: Option<Spanned<String>>,
        /// A file with the set; a change of it is a change of the configuration.
        pub file: Option<Spanned<PathBuf>>,
        /// The keys themselves, as a set lists them.
        pub keys: Option<Node>,
        /// How often the set is fetched again; sooner when the issuer says so.
        pub refresh: Duration = "10m",
        /// How many fetches tokens with unknown keys may cause.
        pub max_fetches: RateSettings = "{}",
        /// `on` fetches over plain http from another machine: whoever is between can replace the keys.
        pub allow_http: bool = "off",
    }
}

/// Whom tokens must be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audiences {
    /// Said out loud: tokens for anybody are good here.
    Any,
    OneOf(Vec<String>),
}

impl Decode for Audiences {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        if node.as_text() == Some("any") {
            return Some(Self::Any);
        }
        Vec::<String>::decode(node, out).map(Self::OneOf)
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        serde_json::json!({ "anyOf": [{ "const": "any" }, Vec::<String>::schema(definitions)] })
    }
}

settings! {
    /// Who signs tokens.
    pub struct IssuerSettings {
        /// What `iss` must say.
        pub issuer: Spanned<String>,
        /// One of these must stand in `aud`; `any` when tokens for others are good here too.
        pub audiences: Audiences,
        /// How its tokens may be signed.
        pub algorithms: Vec<SigningAlgorithm> = "[RS256, ES256]",
        /// What `typ` may say, such as at+jwt (RFC 9068); anything when left out.
        pub typ: OneOrMany<String> = "[]",
        /// Its keys.
        pub jwks: JwksSettings = "{}",
        /// What it signs with, for HS256, HS384 and HS512.
        pub secret: Option<Spanned<Secret>>,
        /// How far its clock may be from ours.
        pub leeway: Duration = "30s",
    }
}

/// Where keys come from.
#[derive(Clone, Debug, Hash)]
enum Source {
    Url(String),
    /// The document behind this address names the set's.
    Discovery(String),
    /// A set in the configuration or in a file.
    Fixed(String),
    Secret(Vec<u8>),
}

/// An issuer, understood.
pub struct IssuerPlan {
    pub name: Arc<str>,
    pub issuer: Box<str>,
    /// `None`: tokens for anybody.
    pub audiences: Option<Vec<String>>,
    pub algorithms: Vec<Algorithm>,
    /// In lower case, without `application/`.
    pub typ: Vec<String>,
    pub leeway: u64,
    source: Source,
    refresh: Duration,
    budget: Budget,
    allow_http: bool,
}

/// Understands all issuers; says in the diagnostics what cannot be.
pub fn plan_issuers(issuers: &Named<IssuerSettings>, reader: &mut Reader<'_>) -> Plans<IssuerPlan> {
    plan_all(issuers, |name, span, settings| plan(name, span, settings, reader))
}

fn plan(
    name: &str,
    span: Span,
    settings: &IssuerSettings,
    reader: &mut Reader<'_>,
) -> Option<IssuerPlan> {
    let audiences = match &settings.audiences {
        Audiences::Any => None,
        Audiences::OneOf(all) if all.is_empty() => {
            reader.out.error(span, format!("the issuer `{name}` has no audience")).hint(
                "name the audience of this API, such as audiences: [api://gateway], or write `any`",
            );
            return None;
        }
        Audiences::OneOf(all) => Some(all.clone()),
    };
    let algorithms: Vec<Algorithm> =
        settings.algorithms.iter().filter_map(|one| one.as_str().parse().ok()).collect();
    let jwks = &settings.jwks;
    let plain = |typ: &String| typ.to_ascii_lowercase().replace("application/", "");
    Some(IssuerPlan {
        name: Arc::from(name),
        issuer: settings.issuer.as_str().into(),
        audiences,
        source: source(name, span, settings, &algorithms, reader)?,
        algorithms,
        typ: settings.typ.iter().map(plain).collect(),
        leeway: settings.leeway.as_secs(),
        refresh: jwks.refresh.max(Duration::from_secs(1)),
        budget: Budget { most: jwks.max_fetches.requests.get(), per: jwks.max_fetches.per },
        allow_http: jwks.allow_http,
    })
}

fn source(
    name: &str,
    span: Span,
    settings: &IssuerSettings,
    algorithms: &[Algorithm],
    reader: &mut Reader<'_>,
) -> Option<Source> {
    let symmetric =
        |one: &Algorithm| matches!(one, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512);
    let jwks = &settings.jwks;
    if let Some(secret) = &settings.secret {
        let needed = algorithms.iter().copied().map(keys::secret_length).max().unwrap_or(0);
        let problem = if !algorithms.iter().all(symmetric) {
            let problem = reader.out.error(secret.span, "a secret signs with HS algorithms only");
            problem.hint("write algorithms: [HS256]");
            true
        } else if secret.value.expose().len() < needed {
            let message = format!("the secret has less than {needed} bytes (RFC 7518 section 3.2)");
            reader.out.error(secret.span, message);
            true
        } else {
            false
        };
        return (!problem).then(|| Source::Secret(secret.value.expose().as_bytes().to_vec()));
    }
    if algorithms.iter().any(symmetric) {
        reader
            .out
            .error(span, format!("the issuer `{name}` signs with a secret that is not given"))
            .hint("add `secret: \"${NAME}\"`, and no other algorithms beside it");
        return None;
    }
    match (&jwks.url, &jwks.file, &jwks.keys) {
        (Some(url), None, None) => allowed(url, jwks, reader).map(Source::Url),
        (None, None, None) => {
            let address = format!("{}{DISCOVERY}", settings.issuer.trim_end_matches('/'));
            let address = Spanned::new(address, settings.issuer.span);
            allowed(&address, jwks, reader).map(Source::Discovery)
        }
        (None, Some(file), None) => {
            let text = reader.read(file, file.span)?;
            fixed(text, file.span, reader)
        }
        (None, None, Some(keys)) => {
            let text = serde_json::json!({ "keys": keys.to_json() }).to_string();
            fixed(text, keys.span, reader)
        }
        _ => {
            reader
                .out
                .error(span, format!("the keys of the issuer `{name}` come from two places"))
                .hint("keep one of `url`, `file` and `keys`");
            None
        }
    }
}

fn allowed(url: &Spanned<String>, jwks: &JwksSettings, reader: &mut Reader<'_>) -> Option<String> {
    match portcullis_fetch::is_allowed(url, jwks.allow_http) {
        Ok(()) => Some(url.to_string()),
        Err(error) => {
            reader.out.error(url.span, format!("`{}`: {error}", url.shown()));
            None
        }
    }
}

fn fixed(text: String, span: Span, reader: &mut Reader<'_>) -> Option<Source> {
    let problem = match keys::parse(text.as_bytes()) {
        Ok((_, skipped)) if !skipped.is_empty() => {
            format!("a key cannot be used: {}", skipped.join("; "))
        }
        Ok((keys, _)) if keys.is_empty() => "there is no key".to_owned(),
        Ok(_) => return Some(Source::Fixed(text)),
        Err(error) => format!("this is no key set: {error}"),
    };
    reader.out.error(span, problem).hint("a key set is { \"keys\": [ ... ] } (RFC 7517)");
    None
}

impl IssuerPlan {
    pub fn build(self: &Arc<Self>, build: &mut Build<'_>) -> Arc<KeySet> {
        let mark = fingerprint(&(&self.source, self.refresh, self.budget, self.allow_http));
        build.keep("issuer", &self.name, mark, |build| {
            let gauge = build.metrics.gauge(&KEYS, &[&self.name]);
            let fetches = ["good", "failed"]
                .map(|outcome| build.metrics.counter(&FETCHES, &[&self.name, outcome]));
            let set =
                |budget| KeySet::new(budget, build.clock.clone(), gauge.clone(), fetches.clone());
            if let Some(keys) = self.fixed() {
                let set = set(Budget { most: 0, ..self.budget });
                set.settle(Some(keys));
                return Arc::new(set);
            }
            let set = Arc::new(set(self.budget));
            let (weak, plan, wake) =
                (Arc::downgrade(&set), Arc::clone(self), Arc::clone(set.wake()));
            build.task(format!("keys of {}", self.name), move || refresh(weak, plan, wake));
            set
        })
    }

    /// The keys as they are now, for `explain`.
    pub async fn key_set(&self, clock: &Clock) -> Result<Arc<KeySet>, String> {
        let keys = match self.fixed() {
            Some(keys) => keys,
            None => self.fetch().await?.0,
        };
        let none = Budget { most: 0, ..self.budget };
        let set = KeySet::new(none, clock.clone(), Gauge::default(), Default::default());
        set.settle(Some(keys));
        Ok(Arc::new(set))
    }

    /// The same for issuers whose tokens are good in the same way.
    pub fn fingerprint(&self) -> u64 {
        let algorithms = format!("{:?}", self.algorithms);
        let tokens = (&self.issuer, &self.audiences, algorithms, &self.typ, self.leeway);
        fingerprint(&(&self.name, tokens, &self.source))
    }

    /// Keys that need no fetch.
    fn fixed(&self) -> Option<Vec<Key>> {
        match &self.source {
            Source::Fixed(text) => keys::parse(text.as_bytes()).ok().map(|(keys, _)| keys),
            Source::Secret(secret) => Some(vec![keys::secret(secret, self.algorithms.clone())]),
            Source::Url(_) | Source::Discovery(_) => None,
        }
    }

    /// Fetches the set, and says how long it may be kept.
    async fn fetch(&self) -> Result<(Vec<Key>, Option<Duration>), String> {
        let named = Allow { http: self.allow_http, private: true };
        let (url, allow) = match &self.source {
            Source::Url(url) => (url.clone(), named),
            Source::Discovery(url) => {
                let answer = get(url, named).await?;
                let found = discovered(&answer.body, &self.issuer)?;
                // The configuration names the issuer, not what its document points to.
                let private = portcullis_fetch::same_host(url, &found);
                (found, Allow { private, ..named })
            }
            Source::Fixed(_) | Source::Secret(_) => return Err("nothing to fetch".to_owned()),
        };
        let answer = get(&url, allow).await?;
        let (keys, skipped) = keys::parse(&answer.body)?;
        for why in skipped {
            tracing::warn!(issuer = %self.name, why, "a key is skipped");
        }
        Ok((keys, answer.max_age))
    }
}

async fn get(url: &str, allow: Allow) -> Result<portcullis_fetch::Answer, String> {
    portcullis_fetch::get(url, allow).await.map_err(|error| format!("{url}: {error}"))
}

/// The key set's address in a discovery document, which has to be this issuer's own.
fn discovered(body: &[u8], issuer: &str) -> Result<String, String> {
    let document: serde_json::Value =
        serde_json::from_slice(body).map_err(|error| format!("discovery: no JSON: {error}"))?;
    let text = |name: &str| document.get(name).and_then(serde_json::Value::as_str);
    if text("issuer") != Some(issuer) {
        return Err("discovery: its document names another issuer".to_owned());
    }
    text("jwks_uri").map(str::to_owned).ok_or("discovery: no jwks_uri".to_owned())
}

/// Keeps a set fresh for as long as somebody uses it.
async fn refresh(set: Weak<KeySet>, plan: Arc<IssuerPlan>, wake: Arc<Notify>) {
    loop {
        let Some(held) = set.upgrade() else { return };
        held.begin();
        let pause = match plan.fetch().await {
            Ok((keys, max_age)) => {
                if keys.is_empty() {
                    tracing::warn!(issuer = %plan.name, "the key set is empty; the old one is kept");
                }
                held.settle(Some(keys));
                max_age.map_or(plan.refresh, |age| age.max(SHORTEST).min(plan.refresh))
            }
            Err(error) => {
                tracing::warn!(issuer = %plan.name, error, "cannot fetch the key set");
                held.settle(None);
                RETRY
            }
        };
        drop(held);
        tokio::select! {
            () = tokio::time::sleep(jittered(pause)) => {}
            () = wake.notified() => {}
        }
    }
}

/// Up to a tenth shorter: gateways that started together do not ask together for ever.
fn jittered(pause: Duration) -> Duration {
    use std::hash::{BuildHasher as _, RandomState};
    let chance = RandomState::new().hash_one(0_u8) % 1000;
    pause - pause * u32::try_from(chance).unwrap_or(0) / 10_000
}
