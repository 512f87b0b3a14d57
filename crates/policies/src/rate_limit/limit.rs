//! A limit: who is counted, how much each tier may ask for, and where its counters live.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use portcullis_config::{Node, OneOrMany, Ranged, Spanned, choices, settings};
use portcullis_core::metrics::Counter;
use portcullis_core::{Build, Exchange, Live, fingerprint};

use super::answer::Announced;
use super::decision::{Asked, Decision};
use super::memory::Memory;
use super::shared::{OnStoreFailure, Shared};
use super::source::{self, Cost, KeyBytes, Purpose, Source};
use super::tiers::TierPlan;
use super::window::Line;
use super::{DECISIONS, EVICTED};
use crate::planner::{Planner, unknown};
use crate::stores::StorePlan;

choices! {
    /// What a limit does.
    pub enum LimitMode {
        /// It refuses what is too much.
        Enforce = "enforce",
        /// It counts, tells what it would have refused, and lets everything pass.
        Observe = "observe",
    }
}

settings! {
    /// How much a client may ask for.
    pub struct RateLimitSettings {
        /// What the limit is called in headers, logs and metrics: `default` for one that all routes
        /// share, the route's name for its own, when left out.
        pub name: Option<Spanned<String>>,
        /// Who is counted: consumer, jwt.CLAIM, client_ip, header.NAME, path.NAME or an expression;
        /// of a list the first that the request has. The consumer, else the token's subject, else
        /// the client's address, when left out.
        pub key: OneOrMany<Spanned<String>> = "[]",
        /// What names the client's tier, in the same words.
        pub tier: OneOrMany<Spanned<String>> = "[]",
        /// The tier of everybody else.
        pub default_tier: Spanned<String>,
        /// How much a request counts: a whole number, or an expression.
        pub cost: Spanned<String> = "\"1\"",
        /// What the limit does with what is too much.
        pub mode: LimitMode = "enforce",
        /// An IPv6 client is counted by a network of so many bits.
        pub ipv6_prefix: Ranged<1, 128> = "64",
        /// The store where its counters are shared with other gateways; this process's memory when
        /// left out.
        pub store: Option<Spanned<String>>,
        /// What it does while the store does not answer.
        pub on_store_failure: OnStoreFailure = "local",
        /// So many permits are taken from the store at once for a client that asks often; 1: none.
        pub lease: Ranged<1, 10_000> = "1",
        /// So many clients are remembered in this process.
        pub max_keys: Ranged<1, 100_000_000> = "1000000",
        /// Further limits of the same requests.
        pub also: Vec<RateLimitSettings> = "[]",
    }
}

/// A limit, understood.
pub struct LimitPlan {
    pub name: Arc<str>,
    pub keys: Vec<Source>,
    pub tier: Vec<Source>,
    pub cost: Cost,
    pub enforced: bool,
    prefix: u8,
    max_keys: usize,
    store: Option<Arc<StorePlan>>,
    on_failure: OnStoreFailure,
    lease: u64,
    default_tier: usize,
    tiers: Vec<(Arc<str>, Arc<TierPlan>)>,
    /// Of the settings that say what is counted.
    pub mark: u64,
}

impl LimitPlan {
    /// Understands one limit; `mark` is its settings' fingerprint.
    pub fn plan(
        settings: &RateLimitSettings,
        name: Arc<str>,
        mark: u64,
        planner: &mut Planner<'_>,
    ) -> Option<Self> {
        let keys = match settings.key.is_empty() {
            true => Some(source::default_keys(&planner.route.kinds)),
            false => source::plan(&settings.key, Purpose::Key, planner),
        };
        let tier = source::plan(&settings.tier, Purpose::Tier, planner);
        let cost = Cost::plan(&settings.cost, planner);
        let understood =
            |(name, plan): (&String, &Option<_>)| Some((Arc::from(name.as_str()), plan.clone()?));
        // Without a source of tiers there is but one.
        let reachable = |(name, _): &(&String, &Option<_>)| {
            !settings.tier.is_empty() || **name == *settings.default_tier.value
        };
        let tiers: Vec<(Arc<str>, Arc<TierPlan>)> =
            planner.shared.tiers.iter().filter(reachable).filter_map(understood).collect();
        if !planner.shared.tiers.contains_key(settings.default_tier.as_str()) {
            let known = planner.shared.tiers.keys().map(String::as_str);
            unknown("tier", &settings.default_tier, known, planner.out);
            return None;
        }
        let default_tier =
            tiers.iter().position(|(name, _)| **name == *settings.default_tier.value)?;
        let store = match &settings.store {
            Some(name) => Some(find_store(name, planner)?),
            None => None,
        };
        let cost = cost?;
        if let Cost::Fixed(cost) = cost {
            check_cost(cost, settings, &tiers, planner)?;
        }
        Some(Self {
            name,
            keys: keys?,
            tier: tier?,
            cost,
            enforced: settings.mode == LimitMode::Enforce,
            prefix: u8::try_from(settings.ipv6_prefix.get()).unwrap_or(64),
            max_keys: settings.max_keys.as_usize(),
            store: store.flatten(),
            on_failure: settings.on_store_failure,
            lease: settings.lease.get(),
            default_tier,
            tiers,
            mark,
        })
    }

