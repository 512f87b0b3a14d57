//! Preflights: a browser asks by OPTIONS whether a script of another origin may send the request that it
//! announces (Fetch, section 3.2.2). Routing and `cors` have to mean the same by it.

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::{HeaderMap, Method};

/// The method of the request that a preflight announces; `None` for what is no preflight.
pub fn announced(method: &Method, headers: &HeaderMap) -> Option<Method> {
    if *method != Method::OPTIONS || !headers.contains_key(ORIGIN) {
        return None;
    }
    let announced = headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(announced.as_bytes()).ok()
}
