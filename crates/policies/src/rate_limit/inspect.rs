//! A limit as an operator sees it: what a client has used, and a way to forget that.

use portcullis_core::{Inspected, LocalBoxFuture, Worker};
use serde_json::{Value, json};

use super::answer::seconds;
use super::decision::Decision;
use super::limit::{Limit, Place, Question};
use crate::stores::Ask;

impl Inspected for Limit {
    fn name(&self) -> &str {
        &self.name
    }

    fn look<'a>(
        &'a self,
        worker: &'a Worker,
        tier: &'a str,
        client: &'a str,
    ) -> LocalBoxFuture<'a, Option<Value>> {
        Box::pin(async move {
            let mut first = None;
            for question in self.questions(tier, client)? {
                let (decision, from) = ask(&question, worker).await;
                let line = question.tier.lines.get(decision.line)?;
                let told = json!({
                    "limit": &*self.name, "tier": tier, "client": client, "from": from,
                    "requests": line.requests, "per": line.per as f64 / 1_000_000.0,
                    "used": line.requests.saturating_sub(decision.remaining),
                    "remaining": decision.remaining, "reset": seconds(decision.reset),
                });
                if decision.remaining < line.requests {
                    return Some(told);
                }
                first.get_or_insert(told);
            }
            first
        })
    }

    fn forget<'a>(
        &'a self,
        worker: &'a Worker,
        tier: &'a str,
        client: &'a str,
    ) -> LocalBoxFuture<'a, bool> {
        Box::pin(async move {
            let mut known = false;
            for question in self.questions(tier, client).into_iter().flatten() {
                match &self.place {
                    Place::Memory(memory) => known |= memory.forget(&question.key),
                    Place::Store(shared) => {
                        known |= shared.own.forget(&question.key);
                        let key = [&shared.prefix, &question.key[..]].concat();
                        known |= shared.store.forget(worker, &key).await.unwrap_or(false);
                    }
                }
            }
            known
        })
    }
}

/// How a client stands, and who says so. Costs nothing: it is asked for a request that costs nothing.
async fn ask(question: &Question<'_>, worker: &Worker) -> (Decision, &'static str) {
    let here = question.look(worker.clock.now());
    let Place::Store(shared) = &question.limit.place else { return (here, "memory") };
    let key = [&shared.prefix, &question.key[..]].concat();
    let ask = Ask {
        key: &key,
        lines: &question.tier.lines,
        cost: 0,
        enforced: false,
        wanted: 0,
        ahead: 0,
    };
    match shared.store.decide(worker, &[ask]).await {
        Ok(told) => match told.first() {
            Some(told) => (super::shared::decision(told), "store"),
            None => (here, "gateway"),
        },
        Err(_) => (here, "gateway"),
    }
}
