//! One attempt: one request to one endpoint, until the head of its answer or until it is lost.

use std::cell::Cell;
use std::pin::Pin;
use std::time::Duration;

use hyper::body::Incoming;
use portcullis_core::Problem;
use portcullis_core::problem::{REQUEST_BROKEN, REQUEST_STALLED, too_large};
use tokio::time::Instant;

use crate::codec::head::Head;
use crate::connection::{Connection, Sent};
use crate::deadline::Deadline;
use crate::endpoint::Endpoint;
use crate::h2::{self, Stream, Streams};
use crate::metrics::UpstreamMetrics;
use crate::pool::Pool;
use crate::problems::{BAD_ANSWER, CONNECT_FAILED, DEADLINE, RESET, TIMEOUT};
use crate::request::{Progress, Ready};

/// How long an upstream may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Timeouts {
    pub(crate) connect: Duration,
    pub(crate) request: Duration,
    pub(crate) idle: Duration,
    pub(crate) deadline: Option<Duration>,
    /// Whether the service is told the deadline.
    pub(crate) pass_deadline: bool,
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

    /// Whether it speaks against the service.
    pub(crate) fn is_failure(self) -> bool {
        !matches!(self, Self::Answered | Self::Stale | Self::Client)
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
    /// The endpoint said that it did not look at the request.
    Refused(String),
    BadAnswer(String),
    /// The client's body has more than this many bytes.
    TooLarge(u64),
    /// The client's body broke off.
    Request(String),
    /// No byte of the client's body came for this long.
    Stalled(Duration),
    /// Whoever watches the client's connection has lost patience.
    TooSlow,
    /// The exchange's own time was over.
    Deadline(Deadline),
}

impl Lost {
    /// True while nothing can have reached the endpoint.
    pub(crate) fn before_sending(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::ConnectTimeout(_) | Self::Refused(_))
    }

    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Connect(_) | Self::ConnectTimeout(_) => Outcome::Connect,
            Self::Timeout(_) => Outcome::Timeout,
            Self::Reset(_) | Self::Refused(_) => Outcome::Reset,
            Self::BadAnswer(_) => Outcome::BadAnswer,
            Self::Deadline(deadline) if !deadline.by_client => Outcome::Timeout,
            Self::TooLarge(_)
            | Self::Request(_)
            | Self::Stalled(_)
            | Self::TooSlow
            | Self::Deadline(_) => Outcome::Client,
        }
    }

    /// For the log and /status.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Connect(text) => format!("cannot connect: {text}"),
            Self::ConnectTimeout(after) => format!("no connection within {after:?}"),
            Self::Timeout(after) => format!("no answer within {after:?}"),
            Self::Reset(text) => format!("closed without an answer: {text}"),
            Self::Refused(text) => format!("refused without an answer: {text}"),
            Self::BadAnswer(text) => format!("no valid answer: {text}"),
            Self::TooLarge(limit) => format!("the request's body has more than {limit} bytes"),
            Self::Request(text) => format!("the request's body broke off: {text}"),
            Self::Stalled(after) => format!("nothing of the request's body came for {after:?}"),
            Self::TooSlow => "the request's body came too slowly".to_owned(),
            Self::Deadline(_) => "no answer before the exchange's deadline".to_owned(),
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
            Self::Reset(_) | Self::Refused(_) => {
                Problem::new(&RESET, "the service closed the connection without an answer")
            }
            Self::Deadline(_) => Problem::new(&DEADLINE, "the request's own time was over"),
            Self::BadAnswer(_) => Problem::new(&BAD_ANSWER, "what the service sent is no answer"),
            Self::TooLarge(limit) => return too_large(*limit),
            Self::Request(_) => {
                let problem = Problem::new(&REQUEST_BROKEN, "the body ended before it was whole");
                return problem.private(self.reason());
            }
            Self::Stalled(_) => {
                let problem = Problem::new(&REQUEST_STALLED, "no more of the body came");
                return problem.private(self.reason());
            }
            Self::TooSlow => return Problem::new(&REQUEST_STALLED, "the body came too slowly"),
        };
        problem.private(format!("{endpoint}: {}", self.reason())).from_upstream()
    }
}

/// An attempt in the making.
pub(crate) struct Attempt<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) timeouts: &'a Timeouts,
    pub(crate) metrics: &'a UpstreamMetrics,
    pub(crate) deadline: Option<Deadline>,
    /// Sends are counted here.
    pub(crate) sends: &'a Cell<u32>,
    /// Who wants to know when it takes long.
    pub(crate) nudge: Option<&'a Nudge>,
}

/// Says that an attempt takes long: while it sends by the timer that it has anyway.
pub(crate) struct Nudge {
    pub(crate) at: Instant,
    /// Seen by whoever polls the attempt.
    pub(crate) is_due: Cell<bool>,
}

impl Nudge {
    /// Says it while this goes on.
    async fn beside<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::sleep_until(self.at) => self.is_due.set(true),
        }
        work.await
    }
}

