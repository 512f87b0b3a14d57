//! What runs: an immutable picture of one configuration. A request keeps the snapshot it began
//! with; a reload stores a new one beside it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portcullis_acme::{Answers, Challenge};
use portcullis_core::grpc::{Rpc, Status};
use portcullis_core::metrics::{Counter, Gauge, Histogram, Metrics};
use portcullis_core::{Build, Clock, Inspected, Parts, Policy, Record, Task};
use portcullis_policies::Kind;
use portcullis_upstream::{Upstream, UpstreamPlan};

use crate::listen::Entrance;
use crate::metrics::{ABORTED, DURATION, GRPC, ODD_HEADERS, REQUESTS, TUNNELS};
use crate::open::forwarded::Trusted;
use crate::open::headers::IdentityHeaders;
use crate::plan::{BoundsPlan, Plan, RoutePlan};
use crate::records::AccessLog;
use crate::router::Router;
use crate::targets::Target;

/// A policy on a route.
pub struct Applied {
    pub kind: &'static Kind,
    pub policy: Arc<dyn Policy>,
}

/// A route, ready to serve.
pub struct Route {
    pub name: Arc<str>,
    /// In the order of KINDS.
    pub policies: Vec<Applied>,
    pub target: Target,
    /// A policy or target looks at the request's headers after they were sent on.
    pub reads_request_late: bool,
    /// Services of gRPC may be behind it.
    pub has_grpc: bool,
    /// Preflights of what it takes are looked up as what they announce.
    pub answers_preflights: bool,
}

/// One running configuration.
pub struct Snapshot {
    pub plan: Arc<Plan>,
    pub loaded: SystemTime,
    pub router: Router<Arc<Route>>,
    pub upstreams: BTreeMap<String, Arc<Upstream>>,
    /// By their listeners' real addresses.
    entrances: Vec<(SocketAddr, Arc<Entrance>)>,
    /// Names of listeners that send everything on to https, and to which port.
    redirects: Vec<(Arc<str>, u16)>,
    /// What authorities are told that ask for a path, where any may.
    pub answers: Option<Arc<Answers>>,
    pub identity: IdentityHeaders,
    pub trusted: Trusted,
    pub bounds: BoundsPlan,
    pub log: Arc<AccessLog>,
    pub metrics: RequestMetrics,
    pub parts: Parts,
    /// What can be looked into at the admin address, by name.
    pub limits: BTreeMap<String, Arc<dyn Inspected>>,
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Snapshot>();
};

impl Snapshot {
    /// What happens at the listener with this real address.
    pub fn entrance(&self, address: SocketAddr) -> Option<&Arc<Entrance>> {
        self.entrances.iter().find(|(known, _)| *known == address).map(|(_, entrance)| entrance)
    }

    /// The port of https to which a listener sends everything on. Most snapshots have no such listener:
    /// then nothing is compared.
    pub fn redirect(&self, listener: &str) -> Option<u16> {
        self.redirects.iter().find(|(known, _)| **known == *listener).map(|(_, port)| *port)
    }
}

/// Builds a snapshot from a plan, taking over the live parts of `previous`. Opens no socket and
/// starts no task: the tasks of new parts come back to be started once it is swapped in. `addresses` are
/// the real ones of the plan's listeners.
pub fn build(
    plan: Arc<Plan>,
    addresses: &[SocketAddr],
    clock: &Clock,
    metrics: &Metrics,
    log: Arc<AccessLog>,
    previous: Option<&Snapshot>,
) -> (Snapshot, Vec<Task>) {
    let mut build = Build::new(clock.clone(), metrics, previous.map(|old| &old.parts));
    let mut upstream = |(name, of): (&String, &UpstreamPlan)| {
        (name.clone(), of.build(&plan.name_servers, &mut build))
    };
    let upstreams: BTreeMap<_, _> = plan.upstreams.iter().map(&mut upstream).collect();
    let routes: Vec<_> = plan
        .routes
        .iter()
        .filter_map(|route| build_route(&plan, route, &upstreams, &mut build).map(Arc::new))
        .collect();
    let policies = routes.iter().flat_map(|route| &route.policies);
    let limits = policies.flat_map(|applied| applied.policy.inspected());
    let limits = limits.map(|limit| (limit.name().to_owned(), limit)).collect();
    let listeners = plan.listeners.iter().zip(addresses);
    let entrances: Vec<_> = listeners
        .map(|(plan, address)| (*address, Entrance::build(plan, *address, &mut build)))
        .collect();
    let mut acme = plan.listeners.iter().filter_map(|it| it.tls.as_ref()?.acme.as_ref());
    let by_path = acme.any(|wanted| wanted.challenge == Challenge::Http01);
    let answers = by_path.then(|| Answers::build(&mut build));
    let redirects = entrances.iter().filter_map(|(address, entrance)| {
        Some((Arc::from(address.to_string()), entrance.redirect?))
    });
    let mut router = Router::builder();
    for (plan, route) in plan.routes.iter().zip(&routes) {
        for wanted in &plan.matches {
            router.add(wanted.clone(), Arc::clone(route));
        }
    }
    let snapshot = Snapshot {
        loaded: clock.wall(),
        router: router.build(),
        upstreams,
        redirects: redirects.collect(),
        entrances,
        answers,
        identity: IdentityHeaders::new(plan.identity_headers.iter().cloned()),
        trusted: plan.trusted.clone(),
        bounds: plan.bounds,
        log,
        metrics: RequestMetrics::new(metrics, &plan),
        parts: std::mem::take(&mut build.parts),
        limits,
        plan,
    };
    (snapshot, build.tasks)
}

