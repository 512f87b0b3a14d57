//! One worker is one core's single-threaded runtime. What it keeps for itself lives in a table
//! indexed by the identity ([`Live`]) of the shared part that it belongs to.
//!
//! An upstream's connections, for example, belong to one worker and are found on every request by
//! one bounds check and one comparison. A reload that keeps an upstream keeps its `Live`, and so
//! every worker's connections to it.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::clock::Clock;

static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
static HIGH: AtomicU64 = AtomicU64::new(0);
static SEQUENCE: AtomicU64 = AtomicU64::new(0);

/// The identity of a shared part (an upstream, a log) for the workers' tables.
#[derive(Debug)]
pub struct Live {
    index: usize,
    sequence: u64,
}

impl Live {
    /// A new identity. Locks a free list: made at load, never on a request's way.
    pub fn new() -> Arc<Self> {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let index =
            free.unwrap_or_else(|| HIGH.fetch_add(1, Ordering::Relaxed).try_into().unwrap_or(0));
        Arc::new(Self { index, sequence: SEQUENCE.fetch_add(1, Ordering::Relaxed) })
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(self.index);
    }
}

struct Slot {
    sequence: u64,
    owner: Weak<Live>,
    state: Rc<dyn Any>,
}

/// What one worker thread has to itself.
pub struct Worker {
    /// 0 for the first worker.
    pub index: usize,
    pub clock: Clock,
    table: RefCell<Vec<Option<Slot>>>,
}

impl Worker {
    pub fn new(index: usize, clock: Clock) -> Rc<Self> {
        Rc::new(Self { index, clock, table: RefCell::default() })
    }

    /// This worker's state for `live`, made on first use. One `Live` has one type of state; asking
    /// for another type replaces it.
    pub fn local<T: 'static>(&self, live: &Arc<Live>, make: impl FnOnce() -> T) -> Rc<T> {
        if let Some(Some(slot)) = self.table.borrow().get(live.index)
            && slot.sequence == live.sequence
            && let Ok(state) = Rc::clone(&slot.state).downcast::<T>()
        {
            return state;
        }
        let state = Rc::new(make());
        let mut table = self.table.borrow_mut();
        if table.len() <= live.index {
            table.resize_with(live.index + 1, || None);
        }
        if let Some(slot) = table.get_mut(live.index) {
            let (sequence, owner) = (live.sequence, Arc::downgrade(live));
            *slot = Some(Slot { sequence, owner, state: Rc::clone(&state) as Rc<dyn Any> });
        }
        state
    }

    /// Drops what belongs to parts that no snapshot holds any more. Called now and then.
    pub fn sweep(&self) {
        let mut gone = Vec::new();
        for slot in self.table.borrow_mut().iter_mut() {
            if slot.as_ref().is_some_and(|slot| slot.owner.strong_count() == 0) {
                gone.extend(slot.take());
            }
        }
        drop(gone); // outside the borrow: a dropped state may look into the table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_found_again_and_goes_with_its_owner() {
        let worker = Worker::new(0, Clock::system());
        let live = Live::new();
        let first = worker.local(&live, || String::from("pool"));
        assert!(Rc::ptr_eq(&first, &worker.local(&live, || String::from("another"))));
        drop(live);
        worker.sweep();
        assert_eq!(Rc::strong_count(&first), 1);
    }

    #[test]
    fn a_reused_index_does_not_show_the_old_state() {
        let worker = Worker::new(0, Clock::system());
        let old = Live::new();
        worker.local(&old, || 1_u32);
        let index = old.index;
        drop(old);
        let new = Arc::new(Live { index, sequence: SEQUENCE.fetch_add(1, Ordering::Relaxed) });
        assert_eq!(*worker.local(&new, || 2_u32), 2);
        std::mem::forget(new); // its index already went back to the free list with `old`
    }
}