impl Attempt<'_> {
    /// Sends what is in `request`, on a kept connection if there is one. What was lost is in
    /// `request` again, where it can be sent again.
    ///
    /// A kept connection may be closed by the endpoint at any moment. When that shows before
    /// anything was sent, or before a byte came back and sending twice does no harm, the request
    /// goes out once more, on a new connection.
    pub(crate) async fn run(
        &self,
        request: &mut Option<Ready>,
        now: std::time::Instant,
    ) -> Result<(Head, Connection), Lost> {
        let mut kept = self.pool.take(now);
        loop {
            let reused = kept.is_some();
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => self.open().await?,
            };
            let Some(outgoing) = request.take() else {
                return Err(Lost::Request("it was sent already".to_owned()));
            };
            let is_idempotent = outgoing.head.method.is_idempotent(); // RFC 9110 section 9.2.2
            let sent = self.send(&mut connection, outgoing).await;
            if let Sent::Answered(head) = sent {
                return Ok((head, connection));
            }
            *request = connection.take_back();
            match sent {
                Sent::Unsent if reused && request.is_some() => {}
                Sent::Unheard(_) if reused && is_idempotent && request.is_some() => {
                    self.sends.set(self.sends.get() + 1);
                }
                Sent::Unsent | Sent::Answered(_) => {
                    return Err(Lost::Reset("closed at once".to_owned()));
                }
                Sent::Unheard(lost) | Sent::Lost(lost) => return Err(lost),
            }
            self.metrics.attempt(Outcome::Stale);
        }
    }

    async fn open(&self) -> Result<Connection, Lost> {
        // On the heap, as all that few requests need: the others do not carry it along.
        Box::pin(self.connecting(|within| self.pool.open(self.endpoint, within))).await
    }

    /// Connects within the time that the settings and the deadline allow.
    async fn connecting<T, F: Future<Output = Result<T, Lost>>>(
        &self,
        open: impl FnOnce(Duration) -> F,
    ) -> Result<T, Lost> {
        let within = self.timeouts.connect;
        let sooner = self.deadline.filter(|deadline| deadline.left() < within);
        let opening = open(sooner.map_or(within, |deadline| deadline.left()));
        let opened = match self.nudge {
            Some(nudge) => Box::pin(nudge.beside(opening)).await,
            None => opening.await,
        };
        opened.map_err(|lost| match (lost, sooner) {
            (Lost::ConnectTimeout(_), Some(deadline)) => Lost::Deadline(deadline),
            (lost, _) => lost,
        })
    }

    /// The same as [`Attempt::run`], over connections that are shared.
    pub(crate) async fn share(
        &self,
        streams: &Streams,
        request: &mut Option<Ready>,
        now: std::time::Instant,
        wants_back: &dyn Fn(u16) -> bool,
    ) -> Result<(http::Response<Incoming>, Stream), Lost> {
        let count = self.pool.open_connections();
        loop {
            let (socket, connector) = (self.endpoint.socket, self.endpoint.connector.as_ref());
            let place = |within| streams.place(socket, connector, within, now, count);
            let (stream, kept) = self.connecting(place).await?;
            let progress = request.as_ref().and_then(|request| request.body.progress());
            let sent = {
                let sending = std::pin::pin!(Streams::send(stream, request, wants_back));
                self.within(progress.as_deref(), sending, h2::Sent::Lost).await
            };
            match sent {
                h2::Sent::Answered(head, stream) => return Ok((head, stream)),
                h2::Sent::Gone if kept && request.is_some() => {}
                h2::Sent::Gone => return Err(Lost::Reset("closed at once".to_owned())),
                h2::Sent::Lost(lost) => return Err(lost),
            }
            self.metrics.attempt(Outcome::Stale);
        }
    }

    async fn send(&self, connection: &mut Connection, request: Ready) -> Sent {
        let progress = request.body.progress();
        let sending = std::pin::pin!(connection.send(request));
        self.within(progress.as_deref(), sending, Sent::Lost).await
    }

    /// Sends within the time that the settings allow.
    async fn within<T>(
        &self,
        progress: Option<&Progress>,
        mut sending: Pin<&mut impl Future<Output = T>>,
        late: impl Fn(Lost) -> T,
    ) -> T {
        let begun = Instant::now();
        let first_look = match progress {
            Some(_) => self.timeouts.request.min(self.timeouts.idle),
            None => self.timeouts.request,
        };
        let first_look = self.not_after_deadline(begun + first_look);
        let first_look = self.nudge.map_or(first_look, |nudge| first_look.min(nudge.at));
        let mut timer = std::pin::pin!(tokio::time::sleep_until(first_look));
        loop {
            tokio::select! {
                biased;
                sent = sending.as_mut() => return sent,
                () = &mut timer => match self.verdict(progress, begun) {
                    Ok(later) => timer.as_mut().reset(self.not_after_deadline(later)),
                    Err(lost) => return late(lost),
                },
            }
        }
    }

    fn not_after_deadline(&self, time: Instant) -> Instant {
        self.deadline.map_or(time, |deadline| time.min(deadline.at))
    }

    /// What it means that no answer is there yet: look again later, or whose fault it is.
    fn verdict(&self, progress: Option<&Progress>, begun: Instant) -> Result<Instant, Lost> {
        let (since, client) =
            progress.map_or((begun, false), |progress| (progress.since(), progress.client_owes()));
        let allowed = if client { self.timeouts.idle } else { self.timeouts.request };
        let until = since + allowed;
        let now = Instant::now();
        if let Some(deadline) = self.deadline.filter(|deadline| deadline.at <= now) {
            return Err(Lost::Deadline(deadline));
        }
        if let Some(nudge) = self.nudge.filter(|nudge| nudge.at <= now) {
            nudge.is_due.set(true);
        }
        if until > now {
            // The turn may change meanwhile, and the other side's time may be the shorter one.
            return Ok(until.min(now + self.timeouts.request));
        }
        Err(if client { Lost::Stalled(allowed) } else { Lost::Timeout(allowed) })
    }
}
