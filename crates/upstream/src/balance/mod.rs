//! Which endpoint a request goes to: pure choices over weights and loads, made by each worker for
//! itself. Loads are shared by all workers ([`Load`]).
//!
//! | `balance` | chooses |
//! |---|---|
//! | `least_requests` | of two drawn by weight, the one with fewer requests in flight for its weight (power of two choices, Mitzenmacher 1996) |
//! | `round_robin` | in turn, as often as the weights say, evenly spread (smooth weighted round robin, nginx 2012) |
//! | `random` | by weight |
//! | `peak_ewma` | of two drawn by weight, the one with the lower product of latency and requests in flight; a latency's peaks count at once and fade over 10 s (Finagle) |
//! | `hash` | the same endpoint for the same value (a ring of 100 points per weight), unless it has more than 1.25 times its part of the load (bounded loads, Mirrokni et al. 2018) |

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use portcullis_core::chance::{Chance, mixed};
use portcullis_core::template::Reference;

/// Points on the ring for each weight, and all of them at most.
const POINTS: u32 = 100;
const MOST_POINTS: usize = 20_000;
/// A latency's share after this many seconds is 1/e.
const FADES: f64 = 10.0;

/// How an upstream's endpoints are chosen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Balance {
    LeastRequests,
    RoundRobin,
    Random,
    PeakEwma,
    /// What the hash is made of.
    Hash(Reference),
}

impl Balance {
    /// Whether it looks at what endpoints have to do.
    pub(crate) fn looks_at_load(&self) -> bool {
        !matches!(self, Self::RoundRobin | Self::Random)
    }
}

/// What an endpoint has to do, over all workers.
#[derive(Debug, Default)]
pub(crate) struct Load {
    in_flight: AtomicU32,
    /// Microseconds until an answer's head, and when that was last told (microseconds).
    latency: AtomicU64,
    told: AtomicU64,
}

impl Load {
    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Tells how long an answer took. Two that tell at once may lose one of both: an average can bear
    /// it.
    pub(crate) fn took(&self, latency: Duration, now: Duration) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (latency, now) = (micros(latency), micros(now));
        let before = self.told.swap(now, Ordering::Relaxed);
        let known = self.latency.load(Ordering::Relaxed);
        let apart = now.saturating_sub(before) as f64 / 1_000_000.0;
        let kept = (-apart / FADES).exp();
        let faded = known as f64 * kept + latency as f64 * (1.0 - kept);
        let told = if latency > known { latency } else { faded as u64 };
        self.latency.store(told, Ordering::Relaxed);
    }

    fn cost(&self) -> u64 {
        let latency = self.latency.load(Ordering::Relaxed).max(1);
        latency.saturating_mul(u64::from(self.in_flight()) + 1)
    }
}

/// What is chosen among: endpoints by their places.
pub(crate) trait View {
    /// Whether it may be chosen.
    fn is_usable(&self, place: usize) -> bool;

    fn load(&self, place: usize) -> Option<&Load>;

    /// How much of its weight counts now, in percent: less than all while it starts slowly.
    fn part(&self, place: usize) -> u32;

    /// Every endpoint may be chosen, with all of its weight.
    fn is_whole(&self) -> bool;
}

/// A worker's own part of the choice.
pub(crate) struct Picker {
    balance: Balance,
    weights: Vec<u32>,
    /// Their sum.
    total: u64,
    /// Smooth round robin: how far each is from its turn.
    turns: RefCell<Vec<i64>>,
    pub(crate) chance: Chance,
    /// Hash: points and the endpoint that each belongs to.
    ring: Vec<(u64, usize)>,
}

impl Picker {
    /// For endpoints of these names and weights. `seed` tells workers apart.
    pub(crate) fn new<'a>(
        balance: &Balance,
        endpoints: impl Iterator<Item = (&'a str, u32)>,
        seed: u64,
    ) -> Self {
        let (names, weights): (Vec<&str>, Vec<u32>) = endpoints.unzip();
        let ring =
            if matches!(balance, Balance::Hash(_)) { ring(&names, &weights) } else { Vec::new() };
        Self {
            balance: balance.clone(),
            turns: RefCell::new(vec![0; weights.len()]),
            total: weights.iter().map(|weight| u64::from(*weight)).sum(),
            weights,
            chance: Chance::new(seed),
            ring,
        }
    }

    /// One of the endpoints that are usable; `key` is the hash of what it is to be chosen by.
    pub(crate) fn pick(&self, view: &impl View, key: Option<u64>) -> Option<usize> {
        if !view.is_whole() || self.weights.len() < 2 {
            let mut all = self.usable(view, None);
            let first = all.next()?;
            if all.next().is_none() {
                return Some(first);
            }
        }
        let in_flight = |place| u64::from(view.load(place).map_or(0, Load::in_flight));
        match (&self.balance, key) {
            (Balance::RoundRobin, _) => self.in_turn(view),
            (Balance::LeastRequests, _) => self.better_of_two(view, |place| in_flight(place) + 1),
            (Balance::PeakEwma, _) => {
                self.better_of_two(view, |place| view.load(place).map_or(0, Load::cost))
            }
            (Balance::Hash(_), Some(key)) => self.by_hash(view, in_flight, key),
            (Balance::Hash(_) | Balance::Random, _) => self.by_chance(view, None),
        }
    }

