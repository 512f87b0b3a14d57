//! Answers to the health check of gRPC.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| portcullis_upstream::fuzzing::grpc_health(data));
