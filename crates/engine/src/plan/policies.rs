//! Which policies a route has: the inherited blocks, with the route's own laid over them.

use portcullis_config::{Decode, Definitions, Diagnostics, Node, did_you_mean};
use portcullis_policies::{KINDS, Kind, kinds};

/// A block that a route ends up with.
pub struct Merged {
    pub kind: &'static Kind,
    pub block: Node,
}

/// A `policies:` block: every key is a kind's name.
#[derive(Clone, Debug)]
pub struct PoliciesBlock(pub Node);

impl Decode for PoliciesBlock {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let Some(map) = node.as_map() else {
            node.expected("a map of policies", out);
            return None;
        };
        for entry in map.iter() {
            if kinds::find(&entry.key).is_none() {
                let names = KINDS.iter().map(|kind| kind.name);
                let problem = out.error(entry.key_span, format!("unknown policy `{}`", entry.key));
                if let Some(hint) = did_you_mean(&entry.key, names) {
                    problem.hint(hint);
                }
            }
        }
        Some(Self(node.clone()))
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        let kinds: serde_json::Map<_, _> = KINDS
            .iter()
            .map(|kind| {
                let block = (kind.schema)(definitions);
                (
                    kind.name.to_owned(),
                    serde_json::json!({ "anyOf": [{ "enum": ["off", false] }, block] }),
                )
            })
            .collect();
        serde_json::json!({ "type": "object", "properties": kinds, "additionalProperties": false })
    }
}

/// The blocks of a route, in the order of KINDS. `off` removes one.
pub fn merge(inherited: &Node, own: &Node) -> Vec<Merged> {
    let merged = KINDS.iter().filter_map(|kind| {
        let (above, here) = (inherited.get(kind.name), own.get(kind.name));
        let block = match (above, here) {
            (None, None) => return None,
            (Some(one), None) | (None, Some(one)) => one.clone(),
            (Some(above), Some(here)) => Node::overlay(above, here),
        };
        (!block.is_off()).then_some(Merged { kind, block })
    });
    merged.collect()
}
