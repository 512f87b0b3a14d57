//! What a responder says of a certificate (OCSP, RFC 6960 section 4.2): clients verify it, and many refuse one that
//! is of another certificate or too old. So it is looked at where somebody can still be told, and not shown any longer
//! than it holds.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use rustls::sign::CertifiedKey;
use x509_cert::der::asn1::{AnyRef, GeneralizedTime};
use x509_cert::der::{Decode as _, Error, Reader as _, SliceReader, Tag, Tagged as _};

use crate::broken::Broken;
use crate::facts::{Facts, hexadecimal};

/// `id-pkix-ocsp-basic`, the only kind of answer that there is.
const BASIC: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x30\x01\x01";

/// What is to be told of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staple {
    pub is_good: bool,
    /// When the next one is to be fetched.
    pub ends: Option<SystemTime>,
}

impl Staple {
    /// What an answer in DER says of the certificate with this serial number (hexadecimal).
    pub fn read(der: &[u8], serial: &str) -> Result<Self, Broken> {
        match found(der, serial) {
            Ok(Found::Said(staple)) => Ok(staple),
            Ok(Found::Refused(status)) => {
                Err(Broken::Staple(format!("the responder did not answer (status {status})")))
            }
            Ok(Found::Nothing) => Err(Broken::Staple("it is of another certificate".to_owned())),
            Err(error) => Err(Broken::Staple(error.to_string())),
        }
    }
}

/// What has to be known, and is to be heard, by whoever shows staples.
pub trait Staples: Debug + Send + Sync {
    fn now(&self) -> SystemTime;
    /// Said once of each: a client came, and what was said of the certificate is too old to be shown.
    fn ended(&self, facts: &Facts);
}

/// A certificate together with what is said of it.
#[derive(Debug)]
pub(crate) struct Stapled {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) ends: Option<SystemTime>,
    /// It is told once that it has ended.
    is_told: AtomicBool,
}

impl Stapled {
    pub(crate) fn new(key: CertifiedKey, ends: Option<SystemTime>) -> Self {
        Self { key: Arc::new(key), ends, is_told: AtomicBool::new(false) }
    }

    /// As long as it is not too old.
    pub(crate) fn shown(&self, facts: &Facts, staples: &dyn Staples) -> Option<&Arc<CertifiedKey>> {
        if self.ends.is_none_or(|end| end > staples.now()) {
            return Some(&self.key);
        }
        if !self.is_told.swap(true, Ordering::Relaxed) {
            staples.ended(facts);
        }
        None
    }
}

enum Found {
    Said(Staple),
    Refused(u8),
    Nothing,
}

fn found(der: &[u8], serial: &str) -> Result<Found, Error> {
    let mut whole = inside(sequence(AnyRef::from_der(der)?)?)?;
    let status = AnyRef::decode(&mut whole)?;
    status.tag().assert_eq(Tag::Enumerated)?;
    if status.value() != [0] {
        return Ok(Found::Refused(status.value().last().copied().unwrap_or_default()));
    }
    let bytes = AnyRef::decode(&mut whole)?; // [0] EXPLICIT
    let mut bytes = inside(sequence(AnyRef::from_der(bytes.value())?)?)?;
    let kind = AnyRef::decode(&mut bytes)?;
    kind.tag().assert_eq(Tag::ObjectIdentifier)?;
    if kind.value() != BASIC {
        return Err(kind.tag().value_error().into());
    }
    let basic = AnyRef::decode(&mut bytes)?;
    basic.tag().assert_eq(Tag::OctetString)?;
    let mut basic = inside(sequence(AnyRef::from_der(basic.value())?)?)?;
    let mut data = inside(sequence(AnyRef::decode(&mut basic)?)?)?;
    // Version and responder, as far as they are there, stand before the time.
    while AnyRef::decode(&mut data)?.tag() != Tag::GeneralizedTime {}
    let mut answers = inside(sequence(AnyRef::decode(&mut data)?)?)?;
    while !answers.is_finished() {
        let mut answer = inside(sequence(AnyRef::decode(&mut answers)?)?)?;
        let mut id = inside(sequence(AnyRef::decode(&mut answer)?)?)?;
        for _ in 0..3 {
            AnyRef::decode(&mut id)?; // how, and by whom, the certificate is named
        }
        let number = AnyRef::decode(&mut id)?;
        number.tag().assert_eq(Tag::Integer)?;
        if hexadecimal(number.value()).trim_start_matches("00") != serial {
            continue;
        }
        let is_good = AnyRef::decode(&mut answer)?.tag().number().value() == 0;
        AnyRef::decode(&mut answer)?; // since when
        let mut ends = None;
        while !answer.is_finished() {
            let rest = AnyRef::decode(&mut answer)?;
            if rest.tag().number().value() == 0 {
                ends = Some(GeneralizedTime::from_der(rest.value())?.to_system_time());
            }
        }
        return Ok(Found::Said(Staple { is_good, ends }));
    }
    Ok(Found::Nothing)
}