    /// Places that may be chosen, but for one.
    fn usable<V: View>(&self, view: &V, but: Option<usize>) -> impl Iterator<Item = usize> + Clone {
        let fits = move |place: &usize| but != Some(*place) && view.is_usable(*place);
        (0..self.weights.len()).filter(fits)
    }

    fn weight(&self, view: &impl View, place: usize) -> u64 {
        let weight = self.weights.get(place).copied().unwrap_or(1);
        u64::from(weight) * u64::from(view.part(place))
    }

    /// Each goes ahead by its weight, the farthest has its turn and falls back by the sum of all.
    fn in_turn(&self, view: &impl View) -> Option<usize> {
        let mut turns = self.turns.borrow_mut();
        let mut total = 0;
        let mut farthest: Option<(i64, usize)> = None;
        for (place, turn) in turns.iter_mut().enumerate().filter(|(it, _)| view.is_usable(*it)) {
            let weight = i64::try_from(self.weight(view, place)).unwrap_or(1);
            *turn += weight;
            total += weight;
            if farthest.is_none_or(|(known, _)| *turn > known) {
                farthest = Some((*turn, place));
            }
        }
        let (_, place) = farthest?;
        if let Some(turn) = turns.get_mut(place) {
            *turn -= total;
        }
        Some(place)
    }

    fn by_chance(&self, view: &impl View, but: Option<usize>) -> Option<usize> {
        if view.is_whole() {
            return self.by_chance_of_all(but);
        }
        let total: u64 = self.usable(view, but).map(|place| self.weight(view, place)).sum();
        let mut left = self.chance.draw() % total.max(1);
        self.usable(view, but).find(|place| {
            let weight = self.weight(view, *place);
            let found = left < weight;
            left = left.saturating_sub(weight);
            found
        })
    }

    /// The same when everything may be chosen: the sum of weights is known.
    fn by_chance_of_all(&self, but: Option<usize>) -> Option<usize> {
        let weight = |place: usize| self.weights.get(place).map_or(0, |weight| u64::from(*weight));
        let mut left = self.chance.draw() % (self.total - but.map_or(0, weight)).max(1);
        (0..self.weights.len()).filter(|place| but != Some(*place)).find(|place| {
            let weight = weight(*place);
            let found = left < weight;
            left = left.saturating_sub(weight);
            found
        })
    }

    /// Of two that are drawn by weight, the one that costs less for its weight.
    fn better_of_two(&self, view: &impl View, cost: impl Fn(usize) -> u64) -> Option<usize> {
        let one = self.by_chance(view, None)?;
        let two = self.by_chance(view, Some(one)).unwrap_or(one);
        // a/x < b/y, without a division
        let cost = |place, other| u128::from(cost(place)) * u128::from(self.weight(view, other));
        Some(if cost(two, one) < cost(one, two) { two } else { one })
    }

    fn by_hash(
        &self,
        view: &impl View,
        in_flight: impl Fn(usize) -> u64,
        key: u64,
    ) -> Option<usize> {
        let (weights, flying) = self.usable(view, None).fold((0, 0), |(weights, flying), place| {
            (weights + self.weight(view, place), flying + in_flight(place))
        });
        // At most 1.25 times its part of all requests, this one included.
        let has_room = |place| {
            let most = (5 * (flying + 1) * self.weight(view, place)).div_ceil(4 * weights.max(1));
            in_flight(place) < most
        };
        let begin = self.ring.partition_point(|(point, _)| *point < key);
        let round = self.ring.iter().cycle().skip(begin).take(self.ring.len());
        let mut near = round.map(|(_, place)| *place).filter(|place| view.is_usable(*place));
        let nearest = near.clone().next();
        near.find(|place| has_room(*place)).or(nearest)
    }
}

fn ring(names: &[&str], weights: &[u32]) -> Vec<(u64, usize)> {
    let sum: usize = weights.iter().map(|weight| *weight as usize).sum();
    let points = (MOST_POINTS / sum.max(1)).clamp(1, POINTS as usize);
    let mut ring = Vec::new();
    for (place, (name, weight)) in names.iter().zip(weights).enumerate() {
        for point in 0..points * *weight as usize {
            ring.push((hash(format!("{name}#{point}").as_bytes()), place));
        }
    }
    ring.sort_unstable();
    ring
}

/// The same in every gateway and every version: FNV-1a, stirred.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    mixed(fnv)
}

#[cfg(test)]
mod tests;
