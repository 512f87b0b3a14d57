//! A request's steps, on its way in.

use std::sync::Arc;

use http::request::Parts;
use portcullis_core::context::Seen;
use portcullis_core::mapping::{RunError, Scope, Value};
use portcullis_core::template::Lookup;
use portcullis_core::{Body, Event, Exchange, FieldError, Outcome, Problem, Step, Verdict};

use super::steps::{Held, Side, run};
use super::{Live, MAPPING_FAILED, Mapping, NAME, Rules, Transform, body};
use crate::beside::beside;
use crate::bodies::Sent;
use crate::coding;

/// An exchange, or what another thread has of one.
trait Request: Scope + Lookup {
    fn parts(&self) -> &Parts;
    fn parts_mut(&mut self) -> &mut Parts;
}

impl Request for Exchange {
    fn parts(&self) -> &Parts {
        &self.request
    }

    fn parts_mut(&mut self) -> &mut Parts {
        &mut self.request
    }
}

impl Request for Seen {
    fn parts(&self) -> &Parts {
        &self.request
    }

    fn parts_mut(&mut self) -> &mut Parts {
        &mut self.request
    }
}

struct Asked<'a, R>(&'a mut R);

impl<R: Scope> Scope for Asked<'_, R> {
    fn variable(&self, name: &str) -> Value {
        self.0.variable(name)
    }
}

impl<R: Request> Side for Asked<'_, R> {
    fn takes(&self, _: &Rules) -> bool {
        true
    }

    fn untouched(&self) -> Option<&'static str> {
        None
    }

    fn describe(&mut self) {
        body::describe(&mut self.0.parts_mut().headers, false);
    }

    fn edit(&mut self, step: &Rules) -> Result<(), Problem> {
        if let Some(edits) = &step.headers {
            let made = edits.render(self.0)?;
            edits.apply(made, &mut self.0.parts_mut().headers);
        }
        if let Some(edits) = &step.query {
            self.0.parts_mut().uri = edits.apply(&self.0.parts().uri, self.0)?;
        }
        Ok(())
    }

    fn failed(&self, mapping: &Mapping, error: &RunError, on_sent: bool) -> Problem {
        let message = error.to_string();
        let detail = match error.pointer() {
            place if on_sent && !place.is_empty() => format!("at {place}: {message}"),
            _ => message.clone(),
        };
        let problem = Problem::new(&MAPPING_FAILED, detail).private(mapping.tell(error));
        if !on_sent {
            return problem;
        }
        let (pointer, keyword) = (error.pointer().to_owned(), "mapping".to_owned());
        problem.errors(vec![FieldError { pointer, message, keyword }])
    }
}

impl Live {
    pub(super) fn enter<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let Transform { request: steps, response, .. } = &*self.transform;
        if response.iter().any(Rules::reads_body) {
            // The answer has to be read here.
            coding::ask_for_whole(&mut exchange.request);
        }
        let mut held = Held::Unasked;
        match run(steps, &mut Asked(exchange), &mut held) {
            Err(problem) => Step::Fail(problem),
            Ok([]) => {
                sent_on(held.written(), exchange);
                Step::Next
            }
            Ok(rest) => Step::Wait(Box::pin(self.read(steps.len() - rest.len(), exchange))),
        }
    }

    /// Runs the steps from the first on that reads the body.
    async fn read(&self, from: usize, exchange: &mut Exchange) -> Verdict {
        let sent = Sent::json_or_form(exchange).await?;
        let written = if sent.is_large() {
            let (transform, mut seen) = (Arc::clone(&self.transform), exchange.seen());
            let work = move || Ok((transform.map(from, &sent, &mut seen)?, seen.request));
            let (written, request) = beside(work).await?;
            (exchange.request.headers, exchange.request.uri) = (request.headers, request.uri);
            written
        } else {
            self.transform.map(from, &sent, exchange)?
        };
        sent_on(written, exchange);
        Ok(None)
    }
}

impl Transform {
    fn map(
        &self,
        from: usize,
        sent: &Sent,
        request: &mut impl Request,
    ) -> Result<Option<Vec<u8>>, Problem> {
        let value = sent.parsed()?;
        let mut held = Held::Sent(value);
        run(self.request.get(from..).unwrap_or_default(), &mut Asked(request), &mut held)?;
        Ok(held.written())
    }
}

/// The body that the service gets in place of the client's.
fn sent_on(written: Option<Vec<u8>>, exchange: &mut Exchange) {
    if let Some(written) = written {
        exchange.body = Body::full(written);
        exchange.record.event(Event::new(NAME, Outcome::Changed).with("side", "request"));
    }
}
