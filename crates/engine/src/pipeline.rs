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
    // `if let` and not `match`: what the policies said is not carried along while the target answers.
    let mut response = if let Some(decided) = enter(route, exchange, &mut reached).await {
        settle(exchange, decided)
    } else {
        match route.target.answer(exchange, route).await {
            Ok(response) => response,
            Err(problem) => close::problem(exchange, &problem),
        }
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
async fn enter(route: &Route, exchange: &mut Exchange, reached: &mut usize) -> Option<Verdict> {
    for applied in &route.policies {
        *reached += 1;
        let verdict = match applied.policy.on_request(exchange) {
            Step::Next => continue,
            Step::Stop(reply) => Ok(Some(reply)),
            Step::Fail(problem) => Err(problem),
            Step::Wait(future) => future.await,
        };
        if !matches!(verdict, Ok(None)) {
            return Some(verdict);
        }
    }
    None
}

fn settle(exchange: &mut Exchange, verdict: Verdict) -> Response {
    match verdict {
        Ok(reply) => reply.unwrap_or_else(|| Reply::empty(http::StatusCode::NO_CONTENT)).into(),
        Err(problem) => close::problem(exchange, &problem),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portcullis_core::metrics::Metrics;
    use portcullis_core::{Clock, Policy};

    use super::*;
    use crate::metrics::DROPPED_LINES;
    use crate::records::writer::{Destination, Writer};
    use crate::records::{AccessLog, Format};
    use crate::router::{Match, Router};
    use crate::snapshot::{self, Applied};
    use crate::testing;

    struct Panics;

    impl Policy for Panics {
        fn on_request<'a>(&'a self, _: &'a mut Exchange) -> Step<'a> {
            panic!("a policy that breaks")
        }
    }

    /// A snapshot of one route, whose only policy panics.
    fn snapshot(clock: &Clock) -> Snapshot {
        let plan = testing::plan(
            "listeners: [{ address: 127.0.0.1:0 }]\n\
             routes: [{ name: a, match: { path: /a }, respond: { text: hello } }]",
        );
        let metrics = Metrics::default();
        let wanted: Vec<Match> =
            plan.routes.iter().flat_map(|route| route.matches.clone()).collect();
        let dropped = metrics.counter(&DROPPED_LINES, &[]);
        let writer = Writer::start(Destination::Stdout).unwrap();
        let log = Arc::new(AccessLog::new(writer, Format::Json, dropped));
        let (mut snapshot, _) = snapshot::build(Arc::new(plan), &[], clock, &metrics, log, None);
        let kind = portcullis_policies::KINDS.first().unwrap();
        let mut router = Router::builder();
        for wanted in wanted {
            router.add(
                wanted,
                Arc::new(Route {
                    name: Arc::from("a"),
                    policies: vec![Applied { kind, policy: Arc::new(Panics) }],
                    target: crate::targets::Target::Fixed(Arc::new(Reply::empty(
                        http::StatusCode::OK,
                    ))),
                    reads_request_late: false,
                    has_grpc: false,
                    answers_preflights: false,
                }),
            );
        }
        snapshot.router = router.build();
        snapshot
    }

    #[test]
    fn a_panic_costs_one_request_a_500() {
        let clock = Clock::system();
        let snapshot = snapshot(&clock);
        let statuses = ["/a", "/b", "/a"].map(|path| {
            let mut exchange = testing::exchange(&clock, path);
            let response = serve(&snapshot, &mut exchange, None).now_or_never().unwrap();
            assert_eq!(response.headers()["x-request-id"], "r-1");
            (response.status().as_u16(), exchange.record.failure.unwrap().code)
        });
        let broken = (500, "internal_error");
        assert_eq!(statuses, [broken, (404, "route_not_found"), broken]);
    }
}
