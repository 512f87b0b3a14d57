//! OpenAPI documents (3.0 and 3.1): each operation's parameters and body, compiled.
//!
//! References stay inside the document. Schemas of 3.0 differ from JSON Schema in a few words
//! (`nullable`, exclusive bounds that are booleans): these are rewritten.

use std::sync::Arc;

use http::{HeaderName, Method};
use serde_json::{Map, Value, json};

use super::parameters::{Parameter, Place};
use super::schema;
use crate::bodies::without_parameters;
use jsonschema::Validator;

/// References that follow each other.
const MOST_REFERENCES: usize = 16;

/// A document, compiled.
pub(super) struct Document {
    operations: Vec<Operation>,
    /// Paths of its servers: requests may begin with one.
    bases: Vec<String>,
}

/// One method of one path.
pub(super) struct Operation {
    method: Method,
    segments: Vec<Segment>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<Content>,
}

enum Segment {
    Text(String),
    Name(String),
}

/// What an operation's body may be.
pub(super) struct Content {
    pub(super) required: bool,
    /// Media types, the closest first, each with its schema if that is for JSON.
    pub(super) types: Vec<(String, Option<Arc<Validator>>)>,
}

/// What a request is to a document.
pub(super) enum Found<'d> {
    Operation(&'d Operation, Vec<(&'d str, String)>),
    /// The path is there, with other methods.
    OtherMethods(Vec<&'d Method>),
    Nothing,
}

impl Document {
    /// Compiles a document, or says what is wrong with it.
    pub(super) fn compile(root: &Value) -> Result<Self, String> {
        let version = root.get("openapi").and_then(Value::as_str).unwrap_or_default();
        let is_old = version.starts_with("3.0");
        if !is_old && !version.starts_with("3.1") {
            return Err("it is no OpenAPI document of version 3.0 or 3.1".to_owned());
        }
        let components = root.get("components").cloned().unwrap_or(json!({}));
        let compiler = Compiler { root, components: modern(components, is_old), is_old };
        let mut operations = Vec::new();
        let paths = root.get("paths").and_then(Value::as_object);
        for (path, item) in paths.into_iter().flatten() {
            let item = compiler.resolve(item)?;
            for (word, operation) in item.as_object().into_iter().flatten() {
                let Ok(method) = word.to_ascii_uppercase().parse::<Method>() else { continue };
                if !is_method(word) {
                    continue;
                }
                let compiled = compiler.operation(method, path, item, operation);
                operations.push(compiled.map_err(|why| format!("{word} {path}: {why}"))?);
            }
        }
        if operations.is_empty() {
            return Err("it has no operations".to_owned());
        }
        // Texts before names: /users/me is not /users/{id}.
        operations.sort_by_key(|it| it.segments.iter().filter(|it| it.is_name()).count());
        let servers = root.get("servers").and_then(Value::as_array).into_iter().flatten();
        let urls = servers.filter_map(|server| server.get("url")?.as_str());
        Ok(Self { operations, bases: urls.map(base).filter(|base| !base.is_empty()).collect() })
    }

    /// The operation that a request is.
    pub(super) fn find(&self, method: &Method, path: &str) -> Found<'_> {
        let mut others = Vec::new();
        for path in self.inner(path) {
            let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
            for operation in &self.operations {
                match operation.fits(&segments) {
                    Some(params) if operation.method == *method => {
                        return Found::Operation(operation, params);
                    }
                    Some(_) => others.push(&operation.method),
                    None => {}
                }
            }
        }
        if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
    }

    /// The path without a server's, and as it is.
    fn inner<'p>(&'p self, path: &'p str) -> impl Iterator<Item = &'p str> {
        let inside = self.bases.iter().filter_map(|base| path.strip_prefix(base.as_str()));
        inside.filter(|rest| rest.is_empty() || rest.starts_with('/')).chain([path])
    }
}

impl Operation {
    fn fits(&self, segments: &[&str]) -> Option<Vec<(&str, String)>> {
        if segments.len() != self.segments.len() {
            return None;
        }
        let mut params = Vec::new();
        for (own, given) in self.segments.iter().zip(segments) {
            match own {
                Segment::Text(text) if text == given => {}
                Segment::Name(name) if !given.is_empty() => {
                    let text = percent_encoding::percent_decode_str(given);
                    params.push((name.as_str(), text.decode_utf8_lossy().into_owned()));
                }
                Segment::Text(_) | Segment::Name(_) => return None,
            }
        }
        Some(params)
    }
}

impl Segment {
    fn is_name(&self) -> bool {
        matches!(self, Self::Name(_))
    }
}

fn segment(text: &str) -> Result<Segment, String> {
    match text.strip_prefix('{').and_then(|it| it.strip_suffix('}')) {
        Some(name) if !name.contains(['{', '}']) => Ok(Segment::Name(name.to_owned())),
        None if !text.contains(['{', '}']) => Ok(Segment::Text(text.to_owned())),
        _ => Err(format!("`{text}`: a name is a whole segment of the path here")),
    }
}

fn is_method(word: &str) -> bool {
    matches!(word, "get" | "put" | "post" | "delete" | "options" | "head" | "patch" | "trace")
}

