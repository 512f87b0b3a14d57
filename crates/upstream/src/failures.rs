//! Which answers speak against a service: by their status, and in gRPC by the status that stands behind
//! the messages.

use portcullis_core::grpc::Status;

use crate::attempt::Outcome;
use crate::deadline::Deadline;
use crate::settings::{BreakerSettings, Statuses};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Failures {
    statuses: Vec<Statuses>,
    grpc: Vec<Status>,
}

impl Failures {
    pub(crate) fn new(settings: &BreakerSettings) -> Self {
        let grpc = settings.grpc_statuses.iter().map(|status| status.0).collect();
        Self { statuses: settings.statuses.clone(), grpc }
    }

    /// What an answer's status says.
    pub(crate) fn of_status(&self, status: u16) -> Outcome {
        match self.statuses.iter().any(|statuses| statuses.contain(status)) {
            true => Outcome::ServerError,
            false => Outcome::Answered,
        }
    }

    /// What the end of a call says. Whoever gives a service too little time cannot blame it for that.
    pub(crate) fn of_grpc(&self, status: Status, deadline: Option<Deadline>) -> Outcome {
        let by_client = deadline.is_some_and(|deadline| deadline.by_client);
        match self.grpc.contains(&status) {
            true if status == Status::DEADLINE_EXCEEDED && by_client => Outcome::Client,
            true => Outcome::ServerError,
            false => Outcome::Answered,
        }
    }
}
