//! Where a request's token is: `Authorization: Bearer` (RFC 6750 section 2.1), or where `from` says.

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue};
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
            _ => None,
        };
        if place.is_none() {
            out.error(text.span, format!("`{}` is no place for a token", text.shown()))
                .hint("write header.NAME or cookie.NAME; header.authorization is the usual one");
        }
        place
    };
    from.iter().map(place).collect::<Vec<_>>().into_iter().collect()
}

/// The request's one token. Several are refused: nobody could say which one counts.
pub(crate) fn find<'h>(
    places: &[Place],
    headers: &'h HeaderMap,
) -> Result<Option<&'h str>, &'static str> {
    let mut found = None;
    for place in places {
        let here = match place {
            Place::Bearer => bearer(headers)?,
            Place::Header(name) => header(headers, name)?,
            Place::Cookie(name) => cookie(headers, name)?,
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

/// Takes the token away: upstreams get who asks, not what it was proven with.
pub(crate) fn remove(places: &[Place], headers: &mut HeaderMap) {
    for place in places {
        match place {
            Place::Bearer => drop(headers.remove(AUTHORIZATION)),
            Place::Header(name) => drop(headers.remove(name)),
            Place::Cookie(name) => remove_cookie(headers, name),
        }
    }
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

    fn places(from: &[&str]) -> Vec<Place> {
        let from: Vec<_> =
            from.iter().map(|text| Spanned::new((*text).to_owned(), Default::default())).collect();
        plan(&from, &mut Diagnostics::new()).unwrap()
    }

    #[test]
    fn one_token_is_found_where_it_is_looked_for() {
        let bearer = places(&[]);
        let token = |value| {
            find(&bearer, &map(&[("authorization", value)])).map(|it| it.map(str::to_owned))
        };
        assert_eq!(token("Bearer a.b.c"), Ok(Some("a.b.c".to_owned())));
        assert_eq!(token("bEARER  a.b.c "), Ok(Some("a.b.c".to_owned())));
        assert_eq!(token("Basic x"), Ok(None));
        assert_eq!(token("Bearer "), Ok(None));
        assert!(token(&format!("Bearer {}", "a".repeat(LONGEST + 1))).is_err());
        let twice = map(&[("authorization", "Bearer a"), ("authorization", "Bearer a")]);
        assert!(find(&bearer, &twice).is_err());

        let all = places(&["header.x-token", "cookie.session", "header.authorization"]);
        assert_eq!(find(&all, &map(&[("x-token", "a.b.c")])), Ok(Some("a.b.c")));
        assert_eq!(find(&all, &map(&[("cookie", "x=1; session=a.b.c")])), Ok(Some("a.b.c")));
        assert_eq!(find(&all, &map(&[("cookie", "xsession=a")])), Ok(None));
        let two = map(&[("x-token", "a"), ("cookie", "session=b")]);
        assert_eq!(find(&all, &two), Err("more than one token"));
        assert!(find(&all, &map(&[("cookie", "session=a; session=b")])).is_err());
    }

    #[test]
    fn what_was_proven_with_does_not_travel_on() {
        let all = places(&["header.x-token", "cookie.session"]);
        let mut headers = map(&[("x-token", "a"), ("cookie", "a=1; session=b"), ("cookie", "c=2")]);
        remove(&all, &mut headers);
        assert_eq!(headers, map(&[("cookie", "a=1; c=2")]));
        let mut headers = map(&[("cookie", "session=b")]);
        remove(&all, &mut headers);
        assert!(headers.is_empty());
    }

    #[test]
    fn a_place_that_is_none_is_told() {
        for text in ["query.token", "cookie.", "header.a b", "x"] {
            let from = [Spanned::new(text.to_owned(), Default::default())];
            let mut out = Diagnostics::new();
            assert!(plan(&from, &mut out).is_none() && out.has_errors(), "{text}");
        }
    }
}
