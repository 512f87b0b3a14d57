//! Why a call gave no answer, as calls that share an answer, the client and the log are told. Each
//! says it about itself; nothing of a service's body is in it.

use std::time::Duration;

use http::StatusCode;
use portcullis_core::mapping::RunError;
use portcullis_core::problem::{Origin, whole_seconds};
use portcullis_core::{Code, Problem};

use crate::problems::{CALL_FAILED, COMPOSITION_FAILED, COMPOSITION_TIMEOUT};

/// A service that asks for more than this, or for a date, is not passed on.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a call gave no answer.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    code: &'static Code,
    status: StatusCode,
    origin: Origin,
    wait: Option<Duration>,
    /// What follows the call's name.
    detail: String,
    private: String,
}

impl Failure {
    fn new(code: &'static Code, detail: impl Into<String>, private: String) -> Self {
        let (status, origin, wait) = (code.status, Origin::Upstream, None);
        Self { code, status, origin, wait, detail: detail.into(), private }
    }

    /// What its upstream has to say.
    pub(super) fn of(problem: &Problem) -> Self {
        Self {
            status: problem.status(),
            origin: problem.origin(),
            wait: problem.wait(),
            ..Self::new(
                problem.code(),
                format!("failed: {}", problem.detail()),
                problem.private_detail().to_owned(),
            )
        }
    }

    /// Its status is no answer, or its answer cannot be read.
    pub(super) fn no_answer(private: String) -> Self {
        Self::new(&CALL_FAILED, "failed", private)
    }

    /// `wait` is what its service asks for.
    pub(super) fn status(status: StatusCode, wait: Option<Duration>) -> Self {
        let wait = wait.filter(|wait| *wait <= LONGEST_WAIT);
        let failure = Self { wait, ..Self::no_answer(format!("its status is {status}")) };
        if status.is_client_error() { Self { status, ..failure } } else { failure }
    }

    pub(super) fn too_late(limit: Duration) -> Self {
        Self::new(&COMPOSITION_TIMEOUT, format!("took longer than {limit:?}"), String::new())
    }

    /// What other services answered is not what this call is made of.
    pub(super) fn unfit(private: impl ToString) -> Self {
        let detail = "cannot be made of the other services' answers";
        Self::new(&COMPOSITION_FAILED, detail, private.to_string())
    }

    pub(super) fn too_many(count: usize, most: usize) -> Self {
        let private = format!("{count} items or more, and at most {most} are asked for");
        Self::new(&COMPOSITION_FAILED, "has too many items", private)
    }

    pub(super) fn code(&self) -> &'static str {
        self.code.name
    }

    /// The whole composition's problem, of a call that it cannot do without.
    pub(super) fn problem(self, call: &str) -> Problem {
        let problem = Problem::new(self.code, format!("the call {call} {}", self.detail));
        let problem = problem.private(self.private).status_of(self.status);
        let problem = match self.origin {
            Origin::Upstream => problem.from_upstream(),
            Origin::Client | Origin::Gateway => problem,
        };
        match self.wait {
            Some(wait) => problem.retry_after(wait),
            None => problem,
        }
    }

    /// What stands in `_errors` of an answer that can do without.
    pub(super) fn to_json(&self, call: &str) -> serde_json::Value {
        let (status, code) = (self.status.as_u16(), self.code.name);
        let mut told = serde_json::json!({ "call": call, "status": status, "code": code });
        if let (Some(members), Some(wait)) = (told.as_object_mut(), self.wait) {
            members.insert("retryAfter".to_owned(), whole_seconds(wait).into());
        }
        told
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self::unfit(error)
    }
}
