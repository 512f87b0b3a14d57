//! `stores:`: state that several gateways share, in Redis or Valkey: one server, a Cluster, or the
//! master that Sentinels name.

mod connection;
mod redis;
mod scripts;
mod store;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::{Named, Ranged, Reader, Span, Spanned, settings};
use portcullis_core::metrics::{Kind, Metric};
use portcullis_core::{Build, fingerprint};

use self::redis::Redis;
use crate::planner::{Plans, plan_all};
use connection::Servers;
pub(crate) use scripts::{Ask, Told};
pub(crate) use store::Failure;
pub use store::Gateways;
#[cfg(test)]
pub(crate) use store::Server;
pub use store::Store;

/// A store's connections and its script by themselves, for what measures them.
pub mod measuring {
    pub use super::connection::{Connection, Servers};
    pub use super::scripts::{Ask, Told, decide};
}

pub static UP: Metric = Metric {
    name: "portcullis_store_up",
    kind: Kind::Gauge,
    help: "1 while a store answers, 0 while it does not.",
    labels: &["store"],
};
pub static ERRORS: Metric = Metric {
    name: "portcullis_store_errors_total",
    kind: Kind::Counter,
    help: "Decisions that a store did not make, by reason: timeout, error, or open (it was not asked).",
    labels: &["store", "reason"],
};
pub static GATEWAYS: Metric = Metric {
    name: "portcullis_store_gateways",
    kind: Kind::Gauge,
    help: "Gateways that share a store.",
    labels: &["store"],
};
pub const METRICS: &[&Metric] = &[&UP, &ERRORS, &GATEWAYS];

settings! {
    /// Redis servers whose master Sentinels know.
    pub struct SentinelSettings {
        /// The name of the master.
        pub master: String,
        /// The Sentinels: redis://HOST:PORT.
        pub nodes: Vec<Spanned<String>>,
        /// Who asks the master, and which database: redis://USER:PASSWORD@/0.
        pub login: Option<Spanned<String>>,
    }
}

settings! {
    /// State that several gateways share.
    pub struct StoreSettings {
        /// A server: redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], or rediss:// for TLS.
        pub redis: Option<Spanned<String>>,
        /// Some nodes of a Redis Cluster; it tells the others.
        pub cluster: Vec<Spanned<String>> = "[]",
        /// Sentinels that know the master.
        pub sentinel: Option<SentinelSettings>,
        /// A file with the certificates (PEM) that sign the servers' own; the usual ones when left
        /// out.
        pub ca: Option<Spanned<PathBuf>>,
        /// How long a request waits for a decision.
        pub timeout: Duration = "5ms",
        /// How many gateways there are, as long as the store has never said it.
        pub gateways: Ranged<1, 10_000> = "1",
        /// What all keys begin with.
        pub prefix: String = "portcullis",
    }
}

/// A store, understood.
pub struct StorePlan {
    pub name: Arc<str>,
    servers: Servers,
    timeout: Duration,
    gateways: u64,
    prefix: Box<str>,
}

/// Understands all stores; says in the diagnostics what cannot be.
pub fn plan_stores(stores: &Named<StoreSettings>, reader: &mut Reader<'_>) -> Plans<StorePlan> {
    plan_all(stores, |name, span, settings| plan(name, span, settings, reader))
}

fn plan(
    name: &str,
    span: Span,
    settings: &StoreSettings,
    reader: &mut Reader<'_>,
) -> Option<StorePlan> {
    let ca = match &settings.ca {
        Some(file) => Some(reader.read(file, file.span)?),
        None => None,
    };
    let urls = |all: &[Spanned<String>], reader: &mut Reader<'_>| {
        let good: Vec<_> = all.iter().map(|url| url_of(url, reader)).collect();
        good.into_iter().collect::<Option<Vec<_>>>()
    };
    let servers = match (&settings.redis, settings.cluster.as_slice(), &settings.sentinel) {
        (Some(url), [], None) => Servers::One(url_of(url, reader)?),
        (None, nodes @ [_, ..], None) => Servers::Cluster(urls(nodes, reader)?),
        (None, [], Some(sentinel)) => {
            let login = match &sentinel.login {
                Some(login) => Some(url_of(login, reader)?),
                None => None,
            };
            let (master, nodes) = (sentinel.master.clone(), urls(&sentinel.nodes, reader)?);
            Servers::Sentinel { master, nodes, login }
        }
        _ => {
            let message = format!("the store `{name}` is one of `redis`, `cluster` and `sentinel`");
            reader.out.error(span, message).hint("write redis: redis://127.0.0.1:6379");
            return None;
        }
    };
    Some(StorePlan {
        name: Arc::from(name),
        servers: servers.with_ca(ca),
        timeout: settings.timeout.max(Duration::from_millis(1)),
        gateways: settings.gateways.get(),
        prefix: settings.prefix.as_str().into(),
    })
}

/// A server's address, checked.
fn url_of(url: &Spanned<String>, reader: &mut Reader<'_>) -> Option<String> {
    use ::redis::IntoConnectionInfo as _;
    if url.as_str().into_connection_info().is_ok() {
        return Some(url.to_string());
    }
    // What is wrong with it may hold a password: it is not repeated.
    reader
        .out
        .error(url.span, "this is no address of a Redis server")
        .hint("write redis://HOST:PORT, or rediss:// for TLS");
    None
}

impl StorePlan {
    pub fn build(self: &Arc<Self>, build: &mut Build<'_>) -> Arc<Store> {
        let mark = fingerprint(&(&self.servers, self.timeout, self.gateways, &self.prefix));
        build.keep("store", &self.name, mark, |build| {
            let server = Redis::new(&self.name, &self.servers, self.timeout, &self.prefix);
            let store = Arc::new(Store::new(self, Box::new(server), build));
            let (weak, servers, clock) =
                (Arc::downgrade(&store), self.servers.clone(), build.clock.clone());
            let announce = move || redis::announce(weak, servers, clock);
            build.task(format!("store {}", self.name), announce);
            store
        })
    }
}
