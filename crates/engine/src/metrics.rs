//! The metrics of the request path and of the process. Those of policies and upstreams stand in
//! their own rooms; `portcullis reference` lists them all.

use portcullis_core::metrics::{Kind, Metric};

pub static REQUESTS: Metric = Metric {
    name: "portcullis_requests_total",
    kind: Kind::Counter,
    help: "Requests that have ended, by route and status class; route is empty when none matched.",
    labels: &["route", "status"],
};

pub static DURATION: Metric = Metric {
    name: "portcullis_request_duration_seconds",
    kind: Kind::Histogram,
    help: "From the request's head to the last byte of its answer; WebSockets are not in it.",
    labels: &["route"],
};

pub static ABORTED: Metric = Metric {
    name: "portcullis_requests_aborted_total",
    kind: Kind::Counter,
    help: "Requests whose client went away, or whose answer broke off, before its last byte.",
    labels: &["route"],
};

pub static GRPC: Metric = Metric {
    name: "portcullis_grpc_calls_total",
    kind: Kind::Counter,
    help: "gRPC calls that have ended, by the status that their clients were told; of routes to an upstream of HTTP/2, and of requests without a route.",
    labels: &["route", "grpc_status"],
};

pub static TUNNELS: Metric = Metric {
    name: "portcullis_tunnels",
    kind: Kind::Gauge,
    help: "Open WebSockets.",
    labels: &["route"],
};

pub static CALLS: Metric = Metric {
    name: "portcullis_calls_total",
    kind: Kind::Counter,
    help: "Calls of compositions that have ended, by outcome: answered or failed.",
    labels: &["route", "call", "outcome"],
};

pub static CALL_DURATION: Metric = Metric {
    name: "portcullis_call_duration_seconds",
    kind: Kind::Histogram,
    help: "From a call's begin to the last byte of its answer.",
    labels: &["route", "call"],
};

pub static CONNECTIONS: Metric = Metric {
    name: "portcullis_connections",
    kind: Kind::Gauge,
    help: "Open client connections.",
    labels: &["listener"],
};

pub static RESTING: Metric = Metric {
    name: "portcullis_connections_resting",
    kind: Kind::Gauge,
    help: "Open client connections of HTTP/1.1 that hold no memory but their own, until their next request.",
    labels: &["listener"],
};

pub static MALFORMED: Metric = Metric {
    name: "portcullis_malformed_requests_total",
    kind: Kind::Counter,
    help: "Connections closed because what came was not a request (malformed), was no PROXY header where a balancer has to send one (proxy), came too slowly (too_slow), or was too many frames that carry nothing (flood).",
    labels: &["listener", "reason"],
};

pub static REFUSED: Metric = Metric {
    name: "portcullis_refused_connections_total",
    kind: Kind::Counter,
    help: "Connections closed at once because there were too many: in all (total), or of one client (client).",
    labels: &["listener", "reason"],
};

pub static HANDSHAKES: Metric = Metric {
    name: "portcullis_tls_handshakes_total",
    kind: Kind::Counter,
    help: "TLS handshakes with clients, by outcome: ok, or why there was no connection.",
    labels: &["listener", "outcome"],
};

pub static CERTIFICATE_ENDS: Metric = Metric {
    name: "portcullis_certificate_expiry_timestamp_seconds",
    kind: Kind::Gauge,
    help: "When a listener's certificate ends, in seconds since 1970.",
    labels: &["listener", "certificate"],
};

pub static STAPLE_ENDS: Metric = Metric {
    name: "portcullis_ocsp_expiry_timestamp_seconds",
    kind: Kind::Gauge,
    help: "From when on the OCSP answer of a listener's certificate is too old to be shown, in seconds since 1970.",
    labels: &["listener", "certificate"],
};

pub static ODD_HEADERS: Metric = Metric {
    name: "portcullis_odd_headers_total",
    kind: Kind::Counter,
    help: "Headers of clients whose names have other characters than letters, digits and -, dropped or refused.",
    labels: &[],
};

pub static ACCEPT_ERRORS: Metric = Metric {
    name: "portcullis_accept_errors_total",
    kind: Kind::Counter,
    help: "Failures to accept a connection, such as too many open files.",
    labels: &["listener"],
};

pub static DROPPED_LINES: Metric = Metric {
    name: "portcullis_log_dropped_lines_total",
    kind: Kind::Counter,
    help: "Lines of the access log that were dropped because the writer was behind.",
    labels: &[],
};

pub static CONFIG_INFO: Metric = Metric {
    name: "portcullis_config_info",
    kind: Kind::Gauge,
    help: "1 for the running configuration; its hash is the label.",
    labels: &["hash"],
};

pub static RELOADS: Metric = Metric {
    name: "portcullis_reloads_total",
    kind: Kind::Counter,
    help: "Reloads of the configuration, by outcome: applied, unchanged or refused.",
    labels: &["outcome"],
};

pub const METRICS: &[&Metric] = &[
    &REQUESTS,
    &DURATION,
    &ABORTED,
    &GRPC,
    &TUNNELS,
    &CALLS,
    &CALL_DURATION,
    &CONNECTIONS,
    &RESTING,
    &MALFORMED,
    &HANDSHAKES,
    &CERTIFICATE_ENDS,
    &STAPLE_ENDS,
    &REFUSED,
    &ODD_HEADERS,
    &ACCEPT_ERRORS,
    &DROPPED_LINES,
    &CONFIG_INFO,
    &RELOADS,
];
