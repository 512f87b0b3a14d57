//! What a policy gets to see while its block becomes a plan, and what it gives back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderName;
use http::request::Parts;
use portcullis_config::{Diagnostics, Named, Node, Reader, Sources, Span, Spanned, did_you_mean};
use portcullis_core::context::VARIABLES;
use portcullis_core::mapping::Program;
use portcullis_core::template::{Place, Template, Words};
use portcullis_core::{Build, Env, LocalBoxFuture, Policy, headers};

use crate::consumers::Consumers;
use crate::issuers::IssuerPlan;
use crate::rate_limit::TierPlan;
use crate::stores::StorePlan;
use crate::transform::Mappings;
use crate::validate::{Described, Documents};

/// Named things of the configuration that policies refer to.
#[derive(Default)]
pub struct Shared {
    pub issuers: Plans<IssuerPlan>,
    pub tiers: Plans<TierPlan>,
    pub stores: Plans<StorePlan>,
    pub env: Arc<Env>,
    pub mappings: Mappings,
    pub consumers: Arc<Consumers>,
}

/// Plans by name. `None`: it is there and could not be understood, and there are complaints.
pub type Plans<T> = BTreeMap<String, Option<Arc<T>>>;

/// Plans of all named things of a kind; one that is broken or cannot be understood stays as `None`.
pub(crate) fn plan_all<S, T>(
    all: &Named<S>,
    mut plan: impl FnMut(&str, Span, &S) -> Option<T>,
) -> Plans<T> {
    let mut plans: Plans<T> = all.broken().iter().map(|name| (name.clone(), None)).collect();
    for entry in all.iter() {
        let planned = plan(&entry.name, entry.span, &entry.value);
        plans.insert(entry.name.clone(), planned.map(Arc::new));
    }
    plans
}

/// Says that nothing of this kind is called so, and what it may have meant.
pub(crate) fn unknown<'k>(
    kind: &str,
    name: &Spanned<String>,
    known: impl Iterator<Item = &'k str>,
    out: &mut Diagnostics,
) {
    let problem = out.error(name.span, format!("no {kind} is called `{}`", name.shown()));
    if let Some(hint) = did_you_mean(name, known) {
        problem.hint(hint);
    }
}

/// What is known about the route that a policy is planned for.
pub struct RouteFacts {
    pub name: Arc<str>,
    /// Its path as it was written.
    pub path: Spanned<String>,
    /// The `{name}`s of its path.
    pub params: Vec<Arc<str>>,
    /// The methods that it lists; any when empty.
    pub methods: Vec<Spanned<String>>,
    /// Every kind of policy that the route has.
    pub kinds: Vec<&'static str>,
}

/// The desk at which a block becomes a plan.
pub struct Planner<'a> {
    pub out: &'a mut Diagnostics,
    pub sources: &'a Sources,
    pub shared: &'a Shared,
    pub route: &'a RouteFacts,
    /// The block that the route inherits, before what it says itself.
    pub above: Option<&'a Node>,
    pub files: &'a mut Vec<PathBuf>,
    pub documents: &'a mut Documents,
}

impl<'a> Planner<'a> {
    /// The same desk, for a second look at a block.
    pub fn again(&mut self) -> Planner<'_> {
        let Planner { sources, shared, route, above, .. } = *self;
        let (out, files, documents) = (&mut *self.out, &mut *self.files, &mut *self.documents);
        Planner { out, sources, shared, route, above, files, documents }
    }

    /// Where a file is that the configuration names.
    pub fn beside(&self, path: &Path, named_at: Span) -> PathBuf {
        self.sources.beside(path, named_at)
    }

    pub fn read(&mut self, path: &Path, named_at: Span) -> Option<String> {
        let (out, sources, files) = (&mut *self.out, self.sources, &mut *self.files);
        Reader { out, sources, files }.read(path, named_at)
    }

    /// A program, compiled; its mistakes are shown where they stand in the file.
    pub fn program(&mut self, text: &Spanned<String>) -> Option<Program> {
        program(text, &VARIABLES, &self.shared.env, self.sources, self.out)
    }

    /// A string template over the route's path.
    pub fn template(&mut self, place: Place, text: &Spanned<String>) -> Option<Template> {
        let (path, env) = (self.route.params.as_slice(), Some(&*self.shared.env));
        template(place, text, &Words { path, calls: &[], env }, self.sources, self.out)
    }
}

