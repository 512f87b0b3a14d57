//! JSON Schemas, compiled: 2020-12 and draft-07, with a linear regex engine, and nothing that reaches
//! beyond the document.

use std::collections::HashMap;
use std::sync::Arc;

use jsonschema::{PatternOptions, Registry, ValidationOptions, Validator};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis_core::FieldError;
use serde_json::{Value, json};

/// Errors that one answer lists, and the length of each, in characters.
pub(super) const MOST_ERRORS: usize = 32;
const LONGEST: usize = 200;

/// What a document is called among schemas that refer to it.
const DOCUMENT: &str = "openapi:/document";

/// What stands encoded in the fragment of a reference.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/');

fn options<'r>() -> ValidationOptions<'r> {
    let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
    // 2020-12 has formats say nothing; whoever writes one in front of a service means it.
    options.should_validate_formats(true).offline()
}

/// Why a schema cannot be used, and where in it.
fn unusable(error: &jsonschema::ValidationError<'_>) -> String {
    match error.instance_path().as_str() {
        "" => error.to_string(),
        place => format!("at {place}: {error}"),
    }
}

/// A validator, or why the schema cannot be used.
pub(super) fn compile(schema: &Value) -> Result<Validator, String> {
    options().build(schema).map_err(|error| unusable(&error))
}

/// The schemas of a document, which refer to each other. Each is compiled once.
pub(super) struct Schemas {
    root: Arc<Value>,
    registry: Registry<'static>,
    compiled: HashMap<String, Arc<Validator>>,
}

impl Schemas {
    pub(super) fn new(root: Value) -> Result<Self, String> {
        let root = Arc::new(root);
        let registry = Registry::new().add(DOCUMENT, Arc::clone(&root));
        let registry = registry.and_then(|registry| registry.prepare());
        let registry = registry.map_err(|error| error.to_string())?;
        Ok(Self { root, registry, compiled: HashMap::new() })
    }

    /// Where references begin.
    pub(super) fn root(&self) -> &Value {
        &self.root
    }

    /// The schema that stands at a JSON Pointer; where none stands, anything is good.
    pub(super) fn at(&mut self, pointer: &str) -> Result<Arc<Validator>, String> {
        if let Some(known) = self.compiled.get(pointer) {
            return Ok(Arc::clone(known));
        }
        let validator = match self.root.pointer(pointer) {
            Some(schema) => {
                jsonschema::draft202012::meta::validate(schema).map_err(|it| unusable(&it))?;
                let fragment = utf8_percent_encode(pointer, ENCODED);
                let reference = json!({ "$ref": format!("{DOCUMENT}#{fragment}") });
                options().with_registry(&self.registry).build(&reference)
            }
            None => options().build(&Value::Bool(true)),
        };
        let validator = Arc::new(validator.map_err(|error| error.to_string())?);
        self.compiled.insert(pointer.to_owned(), Arc::clone(&validator));
        Ok(validator)
    }
}

/// What is wrong with a value; `at` goes before each place in it.
pub(super) fn errors(validator: &Validator, value: &Value, at: &str) -> Vec<FieldError> {
    if validator.is_valid(value) {
        return Vec::new();
    }
    let field = |error: jsonschema::ValidationError<'_>| FieldError {
        pointer: format!("{at}{}", error.instance_path()),
        keyword: error.kind().keyword().to_owned(),
        message: error.to_string().chars().take(LONGEST).collect(),
    };
    validator.iter_errors(value).take(MOST_ERRORS).map(field).collect()
}
