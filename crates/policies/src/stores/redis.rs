//! A store's server when it is Redis or Valkey: scripts over one multiplexed connection per worker.

use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use portcullis_core::{Clock, Live, LocalBoxFuture, Worker};
use redis::{RedisError, ScriptInvocation, Value};

use super::connection::{Own, Servers};
use super::scripts::{self, Ask, Told};
use super::store::{Failure, Gateways, Server, Store};

/// A gateway says this often that it is there, and is believed for so long, in microseconds.
const ANNOUNCED: Duration = Duration::from_secs(1);
const BELIEVED: u64 = 5_000_000;
/// What is no request may take longer.
const PATIENCE: Duration = Duration::from_secs(1);

pub struct Redis {
    pub name: Arc<str>,
    pub servers: Servers,
    pub timeout: Duration,
    /// Each worker's connection.
    pub live: Arc<Live>,
    /// Where the epoch is kept. Every node of a Cluster has data of its own: there one key would say
    /// nothing of the others.
    pub epoch_key: Option<Box<[u8]>>,
}

impl Redis {
    pub fn new(name: &Arc<str>, servers: &Servers, timeout: Duration, prefix: &str) -> Self {
        let epoch_key =
            (!servers.is_sharded()).then(|| format!("{prefix}:epoch").into_bytes().into());
        let (name, servers) = (Arc::clone(name), servers.clone());
        Self { name, servers, timeout, live: Live::new(), epoch_key }
    }

    async fn run(&self, worker: &Worker, call: &ScriptInvocation<'_>) -> Result<Value, Failure> {
        let own = worker.local(&self.live, || Rc::new(Own::default()));
        let opening = own.get(&self.servers, PATIENCE);
        let opened = tokio::time::timeout(own.patience(self.timeout), opening).await;
        let opened = opened.map_err(|_| Failure::Timeout)?;
        let mut connection = opened.map_err(|error| self.told(&error))?;
        let asked = call.invoke_async::<Value>(&mut connection);
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                own.close();
                Err(self.told(&error))
            }
            Err(_) => Err(Failure::Timeout),
        }
    }

    fn told(&self, error: &RedisError) -> Failure {
        tracing::debug!(store = %self.name, %error, "no answer");
        if error.is_timeout() { Failure::Timeout } else { Failure::Error }
    }
}

impl Server for Redis {
    fn decide<'a>(
        &'a self,
        worker: &'a Worker,
        asks: &'a [Ask<'a>],
    ) -> LocalBoxFuture<'a, Result<(u64, Vec<Told>), Failure>> {
        Box::pin(async move {
            let call = scripts::decide(asks, self.epoch_key.as_deref(), 0);
            let value = self.run(worker, &call).await?;
            scripts::told(&value, asks.len()).ok_or_else(|| {
                tracing::warn!(store = %self.name, "an answer that is none of the script's");
                Failure::Error
            })
        })
    }

    fn refund<'a>(
        &'a self,
        worker: &'a Worker,
        ask: &'a Ask<'a>,
        told: &'a Told,
    ) -> LocalBoxFuture<'a, ()> {
        Box::pin(async move {
            let call = scripts::refund(ask.key, told.granted, ask.lines.len(), told.began);
            drop(self.run(worker, &call).await);
        })
    }

    fn forget<'a>(
        &'a self,
        worker: &'a Worker,
        key: &'a [u8],
    ) -> LocalBoxFuture<'a, Result<bool, Failure>> {
        Box::pin(async move {
            let own = worker.local(&self.live, || Rc::new(Own::default()));
            let forget = async {
                let mut connection = own.get(&self.servers, PATIENCE).await?;
                redis::cmd("DEL").arg(key).query_async::<u64>(&mut connection).await
            };
            match tokio::time::timeout(PATIENCE, forget).await {
                Ok(Ok(count)) => Ok(count > 0),
                Ok(Err(error)) => Err(self.told(&error)),
                Err(_) => Err(Failure::Timeout),
            }
        })
    }

    fn is_sharded(&self) -> bool {
        self.servers.is_sharded()
    }
}

/// Says that this gateway is there, for as long as somebody uses the store, and learns who else is.
pub async fn announce(store: Weak<Store>, servers: Servers, clock: Clock) {
    let id = id();
    let own = Rc::new(Own::default());
    let mut ticks = tokio::time::interval(ANNOUNCED);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(store) = store.upgrade() else { return };
        let Some(permit) = store.attempt(clock.now()) else { continue };
        let announced = async {
            let mut connection = own.get(&servers, PATIENCE).await?;
            let call = scripts::announce(&store.prefix, &id, BELIEVED, servers.is_sharded());
            call.invoke_async::<(u64, u64, Vec<String>)>(&mut connection).await
        };
        let announced = tokio::time::timeout(PATIENCE * 2, announced).await;
        let now = clock.now();
        store.tried(permit, matches!(announced, Ok(Ok(_))), now);
        match announced {
            Ok(Ok((epoch, age, all))) => {
                store.learn_epoch(epoch, now);
                let own = all.iter().position(|known| *known == id).unwrap_or(0) as u64;
                let told = Gateways { count: all.len() as u64, own };
                // A store that began anew has not heard of everybody yet.
                if age >= BELIEVED || told.count >= store.gateways().count {
                    store.learn_gateways(told);
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(store = %store.name, %error, "no answer");
                own.close();
            }
            Err(_) => own.close(),
        }
    }
}

/// Tells gateways apart.
fn id() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}
