//! One socket address that requests go to, and what is known of it: its load and its health.

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;
use portcullis_core::metrics::Metrics;
use portcullis_tls::Connector;

use crate::balance::Load;
use crate::health::Health;
use crate::metrics::EndpointMetrics;
use crate::tls::Secure;

/// An endpoint while it runs. It outlives reloads that leave its address in its upstream.
pub(crate) struct Endpoint {
    /// How logs, metrics and /status call it.
    pub(crate) label: Arc<str>,
    pub(crate) socket: SocketAddr,
    /// For connections through TLS; there for https and for nothing else.
    pub(crate) connector: Option<Connector>,
    /// What `Host` says, unless the route says otherwise.
    pub(crate) host: HeaderValue,
    pub(crate) load: Load,
    pub(crate) health: Health,
    pub(crate) metrics: EndpointMetrics,
}

impl Endpoint {
    /// `authority` is what was written: `HOST[:PORT]`.
    pub(crate) fn new(
        upstream: &str,
        authority: &str,
        is_name: bool,
        socket: SocketAddr,
        secure: Option<&Secure>,
        metrics: &Metrics,
    ) -> Arc<Self> {
        let label = match is_name {
            true => format!("{authority} ({})", socket.ip()),
            false => authority.to_owned(),
        };
        Arc::new(Self {
            metrics: EndpointMetrics::new(metrics, upstream, &label),
            label: label.into(),
            socket,
            connector: secure.map(|secure| secure.connector.clone()),
            host: HeaderValue::from_str(authority).unwrap_or(HeaderValue::from_static("")),
            load: Load::default(),
            health: Health::default(),
        })
    }

    /// Brings the gauge up to date, after its health may have changed.
    pub(crate) fn show_health(&self) {
        self.metrics.healthy.set(self.health.is_in_use().into());
    }
}

/// A request that an endpoint has to do, for as long as this lives.
pub(crate) struct InFlight(Arc<Endpoint>);

impl InFlight {
    pub(crate) fn begin(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.load.begin();
        Self(Arc::clone(endpoint))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.load.end();
    }
}
