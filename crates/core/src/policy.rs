//! The seam behind which every policy stands.
//!
//! A policy that decides at once allocates nothing; one that has to wait returns a boxed future.
//! What needs "around" (retry, timeout, merge) is no policy: it belongs to an Upstream or a Target.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::body::Body;
use crate::exchange::Exchange;
use crate::problem::{Problem, Reply};
use crate::worker::Worker;

pub type LocalBoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;
pub type Response = http::Response<Body>;

/// What a policy that waited decided: go on, answer with a reply, or fail.
pub type Verdict = Result<Option<Reply>, Problem>;

/// What a policy says about an exchange.
pub enum Step<'a> {
    /// Go on.
    Next,
    /// Answer with this, and ask nobody further in.
    Stop(Reply),
    /// Answer with this problem.
    Fail(Problem),
    /// The verdict needs I/O or a body. The future stays on this worker.
    Wait(LocalBoxFuture<'a, Verdict>),
}

impl From<Problem> for Step<'_> {
    fn from(problem: Problem) -> Self {
        Self::Fail(problem)
    }
}

/// A limit that an operator can look into.
pub trait Inspected: Send + Sync {
    fn name(&self) -> &str;

    /// What is known of a client in a tier; `None` when there is no such tier.
    fn look<'a>(
        &'a self,
        worker: &'a Worker,
        tier: &'a str,
        client: &'a str,
    ) -> LocalBoxFuture<'a, Option<serde_json::Value>>;

    /// Forgets what was counted; false when nothing was.
    fn forget<'a>(
        &'a self,
        worker: &'a Worker,
        tier: &'a str,
        client: &'a str,
    ) -> LocalBoxFuture<'a, bool>;
}

/// One policy with its settings, shared by all workers.
///
/// When a client goes away its exchange is dropped in the middle: `on_response` may never run.
/// What must be undone belongs into a guard that the exchange owns.
pub trait Policy: Send + Sync + 'static {
    /// Before the target is asked, in the order of KINDS.
    fn on_request<'a>(&'a self, _exchange: &'a mut Exchange) -> Step<'a> {
        Step::Next
    }

    /// After an answer was made (also a problem), in reverse order, for every policy that was
    /// reached on the way in.
    fn on_response<'a>(
        &'a self,
        _exchange: &'a mut Exchange,
        _response: &'a mut Response,
    ) -> Step<'a> {
        Step::Next
    }

    /// The limits that it applies.
    fn inspected(&self) -> Vec<Arc<dyn Inspected>> {
        Vec::new()
    }

    /// True when [`Policy::on_response`] reads the request's headers: the target then sends a copy
    /// of them and leaves the originals in the exchange.
    fn reads_request_late(&self) -> bool {
        false
    }
}
