//! What fuzz targets reach: parsers that are nobody else's business.

use std::sync::OnceLock;

use portcullis_config::{Decode as _, Diagnostics, Named, Sources, parse};
use portcullis_core::metrics::Metrics;
use portcullis_core::{Build, Clock};

use crate::issuers::{self, IssuerSettings};
use crate::jwt;

const ISSUERS: &str = "shop: { issuer: shop, audiences: [a], algorithms: [RS256, ES256, EdDSA], \
                       jwks: { url: 'http://127.0.0.1/jwks' } }";

/// A token and a key set: nothing is trusted, since no key is known.
pub fn token(data: &[u8]) {
    static POLICY: OnceLock<Option<jwt::Jwt>> = OnceLock::new();
    let _ = issuers::usable(data);
    let (Some(policy), Ok(text)) = (POLICY.get_or_init(policy), std::str::from_utf8(data)) else {
        return;
    };
    assert!(policy.verify(text, 1_700_000_000).is_err());
}

fn policy() -> Option<jwt::Jwt> {
    let (mut sources, mut out) = (Sources::new(), Diagnostics::new());
    let nothing = |_: &str| None;
    let root = parse(&mut sources, "a.yaml".into(), ISSUERS.to_owned(), &nothing, &mut out)?;
    let settings = Named::<IssuerSettings>::decode(&root, &mut out)?;
    let plans = issuers::plan_issuers(&settings, &mut out);
    let (clock, metrics) = (Clock::system(), Metrics::default());
    let mut build = Build::new(clock, &metrics, None);
    let issuers = plans.into_values().flatten().map(|plan| {
        let keys = plan.build(&mut build);
        (plan, keys)
    });
    Some(jwt::Jwt {
        issuers: issuers.collect(),
        headers: Vec::new(),
        required: true,
        pass_token: false,
    })
}
