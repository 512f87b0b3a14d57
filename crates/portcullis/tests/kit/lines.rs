//! What a child process writes, line by line, with a way to wait for a line.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::pause::within;

/// The lines so far. They keep coming for as long as the process writes.
#[derive(Default)]
pub struct Lines {
    lines: RefCell<Vec<String>>,
    ended: Cell<bool>,
    news: Notify,
    reader: RefCell<Option<AbortHandle>>,
    held: Cell<bool>,
}

impl Lines {
    /// Reads `from` to its end, in a task of its own.
    pub fn follow(from: impl AsyncRead + Unpin + 'static) -> Rc<Self> {
        let lines = Rc::new(Self::default());
        let own = Rc::clone(&lines);
        let reader = tokio::task::spawn_local(async move {
            let mut reader = BufReader::new(from);
            let mut line = Vec::new();
            while let Ok(1..) = reader.read_until(b'\n', &mut line).await {
                if own.held.get() {
                    std::future::pending::<()>().await;
                }
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                own.lines.borrow_mut().push(text);
                own.news.notify_waiters();
                line.clear();
            }
            own.ended.set(true);
            own.news.notify_waiters();
        });
        *lines.reader.borrow_mut() = Some(reader.abort_handle());
        lines
    }

    /// Reads no more, and leaves the pipe open: it fills, and whoever writes has to wait.
    pub fn hold(&self) {
        self.held.set(true);
    }

    /// Closes the pipe: whatever the process still writes finds no reader.
    pub fn stop(&self) {
        if let Some(reader) = self.reader.take() {
            reader.abort();
        }
        self.ended.set(true);
    }

    pub fn count(&self) -> usize {
        self.lines.borrow().len()
    }

    /// Everything from line number `start` on.
    pub fn since(&self, start: usize) -> Vec<String> {
        self.lines.borrow().iter().skip(start).cloned().collect()
    }

    /// The last `count` lines, as one text.
    pub fn tail(&self, count: usize) -> String {
        let lines = self.lines.borrow();
        lines.iter().skip(lines.len().saturating_sub(count)).fold(
            String::new(),
            |mut text, line| {
                text.push_str("    ");
                text.push_str(line);
                text.push('\n');
                text
            },
        )
    }

    /// Waits until `found` sees what it wants in the lines from `start` on.
    pub async fn wait_for<T>(
        &self,
        bound: Duration,
        what: &str,
        start: usize,
        found: impl Fn(&[String]) -> Option<T>,
    ) -> Result<T> {
        within(bound, what, async {
            loop {
                let news = self.news.notified();
                if let Some(value) = found(self.lines.borrow().get(start..).unwrap_or_default()) {
                    return Ok(value);
                }
                if self.ended.get() {
                    return Err(anyhow!("{what}: the output has ended without it"));
                }
                news.await;
            }
        })
        .await?
    }

    /// Waits for the output's end.
    pub async fn wait_for_end(&self, bound: Duration) -> Result<()> {
        within(bound, "the end of the output", async {
            while !self.ended.get() {
                self.news.notified().await;
            }
        })
        .await
    }
}
