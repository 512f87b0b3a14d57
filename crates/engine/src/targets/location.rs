//! Services' addresses stay inside: `Location` and `Content-Location` that name an endpoint are
//! made to name the gateway, as the client knows it.

use http::HeaderMap;
use http::header::{CONTENT_LOCATION, HeaderValue, LOCATION};
use portcullis_core::Outer;
use portcullis_upstream::Upstream;

/// Rewrites both headers. `stripped` is the prefix that was cut off the client's path: it comes back
/// in front of a path of the upstream.
pub fn rewrite(
    headers: &mut HeaderMap,
    upstream: &Upstream,
    outer: &Outer,
    stripped: Option<&str>,
) {
    if !headers.keys().any(|name| *name == LOCATION || *name == CONTENT_LOCATION) {
        return; // as most answers
    }
    for name in [LOCATION, CONTENT_LOCATION] {
        let Some(value) = headers.get(&name).and_then(|value| value.to_str().ok()) else {
            continue;
        };
        let is_ours = |authority: &str| upstream.has_authority(authority);
        if let Some(outward) = turn_outward(value, is_ours, outer, stripped)
            && let Ok(value) = HeaderValue::try_from(outward)
        {
            headers.insert(name, value);
        }
    }
}

fn turn_outward(
    value: &str,
    is_ours: impl Fn(&str) -> bool,
    outer: &Outer,
    stripped: Option<&str>,
) -> Option<String> {
    let prefix = stripped.unwrap_or_default();
    if value.starts_with('/') && !value.starts_with("//") {
        return (!prefix.is_empty()).then(|| format!("{prefix}{value}"));
    }
    let rest = value.strip_prefix("http://").or_else(|| value.strip_prefix("https://"));
    let rest = rest.or_else(|| value.strip_prefix("//"))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    if !is_ours(authority) {
        return None;
    }
    let proto = outer.proto.to_str().ok()?;
    let host = outer.host.as_ref()?.to_str().ok()?;
    Some(format!("{proto}://{host}{prefix}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(value: &str, stripped: Option<&str>) -> Option<String> {
        let outer = Outer {
            proto: HeaderValue::from_static("https"),
            host: Some(HeaderValue::from_static("shop.example")),
        };
        turn_outward(value, |authority| authority == "10.0.0.7:8102", &outer, stripped)
    }

    #[test]
    fn the_endpoints_address_becomes_the_gateways() {
        let outward = |value| turned(value, None);
        assert_eq!(
            outward("http://10.0.0.7:8102/orders/1").as_deref(),
            Some("https://shop.example/orders/1")
        );
        assert_eq!(outward("//10.0.0.7:8102/x").as_deref(), Some("https://shop.example/x"));
        assert_eq!(outward("http://10.0.0.7:8102").as_deref(), Some("https://shop.example"));
        assert_eq!(outward("https://elsewhere.example/x"), None);
        assert_eq!(outward("/orders/1"), None);
        assert_eq!(outward("http://10.0.0.7:8102.evil/x"), None);
    }

    #[test]
    fn a_stripped_prefix_comes_back() {
        let outward = |value| turned(value, Some("/api/v1"));
        assert_eq!(outward("/products/1").as_deref(), Some("/api/v1/products/1"));
        assert_eq!(
            outward("http://10.0.0.7:8102/p").as_deref(),
            Some("https://shop.example/api/v1/p")
        );
        assert_eq!(outward("relative/x"), None);
    }
}
