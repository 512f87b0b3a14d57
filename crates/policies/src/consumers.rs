//! `consumers:`: programs that ask with a key. The configuration holds SHA-256 digests only: who
//! reads it learns no key, and a digest of 32 random bytes cannot be guessed back.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use portcullis_config::{Diagnostics, Named, Spanned, Timestamp, settings};
use portcullis_core::Consumer;

settings! {
    /// A key of a consumer. `portcullis key new` makes one.
    pub struct KeySettings {
        /// The key's SHA-256 digest, 64 hex digits.
        pub sha256: Spanned<String>,
        /// When it stops being good, such as 2027-01-31 or 2027-01-31T12:00:00Z (UTC).
        pub expires: Option<Timestamp>,
    }
}

settings! {
    /// A program that asks with a key.
    pub struct ConsumerSettings {
        /// How much it may ask for: one of `tiers`.
        pub tier: Option<Spanned<String>>,
        /// Its keys; several while one replaces another.
        pub keys: Vec<KeySettings>,
    }
}

type Digest = [u8; 32];

/// A key that may be good.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    consumer: Arc<Consumer>,
    /// The first second at which it is no longer good.
    until: u64,
}

/// All keys of all consumers, by digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consumers {
    keys: HashMap<Digest, Key>,
    names: Vec<String>,
}

/// Why a key is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadKey {
    Unknown,
    Expired,
}

impl Consumers {
    /// Whose key this is.
    pub(crate) fn find(&self, key: &str, now: u64) -> Result<&Arc<Consumer>, BadKey> {
        let presented = digest(&SHA256, key.as_bytes());
        let presented: Digest = presented.as_ref().try_into().unwrap_or_default();
        let (known, key) = self.keys.get_key_value(&presented).ok_or(BadKey::Unknown)?;
        verify_slices_are_equal(known, &presented).map_err(|_| BadKey::Unknown)?;
        if now < key.until { Ok(&key.consumer) } else { Err(BadKey::Expired) }
    }

    /// True for the name of a consumer, also of one that could not be understood.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

pub fn plan_consumers(
    consumers: &Named<ConsumerSettings>,
    knows_tier: impl Fn(&str) -> bool,
    out: &mut Diagnostics,
) -> Consumers {
    let names = consumers.names().map(str::to_owned).chain(consumers.broken().iter().cloned());
    let mut plan = Consumers { keys: HashMap::new(), names: names.collect() };
    for entry in consumers.iter() {
        let ConsumerSettings { tier, keys } = &entry.value;
        if let Some(tier) = tier.as_ref().filter(|tier| !knows_tier(tier)) {
            out.error(tier.span, format!("no tier is called `{}`", tier.shown()));
        }
        if keys.is_empty() {
            out.error(entry.span, format!("the consumer `{}` has no key", entry.name))
                .hint("`portcullis key new` prints a key and the line that belongs here");
        }
        let tier = tier.as_ref().map(|tier| Arc::from(tier.as_str()));
        let consumer = Arc::new(Consumer { name: Arc::from(entry.name.as_str()), tier });
        for key in keys {
            let Some(digest) = hex(&key.sha256) else {
                out.error(key.sha256.span, "this is no SHA-256 digest: 64 hex digits")
                    .hint("`portcullis key new` prints a key and its digest");
                continue;
            };
            let until = key.expires.map_or(u64::MAX, |at| at.0);
            let key_plan = Key { consumer: Arc::clone(&consumer), until };
            if plan.keys.insert(digest, key_plan).is_some() {
                out.error(key.sha256.span, "this key is here twice")
                    .hint("a key belongs to one consumer");
            }
        }
    }
    plan
}

/// The digest of a key, as the configuration writes it.
pub fn digest_of(key: &str) -> String {
    let digest = digest(&SHA256, key.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hex(text: &str) -> Option<Digest> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = Digest::default();
    for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_good_for_its_consumer_until_it_ends() {
        let consumer = Arc::new(Consumer { name: "acme".into(), tier: None });
        let mut consumers = Consumers::default();
        let known = hex(&digest_of("abc")).unwrap();
        consumers.keys.insert(known, Key { consumer: Arc::clone(&consumer), until: 100 });
        assert_eq!(consumers.find("abc", 99), Ok(&consumer));
        assert_eq!(consumers.find("abc", 100), Err(BadKey::Expired));
        assert_eq!(consumers.find("abd", 0), Err(BadKey::Unknown));
    }

    /// FIPS 180-4, the example of one block.
    #[test]
    fn digests_are_sha_256() {
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest_of("abc"), digest);
        assert!(hex(&digest.to_uppercase()).is_some() && hex("ba78").is_none());
    }
}
