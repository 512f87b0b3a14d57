//! Active health: the gateway asks each endpoint itself, again and again, beside the requests.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::header::USER_AGENT;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};
use portcullis_core::Body;
use portcullis_core::chance::{self, Chance};

use crate::attempt::Lost;
use crate::connection::{Connection, Counted, Sent};
use crate::endpoint::Endpoint;
use crate::grpc_health;
use crate::h2::{self, Streams};
use crate::request::{self, Outbound};
use crate::settings::Statuses;
use crate::upstream::Upstream;

/// What is asked, and what a good answer is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    Get {
        path: PathAndQuery,
        statuses: Vec<Statuses>,
    },
    /// Whether this service serves; all of them, when it has no name.
    Grpc {
        service: String,
    },
}

impl Question {
    fn outbound(&self, host: HeaderValue) -> Outbound {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static("portcullis-health"));
        let outbound = Outbound {
            method: Method::GET,
            path_and_query: PathAndQuery::from_static("/"),
            headers,
            host: Some(host),
            affinity: None,
            retry_non_idempotent: false,
            websocket: None,
            body: Body::Empty,
        };
        match self {
            Self::Get { path, .. } => Outbound { path_and_query: path.clone(), ..outbound },
            Self::Grpc { service } => grpc_health::ask(service, outbound),
        }
    }

    /// What a status says.
    fn judge(&self, status: u16) -> Result<(), String> {
        match self {
            Self::Get { statuses, .. } if statuses.iter().any(|it| it.contain(status)) => Ok(()),
            Self::Get { .. } | Self::Grpc { .. } => Err(format!("answered {status}")),
        }
    }
}

/// How endpoints are asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProbePlan {
    pub(crate) question: Question,
    pub(crate) every: Duration,
    pub(crate) timeout: Duration,
    pub(crate) unhealthy_after: u32,
    pub(crate) healthy_after: u32,
    pub(crate) port: Option<u16>,
    pub(crate) is_h2: bool,
}

/// An endpoint and its last answers: how many were good, or else bad, in a row.
struct Row {
    endpoint: Arc<Endpoint>,
    good: bool,
    count: u32,
}

/// Asks for as long as anybody holds the upstream, and no other has taken its place.
pub(crate) async fn keep_probed(upstream: Weak<Upstream>) {
    let mut rows: Vec<Row> = Vec::new();
    let chance = Chance::new(chance::seed());
    loop {
        let Some(held) = upstream.upgrade() else { return };
        let Some(plan) = held.probe.clone() else { return };
        let endpoints = held.sources.endpoints();
        rows.retain(|row| endpoints.iter().any(|(it, _)| Arc::ptr_eq(it, &row.endpoint)));
        for (endpoint, _) in endpoints {
            if !rows.iter().any(|row| Arc::ptr_eq(&row.endpoint, &endpoint)) {
                rows.push(Row { endpoint, good: true, count: 0 });
            }
        }
        let now = held.clock.now();
        let answers = join_all(rows.iter().map(|row| ask(&row.endpoint, &plan, now))).await;
        // A reload runs on this task's own thread: not between here and the end of the loop.
        if !held.generation.is_newest() {
            return;
        }
        for (row, answer) in rows.iter_mut().zip(answers) {
            row.judge(answer, &plan, &held);
        }
        // A tenth more or less, so that gateways do not ask at the same moment.
        let tenth = plan.every / 10;
        let jitter = (2 * tenth).mul_f64((chance.draw() >> 40) as f64 / f64::from(1 << 24));
        drop(held);
        tokio::time::sleep(plan.every - tenth + jitter).await;
    }
}

impl Row {
    fn judge(&mut self, answer: Result<(), String>, plan: &ProbePlan, upstream: &Upstream) {
        let good = answer.is_ok();
        self.count = if good == self.good { self.count.saturating_add(1) } else { 1 };
        self.good = good;
        let enough = if good { plan.healthy_after } else { plan.unhealthy_after };
        let now = upstream.since(upstream.clock.now());
        if self.count < enough || !self.endpoint.health.probed(good, now) {
            return;
        }
        self.endpoint.show_health();
        let (upstream, endpoint) = (&upstream.name, &self.endpoint.label);
        match answer {
            Ok(()) => tracing::info!(%upstream, %endpoint, "an endpoint is healthy again"),
            Err(why) => tracing::warn!(%upstream, %endpoint, why, "an endpoint is unhealthy"),
        }
    }
}

/// Asks once, on a connection of its own.
async fn ask(endpoint: &Endpoint, plan: &ProbePlan, now: Instant) -> Result<(), String> {
    let asked = async {
        let mut socket = endpoint.socket;
        socket.set_port(plan.port.unwrap_or(socket.port()));
        let connector = endpoint.connector.as_ref();
        let (open, streams) = (Rc::new(Cell::new(0)), Streams::new(1));
        let request = request::write(plan.question.outbound(endpoint.host.clone()), 0);
        let request = request.map_err(|problem| Lost::Request(problem.detail().to_owned()))?;
        let gone = || Lost::Reset("closed at once".to_owned());
        if plan.is_h2 {
            let (stream, _) = streams.place(socket, connector, plan.timeout, now, &open).await?;
            return match Streams::send(stream, &mut Some(request), &|_| false).await {
                h2::Sent::Answered(answer, _stream) => Ok(match plan.question {
                    Question::Get { .. } => plan.question.judge(answer.status().as_u16()),
                    Question::Grpc { .. } => grpc_health::judge(answer).await,
                }),
                h2::Sent::Gone => Err(gone()),
                h2::Sent::Lost(lost) => Err(lost),
            };
        }
        let open = Counted::new(&open);
        let mut connection = Connection::open(socket, connector, plan.timeout, open).await?;
        match connection.send(request).await {
            Sent::Answered(head) => Ok(plan.question.judge(head.status.as_u16())),
            Sent::Unsent => Err(gone()),
            Sent::Unheard(lost) | Sent::Lost(lost) => Err(lost),
        }
    };
    match tokio::time::timeout(plan.timeout, asked).await {
        Ok(Ok(judged)) => judged,
        Ok(Err(lost)) => Err(lost.reason()),
        Err(_) => Err(format!("no answer within {:?}", plan.timeout)),
    }
}
