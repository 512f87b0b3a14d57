//! The two ways in which tests wait: for an event with a bound, or again and again for a condition
//! that nobody announces.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, anyhow};

/// Waits for `event`, at most `bound`; the error says what did not come.
pub async fn within<F: Future>(bound: Duration, what: &str, event: F) -> Result<F::Output> {
    tokio::time::timeout(bound, event).await.map_err(|_| anyhow!("{what}: not within {bound:?}"))
}

/// Lets this much time pass: for scripted answers that are meant to be slow.
pub async fn pass(time: Duration) {
    let never = std::future::pending::<()>();
    let _ = tokio::time::timeout(time, never).await;
}

/// Tries `attempt` until it succeeds, at most for `bound`; then its last error is the answer.
pub async fn eventually<T, F>(bound: Duration, mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let end = tokio::time::Instant::now() + bound;
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if tokio::time::Instant::now() >= end {
            return Err(error.context(format!("still so after {bound:?}")));
        }
    }
}
