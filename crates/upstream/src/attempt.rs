//! One attempt: one request to one endpoint, until the head of its answer or until it is lost.

use std::time::Duration;

use portcullis_core::problem::REQUEST_BROKEN;
use portcullis_core::{Call, Problem};
use tokio::time::Instant;

use crate::codec::head::Head;
use crate::connection::{Connection, Sent};
use crate::endpoint::Endpoint;
use crate::metrics::UpstreamMetrics;
use crate::pool::Pool;
use crate::problems::{BAD_ANSWER, CONNECT_FAILED, REQUEST_STALLED, RESET, TIMEOUT};
use crate::request::{self, Progress, Ready};

/// How long an upstream may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Timeouts {
    pub(crate) connect: Duration,
    pub(crate) request: Duration,
    pub(crate) idle: Duration,
}

/// How an attempt ended, for metrics and the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered,
    /// A status that says the service failed.
    ServerError,
    Connect,
    Timeout,
    Reset,
    BadAnswer,
    /// A kept connection was gone; the request was sent again on a new one.
    Stale,
    /// The client went away, or its body failed.
    Client,
}

impl Outcome {
    pub(crate) const ALL: [Self; 8] = [
        Self::Answered,
        Self::ServerError,
        Self::Connect,
        Self::Timeout,
        Self::Reset,
        Self::BadAnswer,
        Self::Stale,
        Self::Client,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::ServerError => "server_error",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::BadAnswer => "bad_answer",
            Self::Stale => "stale",
            Self::Client => "client",
        }
    }

    /// What an answer's status says. 501 and 505 speak about the request, not about the service's
    /// health.
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            501 | 505 => Self::Answered,
            500..=599 => Self::ServerError,
            _ => Self::Answered,
        }
    }
}

/// Why no answer came.
#[derive(Debug)]
pub(crate) enum Lost {
    Connect(String),
    ConnectTimeout(Duration),
    /// The head of the answer did not come in time.
    Timeout(Duration),
    Reset(String),
    BadAnswer(String),
    /// The client's body has more than this many bytes.
    TooLarge(u64),
    /// The client's body broke off.
    Request(String),
    /// No byte of the client's body came for this long.
    Stalled(Duration),
}

impl Lost {
    /// True while nothing can have reached the endpoint.
    pub(crate) fn before_sending(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::ConnectTimeout(_))
    }

    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Connect(_) | Self::ConnectTimeout(_) => Outcome::Connect,
            Self::Timeout(_) => Outcome::Timeout,
            Self::Reset(_) => Outcome::Reset,
            Self::BadAnswer(_) => Outcome::BadAnswer,
            Self::TooLarge(_) | Self::Request(_) | Self::Stalled(_) => Outcome::Client,
        }
    }

    /// For the log and /status.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Connect(text) => format!("cannot connect: {text}"),
            Self::ConnectTimeout(after) => format!("no connection within {after:?}"),
            Self::Timeout(after) => format!("no answer within {after:?}"),
            Self::Reset(text) => format!("closed without an answer: {text}"),
            Self::BadAnswer(text) => format!("no valid answer: {text}"),
            Self::TooLarge(limit) => format!("the request's body has more than {limit} bytes"),
            Self::Request(text) => format!("the request's body broke off: {text}"),
            Self::Stalled(after) => format!("nothing of the request's body came for {after:?}"),
        }
    }

    pub(crate) fn problem(&self, endpoint: &str) -> Problem {
        let problem = match self {
            Self::Connect(_) => Problem::new(&CONNECT_FAILED, "the service cannot be reached"),
            Self::ConnectTimeout(_) => {
                Problem::new(&TIMEOUT, "no connection to the service in time (timeouts.connect)")
            }
            Self::Timeout(_) => {
                Problem::new(&TIMEOUT, "the service gave no answer in time (timeouts.request)")
            }
            Self::Reset(_) => {
                Problem::new(&RESET, "the service closed the connection without an answer")
            }
            Self::BadAnswer(_) => Problem::new(&BAD_ANSWER, "what the service sent is no answer"),
            Self::TooLarge(limit) => return request::too_large(*limit),
            Self::Request(_) => {
                let problem = Problem::new(&REQUEST_BROKEN, "the body ended before it was whole");
                return problem.private(self.reason());
            }
            Self::Stalled(_) => {
                let problem = Problem::new(&REQUEST_STALLED, "no more of the body came");
                return problem.private(self.reason());
            }
        };
        problem.private(format!("{endpoint}: {}", self.reason())).from_upstream()
    }
}

