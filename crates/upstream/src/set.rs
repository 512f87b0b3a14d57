//! The endpoints that one worker chooses among, as they are now, and the choice: who is healthy, who
//! is on trial, and what happens when hardly anybody is healthy.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::Worker;
use smallvec::SmallVec;

use crate::balance::{Load, Picker, View};
use crate::endpoint::Endpoint;
use crate::health::Standing;
use crate::pool::Pool;
use crate::upstream::Upstream;

/// An endpoint and this worker's connections to it.
pub(crate) struct Member {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) pool: Rc<Pool>,
}

/// An upstream's endpoints at some time.
pub(crate) struct Set {
    pub(crate) generation: u64,
    pub(crate) members: Vec<Member>,
    picker: Picker,
}

/// Places that a request went to.
pub(crate) type Tried = SmallVec<[usize; 4]>;

/// What matters of a request for where it goes.
pub(crate) struct Wish<'w> {
    pub(crate) tried: &'w [usize],
    pub(crate) affinity: Option<u64>,
    /// It can be sent again: it may try an endpoint that was set aside.
    pub(crate) can_repeat: bool,
    /// The present, as health counts it.
    pub(crate) now: Duration,
}

/// Where a request goes.
pub(crate) struct Picked<'s> {
    pub(crate) place: usize,
    pub(crate) member: &'s Member,
    /// It tries an endpoint that was set aside.
    pub(crate) on_trial: bool,
}

impl Set {
    /// The endpoints of now; pools of those that were there `before` are kept.
    pub(crate) fn new(upstream: &Upstream, worker: &Worker, before: &[Member]) -> Self {
        let generation = upstream.sources.generation();
        let endpoints = upstream.sources.endpoints();
        let names = endpoints.iter().map(|(endpoint, weight)| (&*endpoint.label, *weight));
        let picker = Picker::new(&upstream.balance, names, worker.index as u64);
        let member = |(endpoint, _): (Arc<Endpoint>, u32)| {
            let kept = before.iter().find(|member| Arc::ptr_eq(&member.endpoint, &endpoint));
            let pool = kept.map_or_else(
                || Pool::new(&endpoint, upstream.pool, &worker.clock),
                |member| Rc::clone(&member.pool),
            );
            Member { endpoint, pool }
        };
        Self { generation, members: endpoints.into_iter().map(member).collect(), picker }
    }

    /// Chooses an endpoint that was not tried yet.
    pub(crate) fn pick(&self, upstream: &Upstream, wish: &Wish<'_>) -> Option<Picked<'_>> {
        if let ([member], []) = (self.members.as_slice(), wish.tried) {
            return Some(Picked { place: 0, member, on_trial: false });
        }
        let mut view = Candidates::new(self, upstream, wish);
        while !view.is_panic {
            let Some(place) = self.picker.pick(&view, wish.affinity) else { break };
            let member = self.members.get(place)?;
            if !upstream.is_judged || member.endpoint.health.is_in_use() {
                return Some(Picked { place, member, on_trial: false });
            }
            if member.endpoint.health.claim(wish.now, upstream.timeouts.request) {
                return Some(Picked { place, member, on_trial: true });
            }
            view.remove(place); // somebody else got the trial
        }
        // Hardly anybody is healthy, or everybody who is was tried: then all are used.
        view.add_all();
        let place = self.picker.pick(&view, wish.affinity)?;
        Some(Picked { place, member: self.members.get(place)?, on_trial: false })
    }

    /// Any number, for whoever needs chance.
    pub(crate) fn chance(&self) -> u64 {
        self.picker.chance.draw()
    }

    /// Whether one more endpoint may be set aside: at most half are, rounded down.
    pub(crate) fn has_room_aside(&self) -> bool {
        let aside = self.members.iter().filter(|member| !member.endpoint.health.is_in_use());
        aside.count() < self.members.len() / 2
    }
}

/// What is chosen among for one request.
struct Candidates<'s> {
    set: &'s Set,
    wish: &'s Wish<'s>,
    slow_start: Option<Duration>,
    /// A bit for each place that may be chosen.
    usable: SmallVec<[u64; 1]>,
    /// All of them may, with all of their weight.
    is_whole: bool,
    /// Too few are healthy to pass over the others.
    is_panic: bool,
}

impl<'s> Candidates<'s> {
    fn new(set: &'s Set, upstream: &Upstream, wish: &'s Wish<'s>) -> Self {
        let slow_start = upstream.slow_start;
        let mut usable = SmallVec::from_elem(0, set.members.len().div_ceil(64));
        let mut in_use: u64 = 0;
        for (place, member) in set.members.iter().enumerate() {
            // Requests of an old configuration may still judge what this one does not.
            let standing = match upstream.is_judged {
                true => member.endpoint.health.standing(wish.now, wish.can_repeat),
                false => Standing::InUse,
            };
            in_use += u64::from(standing == Standing::InUse);
            if standing != Standing::Aside && !wish.tried.contains(&place) {
                set_bit(&mut usable, place, true);
            }
        }
        let is_panic = in_use * 10_000 < set.members.len() as u64 * u64::from(upstream.panic_below);
        let is_whole =
            in_use == set.members.len() as u64 && wish.tried.is_empty() && slow_start.is_none();
        Self { set, wish, slow_start, usable, is_whole, is_panic }
    }

    fn remove(&mut self, place: usize) {
        self.is_whole = false;
        set_bit(&mut self.usable, place, false);
    }

    /// All that were not tried, whatever their health.
    fn add_all(&mut self) {
        for place in (0..self.set.members.len()).filter(|place| !self.wish.tried.contains(place)) {
            set_bit(&mut self.usable, place, true);
        }
    }

    fn endpoint(&self, place: usize) -> Option<&Endpoint> {
        self.set.members.get(place).map(|member| &*member.endpoint)
    }
}

fn set_bit(bits: &mut [u64], place: usize, value: bool) {
    if let Some(word) = bits.get_mut(place / 64) {
        let bit = 1 << (place % 64);
        *word = if value { *word | bit } else { *word & !bit };
    }
}

impl View for Candidates<'_> {
    fn is_usable(&self, place: usize) -> bool {
        self.usable.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    fn load(&self, place: usize) -> Option<&Load> {
        self.endpoint(place).map(|endpoint| &endpoint.load)
    }

    fn part(&self, place: usize) -> u32 {
        let part = |(endpoint, slow): (&Endpoint, _)| endpoint.health.part(self.wish.now, slow);
        self.endpoint(place).zip(self.slow_start).map_or(100, part)
    }

    fn is_whole(&self) -> bool {
        self.is_whole
    }
}
