//! `body_limit`: how large a request's body may be on a route, in place of `bounds.streamed_body`. One
//! that says itself that it is larger is refused before anything is sent on; the others are cut there.

use std::sync::Arc;

use portcullis_config::{Bytes, Decode, Definitions, Node};
use portcullis_core::problem::too_large;
use portcullis_core::{Build, Event, Exchange, Outcome, Policy, Step};

use crate::planner::{Planned, Planner};

const NAME: &str = "body_limit";

pub fn schema(definitions: &mut Definitions) -> serde_json::Value {
    Bytes::schema(definitions)
}

pub fn plan(block: &Node, planner: &mut Planner<'_>) -> Option<Box<dyn Planned>> {
    Bytes::decode(block, planner.out).map(|limit| Box::new(Plan(limit)) as _)
}

struct Plan(Bytes);

impl Planned for Plan {
    fn build(&self, _build: &mut Build<'_>) -> Arc<dyn Policy> {
        Arc::new(BodyLimit(self.0.0))
    }
}

struct BodyLimit(u64);

impl Policy for BodyLimit {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        match exchange.body.limit(self.0) {
            Ok(()) => Step::Next,
            Err(_) => {
                exchange.record.event(Event::new(NAME, Outcome::Refused));
                too_large(self.0).into()
            }
        }
    }
}
