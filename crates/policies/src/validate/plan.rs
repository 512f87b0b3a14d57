//! From a block of settings to a policy: schemas and documents are read and compiled, and whatever
//! is wrong with them is told at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderName;
use jsonschema::Validator;
use portcullis_config::{Decode, Node, Spanned, Value as Yaml};
use portcullis_core::{Build, Policy};

use super::drift::{Described, Drift};
use super::held::{Documents, Held};
use super::parameters::{Parameter, Place};
use super::settings::{Mode, ValidateSettings};
use super::texts::{Shape, Written};
use super::{Answered, Validate, schema};
use crate::bodies;
use crate::openapi::{Document, Pattern};
use crate::planner::{Planned, Planner};

pub fn plan(block: &Node, planner: &mut Planner<'_>) -> Option<Box<dyn Planned>> {
    let settings = ValidateSettings::decode(block, planner.out)?;
    let body = settings.body.as_ref().map(|body| validator(body, planner));
    let parameters = parameters(&settings, planner);
    let opened = settings.openapi.as_ref().map(|named| open(named, &settings, planner));
    let response = answered(block, &settings, planner);
    if settings.says_nothing() {
        planner
            .out
            .error(block.span, "there is nothing to validate")
            .hint("give it `body`, `query`, `openapi` or another of its keys");
    }
    let (opened, parameters) = (sound(opened)?, parameters?);
    if let (Some(opened), Some(named)) = (&opened, &settings.openapi)
        && !planner.out.has_errors()
    {
        let drift = Drift { named, document: &opened.document, held: &opened.held };
        drift.warn(&settings, planner);
    }
    let (held, described) = opened.map(|it| (it.held, it.described)).unzip();
    let types = settings.content_types.iter();
    let validate = Validate {
        body: sound(body)?,
        content_types: types.map(|it| bodies::without_parameters(it)).collect(),
        parameters,
        held,
        mode: settings.mode,
        response: response?,
    };
    Some(Box::new(Plan { validate: Arc::new(validate), described }))
}

/// `Some(None)` for what is not there, `None` for what is wrong.
fn sound<T>(planned: Option<Option<T>>) -> Option<Option<T>> {
    match planned {
        Some(planned) => planned.map(Some),
        None => Some(None),
    }
}

/// What answers are held to; `None` after an error.
fn answered(
    block: &Node,
    settings: &ValidateSettings,
    planner: &mut Planner<'_>,
) -> Option<Option<Answered>> {
    let Some(response) = &settings.response else { return Some(None) };
    let body = response.body.as_ref().map(|body| validator(body, planner));
    if body.is_none() && settings.openapi.is_none() {
        let span = block.get("response").map_or(block.span, |it| it.span);
        planner
            .out
            .error(span, "there is nothing to hold answers to")
            .hint("give it `body`, or `openapi` beside `response`");
    }
    let (body, mode): (_, Mode) = (sound(body)?, response.mode);
    Some(Some(Answered { body, mode }))
}

/// All values that come as text; `None` after an error.
fn parameters(settings: &ValidateSettings, planner: &mut Planner<'_>) -> Option<Vec<Parameter>> {
    let mut all = Vec::new();
    let headers = |name: &str| HeaderName::from_bytes(name.as_bytes()).ok().map(Place::Header);
    let mut sound = true;
    for (group, place) in settings.groups() {
        for entry in group.iter() {
            let (name, schema) = (&entry.name, entry.value.schema.to_json());
            let known = |param: &Arc<str>| **param == **name;
            if place == Some(Place::Path) && !planner.route.params.iter().any(known) {
                planner.out.error(entry.span, format!("the route's path has no {{{name}}}"));
                sound = false;
            }
            let required = entry.value.required || place == Some(Place::Path);
            let place = place.clone().or_else(|| headers(name)).ok_or("it is no header".to_owned());
            let planned = place.and_then(|place| {
                let (shape, validator) = (Shape::of(&schema, &schema), schema::compile(&schema)?);
                let written = written(&place, &shape);
                let validator = Arc::new(validator);
                Ok(Parameter::new(name.clone(), place, required, shape, written, validator))
            });
            match planned {
                Ok(parameter) => all.push(parameter),
                Err(why) => {
                    planner.out.error(entry.span, format!("`{name}` cannot be checked: {why}"));
                    sound = false;
                }
            }
        }
    }
    sound.then_some(all)
}

/// How values are written where no document says it: lists in the query as `tag=a&tag=b`, objects as
/// `where[name]=x`.
fn written(place: &Place, shape: &Shape) -> Written {
    match place {
        Place::Path | Place::Header(_) => Written::Joined(','),
        Place::Query if shape.is_object() => Written::Deep,
        Place::Query | Place::Cookie => Written::Apart,
    }
}

/// A schema that stands here, or in the file that is named here.
fn validator(node: &Node, planner: &mut Planner<'_>) -> Option<Arc<Validator>> {
    let schema = match &node.value {
        Yaml::Map(_) => node.to_json(),
        _ => {
            let path = PathBuf::decode(node, planner.out)?;
            let text = planner.read(&path, node.span)?;
            match serde_json::from_str(&text) {
                Ok(schema) => schema,
                Err(error) => {
                    let message = format!("{} is no JSON: {error}", path.display());
                    planner.out.error(node.span, message);
                    return None;
                }
            }
        }
    };
    let compiled = schema::compile(&schema);
    compiled
        .map(Arc::new)
        .map_err(|why| {
            let message = format!("this is no JSON Schema that can be used: {why}");
            planner.out.error(node.span, message);
        })
        .ok()
}

/// A document, and what this route is held to by it.
struct Opened {
    document: Arc<Document>,
    held: Held,
    described: Described,
}

fn open(
    named: &Spanned<String>,
    settings: &ValidateSettings,
    planner: &mut Planner<'_>,
) -> Option<Opened> {
    let file = planner.beside(Path::new(named.as_str()), named.span);
    let route = Pattern::of(&planner.route.path);
    Documents::open(planner, named, &file)?;
    let known = planner.documents.get(&file)?;
    let (document, entries) = (Arc::clone(&known.document), Arc::clone(&known.entries));
    match known.held(&route, settings.response.is_some()) {
        Ok(held) => {
            let described = Described { named: named.clone(), file, entries };
            Some(Opened { document, held, described })
        }
        Err(all) => {
            for why in all {
                let message = format!("{} cannot be used: {why}", named.shown());
                planner.out.error(named.span, message);
            }
            None
        }
    }
}

struct Plan {
    validate: Arc<Validate>,
    described: Option<Described>,
}

impl Planned for Plan {
    fn build(&self, _build: &mut Build<'_>) -> Arc<dyn Policy> {
        Arc::clone(&self.validate) as Arc<dyn Policy>
    }

    fn described(&self) -> Option<&Described> {
        self.described.as_ref()
    }
}
