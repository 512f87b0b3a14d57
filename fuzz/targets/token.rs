//! The Authorization header, and key sets.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| portcullis_policies::fuzzing::token(data));
