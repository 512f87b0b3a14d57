//! Names become addresses beside the requests, never on their way: one task per name looks it up
//! again and again, and keeps the last good answer.

use std::sync::{Arc, Weak};

use tokio::sync::Notify;

use crate::endpoint::Endpoint;

/// Looks `name` up until its endpoint is dropped. One look-up at a time: a resolver that hangs
/// occupies one thread.
pub(crate) async fn keep_resolved(
    upstream: Arc<str>,
    endpoint: Weak<Endpoint>,
    name: String,
    port: u16,
    gone: Arc<Notify>,
) {
    let mut failing = false;
    loop {
        let answer = tokio::net::lookup_host((name.as_str(), port)).await;
        let (addresses, error) = match answer {
            Ok(addresses) => (addresses.collect(), String::from("it has no address")),
            Err(error) => (Vec::new(), error.to_string()),
        };
        let Some(endpoint) = endpoint.upgrade() else { return };
        let failed = addresses.is_empty();
        if failed && !failing {
            tracing::warn!(%upstream, name, error, "host name does not resolve");
        } else if failing && !failed {
            tracing::info!(%upstream, name, "host name resolves again");
        }
        failing = failed;
        let wait = endpoint.learn(addresses);
        drop(endpoint);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = gone.notified() => return,
        }
    }
}
