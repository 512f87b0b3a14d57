//! Bodies, as two readers take them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    portcullis_core::fuzzing::json(data);
    portcullis_policies::fuzzing::agree(data);
});
