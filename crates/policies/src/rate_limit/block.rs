//! The block of a route: one limit or a list, with more beside it (`also`), and what each is called.
//! A limit that a route inherits and does not change is one counter over all its routes.

use std::sync::Arc;

use portcullis_config::{Decode, Definitions, Node};

use super::limit::{LimitPlan, RateLimitSettings, mark};
use crate::planner::Planner;

pub fn schema(definitions: &mut Definitions) -> serde_json::Value {
    let one = RateLimitSettings::schema(definitions);
    serde_json::json!({ "anyOf": [one, { "type": "array", "items": one }] })
}

/// A block's limits, those beside others included.
fn limits<'a>(block: &'a Node) -> Vec<&'a Node> {
    let first: Vec<&'a Node> = match block.as_list() {
        Some(items) => items.iter().collect(),
        None => vec![block],
    };
    let beside = |limit: &&'a Node| limit.get("also").and_then(Node::as_list).unwrap_or_default();
    let also: Vec<&Node> = first.iter().flat_map(beside).collect();
    first.into_iter().chain(also).collect()
}

/// Understands a block; says in the diagnostics what cannot be.
pub fn plan(block: &Node, planner: &mut Planner<'_>) -> Option<Vec<LimitPlan>> {
    let inherited: Vec<(u64, Option<&str>)> = planner
        .above
        .into_iter()
        .flat_map(limits)
        .map(|limit| (mark(limit), limit.get("name").and_then(Node::as_text)))
        .collect();
    let mut plans: Vec<Option<LimitPlan>> = Vec::new();
    let mut names: Vec<Arc<str>> = Vec::new();
    for node in limits(block) {
        let Some(settings) = RateLimitSettings::decode(node, planner.out) else {
            plans.push(None);
            continue;
        };
        let mark = mark(node);
        let shared = inherited.iter().any(|(known, _)| *known == mark);
        let name: Arc<str> = match &settings.name {
            // A changed limit that kept its inherited name would share it with the unchanged one.
            Some(name) if shared || !inherited.iter().any(|(_, known)| *known == Some(name)) => {
                Arc::from(name.as_str())
            }
            None if shared => Arc::from("default"),
            _ => Arc::clone(&planner.route.name),
        };
        if names.contains(&name) {
            planner
                .out
                .error(node.span, format!("two limits of this route are called `{name}`"))
                .hint("give each a `name` of its own");
        }
        names.push(Arc::clone(&name));
        plans.push(LimitPlan::plan(&settings, name, mark, planner));
    }
    plans.into_iter().collect()
}
