//! Answers of an endpoint, however they are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| portcullis_upstream::fuzzing::answers(data));
