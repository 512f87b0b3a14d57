//! An OpenAPI document (3.0 and 3.1), read: what `validate` holds requests and answers to, and what
//! `portcullis import` writes a configuration from.
//!
//! References stay inside the document. Whatever is wrong is told at once.

mod part;
mod path;
mod servers;
mod words;

use http::Method;
use portcullis_config::{Diagnostics, ProcessEnvironment, Sources};
use serde_json::Value;

use crate::json;
pub use part::Part;
pub use path::{Pattern, Segment, Template};
pub use servers::Server;
pub use words::Side;

/// References that follow each other.
const MOST_REFERENCES: usize = 16;

/// The methods that a path may have (OpenAPI 3.1 section 4.8.9).
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// A document.
pub struct Document {
    root: Value,
    is_old: bool,
    pub operations: Vec<Operation>,
}

/// One method of one path.
pub struct Operation {
    pub method: Method,
    /// As the document has it, such as `/users/{id}`.
    pub path: String,
    /// Its `operationId`.
    pub id: Option<String>,
    /// Where it may be asked: its own, its path's or the document's. Never empty.
    pub servers: Vec<Server>,
    /// Where in the document its path's item and itself stand.
    item: String,
    at: String,
}

impl Document {
    /// Reads JSON or YAML; or says all that keeps it from being used.
    pub fn read(text: String) -> Result<Self, Vec<String>> {
        let root = parsed(text).map_err(|why| vec![why])?;
        if root.get("swagger").is_some() {
            let why = "it is Swagger 2.0: convert it to OpenAPI 3.0 or 3.1 first";
            return Err(vec![why.to_owned()]);
        }
        let version = root.get("openapi").and_then(Value::as_str).unwrap_or_default();
        let is_old = version.starts_with("3.0");
        if !is_old && !version.starts_with("3.1") {
            return Err(vec!["it is no OpenAPI document of version 3.0 or 3.1".to_owned()]);
        }
        let mut document = Self { root, is_old, operations: Vec::new() };
        let (operations, wrong) = document.all_operations();
        if !wrong.is_empty() {
            return Err(wrong);
        }
        if operations.is_empty() {
            return Err(vec!["it has no operations".to_owned()]);
        }
        document.operations = operations;
        Ok(document)
    }

    /// All of it.
    pub fn whole(&self) -> Part<'_> {
        Part { value: &self.root, pointer: String::new() }
    }

    pub fn operation<'d>(&'d self, operation: &Operation) -> Part<'d> {
        self.at(&operation.at)
    }

    /// The document with its schemas in the words of JSON Schema 2020-12, as they hold for one side.
    /// Every part stands where it stood.
    pub fn schemas(&self, side: Side) -> Value {
        let mut root = self.root.clone();
        words::rewrite(&mut root, self.is_old, side);
        root
    }

    fn at(&self, pointer: &str) -> Part<'_> {
        let value = self.root.pointer(pointer).unwrap_or(&Value::Null);
        Part { value, pointer: pointer.to_owned() }
    }

    /// What a part stands for: itself, or what it refers to.
    pub fn resolve<'d>(&'d self, part: Part<'d>) -> Result<Part<'d>, String> {
        let mut part = part;
        for _ in 0..MOST_REFERENCES {
            let Some(reference) = part.text("$ref") else { return Ok(part) };
            let pointer = reference.strip_prefix('#').ok_or_else(|| {
                format!("{reference} leaves the document: write it into the document")
            })?;
            let pointer = percent_encoding::percent_decode_str(pointer).decode_utf8_lossy();
            let nowhere = || format!("{reference} is not there");
            let value = self.root.pointer(&pointer).ok_or_else(nowhere)?;
            part = Part { value, pointer: pointer.into_owned() };
        }
        Err("its references go in a circle".to_owned())
    }

    /// The parameters of an operation; its own stand in for its path's.
    pub fn parameters<'d>(&'d self, operation: &Operation) -> Result<Vec<Part<'d>>, String> {
        let mut all: Vec<Part<'d>> = Vec::new();
        for owner in [&operation.item, &operation.at] {
            let declared = self.at(owner).get("parameters");
            for parameter in declared.iter().flat_map(Part::items) {
                let parameter = self.resolve(parameter)?;
                let key = |it: &Part<'d>| (it.text("name"), it.text("in"));
                all.retain(|known| key(known) != key(&parameter));
                all.push(parameter);
            }
        }
        Ok(all)
    }

    /// The operations, in the order of the document, and what is wrong with the others.
    fn all_operations(&self) -> (Vec<Operation>, Vec<String>) {
        let (mut operations, mut wrong) = (Vec::new(), Vec::new());
        let paths = self.whole().get("paths");
        for (path, item) in paths.iter().flat_map(Part::members) {
            if path.starts_with("x-") {
                continue;
            }
            match self.operations_of(path, item) {
                Ok(all) => operations.extend(all),
                Err(why) => wrong.push(format!("{path}: {why}")),
            }
        }
        (operations, wrong)
    }

    fn operations_of<'d>(&'d self, path: &str, item: Part<'d>) -> Result<Vec<Operation>, String> {
        let item = self.resolve(item)?;
        Template::parse("", path)?;
        let mut operations = Vec::new();
        for word in METHODS {
            let Some(operation) = item.get(word) else { continue };
            let owners = [&operation, &item, &self.whole()];
            let named = owners.into_iter().find_map(|owner| owner.get("servers"));
            let servers = named.iter().flat_map(Part::items).map(|it| Server::read(&it));
            let mut servers = servers.collect::<Result<Vec<_>, _>>()?;
            if servers.is_empty() {
                servers.push(Server::default());
            }
            for server in &servers {
                Template::parse(server.base(), path)?;
            }
            operations.push(Operation {
                method: word.to_ascii_uppercase().parse().unwrap_or_default(),
                path: path.to_owned(),
                id: operation.text("operationId").map(str::to_owned),
                servers,
                item: item.pointer.clone(),
                at: operation.pointer,
            });
        }
        Ok(operations)
    }
}

