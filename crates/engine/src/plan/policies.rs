//! Which policies a route has: the inherited blocks, with the route's own laid over them.

use portcullis_config::{Diagnostics, Node, did_you_mean};
use portcullis_policies::{KINDS, Kind, kinds};

/// A block that a route ends up with.
pub struct Merged {
    pub kind: &'static Kind,
    pub block: Node,
    /// It is the inherited block, unchanged.
    pub inherited: bool,
}

/// Complains about policies that do not exist, and gives the block back.
pub fn check(block: &Node, out: &mut Diagnostics) -> Node {
    let Some(map) = block.as_map() else {
        out.error(block.span, "`policies` is a map of policies");
        return Node::new(portcullis_config::Value::Map(Default::default()), block.span);
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
    block.clone()
}

/// The blocks of a route, in the order of KINDS. `off` removes one.
pub fn merge(inherited: &Node, own: &Node) -> Vec<Merged> {
    let merged = KINDS.iter().filter_map(|kind| {
        let (above, here) = (inherited.get(kind.name), own.get(kind.name));
        let (block, inherited) = match (above, here) {
            (None, None) => return None,
            (Some(above), None) => (above.clone(), true),
            (None, Some(here)) => (here.clone(), false),
            (Some(above), Some(here)) => {
                let block = Node::overlay(above, here);
                let same = block.same(above);
                (block, same)
            }
        };
        (!block.is_off()).then_some(Merged { kind, block, inherited })
    });
    merged.collect()
}