fn build_route(
    all: &Plan,
    plan: &RoutePlan,
    upstreams: &BTreeMap<String, Arc<Upstream>>,
    build: &mut Build<'_>,
) -> Option<Route> {
    let policies: Vec<_> = plan
        .policies
        .iter()
        .map(|applied| Applied { kind: applied.kind, policy: applied.plan.build(build) })
        .collect();
    let reads_request_late = policies.iter().any(|applied| applied.policy.reads_request_late());
    let target = Target::build(&plan.target, &plan.name, upstreams, build.metrics)?;
    let (name, answers_preflights) = (Arc::clone(&plan.name), plan.answers_preflights());
    let has_grpc = has_grpc(all, plan);
    Some(Route { name, policies, target, reads_request_late, has_grpc, answers_preflights })
}

/// gRPC needs HTTP/2.
fn has_grpc(plan: &Plan, route: &RoutePlan) -> bool {
    let is_h2 = |name: &&str| plan.upstreams.get(*name).is_some_and(UpstreamPlan::is_h2);
    route.target.upstreams().iter().any(is_h2)
}

/// What is counted about every request, by route and status class, resolved at load.
pub struct RequestMetrics {
    routes: BTreeMap<Arc<str>, RouteMetrics>,
    unrouted: RouteMetrics,
    pub odd_headers: Counter,
}

struct RouteMetrics {
    /// 1xx to 5xx.
    classes: [Counter; 5],
    duration: Histogram,
    aborted: Counter,
    /// By status; where there may be gRPC.
    grpc: Option<[Counter; Status::NAMES.len()]>,
    /// Where there may be WebSockets.
    tunnels: Option<Gauge>,
}

impl RequestMetrics {
    fn new(metrics: &Metrics, plan: &Plan) -> Self {
        let grpc = |name: &str| Status::NAMES.map(|status| metrics.counter(&GRPC, &[name, status]));
        let route = |name: &str, has_grpc: bool, has_tunnels: bool| RouteMetrics {
            classes: ["1xx", "2xx", "3xx", "4xx", "5xx"]
                .map(|class| metrics.counter(&REQUESTS, &[name, class])),
            duration: metrics.histogram(&DURATION, &[name]),
            aborted: metrics.counter(&ABORTED, &[name]),
            grpc: has_grpc.then(|| grpc(name)),
            tunnels: has_tunnels.then(|| metrics.gauge(&TUNNELS, &[name])),
        };
        let routes = plan.routes.iter().map(|it| {
            let (has_grpc, has_tunnels) = (has_grpc(plan, it), it.target.has_websockets());
            (Arc::clone(&it.name), route(&it.name, has_grpc, has_tunnels))
        });
        let unrouted = route("", plan.upstreams.values().any(UpstreamPlan::is_h2), false);
        let odd_headers = metrics.counter(&ODD_HEADERS, &[]);
        Self { routes: routes.collect(), unrouted, odd_headers }
    }

    fn of(&self, record: &Record) -> &RouteMetrics {
        let known = record.route.as_ref().and_then(|name| self.routes.get(name));
        known.unwrap_or(&self.unrouted)
    }

    /// Where open tunnels of an exchange's route are counted.
    pub fn tunnels(&self, record: &Record) -> Option<Gauge> {
        self.of(record).tunnels.clone()
    }

    /// Counts an exchange that has ended.
    pub fn observe(&self, record: &Record, duration: Duration, aborted: bool) {
        let route = self.of(record);
        let class = usize::from(record.status / 100).saturating_sub(1).min(4);
        if let Some(counter) = route.classes.get(class) {
            counter.inc();
        }
        if aborted {
            route.aborted.inc();
        }
        if record.ended.is_none() {
            route.duration.observe(duration);
        }
        let status = record.rpc.as_ref().and_then(Rpc::status);
        if let (Some(all), Some(status)) = (&route.grpc, status)
            && let Some(counter) = all.get(usize::from(status.number()))
        {
            counter.inc();
        }
    }
}
