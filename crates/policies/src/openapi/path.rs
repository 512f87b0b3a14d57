//! Paths of operations, as requests and routes meet them.

use percent_encoding::percent_decode_str;
use portcullis_core::CanonicalPath;

/// One segment of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    Text(String),
    /// Any one segment that is not empty.
    Name(String),
}

/// The path of an operation behind a server's: `/v1/users/{id}`. A slash at its end means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Segment>);

/// The path of a route, of which `/*` at the end takes all that is below.
#[derive(Clone, Debug)]
pub struct Pattern {
    template: Template,
    has_tail: bool,
}

impl Template {
    /// Literals in their canonical form, as requests have them.
    pub fn parse(base: &str, path: &str) -> Result<Self, String> {
        if !path.starts_with('/') {
            return Err("a path begins with a slash".to_owned());
        }
        let fixed = parts(base).map(|text| literal(text).map(Segment::Text));
        fixed.chain(parts(path).map(segment)).collect::<Result<_, _>>().map(Self)
    }

    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The values of its names, decoded, when a request's canonical path is one of its paths.
    pub fn fits(&self, path: &str) -> Option<Vec<(&str, String)>> {
        let mut given = parts(path);
        let is_so = self.0.iter().all(|own| match (own, given.next()) {
            (Segment::Text(text), Some(given)) => text == given,
            (Segment::Name(_), Some(given)) => !given.is_empty(),
            (_, None) => false,
        });
        if !is_so || given.next().is_some() {
            return None;
        }
        let named = self.0.iter().zip(parts(path)).filter_map(|(own, given)| match own {
            Segment::Name(name) => {
                Some((name.as_str(), percent_decode_str(given).decode_utf8_lossy().into_owned()))
            }
            Segment::Text(_) => None,
        });
        Some(named.collect())
    }

    /// True when a request's path may fit both this and a route's pattern.
    pub fn meets(&self, pattern: &Pattern) -> bool {
        let (own, others) = (&self.0, &pattern.template.0);
        let is_long_enough = match pattern.has_tail {
            true => own.len() >= others.len(),
            false => own.len() == others.len(),
        };
        let can_be_same = |(one, two): (&Segment, &Segment)| match (one, two) {
            (Segment::Text(one), Segment::Text(two)) => one == two,
            _ => true,
        };
        is_long_enough && own.iter().zip(others).all(can_be_same)
    }

    /// Texts come before names, from left to right, as routes do: `/users/me` is not `/users/{id}`.
    pub fn rank(&self) -> Vec<bool> {
        self.0.iter().map(|it| matches!(it, Segment::Name(_))).collect()
    }
}

impl Pattern {
    /// Of a route's `path`, which was understood.
    pub fn of(text: &str) -> Self {
        let (path, has_tail) = match text.strip_suffix("/*") {
            Some(path) => (path, true),
            None => (text, false),
        };
        let own = |text: &str| segment(text).unwrap_or_else(|_| Segment::Text(text.to_owned()));
        Self { template: Template(parts(path).map(own).collect()), has_tail }
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    let trimmed = path.trim_matches('/');
    let count = if trimmed.is_empty() { 0 } else { usize::MAX };
    trimmed.split('/').take(count)
}

fn segment(text: &str) -> Result<Segment, String> {
    match text.strip_prefix('{').and_then(|it| it.strip_suffix('}')) {
        Some(name) if !name.contains(['{', '}']) => Ok(Segment::Name(name.to_owned())),
        None if !text.contains(['{', '}']) => literal(text).map(Segment::Text),
        _ => Err(format!("`{text}`: a name is a whole segment of the path here")),
    }
}

/// A text as it stands in the paths of requests.
fn literal(text: &str) -> Result<String, String> {
    let canonical = CanonicalPath::parse(&format!("/{text}"));
    let canonical = canonical.map_err(|error| format!("`{text}`: no request has this: {error}"))?;
    match canonical.as_str().strip_prefix('/') {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("`{text}`: no request has this: it is resolved at the door")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_fit_by_segments() {
        let template = Template::parse("/v1", "/users/{id}").unwrap();
        assert_eq!(template.fits("/v1/users/a%20b"), Some(vec![("id", "a b".to_owned())]));
        assert_eq!(template.fits("/v1/users/7/"), Some(vec![("id", "7".to_owned())]));
        for path in ["/v1/users", "/users/7", "/v1/users/7/x", "/v1x/users/7"] {
            assert_eq!(template.fits(path), None, "{path}");
        }
        assert_eq!(Template::parse("", "/").unwrap().fits("/"), Some(vec![]));
        assert_eq!(Template::parse("/v1/", "/").unwrap().fits("/v1"), Some(vec![]));
        assert!(Template::parse("", "/caf\u{e9}").unwrap().fits("/caf%C3%A9").is_some());
    }

    #[test]
    fn paths_that_no_request_has_are_refused() {
        for path in ["/{name}.json", "/{a}-{b}", "/{id}:run", "/a/../b", "/a%2fb", "users"] {
            assert!(Template::parse("", path).is_err(), "{path}");
        }
    }

    #[test]
    fn routes_meet_operations() {
        let meets = |pattern: &str, path: &str| {
            Template::parse("/v1", path).unwrap().meets(&Pattern::of(pattern))
        };
        assert!(
            meets("/*", "/users") && meets("/v1/*", "/users") && meets("/v1/users/*", "/users")
        );
        assert!(meets("/v1/{any}", "/users") && meets("/v1/users", "/{any}"));
        assert!(meets("/v1/users/", "/users"));
        assert!(!meets("/v1/users/{id}", "/users") && !meets("/v1/orders", "/users"));
        assert!(!meets("/v1/users/{id}/*", "/users"));
    }

    #[test]
    fn texts_come_before_names() {
        let rank = |path: &str| Template::parse("", path).unwrap().rank();
        assert!(rank("/users/me") < rank("/users/{id}"));
        assert!(rank("/users/me/{x}") < rank("/users/{id}/x"));
    }
}
