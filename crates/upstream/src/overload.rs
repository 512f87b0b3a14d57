//! How many requests an upstream is given at once, and what becomes of those beyond it: a bounded
//! number waits for a bounded time, in order; the rest is refused at once.
//!
//! An `adaptive` limit finds itself: it grows while answers take about as long as they do at little
//! load, and shrinks when they take longer (after the gradient of Netflix' concurrency-limits, 2018).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_core::Problem;
use tokio::sync::Semaphore;

use crate::problems::OVERLOADED;

/// An adaptive limit begins here and stays between these.
const FIRST: f64 = 50.0;
const LEAST: f64 = 10.0;
const MOST: f64 = 10_000.0;
/// It is judged after each this many answers.
const ANSWERS: u32 = 50;
/// How much slower than at little load answers may be before it shrinks.
const TOLERANCE: f64 = 1.5;
/// How much of the way it goes at once.
const STEP: f64 = 0.2;
/// How often it is a quarter for a moment, to see how long answers take at little load.
const MEASURED: Duration = Duration::from_secs(30);

/// How many may be in flight, and how many may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InFlightLimit {
    /// `None`: adaptive.
    pub(crate) most: Option<u32>,
    pub(crate) queue: usize,
    pub(crate) wait: Duration,
}

/// The gate before an upstream, for all workers.
pub(crate) struct Overload {
    limit: InFlightLimit,
    slots: Semaphore,
    /// How many slots there are, taken or not.
    size: AtomicUsize,
    /// Slots to be taken away when they come back.
    owed: AtomicUsize,
    waiting: AtomicUsize,
    /// Only of an adaptive limit. Whoever finds it locked leaves its answer out.
    gradient: Option<Mutex<Gradient>>,
}

/// Leave to be in flight, until it is dropped.
pub(crate) struct Slot(Arc<Overload>);

impl Overload {
    pub(crate) fn new(limit: InFlightLimit) -> Arc<Self> {
        let size = limit.most.map_or(FIRST as usize, |most| most as usize);
        Arc::new(Self {
            limit,
            slots: Semaphore::new(size),
            size: AtomicUsize::new(size),
            owed: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            gradient: limit.most.is_none().then(|| Mutex::new(Gradient::new())),
        })
    }

    /// A slot, at once.
    pub(crate) fn try_enter(self: &Arc<Self>) -> Option<Slot> {
        self.slots.try_acquire().ok()?.forget(); // the slot gives it back
        Some(Slot(Arc::clone(self)))
    }

    /// A slot, after waiting for no longer than the settings and `left` allow.
    pub(crate) async fn enter(self: &Arc<Self>, left: Option<Duration>) -> Result<Slot, Problem> {
        if let Some(slot) = self.try_enter() {
            return Ok(slot);
        }
        let Some(_place) = Place::take(self) else {
            return Err(self.refuse("its queue is full"));
        };
        let wait = left.map_or(self.limit.wait, |left| left.min(self.limit.wait));
        match tokio::time::timeout(wait, self.slots.acquire()).await {
            Ok(Ok(permit)) => {
                permit.forget();
                Ok(Slot(Arc::clone(self)))
            }
            Ok(Err(_)) | Err(_) => Err(self.refuse("no slot came free in time")),
        }
    }

    fn refuse(&self, why: &'static str) -> Problem {
        let in_flight = self.in_flight();
        Problem::new(&OVERLOADED, "the service has as much to do as it can bear")
            .private(format!("{in_flight} requests are in flight and {why}"))
            .retry_after(self.limit.wait.max(Duration::from_secs(1)))
            .from_upstream()
    }

    /// Tells an adaptive limit how long an answer took.
    pub(crate) fn took(&self, latency: Duration, now: Duration) {
        let Some(mut gradient) = self.gradient.as_ref().and_then(|it| it.try_lock().ok()) else {
            return;
        };
        let size = gradient.took(latency.as_secs_f64(), self.in_flight(), now);
        drop(gradient);
        let before = self.size.swap(size, Ordering::Relaxed);
        if size > before {
            self.slots.add_permits(self.pay(size - before));
        } else if size < before {
            let now = self.slots.forget_permits(before - size);
            self.owed.fetch_add(before - size - now, Ordering::Relaxed);
        }
    }

    /// Sets new slots off against those that are owed: how many are left.
    fn pay(&self, new: usize) -> usize {
        let mut paid = 0;
        let order = Ordering::Relaxed;
        let _ = self.owed.fetch_update(order, order, |owed| {
            paid = owed.min(new);
            Some(owed - paid)
        });
        new - paid
    }

    pub(crate) fn in_flight(&self) -> usize {
        let size = self.size.load(Ordering::Relaxed) + self.owed.load(Ordering::Relaxed);
        size.saturating_sub(self.slots.available_permits())
    }

    /// For /status: slots in all, and requests that wait for one.
    pub(crate) fn state(&self) -> (usize, usize) {
        (self.size.load(Ordering::Relaxed), self.waiting.load(Ordering::Relaxed))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let is_kept = self.0.owed.load(Ordering::Relaxed) > 0 && self.0.pay(1) == 0;
        if !is_kept {
            self.0.slots.add_permits(1);
        }
    }
}

/// A place in the queue.
struct Place<'o>(&'o Overload);

