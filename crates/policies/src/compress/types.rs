//! Which media types are worth the work: texts are, and what is packed already is not.

/// Patterns as in `text/*`, `application/*+json` and `application/json`.
#[derive(Debug)]
pub struct Types(Vec<(Box<str>, Sub)>);

#[derive(Debug)]
enum Sub {
    Any,
    Exact(Box<str>),
    /// What it ends with, such as `+json`.
    Suffix(Box<str>),
}

impl Types {
    /// The pattern that is none comes back.
    pub fn parse<'t>(all: impl IntoIterator<Item = &'t str>) -> Result<Self, &'t str> {
        let parse = |text: &'t str| pattern(&text.to_ascii_lowercase()).ok_or(text);
        all.into_iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// For a media type in lower case, without parameters.
    pub fn have(&self, media_type: &str) -> bool {
        let Some((kind, sub)) = media_type.split_once('/') else { return false };
        self.0.iter().any(|(wanted, pattern)| {
            **wanted == *kind
                && match pattern {
                    Sub::Any => true,
                    Sub::Exact(exact) => **exact == *sub,
                    Sub::Suffix(suffix) => sub.ends_with(&**suffix),
                }
        })
    }
}

fn pattern(text: &str) -> Option<(Box<str>, Sub)> {
    let (kind, sub) = text.split_once('/')?;
    let is_token = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    let sub = match sub.strip_prefix('*') {
        Some("") => Sub::Any,
        Some(suffix) if suffix.starts_with('+') && is_token(suffix) => Sub::Suffix(suffix.into()),
        None if is_token(sub) => Sub::Exact(sub.into()),
        _ => return None,
    };
    is_token(kind).then(|| (kind.into(), sub))
}

/// Streams that are read while they grow, by readers that were promised no delay; and frames that say
/// themselves how they are packed.
pub fn is_never(media_type: &str) -> bool {
    media_type == "text/event-stream" || media_type.starts_with("application/grpc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_matched_by_name_by_kind_and_by_suffix() {
        let types = Types::parse(["Text/*", "application/json", "application/*+json"]).unwrap();
        for (kind, has) in [
            ("text/html", true),
            ("application/json", true),
            ("application/problem+json", true),
            ("application/jsonp", false),
            ("application/json+zip", false),
            ("image/png", false),
            ("text", false),
            ("", false),
        ] {
            assert_eq!(types.have(kind), has, "{kind}");
        }
        for wrong in
            ["text", "*/*", "text/", "/json", "text/*json", "text/**", "a b/c", "text/a;q=1"]
        {
            assert_eq!(Types::parse([wrong]).unwrap_err(), wrong);
        }
    }

    #[test]
    fn streams_are_left_alone() {
        assert!(is_never("text/event-stream") && is_never("application/grpc-web+proto"));
        assert!(!is_never("text/plain"));
    }
}
