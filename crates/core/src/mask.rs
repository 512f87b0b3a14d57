//! The one list of what never appears in a log, a trace, a metric or an error text.

use std::borrow::Cow;
use std::fmt::Write as _;

/// What stands in place of a secret.
pub const MASK: &str = "***";

/// Headers whose values are secrets.
pub const HEADERS: [&str; 7] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "x-auth-token",
    "x-csrf-token",
];

/// Words that make a query parameter's value a secret when its name holds one of them.
const QUERY_WORDS: [&str; 12] = [
    "token",
    "secret",
    "password",
    "passwd",
    "pwd",
    "apikey",
    "api_key",
    "api-key",
    "signature",
    "assertion",
    "credential",
    "session",
];

/// Query parameters that are secrets by their whole name.
const QUERY_NAMES: [&str; 6] = ["key", "code", "jwt", "sig", "auth", "sid"];

pub fn is_secret_header(name: &str) -> bool {
    HEADERS.iter().any(|secret| secret.eq_ignore_ascii_case(name))
}

fn is_secret_parameter(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    QUERY_NAMES.contains(&name.as_str()) || QUERY_WORDS.iter().any(|word| name.contains(word))
}

/// True for text that reads like a compact JWS (RFC 7515), wherever it stands.
fn reads_like_a_token(text: &str) -> bool {
    text.len() > 20 && text.contains("eyJ") && text.contains('.')
}

/// A query as it may be logged.
pub fn query(query: &str) -> Cow<'_, str> {
    let secret = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        is_secret_parameter(&name) || reads_like_a_token(value)
    };
    if !query.split('&').any(secret) {
        return Cow::Borrowed(query);
    }
    let mut out = String::with_capacity(query.len());
    for pair in query.split('&') {
        let amp = if out.is_empty() { "" } else { "&" };
        let _ = match pair.split_once('=') {
            Some((name, _)) if secret(pair) => write!(out, "{amp}{name}={MASK}"),
            _ => write!(out, "{amp}{pair}"),
        };
    }
    Cow::Owned(out)
}

/// A path as it may be logged: a segment that reads like a token is masked.
pub fn path(path: &str) -> Cow<'_, str> {
    if !reads_like_a_token(path) {
        return Cow::Borrowed(path);
    }
    let shown = path.split('/').map(|part| if reads_like_a_token(part) { MASK } else { part });
    Cow::Owned(shown.collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_a_query_are_masked_by_name_and_by_shape() {
        assert_eq!(query("page=2&sort=name"), "page=2&sort=name");
        assert_eq!(query("access_token=abc&page=2"), "access_token=***&page=2");
        assert_eq!(query("page=2&API_Key=abc&code=x"), "page=2&API_Key=***&code=***");
        assert_eq!(query("acce%73s_token=abc"), "acce%73s_token=***");
        assert_eq!(query("x=eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"), "x=***");
        assert_eq!(path("/a/eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln/b"), "/a/***/b");
        assert!(is_secret_header("Authorization"));
    }
}
