//! Steps, one after the other, over a body that is read once, before the first step that asks for it,
//! and written once, behind the last.

use portcullis_core::Problem;
use portcullis_core::mapping::{RunError, Scope, Value};

use super::{Mapping, Rules};

/// The body while steps run.
pub(super) enum Held {
    /// No step has asked for it yet.
    Unasked,
    /// It cannot be read, for this reason: steps that ask for it do not run.
    Untouched(&'static str),
    /// It can be read.
    Closed,
    /// As it came.
    Sent(Value),
    /// As a step made it.
    Made(Value),
}

impl Held {
    fn value(&self) -> Value {
        match self {
            Self::Sent(value) | Self::Made(value) => value.clone(),
            Self::Unasked | Self::Untouched(_) | Self::Closed => Value::NULL,
        }
    }

    /// The value, which only whoever maps it has now.
    fn take(&mut self) -> Value {
        match self {
            Self::Sent(value) | Self::Made(value) => std::mem::take(value),
            Self::Unasked | Self::Untouched(_) | Self::Closed => Value::NULL,
        }
    }

    /// What was made of it.
    pub(super) fn written(&self) -> Option<Vec<u8>> {
        match self {
            Self::Made(value) => Some(value.to_bytes()),
            _ => None,
        }
    }
}

/// A request or an answer, as its steps see and change it.
pub(super) trait Side: Scope {
    /// Whether a step is for it, before its condition is looked at.
    fn takes(&self, step: &Rules) -> bool;

    /// Why the body cannot be read.
    fn untouched(&self) -> Option<&'static str>;

    /// Says of the new body what was said of the old one.
    fn describe(&mut self);

    /// Changes everything but the body.
    fn edit(&mut self, step: &Rules) -> Result<(), Problem>;

    /// The problem of a program that failed, perhaps on the body as it came.
    fn failed(&self, mapping: &Mapping, error: &RunError, on_sent: bool) -> Problem;
}

/// Runs steps as far as they can be run, and gives the rest: the first of it reads the body.
pub(super) fn run<'s>(
    steps: &'s [Rules],
    side: &mut impl Side,
    held: &mut Held,
) -> Result<&'s [Rules], Problem> {
    for (at, step) in steps.iter().enumerate() {
        let asks = step.reads_body() || step.body.is_some();
        if !side.takes(step) {
            continue;
        }
        if asks && matches!(held, Held::Unasked) {
            *held = side.untouched().map_or(Held::Closed, Held::Untouched);
        }
        match held {
            Held::Untouched(_) if asks => continue,
            Held::Closed if step.reads_body() => return Ok(steps.get(at..).unwrap_or_default()),
            _ => {}
        }
        let on_sent = matches!(held, Held::Sent(_));
        if let Some(when) = &step.when {
            let allowed = when.program.is_allowed(held.value(), side);
            if !allowed.map_err(|error| side.failed(when, &error, on_sent))? {
                continue;
            }
        }
        if let Some(body) = &step.body {
            let output = body.program.run_one(held.take(), side);
            *held = Held::Made(output.map_err(|error| side.failed(body, &error, on_sent))?);
            side.describe();
        }
        side.edit(step)?;
    }
    Ok(&[])
}
