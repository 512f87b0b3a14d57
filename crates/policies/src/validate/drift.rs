//! Where a configuration and its OpenAPI document no longer say the same: warnings, for either may be
//! the one that is right.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use http::Method;
use portcullis_config::{Spanned, did_you_mean};

use super::compile::Request;
use super::held::Held;
use super::parameters::Place;
use super::settings::ValidateSettings;
use crate::openapi::{Document, Operation, Pattern, Template};
use crate::planner::{Planner, RouteFacts};

/// What is remembered of an operation: enough to say who serves it.
pub(super) struct Entry {
    shown: String,
    method: Method,
    pub(super) templates: Vec<Template>,
}

impl Entry {
    pub(super) fn of(operation: &Operation) -> Self {
        let (shown, method) = (operation.shown(), operation.method.clone());
        Self { shown, method, templates: operation.templates() }
    }

    fn is_served(&self, path: &Pattern, methods: &[Method]) -> bool {
        let takes = methods.is_empty()
            || methods.iter().any(|listed| stands_for(listed.as_str(), &self.method));
        takes && self.templates.iter().any(|it| it.meets(path))
    }
}

/// The document that a route is held to.
pub struct Described {
    /// As the configuration names it, and where.
    pub named: Spanned<String>,
    pub file: PathBuf,
    pub(super) entries: Arc<[Entry]>,
}

impl Described {
    /// The operations that are behind none of these paths and methods (any when empty).
    pub fn unserved(&self, routes: &[(Pattern, &[Method])]) -> Vec<&str> {
        let is_served = |entry: &Entry| routes.iter().any(|(it, m)| entry.is_served(it, m));
        let left = self.entries.iter().filter(|entry| !is_served(entry));
        left.map(|entry| entry.shown.as_str()).collect()
    }
}

/// What a route says against its document.
pub(super) struct Drift<'d> {
    pub(super) named: &'d Spanned<String>,
    pub(super) document: &'d Document,
    pub(super) held: &'d Held,
}

impl Drift<'_> {
    pub(super) fn warn(&self, settings: &ValidateSettings, planner: &mut Planner<'_>) {
        let name = self.named.shown();
        let route = planner.route;
        if self.held.ways().is_empty() {
            let paths: BTreeSet<&str> =
                self.document.operations.iter().map(|it| it.path.as_str()).collect();
            let near = did_you_mean(&route.path, paths).unwrap_or_default();
            let message = format!("{name} has no path that the route `{}` takes", route.name);
            let problem = planner.out.warning(route.path.span, message);
            problem.hint(format!("every request is answered with 404: {near}"));
            return;
        }
        for method in &route.methods {
            // Preflights are answered before anything is held to a document.
            let is_preflight = method.as_str() == "OPTIONS" && route.kinds.contains(&"cors");
            let mut ways = self.held.ways().iter();
            if !is_preflight && !ways.any(|way| stands_for(method, &way.method)) {
                let message =
                    format!("{name} has no {} for {}", method.shown(), route.path.shown());
                planner.out.warning(method.span, message).hint(
                    "such requests are answered with 405: describe the operation, or take the \
                     method out",
                );
            }
        }
        self.warn_of_parameters(settings, planner);
        let has_body = self.served(route).any(|request| request.body.is_some());
        if let Some(body) = settings.body.as_ref().filter(|_| !has_body) {
            let message = format!("{name} declares no body for what this route serves");
            planner.out.warning(body.span, message).hint("describe it there as well");
        }
    }

    /// What the document says of the requests that the route takes.
    fn served<'r>(&'r self, route: &'r RouteFacts) -> impl Iterator<Item = &'r Request> {
        let takes = |method: &Method| {
            route.methods.is_empty() || route.methods.iter().any(|it| stands_for(it, method))
        };
        self.held.ways().iter().filter(move |way| takes(&way.method)).map(|way| &*way.request)
    }

    fn warn_of_parameters(&self, settings: &ValidateSettings, planner: &mut Planner<'_>) {
        let all: Vec<_> = self.served(planner.route).flat_map(|it| &it.parameters).collect();
        for (group, place) in settings.groups() {
            let word = place.as_ref().map_or("header", Place::word);
            let known: Vec<&str> =
                all.iter().filter(|it| it.place().word() == word).map(|it| it.name()).collect();
            let is_known = |name: &str| match place {
                None => known.iter().any(|it| it.eq_ignore_ascii_case(name)),
                Some(_) => known.contains(&name),
            };
            // Names of the path may differ: each goes by its place.
            let alone = group.iter().filter(|_| place != Some(Place::Path));
            for entry in alone.filter(|entry| !is_known(&entry.name)) {
                let message = format!(
                    "{} declares no {word} `{}` for this route",
                    self.named.shown(),
                    entry.name
                );
                let near = did_you_mean(&entry.name, known.iter().copied());
                let hint = near.unwrap_or_else(|| "describe it there as well".to_owned());
                planner.out.warning(entry.span, message).hint(hint);
            }
        }
    }
}

/// Whether a method that a route lists takes requests of an operation's: GET stands for HEAD too.
fn stands_for(listed: &str, declared: &Method) -> bool {
    listed == declared.as_str()
        || listed == "HEAD" && *declared == Method::GET
        || listed == "GET" && *declared == Method::HEAD
}
