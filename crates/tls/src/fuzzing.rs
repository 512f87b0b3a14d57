//! What fuzz targets ask of this crate, also asked of their seeds by a plain test.

use crate::{Clients, Facts, Identity, Staple};

/// Certificates, keys, lists and answers of responders: whatever the bytes are, they are read or refused.
pub fn certificate(data: &[u8]) {
    if let Ok(facts) = Facts::of(data) {
        assert_eq!(facts.fingerprint.len(), 64);
        let _ = facts.covers("shop.example");
    }
    let _ = Staple::read(data, "7");
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Identity::read(text, text, None);
        let _ = Clients::read(text, &[text.to_owned()], true);
    }
}
