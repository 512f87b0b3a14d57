//! Certificates, keys and lists.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| portcullis_tls::fuzzing::certificate(data));
