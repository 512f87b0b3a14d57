//! The whole request path on one screen: route, policies in, target, policies out.
//!
//! There is no `if` about a feature here. What a feature does stands in its policy or target.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use portcullis_core::{Exchange, Problem, Reply, Response, Step, Verdict};

use crate::problems::INTERNAL;
use crate::snapshot::{Route, Snapshot};
use crate::{close, routing};

/// Answers one exchange. A panic costs this request a 500, never the process.
pub async fn serve(
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    refused: Option<Problem>,
) -> Response {
    let answered = AssertUnwindSafe(answer(snapshot, exchange, refused)).catch_unwind().await;
    let response = answered.unwrap_or_else(|_| {
        let problem = Problem::new(&INTERNAL, "the gateway failed; nothing more is known here");
        close::problem(exchange, &problem.private("a panic: see the gateway's own log"))
    });
    close::finish(exchange, response)
}

async fn answer(
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    refused: Option<Problem>,
) -> Response {
    if let Some(problem) = refused {
        return close::problem(exchange, &problem);
    }
    let route = match routing::find(snapshot, exchange) {
        Ok(route) => route,
        Err(verdict) => return settle(exchange, verdict),
    };
    let mut reached = 0;
    let mut response = match enter(route, exchange, &mut reached).await {
        Ok(None) => match route.target.answer(exchange, route).await {
            Ok(response) => response,
            Err(problem) => close::problem(exchange, &problem),
        },
        decided => settle(exchange, decided),
    };
    for applied in route.policies.iter().take(reached).rev() {
        let verdict = match applied.policy.on_response(exchange, &mut response) {
            Step::Next => continue,
            Step::Stop(reply) => Ok(Some(reply)),
            Step::Fail(problem) => Err(problem),
            Step::Wait(future) => future.await,
        };
        if !matches!(verdict, Ok(None)) {
            response = settle(exchange, verdict);
        }
    }
    response
}

/// The policies on the way in, until one of them decides. `reached` counts those that were asked.
async fn enter(route: &Route, exchange: &mut Exchange, reached: &mut usize) -> Verdict {
    for applied in &route.policies {
        *reached += 1;
        let verdict = match applied.policy.on_request(exchange) {
            Step::Next => continue,
            Step::Stop(reply) => Ok(Some(reply)),
            Step::Fail(problem) => Err(problem),
            Step::Wait(future) => future.await,
        };
        if !matches!(verdict, Ok(None)) {
            return verdict;
        }
    }
    Ok(None)
}

fn settle(exchange: &mut Exchange, verdict: Verdict) -> Response {
    match verdict {
        Ok(reply) => reply.unwrap_or_else(|| Reply::empty(http::StatusCode::NO_CONTENT)).into(),
        Err(problem) => close::problem(exchange, &problem),
    }
}
