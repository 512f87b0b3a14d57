//! Counters in this process's memory, bounded.
//!
//! Short locks per shard, never across an await. A request with several limits takes its locks in
//! one order that all requests share, and is charged on all of them or on none.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hashbrown::DefaultHashBuilder;
use portcullis_core::metrics::Counter;
use smallvec::SmallVec;

use super::decision::{
    Asked, Decision, Decisions, Windows, charge, is_admitted, look, prepare, take,
};
use super::window::{Line, Micros, micros};
use crate::slots::Slots;
use crate::stores::Gateways;

const SHARDS: usize = 64;
/// Below this many keys one lock is enough, and the least charged key is found exactly.
const SMALL: usize = 1024;
/// So many entries are compared when one has to go.
const COMPARED: usize = 16;

/// The counters of one limit.
pub struct Memory {
    /// The order in which locks are taken.
    order: u64,
    first: Mutex<Shard>,
    others: Box<[Mutex<Shard>]>,
    hasher: DefaultHashBuilder,
    start: Instant,
    /// Keys that a shard may have.
    most: usize,
    evicted: Counter,
}

struct Shard {
    keys: Slots<Counted>,
    /// Where the look for one that can go begins.
    hand: usize,
}

/// What is known of one key.
#[derive(Default)]
struct Counted {
    windows: Windows,
    /// Nothing of it counts from here on.
    until: Micros,
    /// What a store said of it last; none for limits without.
    told: Option<Box<Told>>,
}

/// What a store said of a key.
#[derive(Default)]
struct Told {
    /// How much of a line this gateway had admitted itself, how much was left for all, and until when
    /// that says something.
    line: usize,
    own: u64,
    left: u64,
    until: Micros,
    /// So much was refused, until then.
    cost: u64,
    refusal: Option<(Micros, Decision)>,
}

impl Memory {
    /// `start` is the moment from which time counts; nothing is asked about a time before it.
    pub fn new(start: Instant, max_keys: usize, evicted: Counter) -> Self {
        static ORDER: AtomicU64 = AtomicU64::new(0);
        let count = if max_keys < SMALL { 1 } else { SHARDS };
        let hasher = DefaultHashBuilder::default();
        let shard = || Mutex::new(Shard { keys: Slots::new(hasher.clone()), hand: 0 });
        Self {
            order: ORDER.fetch_add(1, Ordering::Relaxed),
            first: shard(),
            others: (1..count).map(|_| shard()).collect(),
            hasher: hasher.clone(),
            start,
            most: max_keys.div_ceil(count).max(1),
            evicted,
        }
    }

    pub fn time(&self, now: Instant) -> Micros {
        micros(now.saturating_duration_since(self.start))
    }

    /// Decides one request of one limit, at a time of [`Memory::time`].
    pub fn decide(&self, asked: &Asked<'_>, now: Micros) -> Decision {
        let mut held = self.hold(asked.key);
        // The usual case by itself: a known key with one line.
        if let ([line], None) = (asked.lines, asked.share)
            && let Some(counted) = held.counted()
            && let [window] = &mut *counted.windows
        {
            let decision = take(window, *line, asked.cost, now);
            if decision.fits {
                counted.until = counted.until.max(now + line.per);
            }
            return decision;
        }
        let decision = held.look(asked, now);
        if decision.fits { held.charge(asked, now, &self.evicted) } else { decision }
    }

    /// Remembers what a store said when it admitted a request, which is charged here as well (`log`)
    /// unless it was before.
    pub fn admitted(&self, asked: &Asked<'_>, decision: &Decision, log: bool, now: Instant) {
        let now = self.time(now);
        let mut held = self.hold(asked.key);
        held.look(asked, now);
        if log {
            held.charge(asked, now, &self.evicted);
        }
        if let Some(counted) = held.counted() {
            counted.hear(decision, now);
        }
    }

    /// Remembers that a store refused, until it would admit: a flood of refused requests asks no more.
    pub fn refused(&self, asked: &Asked<'_>, decision: &Decision, now: Instant) {
        let now = self.time(now);
        let longest = asked.lines.iter().map(|line| line.per).max().unwrap_or(0);
        let until = now + decision.wait.unwrap_or(longest);
        let mut held = self.hold(asked.key);
        held.ensure(asked, now, &self.evicted);
        held.look(asked, now);
        if let Some(counted) = held.counted() {
            counted.until = counted.until.max(until);
            counted.hear(decision, now);
            let told = counted.told.get_or_insert_default();
            (told.cost, told.refusal) = (asked.cost, Some((until, *decision)));
        }
    }

    /// What a store would say, because it said so already.
    pub fn known_refusal(&self, asked: &Asked<'_>, now: Instant) -> Option<Decision> {
        let now = self.time(now);
        let mut held = self.hold(asked.key);
        let told = held.counted()?.told.as_ref()?;
        let (until, decision) = told.refusal.filter(|(until, _)| now < *until)?;
        let left = until - now;
        let reset = decision.reset.max(left);
        let wait = decision.wait.map(|_| left);
        (asked.cost >= told.cost).then_some(Decision { wait, reset, ..decision })
    }

