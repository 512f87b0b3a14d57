//! What a document declares of an operation, compiled: its parameters and bodies, and its answers.
//!
//! Whatever cannot be checked is said: nothing passes unchecked in silence.

use std::sync::Arc;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, StatusCode};
use jsonschema::Validator;
use serde_json::Value;

use super::parameters::{Parameter, Place};
use super::schema::Schemas;
use super::texts::{Shape, Written};
use crate::bodies::without_parameters;
use crate::openapi::{Document, Operation, Part};

/// What an operation's requests are held to.
pub(super) struct Request {
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<Content>,
}

/// What a body may be.
pub(super) struct Content {
    pub(super) required: bool,
    /// Media types, the closest first, each with its schema if that is for JSON.
    pub(super) types: Vec<(String, Option<Arc<Validator>>)>,
}

/// What an operation's answers are held to: the closest status first.
pub(super) struct Answers(Vec<(Status, Answer)>);

/// Which statuses (OpenAPI 3.1 section 4.8.16.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Status {
    Exact(u16),
    /// Of a hundred: `2XX`.
    Class(u16),
    Default,
}

pub(super) struct Answer {
    pub(super) headers: Vec<Parameter>,
    pub(super) content: Content,
}

impl Content {
    /// The schema for a media type, or `None` when the type is not declared.
    pub(super) fn find(&self, kind: &str) -> Option<Option<&Arc<Validator>>> {
        let found = self.types.iter().find(|(wanted, _)| fits(wanted, kind));
        found.map(|(_, validator)| validator.as_ref())
    }

    pub(super) fn kinds(&self) -> Vec<&str> {
        self.types.iter().map(|(kind, _)| kind.as_str()).collect()
    }
}

/// `application/json` is `application/json`, `application/*` and `*/*`.
pub(super) fn fits(wanted: &str, kind: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some("*/") => !kind.is_empty(),
        Some(family) => kind.starts_with(family),
        None => wanted == kind,
    }
}

impl Answers {
    pub(super) fn find(&self, status: StatusCode) -> Option<&Answer> {
        let fits = |wanted: Status| match wanted {
            Status::Exact(code) => code == status.as_u16(),
            Status::Class(hundred) => hundred == status.as_u16() / 100,
            Status::Default => true,
        };
        self.0.iter().find(|(wanted, _)| fits(*wanted)).map(|(_, answer)| answer)
    }

    /// True when nothing is said of answers.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A document and its schemas as one side has them.
pub(super) struct Compiler<'d> {
    pub(super) document: &'d Document,
    pub(super) schemas: &'d mut Schemas,
}

impl<'d> Compiler<'d> {
    pub(super) fn request(&mut self, operation: &Operation) -> Result<Request, String> {
        let mut parameters = Vec::new();
        for parameter in self.document.parameters(operation)? {
            let name = parameter.text("name").unwrap_or_default();
            let is_named = operation.path.contains(&format!("{{{name}}}"));
            if parameter.text("in") == Some("path") && !is_named {
                return Err(format!("the path has no {{{name}}}"));
            }
            parameters.extend(self.parameter(&parameter)?);
        }
        let body = match self.document.operation(operation).get("requestBody") {
            Some(body) => Some(self.content(&self.document.resolve(body)?)?),
            None => None,
        };
        Ok(Request { parameters, body })
    }

    pub(super) fn answers(&mut self, operation: &Operation) -> Result<Answers, String> {
        let mut answers = Vec::new();
        let declared = self.document.operation(operation).get("responses");
        for (word, answer) in declared.iter().flat_map(Part::members) {
            if word.starts_with("x-") {
                continue;
            }
            let status = status(word).ok_or(format!("`{word}` is no status"))?;
            let answer = self.answer(&self.document.resolve(answer)?);
            answers.push((status, answer.map_err(|why| format!("its answer {word}: {why}"))?));
        }
        answers.sort_by_key(|(status, _)| *status);
        Ok(Answers(answers))
    }

