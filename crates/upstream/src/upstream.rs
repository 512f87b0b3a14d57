//! A named group of endpoints, as all workers share it: the way of a request from breaker to answer.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::HOST;
use portcullis_core::breaker::{Breaker, Permit, Phase, Transition};
use portcullis_core::metrics::Metrics;
use portcullis_core::template::Lookup as _;
use portcullis_core::{Call, Clock, Exchange, Live, Problem, Response, Worker};

use crate::answer::{self, Home};
use crate::attempt::{Attempt, Outcome, Timeouts};
use crate::balance::{self, Balance, Key};
use crate::endpoint::{Endpoint, InFlight, RETRY};
use crate::metrics::UpstreamMetrics;
use crate::plan::UpstreamPlan;
use crate::pool::{Limits, Pools};
use crate::problems::{UNAVAILABLE, UNRESOLVED};
use crate::request::{self, Outbound, Ready};

/// When nobody accepts a connection, one more endpoint is asked.
const ENDPOINTS_ASKED: usize = 2;

/// A named group of endpoints.
pub struct Upstream {
    name: Arc<str>,
    live: Arc<Live>,
    clock: Clock,
    endpoints: Vec<Arc<Endpoint>>,
    balance: Balance,
    timeouts: Timeouts,
    pool: Limits,
    breaker: Option<Breaker>,
    /// Why the breaker opened last.
    last_reason: Mutex<Option<String>>,
    metrics: UpstreamMetrics,
    /// What the times of latencies and health count from.
    born: Instant,
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Upstream>();
};

