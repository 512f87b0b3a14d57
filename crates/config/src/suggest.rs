//! "Did you mean": a name that was mistyped is answered with the nearest one that exists.

use crate::text::clip;

/// So many names are listed when none is near.
const LISTED: usize = 12;
/// Longer words are not compared: the cost is the product of both lengths.
const COMPARED: usize = 64;

/// A hint for a word that is none of the names: "did you mean `upstreams`?", or when nothing is
/// near, "known: a, b, c". `None` when there are no names.
pub fn did_you_mean<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let names: Vec<&str> = names.into_iter().collect();
    if let Some(name) = nearest(word, &names) {
        return Some(format!("did you mean `{}`?", clip(name)));
    }
    if names.is_empty() {
        return None;
    }
    let listed: Vec<String> = names.iter().take(LISTED).map(|name| clip(name)).collect();
    let more = match names.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!("known: {}{more}", listed.join(", ")))
}

/// The name that is few changes away, if one is.
pub(crate) fn nearest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', ' '], "_");
    let length = word.chars().count();
    if length == 0 || length > COMPARED {
        return None;
    }
    let word = plain(word);
    let near = names.iter().filter_map(|name| {
        let letters = name.chars().count();
        let allowed = match length.min(letters) {
            0..=2 => 1,
            shorter => shorter.div_ceil(3),
        };
        if length.abs_diff(letters) > allowed || letters > COMPARED {
            return None;
        }
        let changes = strsim::damerau_levenshtein(&word, &plain(name));
        (changes <= allowed && changes < letters).then_some((changes, *name))
    });
    near.min_by_key(|(changes, _)| *changes).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_otherwise_all_are_named() {
        let hint = |word: &str| did_you_mean(word, ["listeners", "upstreams", "routes"]);
        assert_eq!(hint("upstream").unwrap(), "did you mean `upstreams`?");
        assert_eq!(hint("Routes").unwrap(), "did you mean `routes`?");
        assert_eq!(hint("uptsreams").unwrap(), "did you mean `upstreams`?");
        assert_eq!(hint("banana").unwrap(), "known: listeners, upstreams, routes");
        assert_eq!(
            did_you_mean("rate-limit", ["rate_limit"]).unwrap(),
            "did you mean `rate_limit`?"
        );
        assert_eq!(did_you_mean("x", []), None);
        assert_eq!(did_you_mean("a", ["b"]).unwrap(), "known: b");
    }

    #[test]
    fn the_list_of_names_is_bounded() {
        let names: Vec<String> = (0..30).map(|number| format!("name{number}")).collect();
        let hint = did_you_mean("zzzzzzzz", names.iter().map(String::as_str)).unwrap();
        assert!(hint.ends_with("name11 and 18 more"), "{hint}");
        assert!(did_you_mean(&"x".repeat(100_000), ["y"]).is_some());
    }
}