fn sequence(any: AnyRef<'_>) -> Result<AnyRef<'_>, Error> {
    any.tag().assert_eq(Tag::Sequence)?;
    Ok(any)
}

fn inside(any: AnyRef<'_>) -> Result<SliceReader<'_>, Error> {
    SliceReader::new(any.value())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    use super::*;
    use crate::pem::Identity;

    #[test]
    fn what_is_said_of_a_certificate_is_read() {
        let der = include_bytes!("../../../fuzz/seeds/certificate/staple.der");
        let read = |serial| Staple::read(der, serial);
        let ends = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_031_090));
        let serial = "75690fe4a0c088bdff9b39698d5eeaea69630c8f";
        assert_eq!(read(serial), Ok(Staple { is_good: true, ends }));
        assert!(read("7").unwrap_err().to_string().contains("of another certificate"));
        for end in 0..der.len() {
            assert!(Staple::read(&der[..end], serial).is_err(), "{end}");
        }
    }

    #[derive(Debug, Default)]
    struct At(AtomicU64, AtomicU64);

    impl Staples for At {
        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed))
        }

        fn ended(&self, _: &Facts) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_becomes_too_old_is_not_shown_any_longer() {
        let der = include_bytes!("../../../fuzz/seeds/certificate/staple.der");
        let serial =
            b"\x75\x69\x0f\xe4\xa0\xc0\x88\xbd\xff\x9b\x39\x69\x8d\x5e\xea\xea\x69\x63\x0c\x8f";
        let mut params = rcgen::CertificateParams::new(["shop.example".to_owned()]).unwrap();
        params.serial_number = Some(rcgen::SerialNumber::from_slice(serial));
        let key = rcgen::KeyPair::generate().unwrap();
        let (text, key) = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
        let identity = Identity::read(&text, &key, Some(der.to_vec())).unwrap();
        let at = At::default();
        let shown = |seconds| {
            at.0.store(seconds, Ordering::Relaxed);
            identity.shown(&at).ocsp.is_some()
        };
        assert!(shown(0) && shown(1_796_031_089));
        assert_eq!(at.1.load(Ordering::Relaxed), 0);
        assert!(!shown(1_796_031_090) && !shown(u64::from(u32::MAX)));
        assert_eq!(at.1.load(Ordering::Relaxed), 1, "it is told once");
        assert!(shown(1_796_031_089), "such as when a clock was wrong");
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bytes in [&b""[..], b"\x30\x00", b"\x30\x03\x0a\x01\x06", b"listeners: []"] {
            assert!(matches!(Staple::read(bytes, "7"), Err(Broken::Staple(_))), "{bytes:?}");
        }
        let late = Staple::read(b"\x30\x03\x0a\x01\x03", "7").unwrap_err();
        assert!(late.to_string().contains("did not answer (status 3)"), "{late}");
    }
}
