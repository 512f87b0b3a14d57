//! What headers say of a body that was made anew.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue};
use portcullis_core::headers;

/// What the headers say of a body is said of the new one, which may have the old one's coding.
pub(super) fn describe(headers: &mut HeaderMap, is_encoded: bool) {
    if !is_encoded {
        headers.remove(CONTENT_ENCODING);
    }
    headers::forget_bytes(headers);
    headers.remove(ETAG);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
}
