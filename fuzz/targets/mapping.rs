//! A program and its input, a line each: whatever compiles ends, within its budget, and what has a plan
//! gives what jaq gives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::mapping::{Program, RunError, Scope, Value};

struct Nothing;

impl Scope for Nothing {
    fn variable(&self, _: &str) -> Value {
        Value::NULL
    }
}

fuzz_target!(|data: &str| {
    let Some((text, input)) = data.split_once('\n') else { return };
    let Ok(program) = Program::compile(text, &["jwt"]) else { return };
    let Ok(input) = Value::parse(input.as_bytes()) else { return };
    let ours = program.run_one(input.clone(), &Nothing);
    if let Ok(output) = &ours {
        Value::parse(output.to_string().as_bytes()).expect("an output is JSON");
    }
    if program.engine() == "jaq" || text.contains("now") {
        return;
    }
    // For a program with a definition there is no plan.
    let Ok(in_jaq) = Program::compile(&format!("def same: .; {text}"), &["jwt"]) else { return };
    let theirs = in_jaq.run_one(input, &Nothing);
    if is_spent(&ours) || is_spent(&theirs) {
        return;
    }
    let written = |output: Result<Value, RunError>| output.ok().map(|value| value.to_string());
    assert_eq!(written(ours), written(theirs), "{text}");
});

/// The two may pay differently for the same, and the budget's end is near for neither otherwise.
fn is_spent(output: &Result<Value, RunError>) -> bool {
    output.as_ref().is_err_and(|error| error.to_string().contains("may cost"))
}
