//! The Authorization header: whatever it says, it is no token of an issuer whose keys are not known.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_policies::fuzzing::token;

fuzz_target!(|data: &[u8]| token(data));
