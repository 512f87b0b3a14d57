//! What `Accept-Encoding` says (RFC 9110 section 12.5.3): how welcome each coding is, and whether a body
//! without one is.

use http::HeaderValue;

use crate::coding::Coding;

/// A weight in thousandths; 0 refuses.
type Weight = u16;

/// Below every weight that somebody would write, and no refusal.
const LEAST: Weight = 1;

/// The weights of a request. What is mentioned twice has the first one.
#[derive(Debug, Default)]
pub struct Weights {
    codings: Vec<(Coding, Weight)>,
    identity: Option<Weight>,
    /// `*`: of everything that is not named.
    others: Option<Weight>,
}

impl Weights {
    pub fn of_lines<'h>(lines: impl IntoIterator<Item = &'h HeaderValue>) -> Self {
        let mut weights = Self::default();
        let texts = lines.into_iter().filter_map(|line| line.to_str().ok());
        for part in texts.flat_map(|text| text.split(',')) {
            let (name, parameters) = part.split_once(';').unwrap_or((part, ""));
            let Some(weight) = weight(parameters) else { continue };
            match (name.trim(), Coding::parse(name)) {
                (_, Some(coding)) if !weights.names(coding) => {
                    weights.codings.push((coding, weight));
                }
                ("*", _) => weights.others = weights.others.or(Some(weight)),
                (name, _) if name.eq_ignore_ascii_case("identity") => {
                    weights.identity = weights.identity.or(Some(weight));
                }
                _ => {}
            }
        }
        weights
    }

    fn names(&self, coding: Coding) -> bool {
        self.codings.iter().any(|(known, _)| *known == coding)
    }

    pub fn of(&self, coding: Coding) -> Weight {
        let named = self.codings.iter().find(|(known, _)| *known == coding);
        named.map(|(_, weight)| *weight).or(self.others).unwrap_or(0)
    }

    /// Welcome unless it is refused by name, or by `*` without a name.
    pub fn of_identity(&self) -> Weight {
        self.identity.or(self.others).unwrap_or(LEAST)
    }

    /// The most welcome of these; of equals the first. `None` where a body without a coding is more
    /// welcome than any.
    pub fn best(&self, offered: &[Coding]) -> Option<Coding> {
        let least = self.of_identity().max(LEAST);
        let welcome = offered.iter().map(|coding| (self.of(*coding), *coding));
        let best = welcome.reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.filter(|(weight, _)| *weight >= least).map(|(_, coding)| coding)
    }
}

/// The `q` among parameters; 1 when there is none. `None` for one that cannot be read.
fn weight(parameters: &str) -> Option<Weight> {
    let named = |part: &str| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim().to_owned())
    };
    parameters.split(';').find_map(named).map_or(Some(1000), |value| thousandths(&value))
}

/// `0`, `1`, and up to three digits behind a dot.
fn thousandths(text: &str) -> Option<Weight> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    let whole = ["0", "1"].iter().position(|known| *known == whole)? * 1000;
    if digits.len() > 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value = u16::try_from(whole).ok()? + format!("{digits:0<3}").parse::<u16>().ok()?;
    (value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(text: &'static str) -> Weights {
        Weights::of_lines(&[HeaderValue::from_static(text)])
    }

    #[test]
    fn the_most_welcome_coding_is_chosen_and_of_equals_the_first() {
        use Coding::{Brotli, Gzip, Zstd};
        for (accepts, best) in [
            ("gzip", Some(Gzip)),
            ("gzip, br, zstd", Some(Zstd)),
            ("gzip;q=1.0, br;q=0.9", Some(Gzip)),
            ("GZIP ; Q=0.5", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("*", Some(Zstd)),
            ("*;q=0.1, br;q=0.2", Some(Brotli)),
            ("zstd;q=0, *", Some(Brotli)),
            ("*;q=0", None),
            ("", None),
            ("identity", None),
            ("deflate", None),
            ("gzip;q=0", None),
            ("gzip;q=0.000", None),
            ("gzip;q=0.001", Some(Gzip)),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip;q=0.5", Some(Gzip)),
            ("identity;q=0, br;q=0.3", Some(Brotli)),
            ("gzip;q=0.2, *;q=0.5", Some(Zstd)),
            ("gzip;q=2, br", Some(Brotli)),
            ("gzip;q=0.1234", None),
            ("gzip;q=-1", None),
            ("gzip;q=NaN", None),
            ("gzip;level=9;q=0", None),
            ("gzip;q=1, gzip;q=0", Some(Gzip)),
            ("gzip gzip", None),
        ] {
            assert_eq!(weights(accepts).best(&[Zstd, Brotli, Gzip]), best, "{accepts}");
        }
        assert_eq!(weights("*;q=0.5, gzip;q=0.2").best(&[Gzip]), None, "identity is meant by *");
        assert_eq!(weights("gzip, br").best(&[]), None);
    }

    #[test]
    fn a_body_without_a_coding_is_refused_by_name_or_by_all() {
        for (accepts, refused) in [
            ("", false),
            ("gzip", false),
            ("identity;q=0", true),
            ("gzip, *;q=0", true),
            ("identity;q=0.1, *;q=0", false),
        ] {
            assert_eq!(weights(accepts).of_identity() == 0, refused, "{accepts}");
        }
        let lines = ["gzip;q=0", "br"].map(HeaderValue::from_static);
        assert_eq!(
            Weights::of_lines(&lines).best(&[Coding::Gzip, Coding::Brotli]),
            Some(Coding::Brotli)
        );
    }
}
