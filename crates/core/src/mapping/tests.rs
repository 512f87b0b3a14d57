//! Programs end to end: the shop's mappings, what is refused, what a hostile body can do.

use super::{CompileError, Program, RunError, Scope, Value};

mod hostile;
mod language;
mod manual;
mod places;
mod plan;
mod properties;
mod reads;

const VARIABLES: [&str; 3] = ["jwt", "headers", "path"];

struct Claims;

impl Scope for Claims {
    fn variable(&self, name: &str) -> Value {
        match name {
            "jwt" => Value::json(&serde_json::json!({
                "sub": "u-1", "permissions": ["orders:read", "orders:write"], "level": 3,
            })),
            "headers" => Value::object([("x-client-id", Value::text("web"))]),
            _ => Value::NULL,
        }
    }
}

fn compile(program: &str) -> Result<Program, Vec<CompileError>> {
    Program::compile(program, &VARIABLES)
}

fn run(program: &str, input: &str) -> Result<String, RunError> {
    let program = compile(program).unwrap();
    program.run_one(Value::parse(input.as_bytes()).unwrap(), &Claims).map(|out| out.to_string())
}

fn fails(program: &str, input: &str) -> String {
    run(program, input).unwrap_err().to_string()
}

fn refused(program: &str) -> CompileError {
    compile(program).err().unwrap().remove(0)
}
