//! What a file may say about shapes.

use portcullis_config::{
    Decode, Definitions, Diagnostics, Named, Node, OneOrMany, Spanned, Value, choices, settings,
};

settings! {
    /// Requests and answers between their outer and inner shapes.
    pub struct TransformSettings {
        /// From the client's shape to the service's: a step, or several in order.
        pub request: Option<OneOrMany<Spanned<RequestStep>>>,
        /// From the service's shape to the client's: a step, or several in order.
        pub response: Option<OneOrMany<Spanned<ResponseStep>>>,
        /// What becomes of an answer that is larger than `bounds.buffered_body`, where a step reads it.
        pub on_oversize: Oversize = "refuse",
    }
}

choices! {
    /// What becomes of an answer that is too large to be read.
    pub enum Oversize {
        /// It is a 502.
        Refuse = "refuse",
        /// It passes as it is.
        Pass = "pass",
    }
}

settings! {
    /// One step of a request's way in.
    pub struct RequestStep {
        /// A jq condition; left out, always.
        pub when: Option<Spanned<String>>,
        /// A jq program that gives exactly one value: the new body.
        pub body: Option<Body>,
        /// Headers to change. Values are string templates.
        pub headers: Option<HeaderSettings>,
        /// Query parameters to change. Values are string templates.
        pub query: Option<QuerySettings>,
        /// What `body` makes of what; run by `portcullis check --test`.
        pub tests: Vec<Spanned<TestSettings>> = "[]",
    }
}

settings! {
    /// One step of an answer's way out.
    pub struct ResponseStep {
        /// A jq condition, such as `$status == 404`; left out, for the service's 2xx answers.
        pub when: Option<Spanned<String>>,
        /// A jq program that gives exactly one value: the new body.
        pub body: Option<Body>,
        /// Headers to change. Values are string templates.
        pub headers: Option<HeaderSettings>,
        /// Another status.
        pub status: Option<Spanned<u16>>,
        /// What `body` makes of what; run by `portcullis check --test`.
        pub tests: Vec<Spanned<TestSettings>> = "[]",
    }
}

settings! {
    /// A body, and what a mapping makes of it.
    pub struct TestSettings {
        /// What comes in.
        pub input: Node = "null",
        /// What has to come out.
        pub output: Node,
        /// `$jwt`.
        pub jwt: Node = "null",
        /// `$headers`.
        pub headers: Node = "{}",
        /// `$query`.
        pub query: Node = "{}",
        /// `$path`.
        pub path: Node = "{}",
        /// `$status`, of an answer.
        pub status: u16 = "200",
    }
}

settings! {
    /// Headers to change, in this order: remove, rename, set, add.
    pub struct HeaderSettings {
        /// Their names.
        pub remove: Vec<Spanned<String>> = "[]",
        /// Old names and new ones.
        pub rename: Named<Spanned<String>> = "{}",
        /// One value each, whatever was there.
        pub set: Named<Spanned<String>> = "{}",
        /// One value more each.
        pub add: Named<Spanned<String>> = "{}",
    }
}

settings! {
    /// Query parameters to change, in this order: remove, rename, set, add.
    pub struct QuerySettings {
        /// Their names.
        pub remove: Vec<String> = "[]",
        /// Old names and new ones.
        pub rename: Named<String> = "{}",
        /// One value each, whatever was there.
        pub set: Named<Spanned<String>> = "{}",
        /// One value more each.
        pub add: Named<Spanned<String>> = "{}",
    }
}

settings! {
    /// A mapping by its name.
    struct UseSettings {
        /// Its name in `mappings`.
        r#use: Spanned<String>,
    }
}

/// A jq program, or the name of one.
#[derive(Clone, Debug)]
pub enum Body {
    Own(Spanned<String>),
    Named(Spanned<String>),
}

impl Decode for Body {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            Value::Map(_) => UseSettings::decode(node, out).map(|it| Self::Named(it.r#use)),
            _ => Spanned::decode(node, out).map(Self::Own),
        }
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        let own = String::schema(definitions);
        serde_json::json!({ "anyOf": [own, UseSettings::schema(definitions)] })
    }
}
