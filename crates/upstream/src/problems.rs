//! The ways in which a delivery fails, as clients and the log see them.

use http::StatusCode;
use portcullis_core::Code;

pub const UNAVAILABLE: Code = Code {
    name: "upstream_unavailable",
    status: StatusCode::SERVICE_UNAVAILABLE,
    title: "Service temporarily unavailable",
    cure: "Try again after the seconds in Retry-After. The service failed several times in a row and is left alone; /status says why.",
};

pub const UNRESOLVED: Code = Code {
    name: "upstream_unresolved",
    status: StatusCode::SERVICE_UNAVAILABLE,
    title: "Service cannot be found",
    cure: "Operators: none of the upstream's host names resolves; check the names and the resolver. It is tried again every few seconds.",
};

pub const CONNECT_FAILED: Code = Code {
    name: "upstream_connect_failed",
    status: StatusCode::BAD_GATEWAY,
    title: "Service cannot be reached",
    cure: "Operators: check that the service runs and listens where the upstream's endpoints say; the log has the address and the reason.",
};

pub const TIMEOUT: Code = Code {
    name: "upstream_timeout",
    status: StatusCode::GATEWAY_TIMEOUT,
    title: "Service took too long",
    cure: "Try again later. Operators: the detail names the timeout; raise it under the upstream's timeouts if the service may take that long.",
};

pub const RESET: Code = Code {
    name: "upstream_reset",
    status: StatusCode::BAD_GATEWAY,
    title: "Service broke off",
    cure: "Check whether the request had an effect before sending it again. Operators: the service closed the connection without an answer; see its own log.",
};

pub const BAD_ANSWER: Code = Code {
    name: "upstream_bad_answer",
    status: StatusCode::BAD_GATEWAY,
    title: "Service gave no valid answer",
    cure: "Operators: what the service sent is not HTTP/1.1 (RFC 9112); the log says which rule it broke.",
};

pub const DEADLINE: Code = Code {
    name: "deadline_exceeded",
    status: StatusCode::GATEWAY_TIMEOUT,
    title: "Deadline exceeded",
    cure: "Allow more time, if you set the deadline yourself (grpc-timeout). Operators: timeouts.deadline of the upstream is for all attempts together.",
};

pub const OVERLOADED: Code = Code {
    name: "overloaded",
    status: StatusCode::SERVICE_UNAVAILABLE,
    title: "Service is overloaded",
    cure: "Try again after Retry-After. Operators: max_in_flight of the upstream were out, and its queue was full or took too long.",
};

pub const CODES: &[&Code] = &[
    &UNAVAILABLE,
    &UNRESOLVED,
    &CONNECT_FAILED,
    &TIMEOUT,
    &RESET,
    &BAD_ANSWER,
    &DEADLINE,
    &OVERLOADED,
];
