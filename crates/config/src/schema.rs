//! The JSON Schema (2020-12) of the language, written by the types that decode it: editors check
//! and complete a file, and the reference is made from it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::decode::Decode;
use crate::defaults::default_node;

/// Under this name stands the schema of a text with `${NAME}`.
const VARIABLE: &str = "FromEnvironment";

/// Schemas of named types, each described once and referred to.
#[derive(Default)]
pub struct Definitions {
    definitions: Map<String, Value>,
    /// Which type of which module has a name.
    owners: BTreeMap<String, String>,
}

impl Definitions {
    pub fn new() -> Self {
        Self::default()
    }

    /// A reference to the schema of a type, which is made when it is first asked for. Two types of
    /// one name are told apart by their modules.
    pub fn define(
        &mut self,
        module: &str,
        name: &str,
        make: impl FnOnce(&mut Self) -> Value,
    ) -> Value {
        let owner = format!("{module}::{name}");
        let room = module.rsplit("::").next().unwrap_or(module);
        let names = [name.to_owned(), format!("{room}.{name}"), owner.replace("::", ".")];
        let free = |name: &&String| self.owners.get(*name).is_none_or(|other| *other == owner);
        let name = names.iter().find(free).unwrap_or(&owner).clone();
        let reference = json!({ "$ref": format!("#/$defs/{name}") });
        if self.owners.insert(name.clone(), owner).is_none() {
            // A type may hold itself: its place is taken before it is described.
            self.definitions.insert(name.clone(), Value::Null);
            let schema = make(self);
            self.definitions.insert(name, schema);
        }
        reference
    }

    /// The schema, or a text with `${NAME}` in place of the value.
    pub fn or_variable(&mut self, schema: Value) -> Value {
        let variable = self.variable();
        json!({ "anyOf": [schema, variable] })
    }

    fn variable(&mut self) -> Value {
        self.define("", VARIABLE, |_| {
            json!({
                "type": "string",
                "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}",
                "description": "Filled in from the environment: ${NAME} or ${NAME:-default}.",
            })
        })
    }

    /// The whole document around the schema of a file.
    pub fn finish(self, title: &str, root: Value) -> Value {
        let mut document = Map::new();
        document.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
        document.insert("title".into(), title.into());
        if let Value::Object(members) = root {
            document.extend(members);
        }
        document.insert("$defs".into(), Value::Object(self.definitions));
        Value::Object(document)
    }
}

/// The JSON Schema of a file that holds a `T`, with descriptions and defaults.
pub fn document<T: Decode>(title: &str) -> Value {
    let mut definitions = Definitions::new();
    let root = T::schema(&mut definitions);
    definitions.finish(title, root)
}

/// The schema of a block with known keys, key by key.
#[derive(Debug)]
pub struct ObjectSchema {
    description: String,
    properties: Map<String, Value>,
    required: Vec<Value>,
}

impl ObjectSchema {
    /// `documentation` as the compiler hands it over, line by line.
    pub fn new(documentation: &str) -> Self {
        Self { description: prose(documentation), properties: Map::new(), required: Vec::new() }
    }

    /// Adds a key. `default` is YAML text.
    #[must_use]
    pub fn key<T: Decode>(
        mut self,
        name: &str,
        documentation: &str,
        default: Option<&str>,
        definitions: &mut Definitions,
    ) -> Self {
        let mut schema = match T::schema(definitions) {
            Value::Object(schema) => schema,
            other => Map::from_iter([("allOf".to_owned(), json!([other]))]),
        };
        let description = prose(documentation);
        if !description.is_empty() {
            schema.insert("description".into(), description.into());
        }
        match default {
            Some(text) => {
                schema.insert("default".into(), default_node(text).to_json());
            }
            None if T::missing().is_none() => self.required.push(name.into()),
            None => {}
        }
        self.properties.insert(name.to_owned(), Value::Object(schema));
        self
    }

    pub fn finish(self) -> Value {
        let mut schema = json!({
            "type": "object",
            "description": self.description,
            "properties": self.properties,
            "required": self.required,
            "additionalProperties": false,
        });
        if let Some(schema) = schema.as_object_mut() {
            schema.retain(|name, value| match name.as_str() {
                "required" => value.as_array().is_some_and(|required| !required.is_empty()),
                "description" => value != "",
                _ => true,
            });
        }
        schema
    }
}

/// The schema of one of several words, each with its documentation.
pub fn choices(
    documentation: &str,
    words: &[(&str, &str)],
    definitions: &mut Definitions,
) -> Value {
    let mut taken = Vec::new();
    for (word, documentation) in words {
        let mut one = Map::from_iter([("const".to_owned(), json!(word))]);
        let text = prose(documentation);
        if !text.is_empty() {
            one.insert("description".into(), text.into());
        }
        taken.push(Value::Object(one));
        // What YAML may make of the word.
        match *word {
            "on" => taken.push(json!({ "const": true })),
            "off" => taken.push(json!({ "const": false })),
            _ => {
                let number = crate::scalar::number(word);
                taken.extend(number.map(|number| json!({ "const": number.to_json() })));
            }
        }
    }
    taken.push(definitions.variable());
    let mut schema = json!({ "description": prose(documentation), "anyOf": taken });
    if let Some(schema) = schema.as_object_mut() {
        schema.retain(|_, value| value != "");
    }
    schema
}

/// Lines of a documentation comment as one text; empty lines part paragraphs.
fn prose(documentation: &str) -> String {
    let mut text = String::new();
    for line in documentation.lines().map(str::trim) {
        if line.is_empty() {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push_str("\n\n");
            }
            continue;
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push(' ');
        }
        text.push_str(line);
    }
    text.trim_end().to_owned()
}