impl Operation {
    /// As people write it: `GET /users/{id}`.
    pub fn shown(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The paths by which it is asked for: behind each server's, and as it is.
    pub fn templates(&self) -> Vec<Template> {
        let mut bases: Vec<&str> = self.servers.iter().map(Server::base).collect();
        bases.push("");
        bases.sort_unstable();
        bases.dedup();
        bases.into_iter().filter_map(|base| Template::parse(base, &self.path).ok()).collect()
    }
}

/// YAML, of which JSON is a part. It is data: `${...}` in it means nothing.
fn parsed(text: String) -> Result<Value, String> {
    if let Ok(value) = json::parse(text.as_bytes()) {
        return Ok(value);
    }
    let (mut sources, mut out) = (Sources::new(), Diagnostics::new());
    let escaped = text.replace("${", "$${");
    let node = portcullis_config::parse(
        &mut sources,
        "openapi.yaml".into(),
        escaped,
        &ProcessEnvironment,
        &mut out,
    );
    match node {
        Some(node) if !out.has_errors() => Ok(node.to_json()),
        _ => Err(told(&out, &sources)),
    }
}

/// What is wrong with the text, and where in it; whoever asked knows its name.
fn told(out: &Diagnostics, sources: &Sources) -> String {
    let told = out.errors().next().map(|error| {
        let at = error.span.map(|span| sources.position(span)).map(|at| (at.line, at.column));
        match at {
            Some((line, column)) => format!("{} at line {line}, column {column}", error.message),
            None => error.message.clone(),
        }
    });
    told.unwrap_or_else(|| "it is no YAML".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(root: &Value) -> Result<Document, Vec<String>> {
        Document::read(root.to_string())
    }

    #[test]
    fn what_is_wrong_is_told_at_once() {
        let root = serde_json::json!({
            "openapi": "3.1.0",
            "paths": {
                "/{name}.json": { "get": {} },
                "/a": { "$ref": "#/nowhere" },
                "/b": { "$ref": "https://evil.example/x" },
                "c": { "get": {} },
                "/d": { "servers": [{ "url": "https://{region}.example" }], "get": {} },
                "/fine": { "get": {} },
                "x-own": { "get": {} },
            },
        });
        let wrong = read(&root).err().unwrap();
        let each = ["whole segment", "is not there", "leaves the document", "slash", "{region}"];
        assert_eq!(wrong.len(), each.len(), "{wrong:?}");
        for (wrong, part) in wrong.iter().zip(each) {
            assert!(wrong.contains(part), "{wrong}");
        }
        let swagger = Document::read("swagger: '2.0'".to_owned()).err().unwrap();
        assert!(swagger[0].contains("3.0 or 3.1"));
        assert!(Document::read("a: [".to_owned()).is_err());
        assert!(
            read(&serde_json::json!({ "openapi": "3.0.0" })).err().unwrap()[0].contains("no op")
        );
    }

    #[test]
    fn references_end() {
        let root = serde_json::json!({
            "openapi": "3.0.3",
            "paths": { "/a": { "get": { "parameters": [{ "$ref": "#/components/parameters/a" }] } } },
            "components": { "parameters": { "a": { "$ref": "#/components/parameters/a" } } },
        });
        let document = read(&root).ok().unwrap();
        let circle = document.parameters(&document.operations[0]).err().unwrap();
        assert!(circle.contains("circle"));
    }

    #[test]
    fn an_operations_own_parameter_stands_in_for_its_paths() {
        let root = serde_json::json!({
            "openapi": "3.0.3",
            "paths": { "/a": {
                "parameters": [{ "name": "q", "in": "query" }, { "name": "r", "in": "query" }],
                "get": { "parameters": [{ "name": "q", "in": "query", "required": true }] },
            } },
        });
        let document = read(&root).ok().unwrap();
        let parameters = document.parameters(&document.operations[0]).unwrap();
        let facts: Vec<_> =
            parameters.iter().map(|it| (it.text("name"), it.flag("required"))).collect();
        assert_eq!(facts, [(Some("r"), None), (Some("q"), Some(true))]);
    }
}
