//! gRPC says behind the messages how a call ended. The verdict on an attempt falls with the first message,
//! for whoever sends one is alive, or, when none comes, with the status.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use portcullis_core::grpc::{Grpc, Status};
use portcullis_core::{Body, BodyError, Response};

use crate::attempt::Outcome;
use crate::deadline::Deadline;
use crate::trial::PutOff;

/// True for an answer of gRPC whose head does not say yet how the call ended.
pub(crate) fn is_open(response: &Response) -> bool {
    let headers = response.headers();
    Grpc::of(headers) == Some(Grpc::Native)
        && Status::of(headers).is_none()
        && !response.body().is_end_stream()
}

/// How a call ended whose head is all there is; `None` when it is no gRPC.
pub(crate) fn status(response: &Response) -> Option<Status> {
    let headers = response.headers();
    let is_grpc = Grpc::of(headers) == Some(Grpc::Native);
    is_grpc.then(|| Status::of(headers).unwrap_or(Status::UNKNOWN))
}

/// The answer, which says itself how its attempt went.
pub(crate) fn put_off(response: Response, trial: PutOff, deadline: Option<Deadline>) -> Response {
    response.map(|body| Body::stream(Judged { body, trial: Some(trial), deadline }))
}

struct Judged {
    body: Body,
    /// Until the verdict; dropped before that, it has none.
    trial: Option<PutOff>,
    deadline: Option<Deadline>,
}

impl Judged {
    /// What a frame says, or the end without one; and for people why.
    fn verdict(
        &self,
        frame: Option<&Result<Frame<Bytes>, BodyError>>,
    ) -> Option<(Outcome, String)> {
        let failures = &self.trial.as_ref()?.upstream.failures;
        Some(match frame {
            None => (Outcome::BadAnswer, "ended without a gRPC status".to_owned()),
            Some(Ok(frame)) => match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) if data.is_empty() => return None,
                (_, Some(trailers)) => {
                    let status = Status::of(trailers).unwrap_or(Status::UNKNOWN);
                    (failures.of_grpc(status, self.deadline), format!("ended {}", status.name()))
                }
                _ => (Outcome::Answered, String::new()),
            },
            Some(Err(BodyError::Stalled(_))) => {
                let over = self.deadline.filter(|deadline| deadline.left().is_zero());
                let outcome = match over.is_some_and(|deadline| deadline.by_client) {
                    true => Outcome::Client,
                    false => Outcome::Timeout,
                };
                (outcome, "sent no message in time".to_owned())
            }
            Some(Err(error)) => (Outcome::Reset, error.to_string()),
        })
    }
}

impl http_body::Body for Judged {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some((outcome, why)) = self.verdict(frame.as_ref())
            && let Some(trial) = self.trial.take()
        {
            trial.end(outcome, why);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
