//! String templates: `/users/{id}/orders?limit={query.limit}`. Every value is encoded for where it
//! lands, so that a `/`, `?`, CR or LF in a claim changes no path and adds no header.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a `{...}` refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A `{name}` of the route's path.
    Path(Box<str>),
    /// A claim, by dotted path.
    Jwt(Box<str>),
    Header(Box<str>),
    Query(Box<str>),
    /// `id`, `method`, `path` or `client_ip`.
    Request(Box<str>),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(name) => write!(f, "{{{name}}}"),
            Self::Jwt(path) => write!(f, "{{jwt.{path}}}"),
            Self::Header(name) => write!(f, "{{header.{name}}}"),
            Self::Query(name) => write!(f, "{{query.{name}}}"),
            Self::Request(field) => write!(f, "{{request.{field}}}"),
        }
    }
}

/// Where references get their values. `None` for what is missing, null, an object or an array.
pub trait Lookup {
    fn lookup<'a>(&'a self, reference: &Reference) -> Option<Cow<'a, str>>;
}

/// A reference without a value in this request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} has no value in this request")]
pub struct MissingReference(pub Reference);

/// What is wrong with a template, and at which byte of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    pub offset: usize,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Value(Reference),
}

/// A parsed template for a path with, perhaps, a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Value(reference) => write!(f, "{reference}"),
        })
    }
}

impl Template {
    /// `{{` and `}}` are braces. `names` are the path's.
    pub fn parse(text: &str, names: &[impl AsRef<str>]) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let offset = text.len() - rest.len() + at;
            let (before, brace) = rest.split_at_checked(at).unwrap_or((rest, ""));
            literal.push_str(before);
            if let Some(after) = brace.strip_prefix("{{").or_else(|| brace.strip_prefix("}}")) {
                literal.push(brace.chars().next().unwrap_or('{'));
                rest = after;
                continue;
            }
            let inside = brace.strip_prefix('{').and_then(|brace| brace.split_once('}'));
            let Some((name, after)) = inside else {
                let message = "a brace without its other half; write {{ or }} for a brace";
                return Err(TemplateError { offset, message: message.to_owned() });
            };
            let value = reference(name, names)
                .map_err(|message| TemplateError { offset: offset + 1, message })?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(Part::Value(value));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Self(parts))
    }

    /// The text for one request. In a path an empty value, `.` and `..` count as missing: they
    /// would make another path.
    pub fn render(&self, values: &dyn Lookup) -> Result<String, MissingReference> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Value(reference) => {
                    let in_path = !out.contains('?');
                    let usable = |value: &Cow<'_, str>| {
                        !in_path || !matches!(value.as_ref(), "" | "." | "..")
                    };
                    let value = values.lookup(reference).filter(usable);
                    let value = value.ok_or_else(|| MissingReference(reference.clone()))?;
                    out.extend(utf8_percent_encode(&value, ENCODED));
                }
            }
        }
        Ok(out)
    }
}

fn reference(name: &str, names: &[impl AsRef<str>]) -> Result<Reference, String> {
    match name.split_once('.') {
        None if names.iter().any(|known| known.as_ref() == name) => {
            Ok(Reference::Path(name.into()))
        }
        None => {
            let known: Vec<_> =
                names.iter().map(|known| format!("{{{}}}", known.as_ref())).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(format!("the route's path has no {{{name}}}; it has: {known}"))
        }
        Some(("jwt", path)) if !path.is_empty() => Ok(Reference::Jwt(path.into())),
        Some(("header", name)) if !name.is_empty() => Ok(Reference::Header(name.into())),
        Some(("query", name)) if !name.is_empty() => Ok(Reference::Query(name.into())),
        Some(("request", "id" | "method" | "path" | "client_ip")) => {
            Ok(Reference::Request(name.trim_start_matches("request.").into()))
        }
        Some(_) => Err(format!(
            "{{{name}}} is unknown; there are jwt.CLAIM, header.NAME, query.NAME and \
             request.id, .method, .path, .client_ip"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Values(&'static str);

    impl Lookup for Values {
        fn lookup<'a>(&'a self, reference: &Reference) -> Option<Cow<'a, str>> {
            matches!(reference, Reference::Path(_)).then_some(Cow::Borrowed(self.0))
        }
    }

    #[test]
    fn values_are_encoded_for_where_they_land() {
        let template = Template::parse("/users/{id}/x?y={id}", &["id"]).unwrap();
        assert_eq!(
            template.render(&Values("a/b?c\r\n")).unwrap(),
            "/users/a%2Fb%3Fc%0D%0A/x?y=a%2Fb%3Fc%0D%0A"
        );
        assert!(template.render(&Values("..")).is_err() && template.render(&Values("")).is_err());
        let missing = Template::parse("/{jwt.sub}", &["id"]).unwrap().render(&Values("x"));
        assert_eq!(missing.unwrap_err().to_string(), "{jwt.sub} has no value in this request");
    }

    #[test]
    fn mistakes_have_a_place() {
        let offset = |text| Template::parse(text, &["id"]).unwrap_err().offset;
        assert_eq!(offset("/users/{name}"), 8);
        assert_eq!(offset("/users/{id"), 7);
        assert_eq!(offset("/users/id}"), 9);
        assert_eq!(offset("/{nope.x}"), 2);
        assert_eq!(
            Template::parse("/{{x}}", &["id"]).unwrap().render(&Values("")).unwrap(),
            "/{x}"
        );
    }
}
