//! A program and its input, a line each: whatever compiles ends, within its budget.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::mapping::{Program, Scope, Value};

struct Nothing;

impl Scope for Nothing {
    fn variable(&self, _: &str) -> Value {
        Value::NULL
    }
}

fuzz_target!(|data: &str| {
    let Some((program, input)) = data.split_once('\n') else { return };
    let Ok(program) = Program::compile(program, &["jwt"]) else { return };
    let Ok(input) = Value::parse(input.as_bytes()) else { return };
    if let Ok(output) = program.run_one(input, &Nothing) {
        let written = output.to_string();
        Value::parse(written.as_bytes()).expect("an output is JSON");
    }
});
