//! What fuzz targets ask of this crate, also asked of their seeds by a plain test.

use std::sync::OnceLock;

use bytes::BytesMut;
use portcullis_config::{Decode as _, Diagnostics, Named, Reader, Sources, parse};
use portcullis_core::metrics::Metrics;
use portcullis_core::{Build, Clock};

use crate::accepts::Weights;
use crate::coding::Coding;
use crate::cors::origin::{Listed, Origins};
use crate::grpc_web;
use crate::issuers::{self, IssuerSettings, keys};
pub use crate::json::agree;
use crate::jwt::verify::{Trusted, verify};
pub use crate::validate::fuzzing::parameters;

const ISSUERS: &str = "shop: { issuer: shop, audiences: [a], algorithms: [RS256, ES256, EdDSA], \
                       jwks: { url: 'http://127.0.0.1/jwks' } }";

/// A token and a key set: nothing is trusted, since no key is known.
pub fn token(data: &[u8]) {
    static ISSUER: OnceLock<Vec<Trusted>> = OnceLock::new();
    let _ = keys::parse(data);
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(verify(ISSUER.get_or_init(issuer), text, 1_700_000_000).is_err());
    }
}

/// `Accept-Encoding` and `Origin`, a line each: a coding that is chosen is welcome, and an origin that may
/// read is one of those that are listed.
pub fn asked(data: &[u8]) {
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let mut next = || http::HeaderValue::from_bytes(lines.next().unwrap_or_default()).ok();
    if let Some(accepts) = next() {
        let weights = Weights::of_lines([&accepts]);
        let best = weights.best(&[Coding::Zstd, Coding::Brotli, Coding::Gzip]);
        assert!(best.is_none_or(|best| weights.of(best) > 0));
    }
    if let Some(origin) = next() {
        let mut listed = Listed::default();
        for one in ["https://shop.example.com", "https://*.example.org", "http://localhost:*"] {
            assert!(listed.add(one).is_ok());
        }
        let _ = Listed::default().add(origin.to_str().unwrap_or_default());
        let origins = Origins::Listed(listed);
        let headers = [(http::header::ORIGIN, origin.clone())].into_iter().collect();
        if origins.allowed(&headers).is_some() {
            let uri = http::Uri::try_from(origin.as_bytes()).unwrap_or_default();
            let host = uri.host().unwrap_or_default();
            let known = host == "shop.example.com" || host.ends_with(".example.org");
            assert!(known || host == "localhost", "{origin:?} may read");
            assert!(!origin.as_bytes().contains(&b'@') && uri.path() == "/", "{origin:?}");
        }
    }
}

/// A body of gRPC-Web as text, behind a byte that says how it is cut: it decodes to the same.
pub fn grpc_web(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else { return };
    let decoded = |cut: usize| {
        let (mut text, mut all) = (BytesMut::new(), Vec::new());
        for piece in bytes.chunks(cut.max(1)) {
            text.extend_from_slice(piece);
            all.extend(grpc_web::decode(&mut text).ok()?);
        }
        Some((all, text.len()))
    };
    assert_eq!(decoded(bytes.len()), decoded(usize::from(*cut)));
}

fn issuer() -> Vec<Trusted> {
    let (mut sources, mut out) = (Sources::new(), Diagnostics::new());
    let nothing = |_: &str| None;
    let root = parse(&mut sources, "a.yaml".into(), ISSUERS.to_owned(), &nothing, &mut out);
    let settings = root.and_then(|root| Named::<IssuerSettings>::decode(&root, &mut out));
    let mut reader = Reader { out: &mut out, sources: &sources, files: &mut Vec::new() };
    let plans = issuers::plan_issuers(&settings.unwrap_or_default(), &mut reader);
    let metrics = Metrics::default();
    let mut build = Build::new(Clock::system(), &metrics, None);
    plans.into_values().flatten().map(|plan| (plan.clone(), plan.build(&mut build))).collect()
}
