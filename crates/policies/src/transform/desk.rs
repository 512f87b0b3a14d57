//! Tests that stand beside a mapping: run by `portcullis check --test`, never by requests.

use portcullis_config::{Diagnostics, Spanned};
use portcullis_core::mapping::{Program, Scope, Value};

use super::settings::TestSettings;

/// What a test gives a mapping beside its input.
struct Given<'t>(&'t TestSettings);

impl Scope for Given<'_> {
    fn variable(&self, name: &str) -> Value {
        let node = match name {
            "jwt" => &self.0.jwt,
            "headers" => &self.0.headers,
            "query" => &self.0.query,
            "path" => &self.0.path,
            "status" => return Value::integer(self.0.status.into()),
            "request" | "response" => return Value::object::<String>([]),
            _ => return Value::NULL,
        };
        Value::json(&node.to_json())
    }
}

/// Runs the tests of one mapping; what fails is said where the test stands. How many ran?
pub(super) fn run(
    program: &Program,
    tests: &[Spanned<TestSettings>],
    out: &mut Diagnostics,
) -> usize {
    for test in tests {
        let (input, wanted) = (Value::json(&test.input.to_json()), test.output.to_json());
        match program.run_one(input, &Given(test)) {
            Err(error) => {
                out.error(test.span, format!("the mapping fails: {error}"));
            }
            // As values: the order of members and the spelling of numbers do not matter here.
            Ok(output) => match serde_json::from_str::<serde_json::Value>(&output.to_string()) {
                Ok(found) if found == wanted => {}
                _ => {
                    let message = format!("the mapping gives {output}");
                    out.error(test.span, message).hint(format!("wanted: {wanted}"));
                }
            },
        }
    }
    tests.len()
}
