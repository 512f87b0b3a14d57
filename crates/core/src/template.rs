//! String templates: `/users/{id}/orders?limit={query.limit}`. Every value is encoded for where it
//! lands, so that a `/`, `?`, CR or LF in a claim changes no path and adds no header.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::env::Env;

/// Everything but RFC 3986's unreserved characters, for paths and queries.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Words that begin a reference with a dot, and that no `{name}` of a path may be.
pub const RESERVED_NAMES: [&str; 7] =
    ["jwt", "consumer", "client_cert", "header", "query", "request", "env"];

/// The parts of a client's certificate that a text can be made of; several names of one kind are
/// joined by commas.
pub const CERTIFICATE_PARTS: [&str; 9] =
    ["subject", "cn", "issuer", "serial", "fingerprint", "dns", "ip", "uri", "email"];

/// Where a template's text lands; this decides how values are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A path and, behind the template's own `?`, a query: everything but unreserved characters
    /// (RFC 3986 section 2.3) is percent-encoded.
    Path,
    /// A header's value: what is not visible ASCII or a space is percent-encoded.
    Header,
    /// A query parameter's value: the template's own text is encoded as well.
    Query,
}

/// A text as a part of a path or a query: all but unreserved characters are percent-encoded.
pub fn encode(text: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(text, RESERVED)
}

/// What a `{...}` refers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// A `{name}` of the route's path.
    Path(Box<str>),
    /// A claim, by dotted path.
    Jwt(Box<str>),
    Header(Box<str>),
    Query(Box<str>),
    /// `name` or `tier` of the program that asks with a key.
    Consumer(Box<str>),
    /// One of [`CERTIFICATE_PARTS`].
    ClientCert(Box<str>),
    /// `id`, `method`, `path` or `client_ip`.
    Request(Box<str>),
    /// A part of another call's answer, by dotted path; all of it when the path is empty.
    Call(Box<str>, Box<str>),
    /// What the configuration lists of the environment.
    Env(Box<str>),
}

impl Reference {
    /// What every request may have: `jwt.CLAIM`, `header.NAME`, `query.NAME`, `consumer.name`, `.tier`,
    /// `client_cert.PART` and `request.id`, `.method`, `.path`, `.client_ip`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.split_once('.')? {
            ("jwt", path) if path.split('.').all(|part| !part.is_empty()) => Self::Jwt(path.into()),
            ("header", name) if http::HeaderName::try_from(name).is_ok() => {
                Self::Header(name.to_ascii_lowercase().into())
            }
            ("query", name) if !name.is_empty() => Self::Query(name.into()),
            ("consumer", field @ ("name" | "tier")) => Self::Consumer(field.into()),
            ("client_cert", part) if CERTIFICATE_PARTS.contains(&part) => {
                Self::ClientCert(part.into())
            }
            ("request", field @ ("id" | "method" | "path" | "client_ip")) => {
                Self::Request(field.into())
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(name) => write!(f, "{{{name}}}"),
            Self::Jwt(path) => write!(f, "{{jwt.{path}}}"),
            Self::Header(name) => write!(f, "{{header.{name}}}"),
            Self::Query(name) => write!(f, "{{query.{name}}}"),
            Self::Consumer(field) => write!(f, "{{consumer.{field}}}"),
            Self::ClientCert(part) => write!(f, "{{client_cert.{part}}}"),
            Self::Request(field) => write!(f, "{{request.{field}}}"),
            Self::Call(name, path) if path.is_empty() => write!(f, "{{{name}}}"),
            Self::Call(name, path) => write!(f, "{{{name}.{path}}}"),
            Self::Env(name) => write!(f, "{{env.{name}}}"),
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

/// What is wrong with a template, at which byte of it, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    pub offset: usize,
    pub message: String,
    pub hint: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Value(Reference),
    /// What is known at load, and shown by its name only.
    Known(Reference, Box<str>),
}

/// What templates may refer to, beside what every request has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Words<'w> {
    /// The `{name}`s of the route's path.
    pub path: &'w [Arc<str>],
    /// Calls whose answers can be referred to.
    pub calls: &'w [&'w str],
    /// What `{env.NAME}` may name.
    pub env: Option<&'w Env>,
}

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
    place: Place,
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Value(reference) | Part::Known(reference, _) => write!(f, "{reference}"),
        })
    }
}

