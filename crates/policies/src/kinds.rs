//! The ordered list of all policies. Users say which policies a route has, never in which order:
//! the order of [`KINDS`] is the order of execution, and every line says why it stands there.

use portcullis_config::{Definitions, Node};

use crate::planner::{Planned, Planner};
use crate::{
    api_key, authorize, body_limit, compress, cors, grpc_web, ip_access, jwt, rate_limit,
    transform, validate,
};

/// One kind of policy: its name in the YAML, its settings' schema and how a block becomes a plan.
pub struct Kind {
    /// The key of its block.
    pub name: &'static str,
    /// Why it stands where it stands.
    pub because: &'static str,
    pub schema: fn(&mut Definitions) -> serde_json::Value,
    /// Decodes and compiles a block. `None` when it said why not in the diagnostics.
    pub plan: fn(&Node, &mut Planner<'_>) -> Option<Box<dyn Planned>>,
}

pub const KINDS: &[Kind] = &[
    Kind {
        name: "cors",
        because: "a preflight has no credentials to look at, and a script may read every answer, also a refusal",
        schema: cors::schema,
        plan: cors::plan,
    },
    Kind {
        name: "compress",
        because: "it takes what everything further in has made of an answer, and nobody has to undo it",
        schema: compress::schema,
        plan: compress::plan,
    },
    Kind {
        name: "ip_access",
        because: "it costs next to nothing, and whoever may not ask from there is not counted or looked at",
        schema: ip_access::schema,
        plan: ip_access::plan,
    },
    Kind {
        name: "rate_limit",
        because: "limits that need not know who asks come first: bad credentials are limited guesses",
        schema: rate_limit::schema,
        plan: rate_limit::plan_first,
    },
    Kind {
        name: "api_key",
        because: "it is cheaper than a signature, and may make a token needless",
        schema: api_key::schema,
        plan: api_key::plan,
    },
    Kind {
        name: "jwt",
        because: "who asks is known before anything that depends on it is decided",
        schema: jwt::schema,
        plan: jwt::plan,
    },
    Kind {
        name: "authorize",
        because: "what somebody may not do is not counted against their limit",
        schema: authorize::schema,
        plan: authorize::plan,
    },
    Kind {
        name: "rate_limit",
        because: "the other limits know who asks, and a body is not read for somebody who asks too often",
        schema: rate_limit::schema,
        plan: rate_limit::plan,
    },
    Kind {
        name: "body_limit",
        because: "nobody reads what is too large, and only who may ask is told how large that is",
        schema: body_limit::schema,
        plan: body_limit::plan,
    },
    Kind {
        name: "grpc_web",
        because: "whoever reads bodies further in sees them as the service does",
        schema: grpc_web::schema,
        plan: grpc_web::plan,
    },
    Kind {
        name: "validate",
        because: "a mapping can rely on the shape of what it maps",
        schema: validate::schema,
        plan: validate::plan,
    },
    Kind {
        name: "transform",
        because: "last in, first out: everything else sees the outer shapes",
        schema: transform::schema,
        plan: transform::plan,
    },
];

/// The kind of this name.
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}
