//! Floor 2: KINDS, the ordered list of policies, and one file or folder per policy.
//!
//! A policy's settings (its block in the YAML), behaviour and unit tests live in one file or folder;
//! one line in [`kinds::KINDS`] registers it.

mod accepts;
pub mod api_key;
pub mod authorize;
mod beside;
mod bodies;
pub mod body_limit;
pub mod coding;
pub mod compress;
pub mod consumers;
pub mod cors;
mod encoder;
#[doc(hidden)]
pub mod fuzzing;
pub mod grpc_web;
pub mod ip_access;
pub mod issuers;
mod json;
pub mod jwt;
pub mod kinds;
pub mod openapi;
pub mod planner;
pub mod rate_limit;
mod slots;
pub mod stores;
pub mod transform;
pub mod validate;

pub use kinds::{KINDS, Kind};
pub use planner::{Planned, Planner, RouteFacts, Shared};

use portcullis_core::Code;
use portcullis_core::metrics::Metric;

/// Every way in which a policy fails a request.
pub fn codes() -> Vec<&'static Code> {
    [
        ip_access::CODES,
        api_key::CODES,
        jwt::CODES,
        authorize::CODES,
        rate_limit::CODES,
        bodies::CODES,
        validate::CODES,
        transform::CODES,
    ]
    .concat()
}

/// Every metric that a policy writes.
pub fn metrics() -> Vec<&'static Metric> {
    [issuers::METRICS, rate_limit::METRICS, stores::METRICS, transform::METRICS].concat()
}
