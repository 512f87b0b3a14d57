//! What a file means: names resolved, patterns compiled, policies merged and understood. No socket,
//! no task, no clock.

mod acme;
mod bounds;
mod certificates;
mod compose;
mod drift;
mod listeners;
pub mod policies;
mod routes;
mod targets;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use portcullis_config::{Decode, Diagnostics, Node, Reader, Sources, Span, Spanned};
use portcullis_core::PathRules;
use portcullis_policies::{Kind, Planned, Shared};
use portcullis_upstream::{NameServers, UpstreamPlan};

use crate::open::forwarded::Trusted;
use crate::records::Format;
use crate::router::Match;
use crate::settings::{
    DrainSettings, FileSettings, LogFormat, LogSettings, MethodOverride, OddHeaderNames,
};
pub use bounds::BoundsPlan;
pub use certificates::judge;
pub use compose::{CallPlan, ComposePlan, EachPlan};
pub use listeners::{ClientsPlan, ListenerPlan, Shown, TlsPlan};
pub use targets::{FallbackPlan, ForwardPlan, HostPlan, PathPlan, TargetPlan};

/// A policy of a route, understood.
pub struct AppliedPlan {
    pub kind: &'static Kind,
    pub plan: Box<dyn Planned>,
    /// The merged block, for `explain`.
    pub block: Node,
}

/// A route, understood.
pub struct RoutePlan {
    pub name: Arc<str>,
    pub span: Span,
    pub matches: Vec<Match>,
    pub policies: Vec<AppliedPlan>,
    pub target: TargetPlan,
}

