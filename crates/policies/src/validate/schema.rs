//! JSON Schemas, compiled: 2020-12 and draft-07, with a linear regex engine, and nothing that reaches
//! beyond the document.

use jsonschema::{PatternOptions, Validator};
use portcullis_core::FieldError;
use serde_json::Value;

/// Errors that one answer lists, and the length of each, in characters.
pub(super) const MOST_ERRORS: usize = 32;
const LONGEST: usize = 200;

/// A validator, or why the schema cannot be used.
pub(super) fn compile(schema: &Value) -> Result<Validator, String> {
    let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
    options.build(schema).map_err(|error| error.to_string())
}

/// What is wrong with a value; `at` goes before each place in it.
pub(super) fn errors(validator: &Validator, value: &Value, at: &str) -> Vec<FieldError> {
    let field = |error: jsonschema::ValidationError<'_>| FieldError {
        pointer: format!("{at}{}", error.instance_path()),
        keyword: error.kind().keyword().to_owned(),
        message: error.to_string().chars().take(LONGEST).collect(),
    };
    validator.iter_errors(value).take(MOST_ERRORS).map(field).collect()
}
