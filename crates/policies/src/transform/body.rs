//! What headers say of a body that was made anew.

use http::HeaderMap;
use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
};

/// What the headers say of a body is said of the new one, which may have the old one's coding.
pub(super) fn describe(headers: &mut HeaderMap, is_encoded: bool) {
    if !is_encoded {
        headers.remove(CONTENT_ENCODING);
    }
    let stale = [
        CONTENT_LENGTH,
        ETAG,
        ACCEPT_RANGES,
        HeaderName::from_static("digest"),
        HeaderName::from_static("content-digest"),
        HeaderName::from_static("repr-digest"),
        HeaderName::from_static("content-md5"),
    ];
    for name in stale {
        headers.remove(name);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
}
