//! From a plan to running parts: what `build` hands to policies and upstreams.
//!
//! [`Build::keep`] is how live parts (pools, counters, breakers, key sets) survive a reload: the
//! part of the previous snapshot is taken over when its settings have the same fingerprint.

use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hash};
use std::sync::Arc;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::policy::LocalBoxFuture;

type Part = (u64, Arc<dyn Any + Send + Sync>);

/// The live parts of a snapshot, by kind and name.
#[derive(Default)]
pub struct Parts(HashMap<(&'static str, String), Part>);

/// Something that runs beside the requests for as long as the part that it serves is alive, such as
/// the refresh of a key set. Started once, when the snapshot is swapped in.
pub struct Task {
    pub name: String,
    pub start: Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>,
}

/// What parts are built with.
pub struct Build<'a> {
    pub clock: Clock,
    pub metrics: &'a Metrics,
    previous: Option<&'a Parts>,
    /// The parts of the snapshot that is being built.
    pub parts: Parts,
    /// Tasks of parts that are new; kept parts have theirs already.
    pub tasks: Vec<Task>,
}

impl<'a> Build<'a> {
    pub fn new(clock: Clock, metrics: &'a Metrics, previous: Option<&'a Parts>) -> Self {
        Self { clock, metrics, previous, parts: Parts::default(), tasks: Vec::new() }
    }

    /// The part `name` of this `kind`: the one already built in this round, else the previous
    /// snapshot's if its settings have the same fingerprint, else a new one.
    pub fn keep<T: Send + Sync + 'static>(
        &mut self,
        kind: &'static str,
        name: &str,
        fingerprint: u64,
        make: impl FnOnce(&mut Self) -> Arc<T>,
    ) -> Arc<T> {
        let key = (kind, name.to_owned());
        let known = [Some(&self.parts), self.previous].into_iter().flatten();
        let found = known.filter_map(|parts| parts.0.get(&key)).find_map(|(mark, part)| {
            (*mark == fingerprint).then(|| Arc::clone(part).downcast::<T>().ok()).flatten()
        });
        if let Some(part) = found {
            self.parts.0.insert(key, (fingerprint, Arc::clone(&part) as _));
            return part;
        }
        let part = make(self);
        self.parts.0.insert(key, (fingerprint, Arc::clone(&part) as _));
        part
    }

    pub fn task<F>(&mut self, name: impl Into<String>, start: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        self.tasks.push(Task { name: name.into(), start: Box::new(|| Box::pin(start())) });
    }
}

/// A number for everything that a part is made from: the same for the same settings within one version
/// of the gateway.
pub fn fingerprint(settings: &impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_survives_when_its_settings_did_not_change() {
        let metrics = Metrics::default();
        let mut first = Build::new(Clock::system(), &metrics, None);
        let part = first.keep("pool", "orders", 7, |_| Arc::new(String::from("first")));
        let old = first.parts;
        let mut second = Build::new(Clock::system(), &metrics, Some(&old));
        let same = second.keep("pool", "orders", 7, |_| Arc::new(String::from("second")));
        assert!(Arc::ptr_eq(&part, &same));
        let changed = second.keep("pool", "users", 8, |_| Arc::new(String::from("users")));
        assert_eq!(*changed, "users");
        let mut third = Build::new(Clock::system(), &metrics, Some(&second.parts));
        assert_eq!(*third.keep("pool", "orders", 9, |_| Arc::new(String::from("third"))), "third");
    }
}
