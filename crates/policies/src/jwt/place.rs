//! Where a request's token is: `Authorization: Bearer` (RFC 6750 section 2.1), or where `from` says.

use http::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri};
use portcullis_config::{Diagnostics, Spanned};

/// A longer token is refused, in bytes.
const LONGEST: usize = 8 * 1024;

/// A place that is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `Authorization: Bearer TOKEN`; other schemes count as none.
    Bearer,
    /// A header that holds the token, with or without `Bearer` in front.
    Header(HeaderName),
    Cookie(Box<str>),
    /// A query parameter (RFC 6750 section 2.3 says why not): only where a client can do nothing else.
    Query(Box<str>),
}

/// The places that `from` names; bearer when it names none.
pub(crate) fn plan(from: &[Spanned<String>], out: &mut Diagnostics) -> Option<Vec<Place>> {
    if from.is_empty() {
        return Some(vec![Place::Bearer]);
    }
    let place = |text: &Spanned<String>| {
        let place = match text.split_once('.') {
            Some(("header", name)) => match HeaderName::from_bytes(name.as_bytes()) {
                Ok(AUTHORIZATION) => Some(Place::Bearer),
                Ok(name) => Some(Place::Header(name)),
                Err(_) => None,
            },
            Some(("cookie", name)) if !name.is_empty() => Some(Place::Cookie(name.into())),
            Some(("query", name)) if is_parameter(name) => Some(Place::Query(name.into())),
            _ => None,
        };
        if place.is_none() {
            out.error(text.span, format!("`{}` is no place for a token", text.shown())).hint(
                "write header.NAME, cookie.NAME or query.NAME; header.authorization is usual",
            );
        }
        place
    };
    from.iter().map(place).collect::<Vec<_>>().into_iter().collect()
}

/// The request's one token. Several are refused: nobody could say which one counts.
pub(crate) fn find<'h>(
    places: &[Place],
    request: &'h Parts,
) -> Result<Option<&'h str>, &'static str> {
    let headers = &request.headers;
    let mut found = None;
    for place in places {
        let here = match place {
            Place::Bearer => bearer(headers)?,
            Place::Header(name) => header(headers, name)?,
            Place::Cookie(name) => cookie(headers, name)?,
            Place::Query(name) => parameter(&request.uri, name)?,
        };
        if let Some(token) = here.filter(|token| !token.is_empty())
            && found.replace(token).is_some()
        {
            return Err("more than one token");
        }
    }
    match found {
        Some(token) if token.len() > LONGEST => Err("a token longer than 8 KiB"),
        found => Ok(found),
    }
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, &'static str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err("more than one token"),
        (None, None) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| "a token that is not ASCII"),
    }
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, &'static str> {
    Ok(only(headers, &AUTHORIZATION)?.and_then(without_scheme))
}

fn without_scheme(text: &str) -> Option<&str> {
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, &'static str> {
    Ok(only(headers, name)?.map(|text| without_scheme(text).unwrap_or(text.trim())))
}

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, &'static str> {
    let mut found = None;
    for value in headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()) {
        for (key, value) in value.split(';').filter_map(|pair| pair.trim().split_once('=')) {
            if key == name && found.replace(value.trim_matches('"')).is_some() {
                return Err("more than one token");
            }
        }
    }
    Ok(found)
}

/// A token needs no percent-encoding, and neither does the name of a place.
fn parameter<'h>(uri: &'h Uri, name: &str) -> Result<Option<&'h str>, &'static str> {
    let pairs = uri.query().unwrap_or_default().split('&');
    let mut values = pairs.filter_map(|pair| pair.split_once('=')).filter(|(key, _)| *key == name);
    match (values.next(), values.next()) {
        (_, Some(_)) => Err("more than one token"),
        (first, None) => Ok(first.map(|(_, value)| value)),
    }
}

fn is_parameter(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    !name.is_empty() && name.bytes().all(plain)
}

/// Takes the token away: upstreams get who asks, not what it was proven with.
pub(crate) fn remove(places: &[Place], request: &mut Parts) {
    let headers = &mut request.headers;
    for place in places {
        match place {
            Place::Bearer => drop(headers.remove(AUTHORIZATION)),
            Place::Header(name) => drop(headers.remove(name)),
            Place::Cookie(name) => remove_cookie(headers, name),
            Place::Query(name) => remove_parameter(&mut request.uri, name),
        }
    }
}

