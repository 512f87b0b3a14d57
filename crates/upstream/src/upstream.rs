//! A named group of endpoints, as all workers share it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_core::breaker::Share;
use portcullis_core::template::Lookup as _;
use portcullis_core::{Build, Call, Clock, Exchange, Live, Problem, Response, Worker, fingerprint};

use crate::attempt::Timeouts;
use crate::balance::{self, Balance};
use crate::breaker::UpstreamBreaker;
use crate::deliver::{Delivery, Failure};
use crate::failures::Failures;
use crate::health::Generation;
use crate::hedge::{Hedge, Most};
use crate::metrics::UpstreamMetrics;
use crate::names::{NameServers, RETRY, Sources};
use crate::overload::Overload;
use crate::plan::UpstreamPlan;
use crate::pool::{Limits, Pools};
use crate::probe::ProbePlan;
use crate::problems::UNRESOLVED;
use crate::request::{self, Outbound, Ready};
use crate::retry::{Budget, Retries};

/// A named group of endpoints.
pub struct Upstream {
    pub(crate) name: Arc<str>,
    live: Arc<Live>,
    pub(crate) generation: Generation,
    pub(crate) clock: Clock,
    pub(crate) sources: Sources,
    pub(crate) balance: Balance,
    pub(crate) slow_start: Option<Duration>,
    pub(crate) timeouts: Timeouts,
    pub(crate) pool: Limits,
    pub(crate) breaker: Option<Arc<UpstreamBreaker>>,
    pub(crate) failures: Failures,
    /// Whether endpoints that fail are set aside.
    pub(crate) is_judged: bool,
    pub(crate) panic_below: Share,
    pub(crate) probe: Option<ProbePlan>,
    pub(crate) retries: Option<Retries>,
    pub(crate) budget: Option<Budget>,
    pub(crate) hedge: Option<Hedge>,
    /// How long most answers take; for hedging.
    pub(crate) most: Most,
    pub(crate) overload: Option<Arc<Overload>>,
    pub(crate) metrics: UpstreamMetrics,
    /// What the times of latencies and health count from: one moment for all upstreams of all
    /// snapshots, since endpoints outlive both.
    born: Instant,
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Upstream>();
};

