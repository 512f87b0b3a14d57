//! How a client's body comes in, as whoever watches its connection sees it.
//!
//! A body is slow only while somebody waits for it: when a service takes nothing more, the client cannot
//! send, and is not to blame. So the body says here when it waits and how much came, and is told here
//! when it took too long.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

/// Shared by a body and its watcher.
#[derive(Debug, Default)]
pub struct Intake {
    received: Cell<u64>,
    waits: Cell<bool>,
    given_up: Cell<bool>,
    reader: RefCell<Option<Waker>>,
}

impl Intake {
    /// Bytes so far.
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    /// True while somebody waits for the client.
    pub fn waits(&self) -> bool {
        self.waits.get()
    }

    /// Ends the body: whoever waits for it learns that it came too slowly.
    pub fn give_up(&self) {
        self.given_up.set(true);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.get()
    }

    pub(crate) fn wait(&self, cx: &Context<'_>) {
        self.waits.set(true);
        let mut reader = self.reader.borrow_mut();
        if !reader.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *reader = Some(cx.waker().clone());
        }
    }

    pub(crate) fn receive(&self, bytes: usize) {
        self.waits.set(false);
        self.received.set(self.received.get() + bytes as u64);
    }
}