impl Upstream {
    pub(crate) fn new(plan: &UpstreamPlan, clock: &Clock, metrics: &Metrics) -> Self {
        let endpoint = |(address, weight): &(crate::endpoint::Address, u32)| {
            Arc::new(Endpoint::new(address.clone(), *weight))
        };
        let endpoints: Vec<_> = plan.endpoints.iter().map(endpoint).collect();
        let has_breaker = plan.breaker.is_some();
        Self {
            metrics: UpstreamMetrics::new(metrics, &plan.name, has_breaker, &endpoints),
            name: Arc::from(plan.name.as_str()),
            live: Live::new(),
            clock: clock.clone(),
            endpoints,
            balance: plan.balance.clone(),
            timeouts: plan.timeouts,
            pool: plan.pool,
            breaker: plan.breaker.map(|settings| Breaker::new(settings, clock.now())),
            last_reason: Mutex::default(),
            born: clock.now(),
        }
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// True for the authority of one of the endpoints, as a URL would name it: by its name or by an
    /// address that stands behind it.
    pub fn has_authority(&self, authority: &str) -> bool {
        let socket: Option<SocketAddr> = authority.parse().ok();
        let short = authority.strip_suffix(":80").unwrap_or(authority);
        self.endpoints.iter().any(|endpoint| {
            endpoint.authority.eq_ignore_ascii_case(short)
                || socket.is_some_and(|socket| endpoint.addresses().contains(&socket))
        })
    }

    /// Host names that do not resolve now. Meant to be asked after [`Upstream::looked_up`].
    pub fn unresolved(&self) -> impl Iterator<Item = &str> {
        let unresolved = self.endpoints.iter().filter(|endpoint| !endpoint.is_resolved());
        unresolved.map(|endpoint| endpoint.authority.as_str())
    }

    /// Waits until every host name was looked up once, well or not. Its tasks have to run, and a
    /// resolver may take its time: wait with a limit.
    pub async fn looked_up(&self) {
        for endpoint in &self.endpoints {
            endpoint.looked_up().await;
        }
    }

    pub(crate) fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    pub(crate) fn breaker(&self) -> Option<&Breaker> {
        self.breaker.as_ref()
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The present, as health and latencies count it.
    pub(crate) fn age(&self) -> Duration {
        self.clock.now().saturating_duration_since(self.born)
    }

    pub(crate) fn last_reason(&self) -> Option<String> {
        self.last_reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request to one of the endpoints: the answer's head, with its body following, or why
    /// there is none. `call` tells afterwards what happened. Dropping the future cancels the
    /// request and says nothing about the upstream's health.
    pub fn send<'a>(
        &'a self,
        worker: &'a Rc<Worker>,
        outbound: Outbound,
        call: &'a mut Call,
    ) -> impl Future<Output = Result<Response, Problem>> + 'a {
        let (keeps_host, affinity) = (outbound.host.is_some(), outbound.affinity);
        let request = request::write(outbound);
        async move {
            let result = match request {
                Ok(request) => self.deliver(worker, request, (keeps_host, affinity), call).await,
                Err(problem) => Err(problem),
            };
            if call.attempts > 0 {
                self.metrics.duration.observe(call.duration);
            }
            match &result {
                Ok(response) => call.status = response.status().as_u16(),
                Err(problem) => call.code = Some(problem.code().name),
            }
            result
        }
    }

    async fn deliver(
        &self,
        worker: &Rc<Worker>,
        request: Ready,
        (keeps_host, affinity): (bool, Option<u64>),
        call: &mut Call,
    ) -> Result<Response, Problem> {
        let pools = worker.local(&self.live, || {
            Pools::new(&self.endpoints, &self.balance, self.pool, &self.metrics, worker)
        });
        let started = worker.clock.now();
        let mut now = started;
        if !self.is_found() {
            self.find().await?;
            now = worker.clock.now();
        }
        pools.keep_swept();
        let mut request = Some(request);
        let mut last = None;
        let mut asked = None;
        for _ in 0..ENDPOINTS_ASKED {
            let since = now.saturating_duration_since(self.born);
            let picked = pools.pick(&self.endpoints, asked, affinity, since);
            let Some((place, endpoint, pool)) = picked else { break };
            asked = Some(place);
            let mut trial = match self.admit(now) {
                Ok(trial) => trial,
                Err(refused) => return Err(last.unwrap_or(refused)),
            };
            call.endpoint = Some(Arc::clone(&pool.label));
            let Some(outgoing) = request.as_mut() else { break };
            let (method, progress) = (outgoing.method().clone(), outgoing.body().progress());
            if !keeps_host {
                outgoing.headers_mut().insert(HOST, pool.host.clone());
            }
            call.attempts += 1;
            let flying = self.in_flight(endpoint);
            let begun = now;
            let (timeouts, metrics) = (&self.timeouts, &self.metrics);
            let attempt = Attempt { pool, endpoint, timeouts, metrics };
            let answered = attempt.run(&mut request, now, call).await;
            now = worker.clock.now();
            call.duration = now.saturating_duration_since(started);
            match answered {
                Ok((head, connection)) => {
                    pools.keep_swept();
                    if self.balance == Balance::PeakEwma {
                        let took = now.saturating_duration_since(begun);
                        endpoint.load.took(took, now.saturating_duration_since(self.born));
                    }
                    let status = head.status.as_u16();
                    let reason = || format!("{}: answered {status}", pool.label);
                    trial.end(Outcome::of_status(status), now, reason);
                    self.judge(place, Outcome::of_status(status), now);
                    let home = Home { pool: Rc::clone(pool), connection, _flying: flying };
                    let idle = self.timeouts.idle;
                    return Ok(answer::receive(head, &method, home, progress, idle));
                }
                Err(lost) => {
                    let reason = || format!("{}: {}", pool.label, lost.reason());
                    trial.end(lost.outcome(), now, reason);
                    self.judge(place, lost.outcome(), now);
                    let problem = lost.problem(&pool.label);
                    if !lost.before_sending() {
                        return Err(problem);
                    }
                    last = Some(problem);
                }
            }
        }
        Err(last.unwrap_or_else(|| self.nowhere()))
    }

    /// Counts a request as something that the endpoint has to do, until the end of its answer; where
    /// that is looked at.
    fn in_flight(&self, endpoint: &Arc<Endpoint>) -> Option<InFlight> {
        let counts = self.balance.looks_at_load() && self.endpoints.len() > 1;
        counts.then(|| InFlight::begin(endpoint))
    }

    /// What an attempt says of the endpoint's health, where there are others to go to.
    fn judge(&self, place: usize, outcome: Outcome, now: Instant) {
        let Some(endpoint) = self.endpoints.get(place).filter(|_| self.endpoints.len() > 1) else {
            return;
        };
        match outcome {
            Outcome::Answered => endpoint.health.succeeded(),
            Outcome::Client | Outcome::Stale => {}
            _ => {
                let since = now.saturating_duration_since(self.born);
                if let Some(aside) = endpoint.health.failed(since) {
                    self.metrics.set_aside(place);
                    let (upstream, endpoint) = (&self.name, &endpoint.authority);
                    tracing::warn!(%upstream, %endpoint, ?aside, "an endpoint is set aside");
                }
            }
        }
    }

    /// The hash by which this upstream chooses an endpoint, when it does and the request has it.
    pub fn affinity(&self, exchange: &Exchange) -> Option<u64> {
        let Balance::Hash(Key(reference)) = &self.balance else { return None };
        exchange.lookup(reference).map(|value| balance::hash(value.as_bytes()))
    }

    fn is_found(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.is_resolved())
    }

