//! Routes: unique names, patterns and conditions, policies, a target, and whether anything can
//! reach them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use portcullis_config::{Diagnostics, Node, Sources, Span, Spanned};
use portcullis_policies::validate::Documents;
use portcullis_policies::{Planner, RouteFacts, Shared};

use super::{AppliedPlan, RoutePlan, policies, targets};
use crate::router::{
    HeaderCondition, HostPattern, Match, Pattern, PatternError, QueryCondition, Router,
    parse_method,
};
use crate::settings::{FileSettings, MatchSettings, RouteSettings};

/// What routes are planned with.
pub struct Desk<'a> {
    pub sources: &'a Sources,
    pub shared: &'a Shared,
    pub inherited: Node,
    pub files: &'a mut Vec<PathBuf>,
    pub out: &'a mut Diagnostics,
}

impl Desk<'_> {
    pub fn plan(&mut self, file: &FileSettings) -> Vec<RoutePlan> {
        let mut names: HashMap<&str, Span> = HashMap::new();
        for route in &file.routes {
            let name = &route.name;
            if names.insert(name.as_str(), name.span).is_some() {
                self.out
                    .error(name.span, format!("a second route is called `{}`", name.shown()))
                    .hint("route names are unique: logs, metrics and `explain` go by them");
            }
        }
        let mut documents = Documents::default();
        let planned = file.routes.iter().filter_map(|it| self.route(it, file, &mut documents));
        let routes: Vec<_> = planned.collect();
        self.warn_of_shadows(&routes);
        routes
    }

    fn route(
        &mut self,
        route: &Spanned<RouteSettings>,
        file: &FileSettings,
        documents: &mut Documents,
    ) -> Option<RoutePlan> {
        let matches = matches(&route.r#match, self.sources, self.out);
        let pattern = matches.as_ref().and_then(|all| all.first()).map(|first| first.path.clone());
        let params = pattern.as_ref().map(|pattern| pattern.names().to_vec()).unwrap_or_default();
        let merged = policies::merge(&self.inherited, &route.policies.0);
        let facts = RouteFacts {
            name: Arc::from(route.name.as_str()),
            path: route.r#match.path.clone(),
            params,
            methods: route.r#match.methods.clone(),
            kinds: merged.iter().map(|merged| merged.kind.name).collect(),
        };
        let mut applied = Vec::new();
        for merged in merged {
            let mut planner = Planner {
                out: &mut *self.out,
                sources: self.sources,
                shared: self.shared,
                route: &facts,
                above: self.inherited.get(merged.kind.name),
                files: &mut *self.files,
                documents: &mut *documents,
            };
            if let Some(plan) = (merged.kind.plan)(&merged.block, &mut planner) {
                applied.push(AppliedPlan { kind: merged.kind, plan, block: merged.block });
            }
        }
        let identity = applied.iter().flat_map(|applied| applied.plan.identity_headers()).collect();
        let mut desk = targets::Desk {
            file,
            pattern: pattern.as_ref(),
            identity,
            env: &self.shared.env,
            sources: self.sources,
            out: &mut *self.out,
        };
        let target = targets::plan(route, &mut desk)?;
        Some(RoutePlan {
            name: facts.name,
            span: route.name.span,
            matches: matches?,
            policies: applied,
            target,
        })
    }

    fn warn_of_shadows(&mut self, routes: &[RoutePlan]) {
        let mut router = Router::builder();
        for (index, route) in routes.iter().enumerate() {
            for wanted in &route.matches {
                router.add(wanted.clone(), index);
            }
        }
        for shadow in router.build().shadowed() {
            let Some(route) = routes.get(*shadow.value) else { continue };
            let by: Vec<_> = shadow
                .by
                .iter()
                .filter_map(|index| routes.get(**index))
                .map(|by| &*by.name)
                .collect();
            self.out
                .warning(route.span, format!("nothing reaches the route `{}`", route.name))
                .hint(format!("`{}` takes all that it matches", by.join("`, `")));
        }
    }
}

fn matches(
    settings: &MatchSettings,
    sources: &Sources,
    out: &mut Diagnostics,
) -> Option<Vec<Match>> {
    let path = report(&settings.path, Pattern::parse(&settings.path), sources, out);
    let hosts: Vec<_> = settings
        .host
        .iter()
        .map(|host| report(host, HostPattern::parse(host), sources, out))
        .collect();
    let methods: Vec<_> = settings
        .methods
        .iter()
        .map(|method| report(method, parse_method(method), sources, out))
        .collect();
    let headers: Vec<_> = settings
        .headers
        .iter()
        .map(|entry| {
            let parsed = HeaderCondition::parse(&entry.name, &entry.value);
            report(&entry.value, parsed, sources, out)
        })
        .collect();
    let query = settings.query.iter().map(|entry| QueryCondition::parse(&entry.name, &entry.value));
    let first = Match {
        host: HostPattern::Any,
        path: path?,
        methods: methods.into_iter().collect::<Option<_>>()?,
        headers: headers.into_iter().collect::<Option<_>>()?,
        query: query.collect(),
    };
    if hosts.is_empty() {
        return Some(vec![first]);
    }
    let with = |host: Option<HostPattern>| host.map(|host| Match { host, ..first.clone() });
    hosts.into_iter().map(with).collect()
}

fn report<T>(
    text: &Spanned<String>,
    parsed: Result<T, PatternError>,
    sources: &Sources,
    out: &mut Diagnostics,
) -> Option<T> {
    parsed
        .map_err(|error| {
            let problem = out.error(text.inside(sources, error.offset), error.message);
            if let Some(hint) = error.hint {
                problem.hint(hint);
            }
        })
        .ok()
}
