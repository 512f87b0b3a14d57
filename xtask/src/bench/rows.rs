//! The table of what is measured. A row is a folder below bench/ with one configuration per peer;
//! adding a row is adding its folder and a line here.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{needs, run};

/// Connections that the load keeps open.
pub(crate) const CONNECTIONS: u32 = 64;
/// Where the measured process runs, alone.
pub(crate) const PEER_CORE: usize = 0;
/// Where load and upstream run.
pub(crate) const OTHER_CORE: usize = 1;

/// What every request of a row is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    Get,
    /// With a body of so many bytes.
    Post(usize),
    /// A POST of the JSON in this file of the row's folder.
    Json(&'static str),
    /// A GET, over HTTP/2 with prior knowledge.
    Http2,
    /// A GET, through TLS.
    Tls,
    /// A GET on each of so many connections, which then rest.
    Rest(u32),
}

/// One line of the bench's table.
pub(crate) struct Row {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// Where its configurations are, below bench/.
    pub(crate) folder: &'static str,
    pub(crate) what: &'static str,
    pub(crate) job: Job,
    /// Path and query of every request.
    pub(crate) path: &'static str,
    /// What stands in every answer; empty: it is the upstream's own, as it came.
    pub(crate) answer: &'static str,
    /// So many different tokens, one a request, in turn; 0: none.
    pub(crate) tokens: usize,
    /// The gateway first: ratios are its values over each other peer's.
    pub(crate) peers: &'static [&'static Peer],
}

/// What 100 KiB are made of.
pub(crate) const LARGE: &str = "one of 6400 rows";

/// In the outer shape: a subtotal, and nothing internal.
const ORDER: &str = r#""subtotal":"6.93""#;

pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "proxy",
        folder: "proxy",
        what: "plain proxy, GET of 255 bytes",
        job: Job::Get,
        path: "/",
        answer: "",
        tokens: 0,
        peers: &[&GATEWAY, &NGINX, &HAPROXY],
    },
    Row {
        name: "post",
        folder: "proxy",
        what: "plain proxy, POST of 2 KiB",
        job: Job::Post(2048),
        path: "/",
        answer: "",
        tokens: 0,
        peers: &[&GATEWAY, &NGINX, &HAPROXY],
    },
    Row {
        name: "large",
        folder: "proxy",
        what: "plain proxy, GET of 100 KiB",
        job: Job::Get,
        path: "/large.txt",
        answer: LARGE,
        tokens: 0,
        peers: &[&GATEWAY, &NGINX, &HAPROXY],
    },
    Row {
        name: "rest",
        folder: "proxy",
        what: "plain proxy, 10,000 connections at rest",
        job: Job::Rest(10_000),
        path: "/",
        answer: "",
        tokens: 0,
        peers: &[&GATEWAY, &NGINX],
    },
    Row {
        name: "http2",
        folder: "http2",
        what: "plain proxy, clients of HTTP/2: 16 connections with 4 streams each",
        job: Job::Http2,
        path: "/",
        answer: "",
        tokens: 0,
        peers: &[&GATEWAY, &NGINX, &HAPROXY],
    },
    Row {
        name: "tls",
        folder: "tls",
        what: "plain proxy, GET of 255 bytes through TLS 1.3 on connections that are kept",
        job: Job::Tls,
        path: "/",
        answer: "",
        tokens: 0,
        peers: &[&GATEWAY, &NGINX, &HAPROXY],
    },
    Row {
        name: "open",
        folder: "open",
        what: "an open breaker's answers, beside proxied ones",
        job: Job::Get,
        path: "/",
        answer: "",
        tokens: 0,
        peers: &[&OPEN, &PROXIED],
    },
    Row {
        name: "neighbour",
        folder: "open",
        what: "plain proxy while another upstream is dead, beside itself alone",
        job: Job::Get,
        path: "/",
        answer: "",
        tokens: 0,
        peers: &[&NEIGHBOUR, &PROXIED],
    },
    Row {
        name: "routes",
        folder: "routes",
        what: "plain proxy with 10,000 routes, beside itself with one",
        job: Job::Get,
        path: "/r5000/a",
        answer: "",
        tokens: 0,
        peers: &[&GATEWAY, &ONE_ROUTE],
    },
    Row {
        name: "secured",
        folder: "secured",
        what: "64 returning RS256 tokens, a limit for each subject",
        job: Job::Get,
        path: "/",
        answer: "",
        tokens: 64,
        peers: &[&GATEWAY, &HAPROXY, &ENVOY],
    },
    Row {
        name: "order",
        folder: "order",
        what: "the shop's order: 64 returning tokens, a limit for each subject, both bodies mapped",
        job: Job::Json("order.json"),
        path: "/api/v1/orders",
        answer: ORDER,
        tokens: 64,
        peers: &[&GATEWAY, &ENVOY, &NODE],
    },
    Row {
        name: "validated",
        folder: "order",
        what: "the shop's order: 64 returning tokens, a limit for each subject, both bodies mapped, and checked by this gateway only",
        job: Job::Json("order.json"),
        path: "/api/v1/orders",
        answer: ORDER,
        tokens: 64,
        peers: &[&VALIDATED, &ENVOY, &NODE],
    },
    Row {
        name: "dashboard",
        folder: "dashboard",
        what: "a dashboard of three services' answers: 64 returning tokens, a limit for each subject",
        job: Job::Get,
        path: "/api/v1/users/u-1/dashboard",
        answer: r#""totalSpent":250"#,
        tokens: 64,
        peers: &[&GATEWAY, &NODE],
    },
    Row {
        name: "composed",
        folder: "dashboard",
        what: "the same dashboard beside one of its three calls alone, with the same token and limit",
        job: Job::Get,
        path: "/api/v1/users/u-1/dashboard",
        answer: r#""o-10""#,
        tokens: 64,
        peers: &[&GATEWAY, &ONE_CALL],
    },
    Row {
        name: "limited",
        folder: "limited",
        what: "a limit for each client address",
        job: Job::Get,
        path: "/",
        answer: "",
        tokens: 0,
        peers: &[&GATEWAY, &HAPROXY, &ENVOY, &NGINX],
    },
    Row {
        name: "fresh",
        folder: "secured",
        what: "12,000 different RS256 tokens, a limit for each subject",
        job: Job::Get,
        path: "/",
        answer: "",
        tokens: 12_000,
        peers: &[&GATEWAY, &HAPROXY, &ENVOY],
    },
];

/// What `${ROUTES}` in a configuration stands for: so many routes that differ in their path.
pub(crate) fn routes() -> String {
    let route = |number: u32| {
        format!(
            "  - {{ name: r{number}, match: {{ path: /r{number}/* }}, forward: {{ to: up }} }}\n"
        )
    };
    (0..10_000).map(route).collect()
}

/// A program that can do a row's job.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// Its configuration's name in the row's folder.
    pub(crate) file: &'static str,
    /// How it is started with this configuration, in the foreground.
    pub(crate) command: fn(&Path) -> Result<Command>,
    pub(crate) version: fn() -> String,
    /// It keeps its limits in a Redis server.
    pub(crate) has_store: bool,
    /// Its answers are 503: its breaker is open after the first request.
    pub(crate) refuses: bool,
    /// Meanwhile somebody keeps asking for [`DEAD`], whose upstream is dead.
    pub(crate) has_dead_neighbour: bool,
}

/// Where a dead upstream is asked for, in configurations that have one.
pub(crate) const DEAD: &str = "/dead";