    fn answer(&mut self, answer: &Part<'d>) -> Result<Answer, String> {
        let mut headers = Vec::new();
        for (name, header) in answer.get("headers").iter().flat_map(Part::members) {
            let header = self.document.resolve(header)?;
            let known = HeaderName::from_bytes(name.as_bytes());
            let known = known.map_err(|_| format!("`{name}` is no header"))?;
            // It is said by `content` (OpenAPI 3.1 section 4.8.17).
            if known != CONTENT_TYPE {
                headers.push(self.described(&header, name, Place::Header(known))?);
            }
        }
        Ok(Answer { headers, content: self.content(answer)? })
    }

    /// `None` for a header that is said elsewhere in a document (OpenAPI 3.1 section 4.8.12).
    fn parameter(&mut self, parameter: &Part<'d>) -> Result<Option<Parameter>, String> {
        let name = parameter.text("name").unwrap_or_default();
        let place = match parameter.text("in").unwrap_or_default() {
            "path" => Place::Path,
            "query" => Place::Query,
            "cookie" => Place::Cookie,
            "header" => match HeaderName::from_bytes(name.as_bytes()) {
                Ok(header) if [ACCEPT, CONTENT_TYPE, AUTHORIZATION].contains(&header) => {
                    return Ok(None);
                }
                Ok(header) => Place::Header(header),
                Err(_) => return Err(format!("`{name}` is no header")),
            },
            other => return Err(format!("a parameter cannot be in `{other}`")),
        };
        self.described(parameter, name, place).map(Some)
    }

    /// A parameter, or a header of an answer.
    fn described(
        &mut self,
        described: &Part<'d>,
        name: &str,
        place: Place,
    ) -> Result<Parameter, String> {
        let what = |why: String| format!("the {} parameter `{name}`: {why}", place.word());
        let content = described.get("content");
        let content = content.as_ref().and_then(|content| content.members().next());
        let (owner, written) = match content {
            Some((kind, media)) if without_parameters(kind) == "application/json" => {
                (media, Some(Written::Json))
            }
            Some((kind, _)) => {
                return Err(what(format!("its content can be application/json, not {kind}")));
            }
            None => (described.clone(), None),
        };
        let pointer = match owner.get("schema") {
            Some(schema) => self.document.resolve(schema).map_err(what)?.pointer,
            // Nothing stands there: anything is good.
            None => format!("{}/schema", owner.pointer),
        };
        let root = self.schemas.root();
        let shape = Shape::of(root, root.pointer(&pointer).unwrap_or(&Value::Null));
        let written = match written {
            Some(written) => written,
            None => written_as(described, &place, &shape).map_err(what)?,
        };
        let required = described.flag("required").unwrap_or(false);
        let validator = self.schemas.at(&pointer).map_err(what)?;
        let parameter = Parameter::new(name.to_owned(), place, required, shape, written, validator);
        Ok(parameter.empty_too(described.flag("allowEmptyValue").unwrap_or(false)))
    }

    fn content(&mut self, body: &Part<'d>) -> Result<Content, String> {
        let mut types = Vec::new();
        for (kind, media) in body.get("content").iter().flat_map(Part::members) {
            let kind = without_parameters(kind);
            let may_be_json =
                kind == "application/json" || kind.ends_with("+json") || kind.ends_with('*');
            let validator = match media.get("schema").filter(|_| may_be_json) {
                Some(schema) => {
                    let pointer = self.document.resolve(schema)?.pointer;
                    Some(self.schemas.at(&pointer).map_err(|why| format!("its {kind}: {why}"))?)
                }
                None => None,
            };
            types.push((kind, validator));
        }
        // The closest says what a body must be (OpenAPI 3.1 section 4.8.14).
        types.sort_by_key(|(kind, _)| (kind.ends_with('*'), kind == "*/*"));
        Ok(Content { required: body.flag("required").unwrap_or(false), types })
    }
}

/// `200`, `2XX` or `default`.
fn status(word: &str) -> Option<Status> {
    if word == "default" {
        return Some(Status::Default);
    }
    match word.strip_suffix("XX") {
        Some(hundred) => hundred.parse().ok().filter(|it| (1..=5).contains(it)).map(Status::Class),
        None => word.parse().ok().filter(|it| (100..600).contains(it)).map(Status::Exact),
    }
}

