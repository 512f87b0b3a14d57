//! Floor 2: delivery. A request goes to one of an upstream's endpoints and an answer comes back, or
//! a [`Problem`](portcullis_core::Problem) that says why not.
//!
//! The way through: [`Upstream::send`] passes the breaker, takes an endpoint in turn, gets a pooled
//! or a new connection of this worker, sends, and waits no longer than the settings say. What runs
//! is made from [`UpstreamSettings`] by [`UpstreamPlan`]. The connection itself is behind a seam of
//! one file, `connection.rs`.

mod answer;
mod attempt;
mod balance;
mod codec;
mod connection;
mod endpoint;
#[cfg(fuzzing)]
pub mod fuzzing;
mod health;
mod metrics;
mod plan;
mod pool;
mod problems;
mod request;
mod resolve;
mod settings;
mod status;
mod upstream;

pub use metrics::METRICS;
pub use plan::UpstreamPlan;
pub use problems::{
    BAD_ANSWER, CODES, CONNECT_FAILED, REQUEST_STALLED, RESET, TIMEOUT, UNAVAILABLE, UNRESOLVED,
};
pub use request::Outbound;
pub use settings::{
    BreakerSettings, EndpointSettings, PoolSettings, TimeoutSettings, UpstreamSettings,
};
pub use upstream::Upstream;