    /// What would be said, without charging it.
    pub fn look(&self, asked: &Asked<'_>, now: Instant) -> Decision {
        let now = self.time(now);
        self.hold(asked.key).look(asked, now)
    }

    /// True when the key was known; it is no longer.
    pub fn forget(&self, key: &[u8]) -> bool {
        let mut held = self.hold(key);
        held.place.and_then(|place| held.shard.keys.remove(place)).is_some()
    }

    #[cfg(test)]
    pub fn known(&self) -> usize {
        self.others.iter().chain([&self.first]).map(|shard| lock(shard).keys.len()).sum()
    }

    fn hold(&self, key: &[u8]) -> Held<'_> {
        use std::hash::BuildHasher as _;
        let hash = self.hasher.hash_one(key);
        // Other bits of the hash than those by which the table inside finds a key.
        let which = (hash >> 24) as usize % (self.others.len() + 1);
        let shard = lock(self.others.get(which).unwrap_or(&self.first));
        let place = shard.keys.find(hash, key);
        Held { shard, hash, place, most: self.most }
    }
}

/// Decides one request of several limits: all are charged, or none.
pub fn decide(limits: &[(&Memory, Asked<'_>)], now: Instant) -> Decisions {
    let mut order: SmallVec<[usize; 4]> = (0..limits.len()).collect();
    order.sort_by_key(|at| limits.get(*at).map(|(memory, _)| memory.order));
    let mut held: SmallVec<[(usize, Held<'_>); 4]> = SmallVec::new();
    for at in order {
        let Some((memory, asked)) = limits.get(at) else { continue };
        held.push((at, memory.hold(asked.key)));
    }
    held.sort_by_key(|(at, _)| *at);
    let mut decisions = Decisions::new();
    for ((memory, asked), (_, held)) in limits.iter().zip(&mut held) {
        decisions.push(held.look(asked, memory.time(now)));
    }
    let asked: SmallVec<[Asked<'_>; 4]> = limits.iter().map(|(_, asked)| *asked).collect();
    if !is_admitted(&asked, &decisions) {
        return decisions;
    }
    for (((memory, asked), (_, held)), decision) in limits.iter().zip(&mut held).zip(&mut decisions)
    {
        if decision.fits {
            *decision = held.charge(asked, memory.time(now), &memory.evicted);
        }
    }
    decisions
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One key, with its shard locked.
struct Held<'a> {
    shard: MutexGuard<'a, Shard>,
    hash: u64,
    place: Option<usize>,
    most: usize,
}

impl Held<'_> {
    fn counted(&mut self) -> Option<&mut Counted> {
        self.place.and_then(|place| self.shard.keys.get_mut(place))
    }

    fn look(&mut self, asked: &Asked<'_>, now: Micros) -> Decision {
        let mut none = Counted::default();
        let counted = self.counted().unwrap_or(&mut none);
        prepare(&mut counted.windows, asked.lines, now);
        match asked.share {
            None => look(&counted.windows, asked.lines, asked.cost, now),
            Some(gateways) => counted.look_alone(asked, gateways, now),
        }
    }

    /// The key is known from here on.
    fn ensure(&mut self, asked: &Asked<'_>, now: Micros, evicted: &Counter) {
        if self.place.is_some() {
            return;
        }
        if self.shard.keys.len() >= self.most {
            self.shard.make_room(now, evicted);
        }
        let mut counted = Counted::default();
        prepare(&mut counted.windows, asked.lines, now);
        self.place = Some(self.shard.keys.insert(self.hash, asked.key, counted));
    }

    fn charge(&mut self, asked: &Asked<'_>, now: Micros, evicted: &Counter) -> Decision {
        self.ensure(asked, now, evicted);
        let Some(counted) = self.counted() else {
            return look(&Windows::new(), asked.lines, asked.cost, now);
        };
        charge(&mut counted.windows, asked.lines, asked.cost, now);
        let ends = asked.lines.iter().map(|line: &Line| now + line.per);
        counted.until = ends.chain([counted.until]).max().unwrap_or(0);
        let told = match asked.share {
            None => look(&counted.windows, asked.lines, 0, now),
            Some(gateways) => counted.look_alone(&Asked { cost: 0, ..*asked }, gateways, now),
        };
        Decision { fits: true, wait: Some(0), ..told }
    }
}

impl Counted {
    /// Takes from a store's answer what was left.
    fn hear(&mut self, decision: &Decision, now: Micros) {
        let own = self.windows.get(decision.line).map_or(0, |window| window.total());
        let told = self.told.get_or_insert_default();
        (told.line, told.own, told.left) = (decision.line, own, decision.remaining);
        told.until = now + decision.reset;
    }

    /// What this gateway may admit by itself: its share of each line, and no more than its part of
    /// what was left when the store was last heard.
    fn look_alone(&self, asked: &Asked<'_>, gateways: Gateways, now: Micros) -> Decision {
        let share = |line: &Line| Line { requests: gateways.share(line.requests), ..*line };
        let lines: SmallVec<[Line; 2]> = asked.lines.iter().map(share).collect();
        let own = look(&self.windows, &lines, asked.cost, now);
        let Some(told) = self.told.as_ref().filter(|told| now < told.until) else { return own };
        let Some(window) = self.windows.get(told.line) else { return own };
        let left = (told.own + gateways.part(told.left)).saturating_sub(window.total());
        if asked.cost <= left || !own.fits {
            return own;
        }
        let wait = told.until - now;
        Decision { fits: false, line: told.line, remaining: left, wait: Some(wait), reset: wait }
    }
}

impl Shard {
    /// Forgets one key: the first of those compared that has expired, else the least charged.
    fn make_room(&mut self, now: Micros, evicted: &Counter) {
        let mut least: Option<(u64, usize)> = None;
        for _ in 0..COMPARED.min(self.keys.len()) {
            self.hand = (self.hand + 1) % self.keys.len();
            let Some(entry) = self.keys.get(self.hand) else { continue };
            let live = entry.value.until > now;
            let charged = entry.value.windows.iter().map(|window| window.total()).max();
            let charged = if live { charged.unwrap_or(0).saturating_add(1) } else { 0 };
            if least.is_none_or(|(known, _)| charged < known) {
                least = Some((charged, self.hand));
            }
            if !live {
                break;
            }
        }
        let Some((charged, place)) = least else { return };
        if charged > 0 {
            evicted.inc();
        }
        self.keys.remove(place);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Micros = 1_000_000;

    fn memory(max_keys: usize) -> (Memory, Instant) {
        let start = portcullis_core::Clock::system().now();
        (Memory::new(start, max_keys, Counter::default()), start)
    }

    fn asked<'a>(key: &'a str, lines: &'a [Line]) -> Asked<'a> {
        Asked { key: key.as_bytes(), lines, cost: 1, enforced: true, share: None }
    }

    #[test]
    fn all_lines_are_charged_or_none() {
        let (memory, _) = memory(1000);
        let lines = [Line { requests: 3, per: 60 * SECOND }, Line { requests: 1, per: SECOND }];
        let at = |millis| memory.decide(&asked("k", &lines), millis * 1000_u64);
        assert!(at(0).fits);
        assert!(!at(1).fits && !at(2).fits && !at(999).fits);
        assert!(at(1000).fits && at(2000).fits);
        let refused = at(3000);
        assert_eq!((refused.fits, refused.line, refused.wait), (false, 0, Some(57 * SECOND)));
        assert!(memory.decide(&asked("other", &lines), 0).fits);
    }

    #[test]
    fn all_limits_are_charged_or_none_and_observed_ones_refuse_nothing() {
        let (one, start) = memory(1000);
        let two = Memory::new(start, 1000, Counter::default());
        let (wide, narrow) =
            ([Line { requests: 5, per: SECOND }], [Line { requests: 1, per: SECOND }]);
        let ask = |enforced| {
            let narrow = Asked { enforced, ..asked("k", &narrow) };
            decide(&[(&two, asked("k", &wide)), (&one, narrow)], start)
        };
        assert!(ask(true).iter().all(|decision| decision.fits));
        let refused = ask(true);
        assert_eq!((refused[0].fits, refused[0].remaining, refused[1].fits), (true, 4, false));
        let observed = ask(false);
        assert_eq!((observed[0].remaining, observed[1].fits), (3, false));
        assert_eq!(one.look(&asked("k", &narrow), start).remaining, 0);
    }

    #[test]
    fn what_has_expired_goes_first_and_then_what_is_least_charged() {
        let (memory, start) = memory(4);
        let lines = [Line { requests: 100, per: SECOND }];
        let at = |key: &str, millis: u64| memory.decide(&asked(key, &lines), millis * 1000);
        at("old", 0);
        for _ in 0..5 {
            at("busy", 900);
        }
        at("calm", 901);
        at("other", 902);
        at("other", 902);
        at("new", 1100);
        let left =
            |key: &str| memory.look(&asked(key, &lines), start + Duration::from_millis(1100));
        assert_eq!((memory.known(), memory.evicted.value()), (4, 0), "old has expired");
        assert_eq!((left("busy").remaining, left("calm").remaining), (95, 99));
        at("new", 1100);
        at("newer", 1100);
        assert_eq!((memory.known(), memory.evicted.value()), (4, 1));
        assert_eq!((left("busy").remaining, left("calm").remaining), (95, 100));
        assert!(memory.forget(b"busy") && !memory.forget(b"busy"));
    }

    #[test]
    fn keys_are_bounded_whatever_comes() {
        let (memory, _) = memory(2000);
        let lines = [Line { requests: 100, per: SECOND }];
        for number in 0..20_000 {
            memory.decide(&asked(&format!("key {number}"), &lines), 0);
        }
        assert!(memory.known() <= 2000 + SHARDS && memory.known() > 1500, "{}", memory.known());
    }
}
