//! What is left of an exchange when it ends: one log line and the metrics.

mod line;
mod text;
pub mod writer;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::metrics::Counter;
use portcullis_core::{Live, Record, Worker};

use writer::{Sender, Writer};

/// Lines are handed over when this many bytes have come together, or after [`LINGER`].
const BATCH: usize = 64 * 1024;
const LINGER: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    Json,
    Text,
}

/// The access log of a snapshot. Kept over reloads that do not change its settings.
pub struct AccessLog {
    live: Arc<Live>,
    writer: Arc<Writer>,
    format: Format,
    dropped: Counter,
}

/// A worker's lines that are not handed over yet.
struct Batch {
    sender: Sender,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    lines: u64,
    armed: bool,
    dial: line::Dial,
}

impl AccessLog {
    pub fn new(writer: Arc<Writer>, format: Format, dropped: Counter) -> Self {
        Self { live: Live::new(), writer, format, dropped }
    }

    pub fn writer(&self) -> &Arc<Writer> {
        &self.writer
    }

    /// Writes one exchange down, in this worker's batch.
    pub fn write(&self, worker: &Rc<Worker>, record: &Record, duration: Duration, aborted: bool) {
        let batch = self.batch(worker);
        let state = &mut *batch.state.borrow_mut();
        let (bytes, dial) = (&mut state.bytes, &mut state.dial);
        match self.format {
            Format::Json => line::write(bytes, dial, record, duration, aborted),
            Format::Text => text::write(bytes, dial, record, duration, aborted),
        }
        state.lines += 1;
        if state.bytes.len() >= BATCH {
            batch.flush(state);
        } else if !state.armed {
            state.armed = true;
            let batch = Rc::clone(&batch);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(LINGER).await;
                let mut state = batch.state.borrow_mut();
                state.armed = false;
                batch.flush(&mut state);
            });
        }
    }

    /// Hands over what this worker still has: at its end.
    pub fn flush(&self, worker: &Rc<Worker>) {
        let batch = self.batch(worker);
        batch.flush(&mut batch.state.borrow_mut());
    }

    fn batch(&self, worker: &Rc<Worker>) -> Rc<Batch> {
        worker.local(&self.live, || Batch {
            sender: self.writer.sender(self.dropped.clone()),
            state: RefCell::default(),
        })
    }
}

impl Batch {
    fn flush(&self, state: &mut State) {
        if state.lines > 0 {
            let bytes = std::mem::replace(&mut state.bytes, Vec::with_capacity(BATCH));
            self.sender.send(bytes, std::mem::take(&mut state.lines));
        }
    }
}