/// An attempt in the making: what it needs, and the request until it is on its way.
pub(crate) struct Attempt<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) timeouts: &'a Timeouts,
    pub(crate) metrics: &'a UpstreamMetrics,
}

impl Attempt<'_> {
    /// Sends what is in `request`, on a kept connection if there is one. What could not be sent
    /// because nobody accepted a connection stays in `request`.
    ///
    /// A kept connection may be closed by the endpoint at any moment. When that shows before
    /// anything was sent, or before a byte came back and sending twice does no harm, the request
    /// goes out once more, on a new connection.
    pub(crate) async fn run(
        &self,
        request: &mut Option<Ready>,
        now: std::time::Instant,
        call: &mut Call,
    ) -> Result<(Head, Connection), Lost> {
        let mut kept = self.pool.take(self.endpoint, now);
        loop {
            let reused = kept.is_some();
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => self.pool.open(self.endpoint, self.timeouts.connect).await?,
            };
            let Some(outgoing) = request.take() else {
                return Err(Lost::Request("it was sent already".to_owned()));
            };
            match self.send(&mut connection, outgoing).await {
                Sent::Answered(head) => return Ok((head, connection)),
                Sent::Unsent(unsent) if reused => *request = Some(unsent),
                // A method that may be sent twice (RFC 9110 section 9.2.2).
                Sent::Unheard(_, Some(again)) if reused && again.method().is_idempotent() => {
                    call.attempts += 1;
                    *request = Some(again);
                }
                Sent::Unsent(_) => return Err(Lost::Reset("closed at once".to_owned())),
                Sent::Unheard(lost, _) | Sent::Lost(lost) => return Err(lost),
            }
            self.metrics.attempt(Outcome::Stale);
        }
    }

    /// Sends within the time that the settings allow.
    async fn send(&self, connection: &mut Connection, request: Ready) -> Sent {
        let progress = request.body().progress();
        let begun = Instant::now();
        let first_look = match progress {
            Some(_) => self.timeouts.request.min(self.timeouts.idle),
            None => self.timeouts.request,
        };
        let mut sending = std::pin::pin!(connection.send(request));
        let mut timer = std::pin::pin!(tokio::time::sleep_until(begun + first_look));
        loop {
            tokio::select! {
                biased;
                sent = &mut sending => return sent,
                () = &mut timer => match self.verdict(progress.as_deref(), begun) {
                    Ok(later) => timer.as_mut().reset(later),
                    Err(lost) => return Sent::Lost(lost),
                },
            }
        }
    }

    /// What it means that no answer is there yet: look again later, or whose fault it is.
    fn verdict(&self, progress: Option<&Progress>, begun: Instant) -> Result<Instant, Lost> {
        let (since, client) =
            progress.map_or((begun, false), |progress| (progress.since(), progress.client_owes()));
        let allowed = if client { self.timeouts.idle } else { self.timeouts.request };
        let until = since + allowed;
        let now = Instant::now();
        if until > now {
            // The turn may change meanwhile, and the other side's time may be the shorter one.
            return Ok(until.min(now + self.timeouts.request));
        }
        Err(if client { Lost::Stalled(allowed) } else { Lost::Timeout(allowed) })
    }
}
