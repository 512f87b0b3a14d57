//! Who answers a request: one upstream, a composition of several calls, or the gateway itself.

mod compose;
mod forward;
mod location;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use http::header::{HeaderValue, LOCATION};
use portcullis_core::metrics::Metrics;
use portcullis_core::problem::MISSING_REFERENCE;
use portcullis_core::template::{MissingReference, Template};
use portcullis_core::{Exchange, Problem, Reply, Response};
use portcullis_upstream::Upstream;

use crate::plan::TargetPlan;
use crate::snapshot::Route;
pub use compose::Compose;
pub use forward::{Forward, host_value};

/// Who answers.
pub enum Target {
    Forward(Forward),
    Compose(Compose),
    Fixed(Arc<Reply>),
    Redirect { to: Arc<Template>, status: StatusCode },
}

impl Target {
    /// `None` when the plan names an upstream that is not there; plans are checked for that.
    pub fn build(
        plan: &TargetPlan,
        route: &str,
        upstreams: &BTreeMap<String, Arc<Upstream>>,
        metrics: &Metrics,
    ) -> Option<Self> {
        Some(match plan {
            TargetPlan::Forward(plan) => Self::Forward(Forward::build(plan, upstreams)?),
            TargetPlan::Compose(plan) => {
                Self::Compose(Compose::build(plan, route, upstreams, metrics)?)
            }
            TargetPlan::Fixed(reply) => Self::Fixed(Arc::clone(reply)),
            TargetPlan::Redirect { to, status } => {
                Self::Redirect { to: Arc::clone(to), status: *status }
            }
        })
    }

    pub async fn answer(
        &self,
        exchange: &mut Exchange,
        route: &Route,
    ) -> Result<Response, Problem> {
        match self {
            Self::Forward(forward) => forward.answer(exchange, route).await,
            Self::Compose(compose) => compose.answer(exchange).await,
            Self::Fixed(reply) => Ok(Reply::clone(reply).into()),
            Self::Redirect { to, status } => redirect(exchange, to, *status).map(Response::from),
        }
    }
}

fn redirect(exchange: &Exchange, to: &Template, status: StatusCode) -> Result<Reply, Problem> {
    let mut address = to.render(exchange).map_err(|missing| unresolved(&missing))?;
    if let Some(query) = exchange.request.uri.query() {
        address.push(if address.contains('?') { '&' } else { '?' });
        address.push_str(query);
    }
    let location = HeaderValue::try_from(address)
        .map_err(|_| Problem::new(&MISSING_REFERENCE, "the address to go to cannot be written"))?;
    let mut reply = Reply::empty(status);
    reply.headers.insert(LOCATION, location);
    Ok(reply)
}

/// The problem of a template whose reference has no value in this request.
fn unresolved(missing: &MissingReference) -> Problem {
    Problem::new(&MISSING_REFERENCE, "the request lacks what this route's path is made of")
        .private(missing.to_string())
}
