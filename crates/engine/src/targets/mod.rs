//! Who answers a request: one upstream, a composition of several calls, or the gateway itself.

mod forward;
mod location;

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_core::{Exchange, Problem, Reply, Response};
use portcullis_upstream::Upstream;

use crate::plan::TargetPlan;
use crate::snapshot::Route;
pub use forward::{Forward, host_value};

/// Who answers.
pub enum Target {
    Forward(Forward),
    /// A fixed answer, or a redirect.
    Fixed(Arc<Reply>),
}

impl Target {
    /// `None` when the plan names an upstream that is not there; plans are checked for that.
    pub fn build(plan: &TargetPlan, upstreams: &BTreeMap<String, Arc<Upstream>>) -> Option<Self> {
        Some(match plan {
            TargetPlan::Forward(plan) => Self::Forward(Forward::build(plan, upstreams)?),
            TargetPlan::Fixed(reply) => Self::Fixed(Arc::clone(reply)),
        })
    }

    pub async fn answer(
        &self,
        exchange: &mut Exchange,
        route: &Route,
    ) -> Result<Response, Problem> {
        match self {
            Self::Forward(forward) => forward.answer(exchange, route).await,
            Self::Fixed(reply) => Ok(Reply::clone(reply).into()),
        }
    }
}
