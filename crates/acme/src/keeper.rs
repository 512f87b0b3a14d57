//! Keeps certificates: orders those that are missing or near their end, again and again, ever less often
//! when it does not work.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use instant_acme::HttpClient;
use portcullis_core::metrics::Counter;
use portcullis_core::{Build, Clock, fingerprint};
use portcullis_tls::{Facts, Identity};
use tokio::sync::Notify;

use crate::answers::Answers;
use crate::errands::{self, Asked, Heard, Reach};
use crate::order::{self, is_too_often, is_unknown_account};
use crate::store::Store;
use crate::{Failed, ORDERS, Wanted};

/// One order is given up after this.
const PATIENCE: Duration = Duration::from_secs(300);
/// The pause after the first failure; it triples with each. Let's Encrypt counts five failures an hour.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(12 * 60 * 60);
/// The least pause after an authority said that it was asked too often.
const TOO_OFTEN: Duration = Duration::from_secs(60 * 60);
/// The longest pause that an authority may ask for (`Retry-After`).
const LONGEST_ASKED: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// When another process orders: it is done by then, or has failed.
const OTHERS: Duration = Duration::from_secs(10);

/// Whoever holds it wants these certificates to be there.
pub struct Keeper {
    wanted: Wanted,
    store: Arc<Store>,
    clock: Clock,
    wake: Arc<Notify>,
    outcomes: HashMap<String, [Counter; 2]>,
    reach: Reach,
    asked: Asked,
}

/// A host whose last orders failed.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    failures: u32,
    again: Instant,
}

impl Answers {
    /// The one of the process.
    pub fn build(build: &mut Build<'_>) -> Arc<Self> {
        build.keep("acme answers", "", 0, |_| Arc::default())
    }
}

impl Keeper {
    pub fn build(wanted: &Wanted, build: &mut Build<'_>) -> Arc<Self> {
        let answers = Answers::build(build);
        let mark = fingerprint(wanted);
        build.keep("acme", &format!("{mark:x}"), mark, |build| {
            let outcomes = wanted.hosts.iter().map(|host| {
                let counter = |outcome| build.metrics.counter(&ORDERS, &[host, outcome]);
                (host.clone(), ["good", "failed"].map(counter))
            });
            let store = Arc::new(Store::new(&wanted.folder, &wanted.directory));
            answers.know(&store);
            let keeper = Arc::new(Self {
                wanted: wanted.clone(),
                store,
                clock: build.clock.clone(),
                wake: Arc::default(),
                outcomes: outcomes.collect(),
                reach: Box::new(errands::reach),
                asked: Asked::default(),
            });
            let (weak, wake) = (Arc::downgrade(&keeper), Arc::clone(&keeper.wake));
            build.task("certificates", move || keep(weak, wake));
            keeper
        })
    }

    /// Sees to one host, and says for how long there is nothing more to do.
    async fn attend(&self, host: &str, troubles: &mut HashMap<String, Trouble>) -> Duration {
        let trouble = troubles.get(host).copied();
        let now = self.clock.now();
        if let Some(trouble) = trouble.filter(|it| it.again > now) {
            return trouble.again.saturating_duration_since(now);
        }
        let rest = due(self.facts(host).as_ref(), host, self.clock.wall());
        if !rest.is_zero() {
            return rest;
        }
        let outcome = tokio::time::timeout(PATIENCE, self.order(host)).await;
        let outcome = outcome.unwrap_or(Err(Failed::Timeout(PATIENCE)));
        let left = due(self.facts(host).as_ref(), host, self.clock.wall());
        let outcome = match outcome {
            // Such as with a clock that is wrong: authorities count what they signed, too.
            Ok(true) if left.is_zero() => Err(Failed::Over),
            outcome => outcome,
        };
        let count = |good: bool| {
            let counters = self.outcomes.get(host);
            if let Some([worked, failed]) = counters {
                if good { worked.inc() } else { failed.inc() }
            }
        };
        match outcome {
            Ok(true) => {
                count(true);
                tracing::info!(host, "has a new certificate");
                troubles.remove(host);
                left
            }
            Ok(false) => OTHERS,
            Err(failed) => {
                count(false);
                let failures = trouble.map_or(0, |it| it.failures).saturating_add(1);
                let least = if is_too_often(&failed) { TOO_OFTEN } else { FIRST_PAUSE };
                let asked = self.asked.take().min(LONGEST_ASKED);
                let pause = pause(failures).max(least).max(asked);
                let error = failed.to_string();
                tracing::warn!(host, error, again_in = ?pause, "cannot get a certificate");
                let again = self.clock.now() + pause;
                troubles.insert(host.to_owned(), Trouble { failures, again });
                pause
            }
        }
    }

