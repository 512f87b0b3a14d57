//! For how long a composed answer may be kept: no longer than any of the answers that it is made of
//! (RFC 9111 section 5.2.2).

use http::HeaderValue;

/// The strictest of all; `None` where one says nothing, for then nothing is known.
pub(super) fn strictest(all: &[Option<HeaderValue>]) -> Option<HeaderValue> {
    let mut ages = Vec::new();
    let (mut no_cache, mut private) = (false, false);
    for value in all {
        let text = value.as_ref()?.to_str().ok()?.to_ascii_lowercase();
        let mut age = None;
        for directive in text.split(',').map(str::trim) {
            match directive.split_once('=') {
                _ if directive == "no-store" => return Some(HeaderValue::from_static("no-store")),
                _ if directive == "no-cache" => no_cache = true,
                _ if directive == "private" => private = true,
                Some(("max-age", seconds)) => age = seconds.trim_matches('"').parse::<u64>().ok(),
                _ => {}
            }
        }
        ages.push(age);
    }
    let mut parts = Vec::new();
    parts.extend(private.then(|| "private".to_owned()));
    parts.extend(no_cache.then(|| "no-cache".to_owned()));
    // Who names no age leaves it to others: then nobody's age holds for all.
    let ages: Option<Vec<u64>> = ages.into_iter().collect();
    parts.extend(ages.and_then(|ages| ages.into_iter().min()).map(|age| format!("max-age={age}")));
    (!parts.is_empty()).then(|| HeaderValue::try_from(parts.join(", ")).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_counts() {
        let of = |all: &[&'static str]| {
            let all: Vec<_> = all.iter().map(|it| Some(HeaderValue::from_static(it))).collect();
            strictest(&all).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(of(&["max-age=60", "public, max-age=10"]).as_deref(), Some("max-age=10"));
        assert_eq!(of(&["max-age=60", "no-store"]).as_deref(), Some("no-store"));
        assert_eq!(of(&["private, max-age=60", "no-cache"]).as_deref(), Some("private, no-cache"));
        assert_eq!(of(&["public"]), None);
        assert_eq!(strictest(&[None, Some(HeaderValue::from_static("max-age=1"))]), None);
    }
}