impl Template {
    /// A template for a place. `{{` and `}}` are braces.
    pub fn parse(place: Place, text: &str, words: &Words<'_>) -> Result<Self, TemplateError> {
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
                let message = "a brace without its other half".to_owned();
                let hint = Some("write {{ or }} for a brace".to_owned());
                return Err(TemplateError { offset, message, hint });
            };
            let value = reference(name, words).map_err(|(message, hint)| TemplateError {
                offset: offset + 1,
                message,
                hint: Some(hint),
            })?;
            let known = match &value {
                Reference::Env(name) => words.env.and_then(|env| env.get(name)),
                _ => None,
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(match known {
                Some(known) => Part::Known(value, known.into()),
                None => Part::Value(value),
            });
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Self { parts, place })
    }

    /// Whether it is the same text in every request.
    pub fn is_constant(&self) -> bool {
        self.references().next().is_none()
    }

    /// What of a request it refers to, in order.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.parts.iter().filter_map(|part| match part {
            Part::Value(reference) => Some(reference),
            Part::Text(_) | Part::Known(..) => None,
        })
    }

    /// The text for one request. In a path an empty value, `.` and `..` count as missing: they
    /// would make another path.
    pub fn render(&self, values: &dyn Lookup) -> Result<String, MissingReference> {
        let mut out = String::new();
        let mut in_path = self.place == Place::Path;
        for part in &self.parts {
            let (reference, value) = match part {
                Part::Text(text) => {
                    in_path = in_path && !text.contains('?');
                    match self.place {
                        Place::Query => out.extend(utf8_percent_encode(text, RESERVED)),
                        Place::Path | Place::Header => out.push_str(text),
                    }
                    continue;
                }
                Part::Value(reference) => (reference, values.lookup(reference)),
                Part::Known(reference, value) => (reference, Some(Cow::Borrowed(&**value))),
            };
            let usable = |value: &Cow<'_, str>| !in_path || !matches!(&**value, "" | "." | "..");
            let value = value.filter(usable).ok_or_else(|| MissingReference(reference.clone()))?;
            let encoded = match self.place {
                Place::Path | Place::Query => RESERVED,
                Place::Header => CONTROLS,
            };
            out.extend(utf8_percent_encode(&value, encoded));
        }
        Ok(out)
    }
}

