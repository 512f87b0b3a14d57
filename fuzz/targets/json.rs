//! Bodies: what is parsed can be written, and reads as the same again; and whoever reads for schemas
//! takes and refuses the same texts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::mapping::Value;

fuzz_target!(|data: &[u8]| {
    portcullis_policies::fuzzing::agree(data);
    let Ok(value) = Value::parse(data) else { return };
    let written = value.to_string();
    let again = Value::parse(written.as_bytes()).expect("what was written can be read");
    assert_eq!(again.to_string(), written);
});