    /// For `explain`.
    pub fn note(&self) -> String {
        let when =
            if self.needs_identity() { "once who asks is known" } else { "before keys and tokens" };
        format!("the limit {} is decided {when}", self.name)
    }

    /// True when who asks has to be known first.
    pub fn needs_identity(&self) -> bool {
        self.keys.iter().chain(&self.tier).any(Source::needs_identity) || self.cost.needs_identity()
    }

    pub fn build(&self, build: &mut Build<'_>) -> Limit {
        let evicted = build.metrics.counter(&EVICTED, &[&self.name]);
        let memory = build.keep("limit", &self.name, self.mark, |build| {
            Arc::new(Memory::new(build.clock.now(), self.max_keys, evicted))
        });
        let place = self.place(memory, build);
        let tiers = self.tiers.iter().map(|(name, plan)| Tier {
            name: Arc::clone(name),
            lines: plan.lines.iter().copied().collect(),
            announced: plan.lines.iter().map(|line| Announced::new(&self.name, *line)).collect(),
            key: tier_key(name, &plan.lines),
            decisions: ["admitted", "refused", "observed"]
                .map(|word| build.metrics.counter(&DECISIONS, &[&self.name, name, word])),
        });
        Limit {
            name: Arc::clone(&self.name),
            keys: self.keys.clone(),
            tier: self.tier.clone(),
            cost: self.cost.clone(),
            enforced: self.enforced,
            prefix: self.prefix,
            default_tier: self.default_tier,
            by_name: self
                .tiers
                .iter()
                .enumerate()
                .map(|(at, (name, _))| (name.as_ref().into(), at))
                .collect(),
            tiers: tiers.collect(),
            place,
        }
    }

    /// Where counters are: in this process, or in a store with a log beside it.
    fn place(&self, memory: Arc<Memory>, build: &mut Build<'_>) -> Place {
        let Some(store) = &self.store else { return Place::Memory(memory) };
        let store = store.build(build);
        let live = build.keep("leases", &self.name, self.mark, |_| Live::new());
        Place::Store(Shared {
            prefix: format!("{}:{}:", store.prefix, self.name).into_bytes().into(),
            store,
            own: memory,
            on_failure: self.on_failure,
            lease: self.lease,
            live,
        })
    }
}

/// The store of this name. `None` inside: it is there and could not be understood.
fn find_store(name: &Spanned<String>, planner: &mut Planner<'_>) -> Option<Option<Arc<StorePlan>>> {
    let stores = &planner.shared.stores;
    if let Some(store) = stores.get(name.as_str()) {
        return Some(store.clone());
    }
    unknown("store", name, stores.keys().map(String::as_str), planner.out);
    None
}

/// Where a limit's counters are.
pub enum Place {
    Memory(Arc<Memory>),
    Store(Shared),
}

/// A request that costs more than a line ever gives could never pass.
fn check_cost(
    cost: u64,
    settings: &RateLimitSettings,
    tiers: &[(Arc<str>, Arc<TierPlan>)],
    planner: &mut Planner<'_>,
) -> Option<()> {
    let too_small = |line: &Line| line.requests < cost;
    let small = tiers.iter().find(|(_, plan)| plan.lines.iter().any(too_small));
    let Some((name, _)) = small else { return Some(()) };
    let message = format!("a cost of {cost} never fits into the tier `{name}`");
    planner
        .out
        .error(settings.cost.span, message)
        .hint("lower the cost, or raise the tier's `requests`");
    None
}