impl<'o> Place<'o> {
    fn take(gate: &'o Overload) -> Option<Self> {
        let order = Ordering::Relaxed;
        let more = |waiting| (waiting < gate.limit.queue).then_some(waiting + 1);
        gate.waiting.fetch_update(order, order, more).ok().map(|_| Self(gate))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The arithmetic of an adaptive limit.
#[derive(Debug)]
struct Gradient {
    limit: f64,
    /// How long answers take at little load, in seconds; 0 before anything is known.
    base: f64,
    sum: f64,
    count: u32,
    /// When it was measured last, and while that goes on: the limit to go back to, and how many
    /// rounds it still takes. The first of them is of requests that went out before.
    measured: Duration,
    measuring: Option<(f64, u8)>,
}

impl Gradient {
    fn new() -> Self {
        let measured = Duration::ZERO;
        Self { limit: FIRST, base: 0.0, sum: 0.0, count: 0, measured, measuring: None }
    }

    /// The limit after one more answer.
    fn took(&mut self, latency: f64, in_flight: usize, now: Duration) -> usize {
        self.sum += latency;
        self.count += 1;
        if self.count >= ANSWERS {
            let mean = self.sum / f64::from(self.count);
            (self.sum, self.count) = (0.0, 0);
            // A limit that nobody reaches has nothing to learn from.
            let is_reached = in_flight as f64 * 2.0 >= self.limit;
            self.judge(mean.max(1e-6), is_reached, now);
        }
        self.limit as usize
    }

    fn is_due(&self, now: Duration) -> bool {
        self.base == 0.0 || now.saturating_sub(self.measured) >= MEASURED
    }

    fn judge(&mut self, mean: f64, is_reached: bool, now: Duration) {
        match self.measuring {
            Some((back, 0)) => {
                (self.base, self.limit, self.measuring) = (mean, back, None);
                return;
            }
            Some((back, rounds)) => {
                self.measuring = Some((back, rounds - 1));
                return;
            }
            None if is_reached && self.is_due(now) => {
                self.measured = now;
                self.measuring = Some((self.limit, 1));
                self.limit = (self.limit / 4.0).max(LEAST);
                return;
            }
            None => {}
        }
        self.base = if self.base == 0.0 { mean } else { self.base.min(mean) };
        if is_reached {
            let gradient = (TOLERANCE * self.base / mean).clamp(0.5, 1.0);
            let wanted = self.limit * gradient + self.limit.sqrt();
            let next = self.limit * (1.0 - STEP) + wanted * STEP;
            self.limit = next.clamp(LEAST, MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap().block_on(test);
    }

    fn limit(most: Option<u32>, queue: usize) -> InFlightLimit {
        InFlightLimit { most, queue, wait: Duration::from_secs(1) }
    }

    #[test]
    fn a_bounded_number_waits_in_order_and_the_rest_is_refused() {
        run(async {
            let gate = Overload::new(limit(Some(1), 1));
            let first = gate.enter(None).await.unwrap();
            assert!(gate.try_enter().is_none());
            let mut second = std::pin::pin!(gate.enter(None));
            assert!(futures_now(second.as_mut()).is_none(), "it waits");
            let third = gate.enter(None).await.map(|_| ()).unwrap_err();
            assert_eq!(
                (third.code().name, third.wait()),
                ("overloaded", Some(Duration::from_secs(1)))
            );
            drop(first);
            let second = second.await.unwrap();
            assert_eq!(gate.in_flight(), 1);
            let late = gate.enter(None).await.map(|_| ()).unwrap_err();
            assert!(late.private_detail().contains("no slot came free in time"));
            drop(second);
            assert_eq!((gate.in_flight(), gate.state()), (0, (1, 0)));
        });
    }

    /// What a future says when it is asked once.
    fn futures_now<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }

    /// A service that does `capacity` things at once in 10 ms, and the rest after each other.
    fn latency(in_flight: usize, capacity: usize) -> Duration {
        Duration::from_millis(10) * u32::try_from(in_flight.div_ceil(capacity)).unwrap()
    }

    #[test]
    fn an_adaptive_limit_finds_what_a_service_can_do() {
        for capacity in [20, 100, 400] {
            let gate = Overload::new(limit(None, 0));
            let mut out = std::collections::VecDeque::new();
            let mut now = Duration::ZERO;
            while now < Duration::from_secs(300) {
                while let Some(slot) = gate.try_enter() {
                    out.push_back(slot);
                }
                let latency = latency(gate.in_flight(), capacity);
                now += latency / u32::try_from(gate.in_flight()).unwrap();
                gate.took(latency, now);
                out.pop_front();
            }
            let (size, _) = gate.state();
            assert!(size >= capacity / 2 && size <= capacity * 3, "{size} for {capacity}");
            assert!(gate.in_flight() <= size + 1);
            out.clear();
            assert_eq!(gate.in_flight(), 0, "no slot is lost");
            let all: Vec<_> = std::iter::from_fn(|| gate.try_enter()).collect();
            assert_eq!(all.len(), size);
        }
    }

    #[test]
    fn a_limit_that_nobody_reaches_stays() {
        let mut gradient = Gradient::new();
        for round in 0..1000 {
            let latency = [0.01, 10.0][round % 2];
            assert_eq!(gradient.took(latency, 3, Duration::from_secs(60)), FIRST as usize);
        }
    }
}
