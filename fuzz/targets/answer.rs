//! Answers of an endpoint: however the bytes are cut, they say the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_upstream::fuzzing::answer;

fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first() else { return };
    let whole = answer(bytes, bytes.len());
    let pieces = answer(bytes, usize::from(*cut));
    // A mistake may be seen before or after the head is whole, but never as another body.
    if let (Some((status, Some(body))), Some((other, Some(piecewise)))) = (&whole, &pieces) {
        assert_eq!((status, body), (other, piecewise));
    }
});
