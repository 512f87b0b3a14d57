//! Work on large bodies, beside the workers: a worker that parsed, mapped and wrote megabytes itself
//! would answer nobody else meanwhile.

use std::panic::resume_unwind;
use std::sync::{Arc, LazyLock};

use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};

/// A body with more bytes than this, decoded, is worked on beside the workers.
pub const LARGE: usize = 64 * 1024;

/// As many threads as half of the cores: workers keep the other half.
static THREADS: LazyLock<Threads> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Threads::new(cores.div_ceil(2))
});

/// Runs `work` on a thread beside the workers, when one is free. Who waits for that waits in turn, and
/// leaves nothing behind when the client goes away; what was begun is done to its end.
pub async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    THREADS.run(work).await
}

/// How many may work at a time: their permits. Nobody else waits in a queue of theirs.
struct Threads(Arc<Semaphore>);

impl Threads {
    fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let permit = Arc::clone(&self.0).acquire_owned().await;
        let done = spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        match done.await.map_err(JoinError::try_into_panic) {
            Ok(done) => done,
            Err(Ok(panic)) => resume_unwind(panic),
            // The worker ends, and with it whoever waits here.
            Err(Err(_)) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::sync::{Barrier, mpsc};

    use futures_util::FutureExt as _;
    use futures_util::future::{join, join_all};

    use super::*;

    fn on_a_worker<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    /// On the worker the work would wait for ever.
    #[test]
    fn the_worker_goes_on_meanwhile() {
        let (send, receive) = mpsc::channel();
        let answered = on_a_worker(async {
            let large = beside(move || receive.recv().unwrap());
            let other = async { send.send("the other's answer").unwrap() };
            join(large, other).await.0
        });
        assert_eq!(answered, "the other's answer");
    }

    #[test]
    fn a_panic_is_the_requests_own() {
        on_a_worker(async {
            let broken = beside(|| -> u8 { panic!("broken") });
            assert!(AssertUnwindSafe(broken).catch_unwind().await.is_err());
            assert_eq!(beside(|| 7).await, 7);
        });
    }

    #[test]
    fn no_more_work_than_there_are_threads_and_who_waits_can_give_up() {
        on_a_worker(async {
            let (threads, ends) = (Threads::new(2), Arc::new(Barrier::new(3)));
            let mut busy = join_all((0..2).map(|_| {
                let ends = Arc::clone(&ends);
                threads.run(move || ends.wait().is_leader())
            }));
            assert!((&mut busy).now_or_never().is_none());
            assert!(join_all((0..100).map(|_| threads.run(|| ()))).now_or_never().is_none());
            let mut waiting = Box::pin(threads.run(|| 7));
            assert!((&mut waiting).now_or_never().is_none());
            ends.wait();
            let (_, done) = join(busy, waiting).await;
            assert_eq!((done, threads.0.available_permits()), (7, 2));
        });
    }
}