/// The name of a header by which upstreams learn who asks: one without a meaning of its own.
pub fn identity_name(name: &str, span: Span, out: &mut Diagnostics) -> Option<HeaderName> {
    let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
        out.error(span, format!("`{name}` is no header"));
        return None;
    };
    let text = header.as_str();
    let taken = matches!(text, "host" | "authorization" | "cookie" | "expect" | "trailer")
        || text.starts_with("content-")
        || headers::is_hop_by_hop(text);
    if taken {
        out.error(span, format!("`{name}` has a meaning of its own"))
            .hint("choose a name such as x-user-id");
        return None;
    }
    Some(header)
}

/// Compiles a program; its mistakes are shown where they stand in the file.
pub fn program(
    text: &Spanned<String>,
    variables: &[&'static str],
    env: &Arc<Env>,
    sources: &Sources,
    out: &mut Diagnostics,
) -> Option<Program> {
    let compiled = Program::compile(text, variables).and_then(|program| program.with_env(env));
    compiled
        .map_err(|errors| {
            for error in errors {
                complain(text, error.offset, error.message, error.hint, sources, out);
            }
        })
        .ok()
}

/// Reads a string template; its mistake is shown where it stands in the file.
pub fn template(
    place: Place,
    text: &Spanned<String>,
    words: &Words<'_>,
    sources: &Sources,
    out: &mut Diagnostics,
) -> Option<Template> {
    Template::parse(place, text, words)
        .map_err(|error| complain(text, error.offset, error.message, error.hint, sources, out))
        .ok()
}

fn complain(
    text: &Spanned<String>,
    offset: usize,
    message: String,
    hint: Option<String>,
    sources: &Sources,
    out: &mut Diagnostics,
) {
    let complaint = out.error(text.inside(sources, offset), message);
    if let Some(hint) = hint {
        complaint.hint(hint);
    }
}

/// What the configuration lists of the environment. What it lists and could not be understood is known
/// too, so that nobody complains of its users.
pub fn plan_env(all: &Named<Spanned<String>>) -> Env {
    let mut env = Env::default();
    all.broken().iter().for_each(|name| env.list(name, "", false));
    all.iter().for_each(|it| env.list(&it.name, &it.value, it.value.is_filled_in()));
    env
}

/// A block that was understood and compiled: everything but the live parts.
pub trait Planned: Send + Sync {
    /// Makes the policy, taking over live parts of the running snapshot where they did not change.
    fn build(&self, build: &mut Build<'_>) -> Arc<dyn Policy>;

    /// Headers by which upstreams learn who asks: nobody else may set them.
    fn identity_headers(&self) -> Vec<HeaderName> {
        Vec::new()
    }

    /// What the policy would say to a request, for `explain`; it may ask an issuer for its keys.
    fn judge<'a>(&'a self, _request: &'a Parts) -> LocalBoxFuture<'a, Vec<String>> {
        Box::pin(async { Vec::new() })
    }

    /// The limits that it counts by, each with a number for its settings: routes that share a name
    /// share a counter, so they have to mean the same.
    fn counters(&self) -> Vec<(Arc<str>, u64)> {
        Vec::new()
    }

    /// The OpenAPI document that it holds the route to.
    fn described(&self) -> Option<&Described> {
        None
    }

    /// Runs the tests that stand beside its settings: what fails is said where they stand. How many ran?
    fn test(&self, _out: &mut Diagnostics) -> usize {
        0
    }

    /// True when the policy answers preflights: those of its route are then looked up by what they
    /// announce.
    fn answers_preflights(&self) -> bool {
        false
    }

    /// Facts for `explain` that the settings alone do not show, such as which engine runs a mapping.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Which of the two engines a program got, for [`Planned::notes`].
pub fn runs(what: &str, program: &Program) -> String {
    match program.engine() {
        "plan" => format!("{what} runs as a plan"),
        _ => format!(
            "{what} runs in jaq, which is slower: it leaves the everyday part of the language"
        ),
    }
}