pub(crate) const GATEWAY: Peer = Peer {
    name: "portcullis",
    file: "portcullis.yaml",
    command: |file| {
        let mut command = Command::new(super::gateway()?);
        command.arg("run").arg(file);
        Ok(command)
    },
    version: || super::gateway().map_or_else(|_| String::new(), |it| run::version(&it, "version")),
    has_store: false,
    refuses: false,
    has_dead_neighbour: false,
};

/// This gateway before a service that nobody can reach.
pub(crate) const OPEN: Peer = Peer { name: "open", file: "open.yaml", refuses: true, ..GATEWAY };

/// The same, with a second service that is dead and asked for all the time.
pub(crate) const NEIGHBOUR: Peer =
    Peer { name: "dead neighbour", file: "neighbour.yaml", has_dead_neighbour: true, ..GATEWAY };

/// The same before a service that answers.
pub(crate) const PROXIED: Peer = Peer { name: "proxied", file: "proxied.yaml", ..GATEWAY };

/// This gateway again, with nothing to look up.
pub(crate) const ONE_ROUTE: Peer = Peer { name: "one-route", file: "one-route.yaml", ..GATEWAY };

pub(crate) const NGINX: Peer = Peer {
    name: "nginx",
    file: "nginx.conf",
    command: nginx,
    version: || run::version(needs::find("nginx").unwrap_or_default(), "-v"),
    has_store: false,
    refuses: false,
    has_dead_neighbour: false,
};

pub(crate) const HAPROXY: Peer = Peer {
    name: "haproxy",
    file: "haproxy.cfg",
    // It logs to its standard output.
    command: |file| {
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" -db -f \"$1\" > \"$2\""]);
        command.arg(needs::find("haproxy").unwrap_or_default()).arg(file);
        command.arg(file.with_file_name("access.log"));
        Ok(command)
    },
    version: || run::version(needs::find("haproxy").unwrap_or_default(), "-v"),
    has_store: false,
    refuses: false,
    has_dead_neighbour: false,
};

pub(crate) const ENVOY: Peer = Peer {
    name: "envoy",
    file: "envoy.yaml",
    command: |file| {
        let mut command = Command::new(needs::envoy()?);
        command.args(["--concurrency", "1", "--log-level", "warn", "--config-path"]).arg(file);
        Ok(command)
    },
    version: || needs::envoy().map_or_else(|_| String::new(), |it| run::version(it, "--version")),
    has_store: false,
    refuses: false,
    has_dead_neighbour: false,
};

/// This gateway, forwarding one of a composition's calls.
pub(crate) const ONE_CALL: Peer = Peer { name: "one-call", file: "one-call.yaml", ..GATEWAY };

/// This gateway, with bodies checked against a schema as well.
pub(crate) const VALIDATED: Peer = Peer { name: "validated", file: "validated.yaml", ..GATEWAY };

/// The source document's own design: Express, axios, jsonwebtoken, jwks-rsa and ioredis.
pub(crate) const NODE: Peer = Peer {
    name: "node",
    file: "node.js",
    command: |file| {
        let mut path = needs::node_modules()?.into_os_string();
        path.push(":");
        path.push(run::root().join("bench/node"));
        let mut assigned = OsString::from("NODE_PATH=");
        assigned.push(path);
        let mut command = Command::new("env");
        command.arg(assigned).args(["NODE_ENV=production", "node"]).arg(file);
        Ok(command)
    },
    version: || run::version("node", "--version"),
    has_store: true,
    refuses: false,
    has_dead_neighbour: false,
};

/// nginx in the foreground, keeping everything that it writes in its configuration's folder.
pub(crate) fn nginx(file: &Path) -> Result<Command> {
    let folder = file.parent().unwrap_or(file);
    let mut command = Command::new(needs::find("nginx").unwrap_or_default());
    command.arg("-e").arg(folder.join("start.log")).arg("-p").arg(folder).arg("-c").arg(file);
    // Otherwise its workers become another user, who may not write into our folder.
    if needs::is_root() {
        command.args(["-g", "user root;"]);
    }
    Ok(command)
}