impl Upstream {
    pub(crate) fn new(plan: &UpstreamPlan, servers: &NameServers, build: &mut Build<'_>) -> Self {
        let (clock, name) = (build.clock.clone(), plan.name.as_str());
        let breaker = plan.breaker.map(|settings| {
            let mark = fingerprint(&settings);
            build.keep("breaker", name, mark, |build| {
                let now = build.clock.now();
                Arc::new(UpstreamBreaker::new(name, settings, now, build.metrics))
            })
        });
        let born = build.keep("epoch", "", 0, |build| Arc::new(build.clock.now()));
        let generation = Generation::next(build.keep("generation", name, 0, |_| Arc::default()));
        let share = plan.retries.as_ref().map(|retries| retries.budget);
        let share = share.or(plan.hedge.map(|_| Some(crate::plan::HEDGE_BUDGET))).flatten();
        Self {
            metrics: UpstreamMetrics::new(build.metrics, name),
            sources: Sources::build(name, &plan.endpoints, servers, build),
            name: Arc::from(name),
            live: Live::new(),
            generation,
            clock,
            balance: plan.balance.clone(),
            slow_start: plan.slow_start,
            timeouts: plan.timeouts,
            pool: plan.pool,
            breaker,
            failures: plan.failures.clone(),
            is_judged: plan.is_judged,
            panic_below: plan.panic_below,
            probe: plan.probe.clone(),
            retries: plan.retries.clone(),
            budget: share.map(Budget::new),
            hedge: plan.hedge,
            most: Most::default(),
            overload: plan.in_flight.map(Overload::new),
            born: *born,
        }
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether requests and answers may be gRPC: over HTTP/1.1 there is none.
    pub fn speaks_grpc(&self) -> bool {
        self.pool.max_streams.is_some()
    }

    /// True for the authority of one of the endpoints, as a URL would name it: by its name or by an
    /// address that stands behind it.
    pub fn has_authority(&self, authority: &str) -> bool {
        self.sources.have(authority)
    }

    /// Host names that do not resolve now. Meant to be asked after [`Upstream::looked_up`].
    pub fn unresolved(&self) -> impl Iterator<Item = &str> {
        self.sources.unresolved()
    }

    /// Waits until every host name was looked up once, well or not. Its tasks have to run, and a
    /// resolver may take its time: wait with a limit.
    pub async fn looked_up(&self) {
        self.sources.looked_up().await;
    }

    /// Parts that this upstream was made with stay in the books of a new snapshot.
    pub(crate) fn keep_parts(
        &self,
        plan: &UpstreamPlan,
        servers: &NameServers,
        build: &mut Build<'_>,
    ) {
        if let (Some(settings), Some(breaker)) = (&plan.breaker, &self.breaker) {
            let mark = fingerprint(settings);
            build.keep("breaker", &plan.name, mark, |_| Arc::clone(breaker));
        }
        build.keep("epoch", "", 0, |_| Arc::new(self.born));
        build.keep("generation", &plan.name, 0, |_| Arc::clone(self.generation.count()));
        Sources::build(&self.name, &plan.endpoints, servers, build);
    }

    /// What nobody looks at any more does not count: what probes found, and without passive health all
    /// that is known.
    pub(crate) fn forget_health(&self) {
        let now = self.since(self.clock.now());
        for (endpoint, _) in self.sources.endpoints() {
            endpoint.health.forget_probes(now);
            if !self.is_judged {
                endpoint.health.succeeded(now);
            }
            endpoint.show_health();
        }
    }

    /// Holds the breaker open or closed, or lets it go with `None`; false when there is none.
    pub fn force_breaker(&self, open: Option<bool>) -> bool {
        self.breaker.as_ref().map(|breaker| breaker.force(open)).is_some()
    }

    /// A moment as health and latencies count it.
    pub(crate) fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.born)
    }

    /// The hash by which this upstream chooses an endpoint, when it does and the request has it.
    pub fn affinity(&self, exchange: &Exchange) -> Option<u64> {
        let Balance::Hash(reference) = &self.balance else { return None };
        exchange.lookup(reference).map(|value| balance::hash(value.as_bytes()))
    }

    /// Sends a request to one of the endpoints: the answer's head, with its body following, or why
    /// there is none. `call` tells afterwards what happened. Dropping the future cancels the
    /// request and says nothing about the upstream's health.
    pub fn send<'a>(
        self: &'a Arc<Self>,
        worker: &'a Rc<Worker>,
        outbound: Outbound,
        call: &'a mut Call,
    ) -> impl Future<Output = Result<Response, Failure>> + 'a {
        let how = How {
            keeps_host: outbound.host.is_some(),
            affinity: outbound.affinity,
            retry_non_idempotent: outbound.retry_non_idempotent,
            spent: Duration::ZERO,
        };
        let request = request::write(outbound, self.replay_limit());
        async move {
            match request {
                Ok(request) => self.deliver(worker, request, how, call).await,
                Err(problem) => {
                    call.code = Some(problem.code().name);
                    Err(Failure { problem, unsent: None })
                }
            }
        }
    }

    /// Sends what another upstream was not given: see [`Failure::unsent`]. What holds is said by the
    /// settings here; `affinity` as in [`Outbound::affinity`].
    pub async fn send_instead(
        self: &Arc<Self>,
        worker: &Rc<Worker>,
        unsent: Unsent,
        affinity: Option<u64>,
        call: &mut Call,
    ) -> Result<Response, Problem> {
        let Unsent { mut request, how } = unsent;
        request.told.clear();
        request.body.keep_up_to(self.replay_limit());
        let how = How { affinity, ..how };
        self.deliver(worker, request, how, call).await.map_err(|failure| failure.problem)
    }

    /// How many bytes of a body are kept, to be sent again.
    fn replay_limit(&self) -> u64 {
        self.retries.as_ref().map_or(0, |retries| retries.replay_limit)
    }

    async fn deliver(
        self: &Arc<Self>,
        worker: &Rc<Worker>,
        request: Ready,
        how: How,
        call: &mut Call,
    ) -> Result<Response, Failure> {
        let pools = worker.local(&self.live, || Pools::new(self, worker));
        let started = worker.clock.now();
        let mut now = started;
        let mut set = pools.set(self, worker);
        if set.members.is_empty() {
            // Right after a start the first look-up may be on its way.
            let _ = tokio::time::timeout(self.timeouts.connect, self.looked_up()).await;
            set = pools.set(self, worker);
            now = worker.clock.now();
        }
        pools.keep_swept();
        let delivery = Delivery::new(self, worker, &set, &*set, how, &request, now);
        let mut result = delivery.run(request).await;
        pools.keep_swept();
        call.attempts = delivery.sends();
        call.endpoint = delivery.endpoint();
        call.duration = delivery.now().saturating_duration_since(started);
        if call.attempts > 0 {
            self.metrics.duration.observe(call.duration);
        }
        match &mut result {
            Ok(response) => call.status = response.status().as_u16(),
            Err(failure) => {
                call.code = Some(failure.problem.code().name);
                if let Some(unsent) = &mut failure.unsent {
                    unsent.how.spent += call.duration;
                }
            }
        }
        result
    }

    pub(crate) fn nowhere(&self) -> Problem {
        let names: Vec<&str> = self.unresolved().collect();
        Problem::new(&UNRESOLVED, "no address of the service is known")
            .private(format!("no address is known for {}", names.join(", ")))
            .retry_after(RETRY)
            .from_upstream()
    }
}

/// What is not in the request itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) keeps_host: bool,
    pub(crate) affinity: Option<u64>,
    pub(crate) retry_non_idempotent: bool,
    /// What another upstream had of the client's time.
    pub(crate) spent: Duration,
}

/// A request of which no byte was sent.
pub struct Unsent {
    pub(crate) request: Ready,
    pub(crate) how: How,
}
