//! Headers and query parameters that a step removes, renames, sets and adds.

use http::header::{HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri};
use portcullis_config::{Named, Span, Spanned};
use portcullis_core::exchange::query_pairs;
use portcullis_core::problem::MISSING_REFERENCE;
use portcullis_core::template::encode;
use portcullis_core::template::{Lookup, Place, Reference, Template};
use portcullis_core::{Problem, headers};
use smallvec::SmallVec;

use super::settings::{HeaderSettings, QuerySettings};
use crate::planner::Planner;

/// What becomes of headers.
pub(super) struct HeaderEdits {
    remove: Vec<HeaderName>,
    rename: Vec<(HeaderName, HeaderName)>,
    set: Vec<(HeaderName, Template)>,
    add: Vec<(HeaderName, Template)>,
}

impl HeaderEdits {
    pub(super) fn plan(settings: &HeaderSettings, planner: &mut Planner<'_>) -> Option<Self> {
        let remove: Vec<_> = settings.remove.iter().map(|it| name(it, it.span, planner)).collect();
        let rename: Vec<_> = settings
            .rename
            .iter()
            .map(|it| {
                let (old, new) = (name(&it.name, it.span, planner), &it.value);
                old.zip(name(new, new.span, planner))
            })
            .collect();
        let mut named = |all: &Named<Spanned<String>>| {
            let names: Vec<_> = all.iter().map(|it| name(&it.name, it.span, planner)).collect();
            let templates = templates(all, Place::Header, planner)?;
            let names = names.into_iter().collect::<Option<Vec<_>>>()?;
            Some(names.into_iter().zip(templates.into_iter().map(|(_, it)| it)).collect())
        };
        let (set, add) = (named(&settings.set), named(&settings.add));
        Some(Self {
            remove: remove.into_iter().collect::<Option<_>>()?,
            rename: rename.into_iter().collect::<Option<_>>()?,
            set: set?,
            add: add?,
        })
    }

    /// The values of what is set and added: before anything is changed, for they may be made of what
    /// is removed.
    pub(super) fn render(&self, values: &dyn Lookup) -> Result<Rendered, Problem> {
        let both = self.set.iter().chain(&self.add);
        both.map(|(_, template)| render(template, values)).collect()
    }

    pub(super) fn apply(&self, rendered: Rendered, map: &mut HeaderMap) {
        for name in &self.remove {
            map.remove(name);
        }
        for (old, new) in &self.rename {
            let values: Vec<_> = map.get_all(old).iter().cloned().collect();
            map.remove(old);
            for value in values {
                map.append(new, value);
            }
        }
        let mut rendered = rendered.into_iter();
        for ((name, _), value) in self.set.iter().zip(&mut rendered) {
            map.insert(name, value);
        }
        for ((name, _), value) in self.add.iter().zip(rendered) {
            map.append(name, value);
        }
    }

    /// Whether a value is made of what the request says in its headers.
    pub(super) fn reads_headers(&self) -> bool {
        let mut references = self.set.iter().chain(&self.add).flat_map(|(_, it)| it.references());
        references.any(|it| matches!(it, Reference::Header(_)))
    }
}

/// Values of headers, in the order of their templates.
pub(super) type Rendered = SmallVec<[HeaderValue; 4]>;

/// A header that may be changed: framing, the connection's own headers and `Host` are not a step's
/// business.
fn name(text: &str, span: Span, planner: &mut Planner<'_>) -> Option<HeaderName> {
    let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
        planner.out.error(span, format!("`{text}` is no header"));
        return None;
    };
    if headers::is_hop_by_hop(name.as_str())
        || matches!(name.as_str(), "host" | "content-length" | "expect")
    {
        let hint = match name.as_str() {
            "host" => "`forward: { host: … }` says what Host is",
            _ => "the gateway writes it itself",
        };
        planner.out.error(span, format!("`{text}` cannot be changed here")).hint(hint);
        return None;
    }
    Some(name)
}

/// Names with their templates.
fn templates(
    all: &Named<Spanned<String>>,
    place: Place,
    planner: &mut Planner<'_>,
) -> Option<Vec<(String, Template)>> {
    let planned = all.iter().map(|it| (it.name.clone(), planner.template(place, &it.value)));
    // All of them are looked at before one that is wrong makes the whole wrong.
    let planned: Vec<_> = planned.collect();
    planned.into_iter().map(|(name, template)| Some((name, template?))).collect()
}

fn render(template: &Template, values: &dyn Lookup) -> Result<HeaderValue, Problem> {
    let missing = |why: String| {
        Problem::new(&MISSING_REFERENCE, "the request lacks what a header is made of").private(why)
    };
    let text = template.render(values).map_err(|error| missing(error.to_string()))?;
    HeaderValue::try_from(text).map_err(|error| missing(error.to_string()))
}

/// What becomes of query parameters.
pub(super) struct QueryEdits {
    remove: Vec<String>,
    rename: Vec<(String, String)>,
    set: Vec<(String, Template)>,
    add: Vec<(String, Template)>,
}

impl QueryEdits {
    pub(super) fn plan(settings: &QuerySettings, planner: &mut Planner<'_>) -> Option<Self> {
        let set = templates(&settings.set, Place::Query, planner);
        let add = templates(&settings.add, Place::Query, planner);
        let rename = settings.rename.iter().map(|it| (it.name.clone(), it.value.clone()));
        Some(Self {
            remove: settings.remove.clone(),
            rename: rename.collect(),
            set: set?,
            add: add?,
        })
    }

    /// The same target with its query changed. What is not changed keeps its bytes.
    pub(super) fn apply(&self, uri: &Uri, values: &dyn Lookup) -> Result<Uri, Problem> {
        let mut pairs: Vec<String> = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .filter(|pair| !self.remove.iter().any(|name| is_called(pair, name)))
            .map(|pair| self.renamed(pair))
            .collect();
        for (more, all) in [(false, &self.set), (true, &self.add)] {
            for (name, template) in all {
                let value = template.render(values).map_err(|missing| {
                    let detail = "the request lacks what a query parameter is made of";
                    Problem::new(&MISSING_REFERENCE, detail).private(missing.to_string())
                })?;
                if !more {
                    pairs.retain(|pair| !is_called(pair, name));
                }
                pairs.push(format!("{}={value}", encode(name)));
            }
        }
        let path = uri.path();
        let text = match pairs.is_empty() {
            true => path.to_owned(),
            false => format!("{path}?{}", pairs.join("&")),
        };
        let mut parts = uri.clone().into_parts();
        let target = PathAndQuery::try_from(text).map_err(|error| {
            let detail = "the query cannot be written";
            Problem::new(&MISSING_REFERENCE, detail).private(error.to_string())
        })?;
        parts.path_and_query = Some(target);
        Ok(Uri::from_parts(parts).unwrap_or_else(|_| uri.clone()))
    }

    fn renamed(&self, pair: &str) -> String {
        let rest = pair.find('=').and_then(|at| pair.get(at..)).unwrap_or_default();
        match self.rename.iter().find(|(old, _)| is_called(pair, old)) {
            Some((_, new)) => format!("{}{rest}", encode(new)),
            None => pair.to_owned(),
        }
    }
}

/// Whether a pair of a query has this name, however it is encoded.
fn is_called(pair: &str, name: &str) -> bool {
    query_pairs(pair).next().is_some_and(|(written, _)| written == name)
}