impl RoutePlan {
    /// True when one of its policies answers preflights.
    pub fn answers_preflights(&self) -> bool {
        self.policies.iter().any(|applied| applied.plan.answers_preflights())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPlan {
    pub file: Option<PathBuf>,
    /// `None`: text on a terminal, JSON elsewhere.
    pub format: Option<Format>,
}

#[derive(Clone, Copy, Debug)]
pub struct DrainPlan {
    pub delay: Duration,
    pub grace: Duration,
    pub deadline: Duration,
}

#[derive(Clone, Debug)]
pub struct AdminPlan {
    pub address: SocketAddr,
    pub token: Option<String>,
}

/// A configuration, understood.
pub struct Plan {
    pub listeners: Vec<ListenerPlan>,
    pub admin: Option<AdminPlan>,
    pub workers: Option<usize>,
    pub trusted: Trusted,
    pub odd_header_names: OddHeaderNames,
    pub method_override: MethodOverride,
    pub path_rules: PathRules,
    pub bounds: BoundsPlan,
    pub log: LogPlan,
    pub drain: DrainPlan,
    pub shared: Shared,
    pub upstreams: BTreeMap<String, UpstreamPlan>,
    pub name_servers: NameServers,
    pub routes: Vec<RoutePlan>,
    pub identity_headers: Vec<HeaderName>,
    /// Of everything the configuration says, files that it names included.
    pub hash: u64,
    /// Files that the configuration names, beside itself.
    pub files: Vec<PathBuf>,
}

/// Makes a plan of a file's nodes. Says everything that is wrong in `out`; `None` after an error.
pub fn plan(root: &Node, sources: &Sources, out: &mut Diagnostics) -> Option<Plan> {
    let file = FileSettings::decode(root, out)?;
    let mut files = Vec::new();
    let env = Arc::new(portcullis_policies::planner::plan_env(&file.env));
    let shared = Shared {
        issuers: portcullis_policies::issuers::plan_issuers(
            &file.issuers,
            &mut Reader { out, sources, files: &mut files },
        ),
        tiers: portcullis_policies::rate_limit::plan_tiers(&file.tiers, out),
        stores: portcullis_policies::stores::plan_stores(
            &file.stores,
            &mut Reader { out, sources, files: &mut files },
        ),
        consumers: Arc::default(),
        mappings: portcullis_policies::transform::plan_mappings(&file.mappings, &env, sources, out),
        env,
    };
    let consumers = portcullis_policies::consumers::plan_consumers(
        &file.consumers,
        |tier| shared.tiers.contains_key(tier),
        out,
    );
    let shared = Shared { consumers: Arc::new(consumers), ..shared };
    let upstreams = upstreams(&file, &mut Reader { out, sources, files: &mut files });
    let inherited = file.policies.0.clone();
    let mut desk = routes::Desk { sources, shared: &shared, inherited, files: &mut files, out };
    let routes = desk.plan(&file);
    let listeners =
        listeners::plan(&file.listeners, &mut Reader { out, sources, files: &mut files });
    let admin = file.admin.on().map(|admin| AdminPlan {
        address: *admin.address,
        token: admin.token.as_ref().map(|token| token.expose().to_owned()),
    });
    if let Some(admin) = file.admin.on() {
        keep_admin_apart(&admin.address, &file, &listeners, out);
    }
    unused_upstreams(&file, &routes, out);
    one_limit_a_name(&routes, out);
    drift::warn_of_unserved(&routes, out);
    if out.has_errors() {
        return None;
    }
    let policies = routes.iter().flat_map(|route| &route.policies);
    let identity_headers = policies.flat_map(|applied| applied.plan.identity_headers());
    let clients = listeners.iter().filter_map(|listener| listener.tls.as_ref()?.clients.as_ref());
    let certificates = clients.flat_map(|clients| clients.headers.iter().map(|it| it.0.clone()));
    let identity_headers = identity_headers.chain(certificates).collect();
    Some(Plan {
        listeners,
        admin,
        workers: file.workers.map(|count| count.as_usize()),
        trusted: Trusted(file.trusted_proxies.iter().copied().collect()),
        odd_header_names: file.odd_header_names,
        method_override: file.method_override,
        path_rules: file.path_rules(),
        bounds: BoundsPlan::of(&file.bounds),
        log: log(&file.log),
        drain: drain(&file.drain),
        shared,
        upstreams,
        name_servers: NameServers(file.resolver.nameservers.clone()),
        routes,
        identity_headers,
        hash: root.fingerprint(),
        files,
    })
}

fn upstreams(file: &FileSettings, reader: &mut Reader<'_>) -> BTreeMap<String, UpstreamPlan> {
    let plans = file.upstreams.iter().filter_map(|entry| {
        let plan = UpstreamPlan::plan(&entry.name, &entry.value, entry.span, reader)?;
        Some((entry.name.clone(), plan))
    });
    plans.collect()
}

/// The admin address is its own: no listener has it, and no route leads there.
fn keep_admin_apart(
    admin: &Spanned<SocketAddr>,
    file: &FileSettings,
    listeners: &[ListenerPlan],
    out: &mut Diagnostics,
) {
    if admin.port() == 0 {
        return;
    }
    if listeners.iter().any(|listener| listener.address == **admin) {
        out.error(admin.span, "the admin address is also a listener's")
            .hint("give `admin.address` a port of its own");
    }
    for entry in file.upstreams.iter() {
        for endpoint in entry.value.endpoints.iter() {
            if leads_to(&endpoint.url, **admin) {
                out.error(
                    entry.span,
                    format!("upstream `{}` leads to the admin address", entry.name),
                )
                .hint("what changes the gateway must not be reachable through a route");
            }
        }
    }
}

fn unused_upstreams(file: &FileSettings, routes: &[RoutePlan], out: &mut Diagnostics) {
    for entry in file.upstreams.iter() {
        let used =
            routes.iter().any(|route| route.target.upstreams().contains(&entry.name.as_str()));
        if !used && !out.has_errors() {
            out.warning(entry.span, format!("no route uses the upstream `{}`", entry.name));
        }
    }
}

/// A limit's name is that of its counter: two that differ would count into each other.
fn one_limit_a_name(routes: &[RoutePlan], out: &mut Diagnostics) {
    let mut known: BTreeMap<Arc<str>, (u64, &str)> = BTreeMap::new();
    for route in routes {
        for (name, mark) in route.policies.iter().flat_map(|applied| applied.plan.counters()) {
            let (first, at) = *known.entry(Arc::clone(&name)).or_insert((mark, &route.name));
            if first != mark {
                let message = format!("the limit `{name}` is another one on the route `{at}`");
                out.error(route.span, message).hint("give one of the two another `name`");
            }
        }
    }
}

fn log(settings: &LogSettings) -> LogPlan {
    let format = match settings.format {
        LogFormat::Auto => None,
        LogFormat::Json => Some(Format::Json),
        LogFormat::Text => Some(Format::Text),
    };
    LogPlan { file: settings.file.clone(), format }
}

fn drain(settings: &DrainSettings) -> DrainPlan {
    DrainPlan { delay: settings.delay, grace: settings.grace, deadline: settings.deadline }
}

/// True for a URL that names this address, also by the machine's own name.
fn leads_to(url: &str, address: SocketAddr) -> bool {
    let authority =
        url.trim_end_matches('/').trim_start_matches("http://").trim_start_matches("https://");
    let own_name = format!("localhost:{}", address.port());
    authority == address.to_string() || address.ip().is_loopback() && authority == own_name
}