    /// Orders one and writes it. False: another process does.
    async fn order(&self, host: &str) -> Result<bool, Failed> {
        let Some(_lock) = self.store.lock()? else { return Ok(false) };
        let Self { wanted, store, asked, .. } = self;
        asked.take(); // what was said long ago
        let ordered = async {
            let account = order::account(wanted, store, self.client()?).await?;
            order::order(&account, host, wanted, store).await
        };
        let mut outcome = ordered.await;
        if outcome.as_ref().is_err_and(is_unknown_account) {
            store.forget_account()?;
            let account = order::account(wanted, store, self.client()?).await?;
            outcome = order::order(&account, host, wanted, store).await;
        }
        let (text, new) = outcome?;
        let now = self.clock.wall();
        let is_better = |old: Arc<Facts>| old.covers(host) && old.not_after > now;
        if new.not_after <= now && self.facts(host).is_some_and(is_better) {
            return Err(Failed::Over);
        }
        store.keep_certificate(host, &text)?;
        Ok(true)
    }

    /// Tells the authority whom to write to, if that is somebody else than before. What does not work now does with
    /// the next order.
    async fn introduce(&self) -> Result<(), Failed> {
        let Self { wanted, store, .. } = self;
        if store.account()?.is_none() || store.contact()? == wanted.contact {
            return Ok(());
        }
        let Some(_lock) = store.lock()? else { return Ok(()) };
        order::account(wanted, store, self.client()?).await.map(|_| ())
    }

    fn client(&self) -> Result<Box<dyn HttpClient>, Failed> {
        let client = (self.reach)(&self.wanted)?;
        Ok(Box::new(Heard { client, asked: self.asked.clone() }))
    }

    /// Of the certificate that is there, if it can be used.
    fn facts(&self, host: &str) -> Option<Arc<Facts>> {
        let text = fs::read_to_string(self.store.certificate(host)).ok()?;
        Some(Identity::read(&text, &text, None).ok()?.facts)
    }
}

impl Drop for Keeper {
    /// Its task has nothing to see to any more.
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

async fn keep(keeper: Weak<Keeper>, wake: Arc<Notify>) {
    let mut troubles = HashMap::new();
    if let Some(held) = keeper.upgrade()
        && let Ok(Err(failed)) = tokio::time::timeout(PATIENCE, held.introduce()).await
    {
        let error = failed.to_string();
        tracing::warn!(error, "cannot tell the authority the new contact");
    }
    loop {
        let (mut rest, mut number) = (LONGEST_PAUSE, 0);
        // Taken anew for each host: what nobody wants any more is not ordered.
        loop {
            let Some(held) = keeper.upgrade() else { return };
            let Some(host) = held.wanted.hosts.get(number) else { break };
            rest = rest.min(held.attend(host, &mut troubles).await);
            number += 1;
        }
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = wake.notified() => {}
        }
    }
}

/// How long a certificate need not be looked at: until a third of its time is left, or a little later, so that
/// hosts that began together do not ask together for ever.
fn due(facts: Option<&Arc<Facts>>, host: &str, now: SystemTime) -> Duration {
    let Some(facts) = facts.filter(|facts| facts.covers(host)) else { return Duration::ZERO };
    let all = facts.not_after.duration_since(facts.not_before).unwrap_or_default();
    let some = u32::try_from(fingerprint(&(host, facts.not_before)) % 256).unwrap_or_default();
    let begin = facts.not_before + all / 3 * 2 + all / 30 / 256 * some;
    begin.duration_since(now).unwrap_or_default()
}

fn pause(failures: u32) -> Duration {
    let times = 3_u32.saturating_pow(failures.saturating_sub(1));
    FIRST_PAUSE.saturating_mul(times).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod simulated;

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    #[test]
    fn a_certificate_is_renewed_when_about_a_third_of_its_time_is_left() {
        let begin = SystemTime::UNIX_EPOCH + 1_000_000 * HOUR;
        let mut params = rcgen::CertificateParams::new(["shop.example".to_owned()]).unwrap();
        params.not_before = begin.into();
        params.not_after = (begin + 90 * 24 * HOUR).into();
        let key = rcgen::KeyPair::generate().unwrap();
        let text = params.self_signed(&key).unwrap().pem();
        let facts = Identity::read(&text, &key.serialize_pem(), None).unwrap().facts;
        let due = |host, after| due(Some(&facts), host, begin + after);
        let day = 24 * HOUR;
        let first = due("shop.example", Duration::ZERO);
        assert!((60 * day..63 * day).contains(&first), "{first:?}");
        assert_eq!(due("shop.example", 59 * day), first - 59 * day);
        assert_eq!(due("shop.example", 63 * day), Duration::ZERO);
        assert_eq!(due("shop.example", 100 * 24 * HOUR), Duration::ZERO);
        assert_eq!(due("other.example", Duration::ZERO), Duration::ZERO);
        assert_eq!(super::due(None, "shop.example", begin), Duration::ZERO);
    }

    #[test]
    fn who_fails_asks_ever_less_often() {
        let minutes = |failures| pause(failures).as_secs() / 60;
        assert_eq!([1, 2, 3, 4, 5].map(minutes), [1, 3, 9, 27, 81]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
