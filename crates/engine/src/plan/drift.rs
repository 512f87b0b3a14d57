//! Operations of OpenAPI documents that no route serves: what a route alone cannot know.

use portcullis_config::Diagnostics;
use portcullis_policies::openapi::Pattern;
use portcullis_policies::validate::Described;

use super::RoutePlan;

/// So many operations are named.
const NAMED: usize = 8;

/// Warns, once for each document, of operations behind which no route is. Routes that are held to no
/// document serve as well: some leave validation out on purpose.
pub fn warn_of_unserved(routes: &[RoutePlan], out: &mut Diagnostics) {
    if out.has_errors() {
        return;
    }
    let mut told = Vec::new();
    for described in routes.iter().filter_map(described) {
        if told.contains(&&described.file) {
            continue;
        }
        told.push(&described.file);
        let serving = routes.iter().filter(|route| {
            let other = self::described(route);
            other.is_none_or(|other| other.file == described.file)
        });
        let matches = serving.flat_map(|route| &route.matches);
        let matches = matches.map(|it| (Pattern::of(it.path.as_str()), it.methods.as_slice()));
        let left = described.unserved(&matches.collect::<Vec<_>>());
        if left.is_empty() {
            continue;
        }
        let named: Vec<_> = left.iter().take(NAMED).copied().collect();
        let more = match left.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (document, named) = (described.named.shown(), named.join(", "));
        let message = format!("no route serves all of {document}: {named}{more}");
        out.warning(described.named.span, message)
            .hint("add routes for these operations, or take them out of the document");
    }
}

fn described(route: &RoutePlan) -> Option<&Described> {
    route.policies.iter().find_map(|applied| applied.plan.described())
}
