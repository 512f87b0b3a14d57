//! What a file may say about what requests and answers must look like.

use portcullis_config::{
    Decode, Definitions, Diagnostics, Map, Named, Node, Spanned, Value, choices, settings,
};

use super::parameters::Place;

settings! {
    /// What requests, and answers, must look like.
    pub struct ValidateSettings {
        /// A JSON Schema for the body: a file's path, or the schema itself.
        pub body: Option<Node>,
        /// The media types that a body may have.
        pub content_types: Vec<Spanned<String>> = "[]",
        /// Schemas of the path's names.
        pub path: Named<Parameter> = "{}",
        /// Schemas of query parameters.
        pub query: Named<Parameter> = "{}",
        /// Schemas of headers.
        pub headers: Named<Parameter> = "{}",
        /// Schemas of cookies.
        pub cookies: Named<Parameter> = "{}",
        /// An OpenAPI document (3.0 or 3.1), JSON or YAML: everything that it declares is checked.
        pub openapi: Option<Spanned<String>>,
        /// What becomes of a request that does not fit.
        pub mode: Mode = "enforce",
        /// What the service's answers must look like.
        pub response: Option<ResponseSettings>,
    }
}

choices! {
    /// What becomes of what does not fit.
    pub enum Mode {
        /// It is refused.
        Enforce = "enforce",
        /// It passes, and is logged.
        Observe = "observe",
    }
}

settings! {
    /// What the service's answers must look like. With `openapi` they are held to the document as well:
    /// status, media type, headers and JSON body.
    pub struct ResponseSettings {
        /// A JSON Schema for 2xx JSON answers: a file's path, or the schema itself.
        pub body: Option<Node>,
        /// What becomes of an answer that does not fit.
        pub mode: Mode = "observe",
    }
}

impl ValidateSettings {
    /// Schemas by name, and where they belong; `None` for headers, which are places by their names.
    pub(super) fn groups(&self) -> [(&Named<Parameter>, Option<Place>); 4] {
        [
            (&self.path, Some(Place::Path)),
            (&self.query, Some(Place::Query)),
            (&self.headers, None),
            (&self.cookies, Some(Place::Cookie)),
        ]
    }

    pub(super) fn says_nothing(&self) -> bool {
        self.body.is_none()
            && self.openapi.is_none()
            && self.response.is_none()
            && self.groups().iter().all(|(group, _)| group.is_empty())
            && self.content_types.is_empty()
    }
}

/// A JSON Schema for one value that comes as text, and whether it has to be there (`required: on`).
/// `type` says what the text is read as.
#[derive(Clone, Debug)]
pub struct Parameter {
    pub schema: Node,
    pub required: bool,
}

impl Decode for Parameter {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let Value::Map(map) = &node.value else {
            node.expected("a schema such as { type: integer }", out);
            return None;
        };
        let (mut schema, mut required) = (Map::new(), false);
        for entry in map.iter() {
            match entry.key.as_str() {
                // A list is the schema's own word, for an object.
                "required" if entry.value.as_list().is_none() => {
                    required = bool::decode(&entry.value, out)?;
                }
                _ => schema.set(entry.clone()),
            }
        }
        Some(Self { schema: Node::new(Value::Map(schema), node.span), required })
    }

    fn schema(_: &mut Definitions) -> serde_json::Value {
        serde_json::json!({ "type": "object" })
    }
}