    /// Waits for an address to go to: right after a start the first look-up may be on its way.
    async fn find(&self) -> Result<(), Problem> {
        let _ = tokio::time::timeout(self.timeouts.connect, self.looked_up()).await;
        if self.is_found() { Ok(()) } else { Err(self.nowhere()) }
    }

    fn nowhere(&self) -> Problem {
        let names: Vec<&str> = self.unresolved().collect();
        Problem::new(&UNRESOLVED, "no address of the service is known")
            .private(format!("no address is known for {}", names.join(", ")))
            .retry_after(RETRY)
            .from_upstream()
    }

    fn admit(&self, now: Instant) -> Result<Trial<'_>, Problem> {
        let permit = match &self.breaker {
            None => None,
            Some(breaker) => match breaker.admit(now) {
                Ok(permit) => {
                    if let Some(step) = permit.transition() {
                        self.moved(step, "it is time to try again".to_owned());
                    }
                    Some(permit)
                }
                Err(refused) => {
                    self.metrics.rejected();
                    let (detail, private) = match refused.probing {
                        true => ("the service is being tried again", "all probes are out"),
                        false => {
                            ("the service failed several times in a row", "the breaker is open")
                        }
                    };
                    return Err(Problem::new(&UNAVAILABLE, detail)
                        .private(private)
                        .retry_after(refused.retry_after)
                        .from_upstream());
                }
            },
        };
        Ok(Trial { upstream: self, permit, ended: false })
    }

    /// Tells of a step of the breaker.
    fn moved(&self, step: Transition, reason: String) {
        let Some(breaker) = &self.breaker else { return };
        self.metrics.transition(step, breaker.phase());
        let (upstream, from, to) = (&self.name, step.from.as_str(), step.to.as_str());
        if step.to != Phase::Open {
            tracing::info!(%upstream, from, to, reason, "breaker");
            return;
        }
        tracing::warn!(%upstream, from, to, reason, "breaker");
        *self.last_reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }
}

/// An attempt that is out: counted once, in the metrics and by the breaker, also when its future is
/// dropped.
struct Trial<'u> {
    upstream: &'u Upstream,
    permit: Option<Permit<'u>>,
    ended: bool,
}

impl Trial<'_> {
    fn end(&mut self, outcome: Outcome, now: Instant, reason: impl FnOnce() -> String) {
        self.ended = true;
        self.upstream.metrics.attempt(outcome);
        let Some(permit) = self.permit.take() else { return };
        let step = match outcome {
            Outcome::Answered => permit.success(now),
            Outcome::Client | Outcome::Stale => None, // dropping the permit says it all
            _ => permit.failure(now),
        };
        if let Some(step) = step {
            self.upstream.moved(step, reason());
        }
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Outcome::Client, self.upstream.clock.now(), String::new);
        }
    }
}
