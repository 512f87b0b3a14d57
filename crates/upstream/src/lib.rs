//! Floor 2: delivery. A request goes to one of an upstream's endpoints and an answer comes back, or
//! a [`Problem`](portcullis_core::Problem) that says why not.
//!
//! The way through: [`Upstream::send`] passes the breaker, takes an endpoint in turn, gets a pooled
//! or a new connection of this worker, sends, and waits no longer than the settings say. What runs
//! is made from [`UpstreamSettings`] by [`UpstreamPlan`]. The connection itself is behind a seam of
//! one file, `connection.rs`.

mod address;
mod answer;
mod attempt;
mod balance;
mod breaker;
mod carrier;
mod codec;
mod connection;
mod deadline;
mod deliver;
mod endpoint;
mod failures;
#[doc(hidden)]
pub mod fuzzing;
mod grpc;
mod grpc_health;
mod h2;
mod health;
mod hedge;
mod metrics;
mod names;
mod overload;
mod plan;
mod pool;
mod probe;
mod problems;
mod request;
mod retry;
mod set;
mod settings;
#[cfg(test)]
mod simulation;
mod status;
mod tls;
mod trial;
mod upstream;
mod websocket;

pub use deliver::Failure;
pub use h2::OnWorker;
pub use metrics::METRICS;
pub use names::NameServers;
pub use plan::{UpstreamPlan, lasting};
pub use problems::{
    BAD_ANSWER, CODES, CONNECT_FAILED, DEADLINE, OVERLOADED, RESET, TIMEOUT, UNAVAILABLE,
    UNRESOLVED,
};
pub use request::Outbound;
pub use retry::asked_for;
pub use settings::{Protocol, Statuses, UpstreamSettings, WebSocketSettings};
pub use upstream::{Unsent, Upstream};