/// What a name refers to, or what is wrong with it and a hint.
fn reference(name: &str, words: &Words<'_>) -> Result<Reference, (String, String)> {
    let forms = "jwt.CLAIM, header.NAME, query.NAME, consumer.name, .tier, client_cert.PART (cn, \
                 subject, issuer, serial, fingerprint, dns, ip, uri, email), env.NAME and request.id, \
                 .method, .path, .client_ip";
    match name.split_once('.') {
        None if RESERVED_NAMES.contains(&name) => Err((
            format!("{{{name}}} says not which part of it is meant"),
            format!("there are {forms}"),
        )),
        None if words.path.iter().any(|known| **known == *name) => Ok(Reference::Path(name.into())),
        None if words.calls.contains(&name) => Ok(Reference::Call(name.into(), "".into())),
        Some((call, path))
            if words.calls.contains(&call) && path.split('.').all(|it| !it.is_empty()) =>
        {
            Ok(Reference::Call(call.into(), path.into()))
        }
        None => {
            let known: Vec<_> = words.path.iter().map(|known| format!("{{{known}}}")).collect();
            let hint = match known.as_slice() {
                [] => "it has no names; write one as /users/{id}".to_owned(),
                known => format!("it has {}", known.join(", ")),
            };
            Err((format!("the route's path has no {{{name}}}"), hint))
        }
        Some(("env", name)) if words.env.is_some_and(|env| env.get(name).is_some()) => {
            Ok(Reference::Env(name.into()))
        }
        Some(("env", name)) => Err(words.env.unwrap_or(&Env::default()).unlisted(name)),
        Some(_) => Reference::parse(name)
            .ok_or_else(|| (format!("{{{name}}} is unknown"), format!("there are {forms}"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Values(String);

    impl Lookup for Values {
        fn lookup<'a>(&'a self, reference: &Reference) -> Option<Cow<'a, str>> {
            matches!(reference, Reference::Path(_)).then_some(Cow::Borrowed(&self.0))
        }
    }

    fn values(text: &str) -> Values {
        Values(text.to_owned())
    }

    fn parse(place: Place, text: &str) -> Result<Template, TemplateError> {
        let mut env = Env::default();
        env.list("REGION", "eu/1", true);
        let words = Words { path: &["id".into()], env: Some(&env), ..Words::default() };
        Template::parse(place, text, &words)
    }

    fn path(text: &str) -> Template {
        parse(Place::Path, text).unwrap()
    }

    fn header(text: &str) -> Template {
        parse(Place::Header, text).unwrap()
    }

    #[test]
    fn values_are_encoded_for_where_they_land() {
        let template = path("/users/{id}/x?y={id}");
        assert_eq!(
            template.render(&values("a/b?c%\r\n")).unwrap(),
            "/users/a%2Fb%3Fc%25%0D%0A/x?y=a%2Fb%3Fc%25%0D%0A"
        );
        for value in ["..", ".", ""] {
            assert!(template.render(&values(value)).is_err());
        }
        let query = path("/x?y={id}");
        assert_eq!(query.render(&values("")).unwrap(), "/x?y=");
        let missing = path("/{jwt.sub}").render(&values("x"));
        assert_eq!(missing.unwrap_err().to_string(), "{jwt.sub} has no value in this request");
    }

    #[test]
    fn a_headers_value_stays_one_line_of_ascii() {
        assert_eq!(header("user {id}").render(&values("Ada L.")).unwrap(), "user Ada L.");
        let split = header("{id}").render(&values("a\r\nx-admin: 1\tä")).unwrap();
        assert_eq!(split, "a%0D%0Ax-admin: 1%09%C3%A4");
    }

    #[test]
    fn mistakes_have_a_place_and_a_hint() {
        let error = |text| parse(Place::Path, text).unwrap_err();
        for (text, offset, hint) in [
            ("/users/{name}", 8, "it has {id}"),
            ("/users/{id", 7, "write {{ or }} for a brace"),
            ("/users/id}", 9, "write {{ or }} for a brace"),
            ("/{nope.x}", 2, "there are jwt.CLAIM"),
            ("/{jwt}", 2, "there are jwt.CLAIM"),
            ("/{jwt.}", 2, "there are jwt.CLAIM"),
            ("/{jwt.a..b}", 2, "there are jwt.CLAIM"),
            ("/{header.a b}", 2, "there are jwt.CLAIM"),
            ("/{request.body}", 2, "there are jwt.CLAIM"),
            ("/{client_cert}", 2, "there are jwt.CLAIM"),
            ("/{client_cert.key}", 2, "there are jwt.CLAIM"),
            ("/{}", 2, "it has {id}"),
            ("/{env.STAGE}", 2, "it lists REGION"),
        ] {
            let error = error(text);
            assert_eq!(error.offset, offset, "{text}");
            assert!(error.hint.unwrap().starts_with(hint), "{text}");
        }
        assert_eq!(path("/{{x}}").render(&values("")).unwrap(), "/{x}");
    }

    #[test]
    fn what_a_reference_says_is_read_again() {
        let references = [
            "jwt.realm.roles",
            "header.x-id",
            "query.a b",
            "consumer.tier",
            "client_cert.dns",
            "request.client_ip",
        ];
        for text in references {
            assert_eq!(Reference::parse(text).unwrap().to_string(), format!("{{{text}}}"));
        }
        for text in ["jwt", "jwt.", "header.a b", "consumer.key", "request.body", "id", ""] {
            assert_eq!(Reference::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_template_knows_what_it_refers_to() {
        let template = path("/{id}?p={query.page}");
        let references: Vec<_> = template.references().map(ToString::to_string).collect();
        assert_eq!(references, ["{id}", "{query.page}"]);
        assert!(!template.is_constant());
        assert!(path("/a").is_constant());
        let header = path("/{header.X-Id}/{request.client_ip}");
        let references: Vec<_> = header.references().map(ToString::to_string).collect();
        assert_eq!(references, ["{header.x-id}", "{request.client_ip}"]);
    }

    #[test]
    fn what_is_known_of_the_environment_is_filled_in_and_never_shown() {
        let template = path("/{env.REGION}/{id}");
        assert_eq!(template.render(&values("x")).unwrap(), "/eu%2F1/x");
        assert_eq!(template.to_string(), "/{env.REGION}/{id}");
        assert_eq!(template.references().count(), 1);
        let error = Template::parse(Place::Path, "/{env.REGION}", &Words::default()).unwrap_err();
        assert!(error.hint.unwrap().contains("env: { REGION: \"${REGION}\" }"));
    }

    proptest! {
        #[test]
        fn no_value_changes_a_paths_shape(value in ".*") {
            let template = path("/a/{id}/b/{id}?x={id}");
            if let Ok(text) = template.render(&Values(value)) {
                prop_assert_eq!(text.matches('/').count(), 4);
                prop_assert_eq!(text.matches(['?', '#']).count(), 1);
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
                let (path, _) = text.split_once('?').unwrap();
                prop_assert!(path.split('/').skip(1).all(|part| !matches!(part, "" | "." | "..")));
            }
        }

        #[test]
        fn no_value_ends_a_header(value in "(?s).*") {
            let text = header("x {id}").render(&Values(value)).unwrap();
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }

        #[test]
        fn any_text_is_a_template_or_a_mistake_in_it(text in "[{}a-z./?]{0,20}") {
            if let Err(error) = parse(Place::Path, &text) {
                prop_assert!(error.offset <= text.len());
            }
        }
    }
}
