//! The text that bodies of gRPC-Web may be, however it is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| portcullis_policies::fuzzing::grpc_web(data));
