//! A request's steps, on its way in.

use portcullis_core::mapping::Value;
use portcullis_core::{Body, Event, Exchange, Outcome, Problem, Step};

use super::{MAPPING_FAILED, NAME, Rules, Transform, body};
use crate::{bodies, coding};

impl Transform {
    pub(super) fn enter<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        if self.response.iter().any(Rules::reads_body) {
            // The answer has to be read here.
            coding::ask_for_whole(&mut exchange.request);
        }
        if self.request.is_empty() {
            return Step::Next;
        }
        if !self.request.iter().any(|step| step.reads_body() || step.body.is_some()) {
            return match self.request.iter().try_for_each(|step| edit(step, exchange)) {
                Ok(()) => Step::Next,
                Err(problem) => Step::Fail(problem),
            };
        }
        Step::Wait(Box::pin(async move {
            for step in &self.request {
                run(step, exchange).await?;
            }
            Ok(None)
        }))
    }
}

/// Runs a step that may read the body.
async fn run(step: &Rules, exchange: &mut Exchange) -> Result<(), Problem> {
    let input = match step.reads_body() {
        true => bodies::read_mapped(exchange).await?,
        false => Value::NULL,
    };
    let failed = |error: portcullis_core::mapping::RunError| {
        Problem::new(&MAPPING_FAILED, error.to_string())
    };
    if let Some(when) = &step.when
        && !when.is_allowed(input.clone(), exchange).map_err(failed)?
    {
        return Ok(());
    }
    if let Some(program) = &step.body {
        let output = program.run_one(input, exchange).map_err(failed)?;
        exchange.body = Body::full(output.to_bytes());
        body::describe(&mut exchange.request.headers, false);
        exchange.record.event(Event::new(NAME, Outcome::Changed).with("side", "request"));
    }
    edit_now(step, exchange)
}

/// Runs a step that does not read the body.
fn edit(step: &Rules, exchange: &mut Exchange) -> Result<(), Problem> {
    if let Some(when) = &step.when {
        let allowed = when.is_allowed(Value::NULL, exchange);
        let allowed = allowed.map_err(|it| Problem::new(&MAPPING_FAILED, it.to_string()))?;
        if !allowed {
            return Ok(());
        }
    }
    edit_now(step, exchange)
}

fn edit_now(step: &Rules, exchange: &mut Exchange) -> Result<(), Problem> {
    if let Some(edits) = &step.headers {
        let mut headers = exchange.request.headers.clone();
        edits.apply(&mut headers, exchange)?;
        exchange.request.headers = headers;
    }
    if let Some(edits) = &step.query {
        exchange.request.uri = edits.apply(&exchange.request.uri, exchange)?;
    }
    Ok(())
}