/// What a tier's counters have in front: its name, and its lines, so that changed lines begin anew.
fn tier_key(name: &str, lines: &[Line]) -> Box<[u8]> {
    format!("{name}:{:08x}", fingerprint(&lines) as u32).into_bytes().into()
}

/// A tier as a limit uses it.
pub struct Tier {
    pub name: Arc<str>,
    pub lines: Box<[Line]>,
    pub announced: Vec<Announced>,
    pub key: Box<[u8]>,
    /// Admitted, refused, observed.
    pub decisions: [Counter; 3],
}

/// A limit that runs.
pub struct Limit {
    pub name: Arc<str>,
    pub enforced: bool,
    pub place: Place,
    keys: Vec<Source>,
    tier: Vec<Source>,
    cost: Cost,
    prefix: u8,
    default_tier: usize,
    by_name: HashMap<Box<str>, usize>,
    tiers: Vec<Tier>,
}

#[cfg(test)]
impl Limit {
    /// A limit of one tier with these lines, whose counters are there.
    pub fn simple(place: Place, lines: &[Line]) -> Self {
        let tier = Tier {
            name: "t".into(),
            lines: lines.into(),
            announced: lines.iter().map(|line| Announced::new("l", *line)).collect(),
            key: tier_key("t", lines),
            decisions: Default::default(),
        };
        Self {
            name: "l".into(),
            enforced: true,
            place,
            keys: Vec::new(),
            tier: Vec::new(),
            cost: Cost::Fixed(1),
            prefix: 64,
            default_tier: 0,
            by_name: HashMap::new(),
            tiers: vec![tier],
        }
    }

    /// The question of a request by `client`.
    pub fn ask(&self, client: &str, cost: u64) -> Option<Question<'_>> {
        let tier = self.tiers.first()?;
        Some(Question { limit: self, tier, key: source::join(&tier.key, "ip", client), cost })
    }
}

/// What a limit has to know of a request.
pub struct Question<'a> {
    pub limit: &'a Limit,
    pub tier: &'a Tier,
    pub key: KeyBytes,
    pub cost: u64,
}

impl Question<'_> {
    pub fn asked(&self) -> Asked<'_> {
        let enforced = self.limit.enforced;
        Asked { key: &self.key, lines: &self.tier.lines, cost: self.cost, enforced, share: None }
    }

    /// How the limit stands by what this process knows.
    pub fn look(&self, now: Instant) -> Decision {
        let memory = match &self.limit.place {
            Place::Memory(memory) => memory,
            Place::Store(shared) => &shared.own,
        };
        memory.look(&self.asked(), now)
    }
}

impl Limit {
    /// The questions that a request of this client could be: a client may be known by each of the
    /// limit's keys.
    pub fn questions(&self, tier: &str, client: &str) -> Option<Vec<Question<'_>>> {
        let tier = self.tiers.get(*self.by_name.get(tier)?)?;
        let by_key = self.keys.iter().filter(|source| !matches!(source, Source::ClientIp));
        let mut keys: Vec<_> =
            by_key.map(|source| source::join(&tier.key, source.kind(), client)).collect();
        if let Ok(address) = client.parse() {
            keys.push(source::address_key(&tier.key, address, self.prefix));
        }
        let question = |key| Question { limit: self, tier, key, cost: 0 };
        Some(keys.into_iter().map(question).collect())
    }

    pub fn question(&self, exchange: &Exchange) -> Option<Question<'_>> {
        let own = self.tier.iter().find_map(|source| {
            let name = source.read(Purpose::Tier, exchange)?;
            self.by_name.get(name.as_ref())
        });
        let tier = self.tiers.get(*own.unwrap_or(&self.default_tier))?;
        let key = source::key(&self.keys, exchange, &tier.key, self.prefix);
        Some(Question { limit: self, tier, key, cost: self.cost.of(exchange) })
    }
}

/// The fingerprint of what a limit counts: all of its block but the limits beside it.
pub fn mark(block: &Node) -> u64 {
    let own = block.as_map().into_iter().flat_map(|map| map.iter());
    let own = own.filter(|entry| entry.key != "also" && entry.key != "mode");
    let mut parts: Vec<_> = own.map(|entry| (&entry.key, entry.value.fingerprint())).collect();
    parts.sort();
    fingerprint(&parts)
}
