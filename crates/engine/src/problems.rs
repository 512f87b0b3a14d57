//! The problems of the request path itself: routing, hygiene and targets.

use http::StatusCode;
use portcullis_core::Code;

pub const BAD_HOST: Code = Code {
    name: "bad_host",
    status: StatusCode::BAD_REQUEST,
    title: "Bad Host",
    cure: "Send exactly one Host header with a host name and, if needed, a port.",
};

pub const BAD_PATH: Code = Code {
    name: "bad_path",
    status: StatusCode::BAD_REQUEST,
    title: "Bad path",
    cure: "Send a path that can be read in one way only: no encoded slashes, no semicolons, no empty segments, no double encoding. The file may keep the first two (encoded_slash, path_parameters).",
};

pub const BAD_REQUEST: Code = Code {
    name: "bad_request",
    status: StatusCode::BAD_REQUEST,
    title: "Bad request",
    cure: "Send a request that keeps RFC 9112; the detail says which rule was broken.",
};

pub const HEAD_TOO_LARGE: Code = Code {
    name: "head_too_large",
    status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    title: "Request head too large",
    cure: "Send fewer or shorter headers, or raise bounds.header_bytes or bounds.header_fields. A target that is too long has status 414.",
};

pub const HEADER_TIMEOUT: Code = Code {
    name: "header_timeout",
    status: StatusCode::REQUEST_TIMEOUT,
    title: "Request head took too long",
    cure: "Send the whole request head within bounds.header_read.",
};

pub const HTTPS_REQUIRED: Code = Code {
    name: "https_required",
    status: StatusCode::BAD_REQUEST,
    title: "This port speaks https",
    cure: "Ask with https:// in place of http://.",
};

pub const MISDIRECTED: Code = Code {
    name: "misdirected_request",
    status: StatusCode::MISDIRECTED_REQUEST,
    title: "Not on this connection",
    cure: "Open a connection for this host: its name in the TLS handshake (SNI) and the request's Host have to agree where certificates of clients are asked for.",
};

pub const FLOOD: Code = Code {
    name: "http2_flood",
    status: StatusCode::BAD_REQUEST,
    title: "Too many frames",
    cure: "Nobody reads this as an answer: it stands in the log, and the client got a GOAWAY with ENHANCE_YOUR_CALM. Send fewer frames that carry nothing, and reset fewer streams, or raise bounds.control_frames or bounds.resets.",
};

pub const ROUTE_NOT_FOUND: Code = Code {
    name: "route_not_found",
    status: StatusCode::NOT_FOUND,
    title: "Not found",
    cure: "Ask for a path of the API; `portcullis explain METHOD URL` says why none of the routes matched.",
};

pub const METHOD_NOT_ALLOWED: Code = Code {
    name: "method_not_allowed",
    status: StatusCode::METHOD_NOT_ALLOWED,
    title: "Method not allowed",
    cure: "Use one of the methods in the Allow header.",
};

pub const NO_WEBSOCKET: Code = Code {
    name: "no_websocket",
    status: StatusCode::NOT_IMPLEMENTED,
    title: "No WebSocket here",
    cure: "Ask a route that forwards with `websocket: on`; the service has to answer with 101.",
};

pub const INTERNAL: Code = Code {
    name: "internal_error",
    status: StatusCode::INTERNAL_SERVER_ERROR,
    title: "Internal server error",
    cure: "Look up the requestId in the access log and report what it says.",
};

pub const CALL_FAILED: Code = Code {
    name: "call_failed",
    status: StatusCode::BAD_GATEWAY,
    title: "A required call failed",
    cure: "The detail names the call; the log says what its upstream answered.",
};

pub const COMPOSITION_TIMEOUT: Code = Code {
    name: "composition_timeout",
    status: StatusCode::GATEWAY_TIMEOUT,
    title: "The composition took too long",
    cure: "Try again; if it lasts, raise compose.timeout or the timeout of the call that the detail names.",
};

pub const COMPOSITION_FAILED: Code = Code {
    name: "composition_failed",
    status: StatusCode::BAD_GATEWAY,
    title: "The composed answer could not be made",
    cure: "The log says where the mapping failed; a service answers in another shape than it expects.",
};

pub const CODES: &[&Code] = &[
    &BAD_HOST,
    &BAD_PATH,
    &BAD_REQUEST,
    &HEAD_TOO_LARGE,
    &HEADER_TIMEOUT,
    &HTTPS_REQUIRED,
    &MISDIRECTED,
    &FLOOD,
    &ROUTE_NOT_FOUND,
    &METHOD_NOT_ALLOWED,
    &NO_WEBSOCKET,
    &INTERNAL,
    &CALL_FAILED,
    &COMPOSITION_TIMEOUT,
    &COMPOSITION_FAILED,
];
