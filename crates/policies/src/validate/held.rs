//! Which operation of a document a request is, and what it is held to. A route knows only the
//! operations that its path can meet: which these are is found at load.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Method;
use portcullis_config::Spanned;

use super::compile::{Answers, Compiler, Request};
use super::drift::Entry;
use super::schema::Schemas;
use crate::openapi::{Document, Operation, Pattern, Side, Template};
use crate::planner::Planner;

/// The documents of a configuration: each is read, and each of its operations compiled, once.
#[derive(Default)]
pub struct Documents(BTreeMap<PathBuf, Result<Known, Vec<String>>>);

/// A document, and what was compiled of it so far.
pub(super) struct Known {
    pub(super) document: Arc<Document>,
    pub(super) entries: Arc<[Entry]>,
    requests: Compiled<Request>,
    answers: Compiled<Answers>,
}

/// What was compiled for one side, by the operation's place in the document.
struct Compiled<T> {
    side: Side,
    schemas: Option<Schemas>,
    done: HashMap<usize, Result<Arc<T>, String>>,
}

impl Documents {
    /// Reads the document of a file; says in the diagnostics why it cannot be used.
    pub(super) fn open(
        planner: &mut Planner<'_>,
        named: &Spanned<String>,
        file: &Path,
    ) -> Option<()> {
        if !planner.documents.0.contains_key(file) {
            let text = planner.read(Path::new(named.as_str()), named.span)?;
            let known = Document::read(text).map(Known::new);
            planner.documents.0.insert(file.to_owned(), known);
        }
        if let Err(all) = planner.documents.0.get(file)? {
            for why in all {
                let message = format!("{} cannot be used: {why}", named.shown());
                planner.out.error(named.span, message);
            }
        }
        Some(())
    }

    /// A document that was read and can be used.
    pub(super) fn get(&mut self, file: &Path) -> Option<&mut Known> {
        self.0.get_mut(file)?.as_mut().ok()
    }
}

impl Known {
    fn new(document: Document) -> Self {
        Self {
            entries: document.operations.iter().map(Entry::of).collect(),
            document: Arc::new(document),
            requests: Compiled::of(Side::Request),
            answers: Compiled::of(Side::Answer),
        }
    }

    /// What the requests of a route are held to, and its answers if asked for; or all that keeps it
    /// from being checked.
    pub(super) fn held(&mut self, route: &Pattern, answers: bool) -> Result<Held, Vec<String>> {
        let (mut ways, mut wrong) = (Vec::new(), Vec::new());
        let all = self.document.operations.iter().zip(&*self.entries).enumerate();
        for (place, (operation, entry)) in all {
            let templates = entry.templates.iter().filter(|it| it.meets(route)).cloned();
            let templates: Vec<Template> = templates.collect();
            if templates.is_empty() {
                continue;
            }
            let request = self.requests.get(&self.document, place, |it, of| it.request(of));
            let answers = match answers {
                true => {
                    let answers = self.answers.get(&self.document, place, |it, of| it.answers(of));
                    answers.map(Some)
                }
                false => Ok(None),
            };
            match (request, answers) {
                (Ok(request), Ok(answers)) => {
                    ways.extend(templates.into_iter().map(|template| Way {
                        template,
                        method: operation.method.clone(),
                        request: Arc::clone(&request),
                        answers: answers.clone(),
                    }))
                }
                (request, answers) => {
                    let all = [request.err(), answers.err()].into_iter().flatten();
                    wrong.extend(all.map(|why| format!("{}: {why}", operation.shown())));
                }
            }
        }
        ways.sort_by_cached_key(|way| way.template.rank());
        if wrong.is_empty() { Ok(Held { ways }) } else { Err(wrong) }
    }
}

impl<T> Compiled<T> {
    fn of(side: Side) -> Self {
        Self { side, schemas: None, done: HashMap::new() }
    }

