//! What is known about one exchange when it ends: the source of the log line, the metrics and what
//! `explain` shows. Policies and targets write typed facts here; nobody formats text on the way.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use smallvec::SmallVec;

use crate::clock::Clock;
use crate::exchange::Peer;
use crate::grpc::Rpc;
use crate::problem::{Origin, Problem};

/// How a policy's look at an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Refused,
    /// It would have refused, and only watches.
    Observed,
    Changed,
    /// It had nothing to do here.
    Skipped,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::Observed => "observed",
            Self::Changed => "changed",
            Self::Skipped => "skipped",
        }
    }
}

/// A fact that a policy states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Text(Arc<str>),
    Word(&'static str),
    Number(u64),
}

impl From<u64> for Field {
    fn from(value: u64) -> Self {
        Self::Number(value)
    }
}

impl From<&'static str> for Field {
    fn from(value: &'static str) -> Self {
        Self::Word(value)
    }
}

impl From<Arc<str>> for Field {
    fn from(value: Arc<str>) -> Self {
        Self::Text(value)
    }
}

/// What one policy did, with its facts: `("limit", "default")`, `("remaining", 41)`.
#[derive(Clone, Debug)]
pub struct Event {
    pub policy: &'static str,
    pub outcome: Outcome,
    pub fields: SmallVec<[(&'static str, Field); 3]>,
}

impl Event {
    pub fn new(policy: &'static str, outcome: Outcome) -> Self {
        Self { policy, outcome, fields: SmallVec::new() }
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Field>) -> Self {
        self.fields.push((name, value.into()));
        self
    }
}

/// One call of an upstream, with all its attempts.
#[derive(Clone, Debug)]
pub struct Call {
    /// The call's name in a composition; empty for a forward.
    pub name: Arc<str>,
    pub upstream: Arc<str>,
    /// The endpoint that answered or failed last.
    pub endpoint: Option<Arc<str>>,
    pub attempts: u32,
    /// The upstream's status, 0 when no answer came.
    pub status: u16,
    pub duration: Duration,
    /// The problem's code when the call failed.
    pub code: Option<&'static str>,
    /// Its span in the trace that the request belongs to (W3C Trace Context: 16 hex digits).
    pub span: Option<Arc<str>>,
}

impl Call {
    /// A call of which nothing is known yet.
    pub fn new(name: &Arc<str>, upstream: &Arc<str>) -> Self {
        Self {
            name: Arc::clone(name),
            upstream: Arc::clone(upstream),
            endpoint: None,
            attempts: 0,
            status: 0,
            duration: Duration::ZERO,
            code: None,
            span: None,
        }
    }
}

/// The problem that an exchange ended with.
#[derive(Clone, Debug)]
pub struct Failure {
    pub code: &'static str,
    pub origin: Origin,
    pub detail: String,
    pub private: String,
}

/// All that is recorded about one exchange.
#[derive(Debug)]
pub struct Record {
    pub started: Instant,
    pub time: SystemTime,
    pub client_ip: IpAddr,
    pub request_id: Arc<str>,
    /// W3C trace id, when the client sent a `traceparent`.
    pub trace_id: Option<Arc<str>>,
    pub method: http::Method,
    pub version: http::Version,
    /// The version of TLS, where the client speaks it.
    pub tls: Option<&'static str>,
    pub host: Arc<str>,
    /// Canonical path, masked; the raw one when it has no canonical form.
    pub path: Box<str>,
    /// Masked query, without the `?`.
    pub query: Option<Box<str>>,
    pub user_agent: Option<http::HeaderValue>,
    pub listener: Arc<str>,
    pub route: Option<Arc<str>>,
    pub subject: Option<Arc<str>>,
    pub consumer: Option<Arc<str>>,
    pub status: u16,
    /// When the request says that it is gRPC.
    pub rpc: Option<Rpc>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Who or what ended a tunnel.
    pub ended: Option<&'static str>,
    pub failure: Option<Box<Failure>>,
    pub calls: SmallVec<[Call; 1]>,
    pub events: Vec<Event>,
}

impl Record {
    /// Of bytes that became no request: what is not known is written `-`, as access logs do.
    pub fn unread(clock: &Clock, peer: &Peer, request_id: Arc<str>) -> Self {
        Self {
            started: clock.now(),
            time: clock.wall(),
            client_ip: peer.ip,
            request_id,
            trace_id: None,
            method: http::Method::from_bytes(b"-").unwrap_or_default(),
            version: http::Version::HTTP_11,
            tls: peer.secure.as_ref().map(|secure| secure.version),
            host: Arc::from("-"),
            path: Box::from("-"),
            query: None,
            user_agent: None,
            listener: Arc::clone(&peer.listener),
            route: None,
            subject: None,
            consumer: None,
            status: 0,
            rpc: None,
            bytes_in: 0,
            bytes_out: 0,
            ended: None,
            failure: None,
            calls: SmallVec::new(),
            events: Vec::new(),
        }
    }

    pub fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    pub fn fail(&mut self, problem: &Problem) {
        self.failure = Some(Box::new(Failure {
            code: problem.code().name,
            origin: problem.origin(),
            detail: problem.detail().to_owned(),
            private: problem.private_detail().to_owned(),
        }));
    }
}
