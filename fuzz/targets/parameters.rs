//! Parameters of a request in every style: read or refused, never left unread.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_policies::fuzzing::parameters;

fuzz_target!(|data: &[u8]| parameters(data));