/// The path of a server's URL.
fn base(url: &str) -> String {
    let rest = url
        .split_once("://")
        .map_or(url, |(_, rest)| rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default());
    rest.trim_end_matches('/').to_owned()
}

struct Compiler<'r> {
    root: &'r Value,
    components: Value,
    is_old: bool,
}

impl<'r> Compiler<'r> {
    /// What a reference stands for.
    fn resolve(&self, value: &'r Value) -> Result<&'r Value, String> {
        let mut value = value;
        for _ in 0..MOST_REFERENCES {
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else {
                return Ok(value);
            };
            let pointer = reference.strip_prefix('#').ok_or_else(|| {
                format!("{reference} leaves the document: write it into the document")
            })?;
            value = self.root.pointer(pointer).ok_or(format!("{reference} is not there"))?;
        }
        Err("its references go in a circle".to_owned())
    }

    /// A schema on its own, in which references into `components` hold.
    fn alone(&self, schema: &Value) -> Value {
        let mut alone = Map::new();
        alone.insert("allOf".to_owned(), json!([modern(schema.clone(), self.is_old)]));
        alone.insert("components".to_owned(), self.components.clone());
        Value::Object(alone)
    }

    fn operation(
        &self,
        method: Method,
        path: &str,
        item: &'r Value,
        operation: &'r Value,
    ) -> Result<Operation, String> {
        let mut parameters: Vec<(&'r Value, Parameter)> = Vec::new();
        for owner in [item, operation] {
            let all = owner.get("parameters").and_then(Value::as_array).into_iter().flatten();
            for parameter in all {
                let parameter = self.resolve(parameter)?;
                let same = |known: &Value| {
                    known.get("name") == parameter.get("name")
                        && known.get("in") == parameter.get("in")
                };
                // An operation's own stands in for its path's.
                parameters.retain(|(known, _)| !same(known));
                if let Some(compiled) = self.parameter(parameter)? {
                    parameters.push((parameter, compiled));
                }
            }
        }
        let body = match operation.get("requestBody") {
            Some(body) => Some(self.content(self.resolve(body)?)?),
            None => None,
        };
        Ok(Operation {
            method,
            segments: path.trim_matches('/').split('/').map(segment).collect::<Result<_, _>>()?,
            parameters: parameters.into_iter().map(|(_, parameter)| parameter).collect(),
            body,
        })
    }

    fn parameter(&self, parameter: &'r Value) -> Result<Option<Parameter>, String> {
        let text = |key: &str| parameter.get(key).and_then(Value::as_str).unwrap_or_default();
        let name = text("name").to_owned();
        let place = match text("in") {
            "path" => Place::Path,
            "query" => Place::Query,
            "cookie" => Place::Cookie,
            "header" => match HeaderName::from_bytes(name.as_bytes()) {
                // These are said elsewhere in a document (OpenAPI 3.1 section 4.8.12).
                Ok(header)
                    if matches!(header.as_str(), "accept" | "content-type" | "authorization") =>
                {
                    return Ok(None);
                }
                Ok(header) => Place::Header(header),
                Err(_) => return Err(format!("`{name}` is no header")),
            },
            other => return Err(format!("a parameter cannot be in `{other}`")),
        };
        // Whatever cannot be checked is said: nothing passes unchecked in silence.
        if !matches!(text("style"), "" | "form" | "simple") {
            return Err(format!(
                "the parameter `{name}`: the style {} is not known",
                text("style")
            ));
        }
        if parameter.get("content").is_some() {
            return Err(format!("the parameter `{name}`: describe it by `schema`, not `content`"));
        }
        let required = parameter.get("required").and_then(Value::as_bool).unwrap_or(false);
        let any = json!({});
        let schema = self.resolve(parameter.get("schema").unwrap_or(&Value::Null));
        let schema = schema.ok().filter(|it| it.is_object()).unwrap_or(&any);
        let explodes = parameter.get("explode").and_then(Value::as_bool).unwrap_or(true);
        let root = self.alone(schema);
        let joined = !explodes && place == Place::Query;
        let compiled = Parameter::new(name.clone(), place, required, &root, joined);
        compiled.map(Some).map_err(|why| format!("the parameter `{name}`: {why}"))
    }

    fn content(&self, body: &'r Value) -> Result<Content, String> {
        let required = body.get("required").and_then(Value::as_bool).unwrap_or(false);
        let mut types = Vec::new();
        for (kind, media) in body.get("content").and_then(Value::as_object).into_iter().flatten() {
            let kind = without_parameters(kind);
            let may_be_json =
                kind == "application/json" || kind.ends_with("+json") || kind.ends_with('*');
            let validator = match media.get("schema").filter(|_| may_be_json) {
                Some(schema) => Some(Arc::new(schema::compile(&self.alone(schema))?)),
                None => None,
            };
            types.push((kind, validator));
        }
        // The closest says what a body must be (OpenAPI 3.1 section 4.8.14).
        types.sort_by_key(|(kind, _)| (kind.ends_with('*'), kind == "*/*"));
        Ok(Content { required, types })
    }
}

/// A schema of 3.0 in the words of JSON Schema.
fn modern(value: Value, is_old: bool) -> Value {
    if !is_old {
        return value;
    }
    match value {
        Value::Array(items) => items.into_iter().map(|item| modern(item, true)).collect(),
        Value::Object(members) => {
            let mut members: Map<String, Value> =
                members.into_iter().map(|(key, value)| (key, modern(value, true))).collect();
            for (word, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")]
            {
                match members.get(word).and_then(Value::as_bool) {
                    Some(true) => {
                        let limit = members.remove(bound).unwrap_or(Value::Null);
                        members.insert(word.to_owned(), limit);
                    }
                    Some(false) => drop(members.remove(word)),
                    None => {}
                }
            }
            // A boolean is the word of 3.0; a schema is a property of that name.
            let nullable = members.get("nullable").and_then(Value::as_bool);
            if nullable.is_some() {
                members.remove("nullable");
            }
            if nullable == Some(true) {
                if let Some(kind) = members.get("type").cloned() {
                    members.insert("type".to_owned(), json!([kind, "null"]));
                }
                if let Some(Value::Array(values)) = members.get_mut("enum")
                    && !values.contains(&Value::Null)
                {
                    values.push(Value::Null);
                }
            }
            Value::Object(members)
        }
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(version: &str) -> Document {
        let schema = json!({ "type": "integer", "minimum": 0, "exclusiveMinimum": true });
        let new = json!({ "type": "integer", "exclusiveMinimum": 0 });
        let schema = if version.starts_with("3.0") { schema } else { new };
        let get = json!({ "parameters": [{ "$ref": "#/components/parameters/id" }] });
        let root = json!({
            "openapi": version,
            "servers": [{ "url": "https://api.example/v1/" }],
            "paths": {
                "/users/{id}": { "get": get, "delete": {} },
                "/users/me": { "get": {} },
            },
            "components": {
                "parameters": {
                    "id": { "name": "id", "in": "path", "required": true, "schema": { "$ref": "#/components/schemas/id" } },
                },
                "schemas": { "id": schema },
            },
        });
        Document::compile(&root).unwrap()
    }

    #[test]
    fn operations_are_found_by_method_and_path() {
        let document = document("3.1.0");
        let found = |method: Method, path| match document.find(&method, path) {
            Found::Operation(operation, params) => Ok((operation.parameters.len(), params)),
            Found::OtherMethods(methods) => Err(methods.len()),
            Found::Nothing => Err(0),
        };
        assert_eq!(found(Method::GET, "/v1/users/7"), Ok((1, vec![("id", "7".to_owned())])));
        assert_eq!(found(Method::GET, "/users/a%20b").unwrap().1[0].1, "a b");
        assert_eq!(found(Method::GET, "/v1/users/me"), Ok((0, vec![])), "a text before a name");
        assert_eq!(found(Method::POST, "/v1/users/7"), Err(2));
        assert_eq!(found(Method::GET, "/v1/users"), Err(0));
        assert_eq!(found(Method::GET, "/v1x/users/7"), Err(0));
    }

    #[test]
    fn old_schemas_mean_the_same() {
        let old = json!({ "type": "string", "nullable": true, "enum": ["a"] });
        assert_eq!(modern(old, true), json!({ "type": ["string", "null"], "enum": ["a", null] }));
        let bound = json!({ "minimum": 1, "exclusiveMinimum": false });
        assert_eq!(modern(bound, true), json!({ "minimum": 1 }));
        document("3.0.3");
    }

    #[test]
    fn what_cannot_be_checked_is_said() {
        let why = |path: &str, parameter: Value| {
            let get = json!({ "parameters": [parameter] });
            let root = json!({ "openapi": "3.1.0", "paths": { path: { "get": get } } });
            Document::compile(&root).err().unwrap_or_default()
        };
        let plain = json!({ "name": "q", "in": "query" });
        assert_eq!(why("/a/{b}", plain.clone()), "");
        for path in ["/{name}.json", "/{a}-{b}", "/{id}:run"] {
            assert!(why(path, plain.clone()).contains("whole segment"), "{path}");
        }
        let deep = json!({ "name": "q", "in": "query", "style": "deepObject" });
        assert!(why("/a", deep).contains("deepObject is not known"));
        let content = json!({ "name": "q", "in": "query", "content": {} });
        assert!(why("/a", content).contains("not `content`"));
    }

    #[test]
    fn references_stay_inside_and_end() {
        let with = |reference: &str| {
            let get = json!({ "parameters": [{ "$ref": reference }] });
            let root = json!({
                "openapi": "3.1.0",
                "paths": { "/a": { "get": get } },
                "components": { "parameters": { "a": { "$ref": "#/components/parameters/a" } } },
            });
            Document::compile(&root).err().unwrap()
        };
        assert!(with("https://evil.example/x").contains("leaves the document"));
        assert!(with("#/components/parameters/a").contains("circle"));
        assert!(with("#/nowhere").contains("is not there"));
        let swagger = Document::compile(&json!({ "swagger": "2.0" })).err().unwrap();
        assert!(swagger.contains("3.0 or 3.1"));
    }
}
