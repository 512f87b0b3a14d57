//! Where a frame of the gateway's own can stand in a WebSocket, however its bytes are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| portcullis_engine::fuzzing::gaps(data));