    fn get(
        &mut self,
        document: &Document,
        place: usize,
        compile: impl FnOnce(&mut Compiler<'_>, &Operation) -> Result<T, String>,
    ) -> Result<Arc<T>, String> {
        if let Some(done) = self.done.get(&place) {
            return done.clone();
        }
        let operation = document.operations.get(place).ok_or("it is not there")?;
        let schemas = match &mut self.schemas {
            Some(schemas) => schemas,
            none => none.insert(Schemas::new(document.schemas(self.side))?),
        };
        let compiled = compile(&mut Compiler { document, schemas }, operation).map(Arc::new);
        self.done.insert(place, compiled.clone());
        compiled
    }
}

/// The operations that a route can meet, texts before names.
pub(super) struct Held {
    ways: Vec<Way>,
}

/// An operation behind one of its paths.
pub(super) struct Way {
    template: Template,
    pub(super) method: Method,
    pub(super) request: Arc<Request>,
    /// `None` where answers are not looked at.
    pub(super) answers: Option<Arc<Answers>>,
}

/// What a request is to a document.
pub(super) enum Found<'h> {
    Operation(&'h Way, Vec<(&'h str, String)>),
    /// The path is there, with other methods.
    OtherMethods(Vec<&'h Method>),
    Nothing,
}

impl Held {
    pub(super) fn ways(&self) -> &[Way] {
        &self.ways
    }

    /// The operation that a request is. GET stands for HEAD too (RFC 9110 section 9.3.2).
    pub(super) fn find(&self, method: &Method, path: &str) -> Found<'_> {
        let mut others = Vec::new();
        let mut instead = None;
        for way in &self.ways {
            let Some(params) = way.template.fits(path) else { continue };
            if way.method == *method {
                return Found::Operation(way, params);
            }
            if *method == Method::HEAD && way.method == Method::GET && instead.is_none() {
                instead = Some((way, params));
            }
            if !others.contains(&&way.method) {
                others.push(&way.method);
            }
        }
        match (instead, others.is_empty()) {
            (Some((way, params)), _) => Found::Operation(way, params),
            (None, false) => Found::OtherMethods(others),
            (None, true) => Found::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(pattern: &str) -> Held {
        let root = serde_json::json!({
            "openapi": "3.1.0",
            "servers": [{ "url": "https://api.example/v1/" }],
            "paths": {
                "/users/{id}": { "get": {}, "delete": {} },
                "/users/me": { "get": {} },
                "/orders": { "post": {} },
            },
        });
        let document = Document::read(root.to_string()).ok().unwrap();
        Known::new(document).held(&Pattern::of(pattern), true).ok().unwrap()
    }

    #[test]
    fn operations_are_found_by_method_and_path() {
        let held = held("/*");
        let found = |method: Method, path| match held.find(&method, path) {
            Found::Operation(way, params) => Ok((way.method.clone(), params)),
            Found::OtherMethods(methods) => Err(methods.len()),
            Found::Nothing => Err(0),
        };
        let seven = vec![("id", "7".to_owned())];
        assert_eq!(found(Method::GET, "/v1/users/7"), Ok((Method::GET, seven.clone())));
        assert_eq!(found(Method::HEAD, "/users/7"), Ok((Method::GET, seven)));
        assert_eq!(found(Method::GET, "/v1/users/me"), Ok((Method::GET, vec![])), "text first");
        assert_eq!(found(Method::DELETE, "/v1/users/me").map(|it| it.1.len()), Ok(1));
        assert_eq!(found(Method::POST, "/v1/users/7"), Err(2));
        assert_eq!(found(Method::GET, "/v1/users"), Err(0));
    }

    #[test]
    fn a_route_knows_what_it_can_meet() {
        let met = |pattern: &str| -> Vec<Method> {
            held(pattern).ways.into_iter().map(|way| way.method).collect()
        };
        assert_eq!(met("/v1/users/{user}"), [Method::GET, Method::GET, Method::DELETE]);
        assert_eq!(met("/orders"), [Method::POST]);
        assert!(met("/v2/*").is_empty());
    }
}
