//! Hedging: a second attempt beside a first that takes longer than most (Dean and Barroso, "The Tail
//! at Scale", 2013): how long "most" is, and the race of the two.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::Method;
use http_body::Body as _;
use tokio::time::Instant;

use crate::attempt::Nudge;
use crate::carrier::Carrier;
use crate::deliver::{Delivery, Ended};
use crate::request::{Head, Ready, Request};
use crate::set::Tried;
use crate::trial::Trial;

/// When a second attempt goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Hedge {
    /// `None`: after what 95 of 100 requests need.
    pub(crate) after: Option<Duration>,
}

/// How many answers it takes to know what most need.
const ENOUGH: u64 = 100;

/// The time within which 95 of 100 answers come, as it was lately: one number that goes up by 19
/// steps for an answer that took longer and down by one for an answer that did not (after frugal
/// streaming, Ma, Muthukrishnan and Sandler 2013). A step is a part of the number itself, so that it
/// follows at any scale.
#[derive(Debug, Default)]
pub(crate) struct Most {
    micros: AtomicU64,
    answers: AtomicU64,
}

impl Most {
    /// Two answers at once may count as one: an estimate can bear it.
    pub(crate) fn took(&self, latency: Duration) {
        let latency = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
        let answers = self.answers.fetch_add(1, Ordering::Relaxed);
        let known = self.micros.load(Ordering::Relaxed);
        if answers == 0 {
            self.micros.store(latency, Ordering::Relaxed);
            return;
        }
        // Large steps at first.
        let step = (known / if answers < ENOUGH { 100 } else { 1000 }).max(1);
        let next = match latency > known {
            true => known.saturating_add(19 * step).min(latency),
            false => known.saturating_sub(step).max(latency).max(1),
        };
        self.micros.store(next, Ordering::Relaxed);
    }

    /// `None` while too few answers are known.
    pub(crate) fn get(&self) -> Option<Duration> {
        let known = self.answers.load(Ordering::Relaxed) >= ENOUGH;
        known.then(|| Duration::from_micros(self.micros.load(Ordering::Relaxed)))
    }
}

impl<C: Carrier> Delivery<'_, C> {
    /// Says when a second attempt is to go out beside this first one, if one may.
    pub(crate) fn nudge(&self, tried: &[usize], request: Option<&Ready>) -> Option<Nudge> {
        let hedge = self.upstream.hedge.filter(|_| tried.len() == 1)?;
        let is_plain = matches!(self.method, Method::GET | Method::HEAD)
            && request.is_some_and(|it| it.body.is_end_stream() && it.head.websocket.is_none());
        let after = hedge.after.or_else(|| self.upstream.most.get());
        let after = after.filter(|_| is_plain && self.set.members.len() > 1)?;
        Some(Nudge { at: Instant::now() + after, is_due: Cell::new(false) })
    }

    /// A second attempt beside the `first`: the first good answer counts, and the other attempt is
    /// cancelled. `head` is the request's, which has no body.
    pub(crate) async fn race(
        &self,
        mut first: Pin<&mut impl Future<Output = Ended>>,
        head: Option<Rc<Head>>,
        tried: &mut Tried,
    ) -> Ended {
        // The second one takes a slot as well, if one is free.
        let slot = self.upstream.overload.as_ref().map(|overload| overload.try_enter());
        let slot = match slot {
            Some(None) => return first.await,
            slot => slot.flatten().map(Rc::new),
        };
        let Some(trial) = self.second(tried) else { return first.await };
        self.upstream.metrics.hedged.inc();
        let label = self.endpoint();
        let mut copy = head.map(Request::without_body);
        let mut second = pin!(self.once(trial, slot, &mut copy, 2, None));
        tokio::select! {
            ended = &mut first => match self.is_good(&ended) {
                true => {
                    self.answered_by(label);
                    ended
                }
                false => self.better(second.await, ended),
            },
            ended = &mut second => match self.is_good(&ended) {
                true => ended,
                false => self.better(first.await, ended),
            },
        }
    }

    /// The second attempt's leave to go: a permit, something left of the budget, and another endpoint.
    /// That comes last: it may be on trial, which is not to be taken in vain.
    fn second(&self, tried: &mut Tried) -> Option<Trial<'_>> {
        let now = self.look_at_clock();
        let breaker = self.upstream.breaker.as_ref();
        let permit = breaker.map(|breaker| breaker.admit(now)).transpose().ok()?;
        if !self.afford() {
            return None;
        }
        let picked = self.choose(tried, now).filter(|picked| !tried.contains(&picked.place))?;
        tried.push(picked.place);
        Some(Trial::new(self.upstream, self.set, &picked, permit))
    }

    fn is_good(&self, ended: &Ended) -> bool {
        matches!(ended, Ended::Answered(response)
            if !self.upstream.failures.of_status(response.status().as_u16()).is_failure())
    }

    /// The second of two that came, unless it is no better than the first.
    fn better(&self, second: Ended, first: Ended) -> Ended {
        let is_answer = matches!(second, Ended::Answered(_));
        match self.is_good(&second) || is_answer && matches!(first, Ended::Lost(..)) {
            true => second,
            false => first,
        }
    }
}

/// Polls an attempt to its end, or until it takes long.
pub(crate) async fn soon(
    mut attempt: Pin<&mut impl Future<Output = Ended>>,
    nudge: Option<&Nudge>,
) -> Option<Ended> {
    poll_fn(|cx| match attempt.as_mut().poll(cx) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending if nudge.is_some_and(|nudge| nudge.is_due.get()) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_95_of_100_need() {
        let most = Most::default();
        let mut seed = 1_u64;
        let mut answer = |scale: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            most.took(Duration::from_micros(scale * (1 + (seed >> 33) % 1000)));
        };
        (0..99).for_each(|_| answer(10));
        assert_eq!(most.get(), None);
        for scale in [10, 100, 10] {
            (0..20_000).for_each(|_| answer(scale));
            let known = most.get().unwrap().as_micros() as u64;
            assert!((scale * 900..scale * 1000).contains(&known), "{known} at {scale}");
        }
    }
}