/// How the values of a parameter are written (OpenAPI 3.1 section 4.8.12.2.1, `style`, `explode`).
fn written_as(parameter: &Part<'_>, place: &Place, shape: &Shape) -> Result<Written, String> {
    let usual = match place {
        Place::Query | Place::Cookie => "form",
        Place::Path | Place::Header(_) => "simple",
    };
    let style = parameter.text("style").unwrap_or(usual);
    let explodes = parameter.flag("explode").unwrap_or(style == "form");
    let written = match (style, place) {
        ("form", Place::Query | Place::Cookie) if explodes => Written::Apart,
        ("form", Place::Query | Place::Cookie) => Written::Joined(','),
        ("simple", Place::Path | Place::Header(_)) if explodes => Written::Paired(','),
        ("simple", Place::Path | Place::Header(_)) => Written::Joined(','),
        ("spaceDelimited" | "pipeDelimited", Place::Query) if explodes => Written::Apart,
        ("spaceDelimited", Place::Query) => Written::Joined(' '),
        ("pipeDelimited", Place::Query) => Written::Joined('|'),
        ("deepObject", Place::Query) if shape.is_object() => Written::Deep,
        ("deepObject", Place::Query) => {
            return Err("deepObject is for a schema of `type: object`".to_owned());
        }
        ("label" | "matrix", Place::Path) => {
            return Err(format!("the style {style} is not known here: describe it as simple"));
        }
        _ => return Err(format!("the style {style} is not for this place; write {usual}")),
    };
    if written == Written::Apart && shape.is_object() && shape.names().next().is_none() {
        return Err("an object without `properties` has no names of its own in a query: \
                    name them, or write `style: deepObject`"
            .to_owned());
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What is wrong with a parameter of an operation, if anything is.
    fn why(parameter: &Value) -> String {
        let get = json!({ "parameters": [parameter] });
        let root = json!({ "openapi": "3.1.0", "paths": { "/a/{p}": { "get": get } } });
        let document = Document::read(root.to_string()).ok().unwrap();
        let mut schemas = Schemas::new(document.schemas(crate::openapi::Side::Request)).unwrap();
        let mut compiler = Compiler { document: &document, schemas: &mut schemas };
        compiler.request(&document.operations[0]).err().unwrap_or_default()
    }

    #[test]
    fn what_cannot_be_checked_is_said() {
        let object = json!({ "type": "object", "properties": { "a": {} } });
        for (parameter, part) in [
            (json!({ "name": "q", "in": "query" }), ""),
            (json!({ "name": "q", "in": "query", "style": "deepObject", "schema": object }), ""),
            (json!({ "name": "q", "in": "query", "style": "deepObject" }), "type: object"),
            (json!({ "name": "q", "in": "query", "style": "simple" }), "write form"),
            (json!({ "name": "p", "in": "path", "style": "matrix" }), "as simple"),
            (json!({ "name": "p", "in": "body" }), "`body`"),
            (json!({ "name": "a b", "in": "header" }), "is no header"),
            (json!({ "name": "q", "in": "query", "content": { "application/json": {} } }), ""),
            (json!({ "name": "q", "in": "query", "content": { "text/xml": {} } }), "text/xml"),
            (json!({ "name": "q", "in": "query", "schema": { "type": "object" } }), "deepObject"),
            (json!({ "name": "q", "in": "query", "schema": { "type": "intger" } }), "intger"),
            (json!({ "name": "q", "in": "query", "schema": { "$ref": "#/x" } }), "is not there"),
        ] {
            let why = why(&parameter);
            assert!(why.contains(part) && part.is_empty() == why.is_empty(), "{parameter}: {why}");
        }
    }

    #[test]
    fn the_closest_status_speaks() {
        let statuses = ["200", "2XX", "default"].map(|word| status(word).unwrap());
        assert!(statuses.is_sorted());
        assert_eq!(["20X", "6XX", "99", "ok"].map(status), [None; 4]);
    }

    #[test]
    fn media_types_fit_their_families() {
        assert!(fits("*/*", "a/b") && fits("a/*", "a/b") && fits("a/b", "a/b"));
        assert!(!fits("*/*", "") && !fits("a/*", "b/a") && !fits("a/b", "a/c"));
    }
}
