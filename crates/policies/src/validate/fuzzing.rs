//! Parameters as clients write them: whatever stands in a query, a header or a cookie is read or
//! refused, and what belongs to a parameter is never left unread.

use std::sync::OnceLock;

use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue};
use portcullis_core::exchange::query_pairs;

use super::compile::{Compiler, Request};
use super::parameters::Given;
use super::schema::Schemas;
use crate::openapi::{Document, Side};

const API: &str = r##"
openapi: 3.1.0
paths:
  /a:
    get:
      parameters:
        - { name: where, in: query, required: true, style: deepObject, schema: { $ref: "#/components/schemas/Where" } }
        - { name: ids, in: query, style: pipeDelimited, schema: { type: array, items: { type: integer } } }
        - { name: page, in: query, schema: { type: object, properties: { offset: { type: integer } } } }
        - { name: near, in: query, explode: false, schema: { type: object, properties: { lat: { type: number } } } }
        - { name: raw, in: query, content: { application/json: { schema: { type: object } } } }
        - { name: x-size, in: header, explode: true, schema: { type: object, properties: { w: { type: integer } } } }
        - { name: marks, in: cookie, explode: false, schema: { type: array, items: { type: boolean } } }
components:
  schemas:
    Where:
      type: object
      properties:
        name: { type: string }
        price: { type: object, properties: { min: { type: number } } }
        tags: { type: array, items: { type: integer } }
        self: { $ref: "#/components/schemas/Where" }
"##;

pub fn parameters(data: &[u8]) {
    static REQUEST: OnceLock<Request> = OnceLock::new();
    let request = REQUEST.get_or_init(request);
    let (query, header) =
        data.split_at(data.iter().position(|it| *it == b'\n').unwrap_or(data.len()));
    let query = String::from_utf8_lossy(query);
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(header.get(1..).unwrap_or_default()) {
        headers.insert(COOKIE, value.clone());
        headers.insert(HeaderName::from_static("x-size"), value);
    }
    let given = Given::new(&headers, &query);
    let all = request.parameters.iter().flat_map(|it| it.check(&given, &|_| None));
    let errors: Vec<_> = all.collect();
    let is_there = query_pairs(&query).any(|(name, _)| name.starts_with("where["));
    let is_missed = errors.iter().any(|it| it.pointer == "query.where" && it.keyword == "required");
    assert!(!(is_there && is_missed), "{query}");
}

fn request() -> Request {
    let document = Document::read(API.to_owned()).unwrap_or_else(|why| unreachable!("{why:?}"));
    let schemas = Schemas::new(document.schemas(Side::Request));
    let mut schemas = schemas.unwrap_or_else(|why| unreachable!("{why}"));
    let mut compiler = Compiler { document: &document, schemas: &mut schemas };
    let compiled = document.operations.first().map(|it| compiler.request(it));
    compiled.and_then(Result::ok).unwrap_or_else(|| unreachable!())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::parameters;

    proptest! {
        #[test]
        fn what_belongs_to_a_parameter_is_read_or_refused(
            text in r"((where|ids|page|near|raw|offset|\[|\]|%5[bBdD]|name|tags|self|=|&|,|\||[{}0-9:.%+]|\n|w=|marks=){0,4}){0,6}",
        ) {
            parameters(text.as_bytes());
        }
    }
}
