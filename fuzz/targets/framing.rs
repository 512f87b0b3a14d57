//! Requests on a connection: however the bytes are cut, the same is refused, and what is let
//! through before a refusal is what was let through in one piece.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_engine::fuzzing::{Framing, Limits};

const LIMITS: Limits = Limits { bytes: 4096, fields: 20 };

fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first() else { return };
    let mut whole = Framing::new(LIMITS);
    let good = whole.feed(bytes);
    assert!(good <= bytes.len());
    let mut pieces = Framing::new(LIMITS);
    for piece in bytes.chunks(usize::from(*cut).max(1)) {
        assert!(pieces.feed(piece) <= piece.len());
    }
    assert_eq!(whole.refused(), pieces.refused());
    assert!(whole.refused().is_some() || whole.owes_body() == pieces.owes_body());
});
