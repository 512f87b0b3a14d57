//! Which of the headers that the door asks for a request has at all. Most have few of them: one look at
//! each name that is there costs less than a look-up for each that could be.

use http::HeaderMap;

/// True for what may be there; what is false is not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Present {
    pub content_length: bool,
    pub content_type: bool,
    pub correlation_id: bool,
    pub request_id: bool,
    pub te: bool,
    pub traceparent: bool,
    pub trailer: bool,
    pub upgrade: bool,
    pub user_agent: bool,
}

impl Present {
    pub fn of(headers: &HeaderMap) -> Self {
        let mut present = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "content-length" => present.content_length = true,
                "content-type" => present.content_type = true,
                "te" => present.te = true,
                "traceparent" => present.traceparent = true,
                "trailer" => present.trailer = true,
                "upgrade" => present.upgrade = true,
                "user-agent" => present.user_agent = true,
                "x-correlation-id" => present.correlation_id = true,
                "x-request-id" => present.request_id = true,
                _ => {}
            }
        }
        present
    }
}