fn remove_parameter(uri: &mut Uri, name: &str) {
    let Some(query) = uri.query() else { return };
    let others = |pair: &&str| pair.split_once('=').is_none_or(|(key, _)| key != name);
    let kept = query.split('&').filter(others).collect::<Vec<_>>().join("&");
    if kept.len() == query.len() {
        return;
    }
    let mark = if kept.is_empty() { "" } else { "?" };
    let mut parts = std::mem::take(uri).into_parts();
    // A part of a query is a query: this cannot fail.
    let shorter = |old: &PathAndQuery| format!("{}{mark}{kept}", old.path()).parse().ok();
    parts.path_and_query = parts.path_and_query.as_ref().and_then(shorter);
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

fn remove_cookie(headers: &mut HeaderMap, name: &str) {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let others = |pair: &&str| pair.trim().split_once('=').is_none_or(|(key, _)| key != name);
    let kept: Vec<&str> =
        values.flat_map(|value| value.split(';')).filter(others).map(str::trim).collect();
    match HeaderValue::try_from(kept.join("; ")).ok().filter(|kept| !kept.is_empty()) {
        Some(kept) => drop(headers.insert(COOKIE, kept)),
        None => drop(headers.remove(COOKIE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        map
    }

    fn with(pairs: &[(&str, &str)]) -> Parts {
        at("/", pairs)
    }

    fn at(uri: &str, pairs: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri(uri).body(()).unwrap().into_parts().0;
        request.headers = map(pairs);
        request
    }

    fn places(from: &[&str]) -> Vec<Place> {
        let from: Vec<_> =
            from.iter().map(|text| Spanned::new((*text).to_owned(), Default::default())).collect();
        plan(&from, &mut Diagnostics::new()).unwrap()
    }

    #[test]
    fn one_token_is_found_where_it_is_looked_for() {
        let bearer = places(&[]);
        let token = |value| {
            find(&bearer, &with(&[("authorization", value)])).map(|it| it.map(str::to_owned))
        };
        assert_eq!(token("Bearer a.b.c"), Ok(Some("a.b.c".to_owned())));
        assert_eq!(token("bEARER  a.b.c "), Ok(Some("a.b.c".to_owned())));
        assert_eq!(token("Basic x"), Ok(None));
        assert_eq!(token("Bearer "), Ok(None));
        assert!(token(&format!("Bearer {}", "a".repeat(LONGEST + 1))).is_err());
        let twice = with(&[("authorization", "Bearer a"), ("authorization", "Bearer a")]);
        assert!(find(&bearer, &twice).is_err());

        let all = places(&["header.x-token", "cookie.session", "header.authorization"]);
        assert_eq!(find(&all, &with(&[("x-token", "a.b.c")])), Ok(Some("a.b.c")));
        assert_eq!(find(&all, &with(&[("cookie", "x=1; session=a.b.c")])), Ok(Some("a.b.c")));
        assert_eq!(find(&all, &with(&[("cookie", "xsession=a")])), Ok(None));
        let two = with(&[("x-token", "a"), ("cookie", "session=b")]);
        assert_eq!(find(&all, &two), Err("more than one token"));
        assert!(find(&all, &with(&[("cookie", "session=a; session=b")])).is_err());
    }

    #[test]
    fn what_was_proven_with_does_not_travel_on() {
        let all = places(&["header.x-token", "cookie.session"]);
        let mut request =
            with(&[("x-token", "a"), ("cookie", "a=1; session=b"), ("cookie", "c=2")]);
        remove(&all, &mut request);
        assert_eq!(request.headers, map(&[("cookie", "a=1; c=2")]));
        let mut request = with(&[("cookie", "session=b")]);
        remove(&all, &mut request);
        assert!(request.headers.is_empty());
    }

    #[test]
    fn the_query_is_looked_at_when_asked() {
        let all = places(&["query.access_token"]);
        let find = |uri| find(&all, &at(uri, &[])).map(|it| it.map(str::to_owned));
        assert_eq!(find("/?a=1&access_token=x.y.z"), Ok(Some("x.y.z".to_owned())));
        assert_eq!(find("/?a=1&my_access_token=x"), Ok(None));
        assert!(find("/?access_token=x&access_token=x").is_err());
        for (before, after) in [
            ("/a%2Fb?x=1&access_token=t&y=%20", "/a%2Fb?x=1&y=%20"),
            ("/a?access_token=t", "/a"),
            ("http://h:1/a?access_token=t&b", "http://h:1/a?b"),
            ("/a?b=access_token", "/a?b=access_token"),
        ] {
            let mut request = at(before, &[]);
            remove(&all, &mut request);
            assert_eq!(request.uri.to_string(), after);
        }
    }

    #[test]
    fn a_place_that_is_none_is_told() {
        for text in ["query.", "query.a%62", "cookie.", "header.a b", "x"] {
            let from = [Spanned::new(text.to_owned(), Default::default())];
            let mut out = Diagnostics::new();
            assert!(plan(&from, &mut out).is_none() && out.has_errors(), "{text}");
        }
    }
}
