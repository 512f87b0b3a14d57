//! A request's head behind hyper: hosts, forwarding headers, ids, masks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_engine::fuzzing::door;

fuzz_target!(|data: &[u8]| {
    let mut request = http::Request::builder();
    for line in data.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            if let Ok(uri) = http::Uri::try_from(line) {
                request = request.uri(uri);
            }
            continue;
        };
        let (name, value) = line.split_at(colon);
        let (name, value) =
            (http::HeaderName::from_bytes(name), http::HeaderValue::from_bytes(&value[1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            request = request.header(name, value);
        }
    }
    if let Ok(request) = request.body(()) {
        door(request);
    }
});
