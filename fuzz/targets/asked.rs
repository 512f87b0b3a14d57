//! What a client takes and where its script comes from: `Accept-Encoding` and `Origin`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_policies::fuzzing::asked;

fuzz_target!(|data: &[u8]| asked(data));
