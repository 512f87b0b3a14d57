//! `authorize`: an expression over who asks and for what. Exactly one output that is `true` allows;
//! everything else, and any error, refuses.

use std::sync::Arc;

use http::StatusCode;
use portcullis_config::{Decode, Definitions, Node, Spanned};
use portcullis_core::mapping::{Program, Value};
use portcullis_core::{Build, Code, Event, Exchange, Outcome, Policy, Problem, Step};

use crate::planner::{self, Planned, Planner};

const NAME: &str = "authorize";

pub const FORBIDDEN: Code = Code {
    name: "forbidden",
    status: StatusCode::FORBIDDEN,
    title: "Forbidden",
    cure: "Ask as somebody who may do this; the route's authorize rule says who.",
};
pub const CODES: &[&Code] = &[&FORBIDDEN];

pub fn schema(definitions: &mut Definitions) -> serde_json::Value {
    String::schema(definitions)
}

pub fn plan(block: &Node, planner: &mut Planner<'_>) -> Option<Box<dyn Planned>> {
    let text = Spanned::<String>::decode(block, planner.out)?;
    let program = planner.program(&text)?;
    for (variable, kind) in [("jwt", "jwt"), ("consumer", "api_key")] {
        if program.uses(variable) && !planner.route.kinds.contains(&kind) {
            let message = format!("${variable} is empty here: the route has no policy {kind}");
            let problem = planner.out.error(text.span, message);
            problem.hint(format!("add {kind} to the route, or ask for something else"));
            return None;
        }
    }
    Some(Box::new(Plan(Arc::new(program))))
}

struct Plan(Arc<Program>);

impl Planned for Plan {
    fn build(&self, _build: &mut Build<'_>) -> Arc<dyn Policy> {
        Arc::new(Authorize(Arc::clone(&self.0)))
    }

    fn notes(&self) -> Vec<String> {
        vec![planner::runs("the expression", &self.0)]
    }
}

struct Authorize(Arc<Program>);

impl Policy for Authorize {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let why = match self.0.run_one(Value::NULL, exchange) {
            Ok(value) if value.is_true() => {
                exchange.record.event(Event::new(NAME, Outcome::Passed));
                return Step::Next;
            }
            Ok(_) => "the rule did not say true".to_owned(),
            Err(error) => error.to_string(),
        };
        exchange.record.event(Event::new(NAME, Outcome::Refused));
        Problem::new(&FORBIDDEN, "the rule of this route does not allow it").private(why).into()
    }
}
