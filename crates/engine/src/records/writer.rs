//! The thread that writes the access log, so that no request ever waits for a disk or a pipe.
//!
//! Workers hand over batches of lines through a bounded queue. When it is full the batch is dropped
//! and its lines are counted: a request never waits.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use portcullis_core::metrics::Counter;

/// Batches that may wait for the writer. A batch is at most 64 KiB and one line.
const QUEUE: usize = 128;

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    Stdout,
    File(PathBuf),
}

enum Job {
    Lines(Vec<u8>),
    /// Open the file again: somebody moved it away (logrotate).
    Reopen,
}

/// The way to the writer thread. The thread ends, all written, when the last handle is dropped and
/// [`Writer::finish`] waits for it.
pub struct Writer {
    jobs: Mutex<Option<SyncSender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    pub destination: Destination,
}

impl Writer {
    pub fn start(destination: Destination) -> io::Result<Arc<Self>> {
        let mut sink = open(&destination)?;
        let (jobs, queue) = sync_channel(QUEUE);
        let path = destination.clone();
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(&queue, &mut sink, &path))?;
        let (jobs, thread) = (Mutex::new(Some(jobs)), Mutex::new(Some(thread)));
        Ok(Arc::new(Self { jobs, thread, destination }))
    }

    /// A worker's own way to the queue.
    pub fn sender(&self, dropped: Counter) -> Sender {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Sender { jobs, dropped }
    }

    pub fn reopen(&self) {
        if let Some(jobs) = &*self.jobs.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = jobs.send(Job::Reopen);
        }
    }

    /// Waits until everything that was handed over is written. Workers' senders must be gone.
    pub fn finish(&self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

/// A worker's way to the writer.
pub struct Sender {
    jobs: Option<SyncSender<Job>>,
    dropped: Counter,
}

impl Sender {
    /// Hands `lines` lines over, or drops and counts them.
    pub fn send(&self, batch: Vec<u8>, lines: u64) {
        let Some(jobs) = &self.jobs else { return self.dropped.add(lines) };
        match jobs.try_send(Job::Lines(batch)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.dropped.add(lines),
        }
    }
}

fn open(destination: &Destination) -> io::Result<Box<dyn Write + Send>> {
    Ok(match destination {
        Destination::Stdout => Box::new(io::stdout()),
        Destination::File(path) => Box::new(append(path)?),
    })
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn write_all(queue: &Receiver<Job>, sink: &mut Box<dyn Write + Send>, destination: &Destination) {
    let mut failing = false;
    while let Ok(job) = queue.recv() {
        let result = match job {
            Job::Lines(lines) => sink.write_all(&lines).and_then(|()| sink.flush()),
            Job::Reopen => open(destination).map(|new| *sink = new),
        };
        if let Err(error) = &result
            && !failing
        {
            tracing::error!(%error, "the access log cannot be written");
        }
        failing = result.is_err();
    }
}
