//! What the services say beside their bodies, and what of it holds for the whole: it may be kept no
//! longer than any of the answers that it is made of (RFC 9111 section 5.2.2).

use std::collections::BTreeSet;

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL, HeaderName, HeaderValue, SET_COOKIE, VARY};

/// What one answer says of its keeping, and what of its headers passes.
#[derive(Default)]
pub(super) struct Heard {
    /// All of its lines, in lower case; `None` where one cannot be read.
    cache_control: Option<String>,
    age: u64,
    vary: BTreeSet<String>,
    passed: Vec<(HeaderName, HeaderValue)>,
}

impl Heard {
    pub(super) fn of(headers: &HeaderMap, pass: &[HeaderName]) -> Self {
        let joined = |name| {
            let lines: Result<Vec<&str>, _> =
                headers.get_all(name).iter().map(HeaderValue::to_str).collect();
            lines.map(|lines| lines.join(",").to_ascii_lowercase()).ok()
        };
        let names = joined(VARY).unwrap_or_else(|| "*".to_owned());
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        let passed = pass.iter().flat_map(|name| {
            headers.get_all(name).iter().map(|value| (name.clone(), value.clone()))
        });
        Self {
            cache_control: joined(CACHE_CONTROL),
            age: headers.get(AGE).and_then(|age| age.to_str().ok()?.parse().ok()).unwrap_or(0),
            vary: names.filter(|name| *name != "accept-encoding").map(str::to_owned).collect(),
            passed: passed.collect(),
        }
    }
}

/// What holds for the whole; an answer in which something is missing is not kept.
pub(super) fn headers<'h>(
    all: impl Iterator<Item = &'h Heard> + Clone,
    partial: bool,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let passed = all.clone().flat_map(|heard| heard.passed.iter().cloned());
    passed.for_each(|(name, value)| {
        headers.append(name, value);
    });
    let vary: BTreeSet<&str> =
        all.clone().flat_map(|heard| heard.vary.iter().map(String::as_str)).collect();
    let never = partial || headers.contains_key(SET_COOKIE) || vary.contains("*");
    let kept = if never { Some("no-store".to_owned()) } else { strictest(all, !vary.is_empty()) };
    if let Some(value) = kept.and_then(|kept| HeaderValue::try_from(kept).ok()) {
        headers.insert(CACHE_CONTROL, value);
    }
    let vary = Vec::from_iter(vary).join(", ");
    if let Some(value) = HeaderValue::try_from(vary).ok().filter(|vary| !vary.is_empty()) {
        headers.insert(VARY, value);
    }
    headers
}

/// The strictest of all; `None` where one says nothing, for then nothing is known. An answer that
/// varies may vary by what only the gateway sends: it is for one client.
fn strictest<'h>(all: impl Iterator<Item = &'h Heard>, varies: bool) -> Option<String> {
    let (mut no_cache, mut private, mut revalidate) = (false, varies, false);
    // Who names no age leaves it to others: then nobody's age holds for all.
    let mut least = Some(u64::MAX);
    for heard in all {
        let text = heard.cache_control.as_deref().filter(|text| !text.is_empty())?;
        let mut age: Option<u64> = None;
        for directive in text.split(',') {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim() {
                "no-store" => return Some("no-store".to_owned()),
                // Also when only for some fields: which of them are in the whole is not known.
                "no-cache" => no_cache = true,
                "private" => private = true,
                "must-revalidate" | "proxy-revalidate" => revalidate = true,
                "max-age" | "s-maxage" => {
                    let seconds = value.trim().trim_matches('"').parse().unwrap_or(0);
                    age = Some(age.unwrap_or(u64::MAX).min(seconds));
                }
                _ => {}
            }
        }
        least = least.zip(age).map(|(least, age)| least.min(age.saturating_sub(heard.age)));
    }
    let mut parts = Vec::new();
    parts.extend(private.then(|| "private".to_owned()));
    parts.extend(no_cache.then(|| "no-cache".to_owned()));
    parts.extend(least.filter(|age| *age < u64::MAX).map(|age| format!("max-age={age}")));
    parts.extend(revalidate.then(|| "must-revalidate".to_owned()));
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(all: &[&[(&'static str, &'static str)]]) -> HeaderMap {
        let pass = [SET_COOKIE, HeaderName::from_static("x-total")];
        let each = |lines: &&[(&'static str, &'static str)]| {
            let line = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            let mut headers = HeaderMap::new();
            lines.iter().map(line).for_each(|(name, value)| {
                headers.append(name, value);
            });
            Heard::of(&headers, &pass)
        };
        let all: Vec<Heard> = all.iter().map(each).collect();
        headers(all.iter(), false)
    }

    #[test]
    fn the_strictest_counts() {
        for (all, expected) in [
            (&["max-age=60", "public, max-age=10"][..], "max-age=10"),
            (&["max-age=60", "no-store"], "no-store"),
            (&["private, max-age=60", "no-cache"], "private, no-cache"),
            (&["private=\"x-a\", max-age=60", "max-age=60"], "private, max-age=60"),
            (&["no-cache=\"set-cookie\"", "max-age=60"], "no-cache"),
            (&["s-maxage=5, max-age=600", "max-age=60"], "max-age=5"),
            (&["MAX-AGE=\"7\""], "max-age=7"),
            (&["max-age=x"], "max-age=0"),
            (&["max-age=9, must-revalidate", "max-age=7"], "max-age=7, must-revalidate"),
            (&["public"], ""),
            (&["", "max-age=1"], ""),
        ] {
            let lines: Vec<_> = all.iter().map(|line| [("cache-control", *line)]).collect();
            let lines: Vec<&[_]> = lines.iter().map(|line| &line[..]).collect();
            let found = heard(&lines);
            let found = found.get(CACHE_CONTROL).map_or("", |value| value.to_str().unwrap());
            assert_eq!(found, expected, "{all:?}");
        }
    }

    #[test]
    fn all_lines_the_age_and_what_it_varies_by_count() {
        let found = heard(&[&[("cache-control", "public"), ("cache-control", "no-store")]]);
        assert_eq!(found[CACHE_CONTROL], "no-store");
        let found = heard(&[&[("cache-control", "max-age=60"), ("age", "50")]]);
        assert_eq!(found[CACHE_CONTROL], "max-age=10");
        let varies = [("cache-control", "max-age=60"), ("vary", "X-User-Id, Accept-Encoding")];
        let found =
            heard(&[&varies, &[("cache-control", "max-age=9"), ("vary", "accept-language")]]);
        assert_eq!(found[CACHE_CONTROL], "private, max-age=9");
        assert_eq!(found[VARY], "accept-language, x-user-id");
        assert_eq!(heard(&[&[("vary", "*")]])[CACHE_CONTROL], "no-store");
    }

    #[test]
    fn what_passes_comes_in_the_order_of_the_calls() {
        let found = heard(&[
            &[("set-cookie", "a=1"), ("x-other", "no"), ("cache-control", "max-age=60")],
            &[("set-cookie", "b=2"), ("x-total", "7"), ("cache-control", "max-age=60")],
        ]);
        let cookies: Vec<_> = found.get_all(SET_COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        assert_eq!(found["x-total"], "7");
        assert!(!found.contains_key("x-other"));
        assert_eq!(found[CACHE_CONTROL], "no-store", "a cookie is for one client, once");
    }
}
