//! What a certificate says (RFC 5280): who, by whom, for which names, until when.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use x509_cert::Certificate;
use x509_cert::certificate::TbsCertificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::DirectoryString;
use x509_cert::ext::pkix::name::GeneralName;

use crate::broken::Broken;

/// The attribute `CN` of a subject (RFC 4519 section 2.3).
const CN: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Names of other kinds than a subject, each kind for itself: a name of one kind must never be taken
/// for one of another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Host names in lower case; the first label may be `*`.
    pub dns: Vec<String>,
    pub ip: Vec<IpAddr>,
    pub uri: Vec<String>,
    pub email: Vec<String>,
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// As RFC 4514 writes it: `CN=robot,O=Shop`.
    pub subject: String,
    pub cn: Option<String>,
    pub issuer: String,
    /// Hexadecimal, in lower case.
    pub serial: String,
    /// SHA-256 of the whole certificate, hexadecimal, in lower case.
    pub fingerprint: String,
    pub names: Names,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

impl Facts {
    /// Of a certificate in DER.
    pub fn of(der: &[u8]) -> Result<Self, Broken> {
        let said = |error: x509_cert::der::Error| Broken::Certificate(error.to_string());
        let certificate = Certificate::from_der(der).map_err(said)?;
        let it = certificate.tbs_certificate();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
        Ok(Self {
            subject: it.subject().to_string(),
            cn: it
                .subject()
                .by_oid::<DirectoryString>(CN)
                .ok()
                .flatten()
                .map(|name| name.value().into_owned()),
            issuer: it.issuer().to_string(),
            serial: hexadecimal(it.serial_number().as_bytes()).trim_start_matches("00").to_owned(),
            fingerprint: hexadecimal(digest.as_ref()),
            names: names(it)?,
            not_before: it.validity().not_before.to_system_time(),
            not_after: it.validity().not_after.to_system_time(),
        })
    }

    /// True for a host name or address that this certificate is for. `*` stands for one whole label
    /// (RFC 9525 section 6.3).
    pub fn covers(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            return self.names.ip.contains(&address);
        }
        let suffix = host.split_once('.').map(|(_, suffix)| suffix);
        self.names.dns.iter().any(|name| match name.strip_prefix("*.") {
            Some(under) => suffix == Some(under),
            None => name == host,
        })
    }

    pub(crate) fn has_ended(&self, now: UnixTime) -> bool {
        i64::try_from(now.as_secs()).is_ok_and(|now| now > self.expires())
    }

    /// The last moment at which it holds, in seconds since 1970.
    pub fn expires(&self) -> i64 {
        let since = self.not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }
}

fn names(certificate: &TbsCertificate) -> Result<Names, Broken> {
    let mut names = Names::default();
    let found = certificate.get_extension::<SubjectAltName>();
    let found = found.map_err(|error| Broken::Certificate(error.to_string()))?;
    for name in found.iter().flat_map(|(_, all)| &all.0) {
        match name {
            GeneralName::DnsName(name) => names.dns.push(name.as_str().to_ascii_lowercase()),
            GeneralName::UniformResourceIdentifier(uri) => names.uri.push(uri.as_str().to_owned()),
            GeneralName::Rfc822Name(address) => names.email.push(address.as_str().to_owned()),
            GeneralName::IpAddress(bytes) => names.ip.extend(address(bytes.as_bytes())),
            _ => {}
        }
    }
    Ok(names)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// When a revocation list in DER says that the next one comes: from then on it is not believed.
pub(crate) fn next_list(der: &[u8]) -> Result<Option<SystemTime>, Broken> {
    let list = CertificateList::from_der(der);
    let list: CertificateList = list.map_err(|error| Broken::Revocations(error.to_string()))?;
    Ok(list.tbs_cert_list.next_update.map(|time| time.to_system_time()))
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, DistinguishedName, DnType, KeyPair, SanType, SerialNumber, date_time_ymd,
    };

    use super::*;

    #[test]
    fn every_fact_is_read() {
        let mut params =
            CertificateParams::new(["Shop.example".into(), "*.api.example".into()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), "robot, the first");
        params.distinguished_name.push(DnType::OrganizationName, "Shop");
        params.serial_number = Some(SerialNumber::from(0x00ab_cdef_u64));
        params.not_after = date_time_ymd(2031, 2, 3);
        params.subject_alt_names.push(SanType::URI("spiffe://shop/robot".try_into().unwrap()));
        params.subject_alt_names.push(SanType::Rfc822Name("r@shop.example".try_into().unwrap()));
        params.subject_alt_names.push(SanType::IpAddress("10.0.0.7".parse().unwrap()));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let facts = Facts::of(certificate.der()).unwrap();
        assert!(facts.subject.contains("CN=robot\\, the first"), "{}", facts.subject);
        assert_eq!(facts.cn.as_deref(), Some("robot, the first"));
        assert_eq!(facts.issuer, facts.subject);
        assert_eq!((facts.serial.as_str(), facts.fingerprint.len()), ("abcdef", 64));
        assert_eq!(facts.names.dns, ["shop.example", "*.api.example"]);
        assert_eq!(facts.names.uri, ["spiffe://shop/robot"]);
        assert_eq!(facts.names.email, ["r@shop.example"]);
        assert_eq!(facts.names.ip, ["10.0.0.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(facts.expires(), 1_927_843_200);
        let at = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        assert!(!facts.has_ended(at(1_927_843_200)) && facts.has_ended(at(1_927_843_201)));
        for (host, covered) in [
            ("shop.example", true),
            ("a.api.example", true),
            ("*.api.example", true),
            ("api.example", false),
            ("a.b.api.example", false),
            ("other.example", false),
            ("10.0.0.7", true),
            ("[::7]", false),
            ("robot, the first", false),
        ] {
            assert_eq!(facts.covers(host), covered, "{host}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        for bytes in [&b""[..], b"\x30\x00", b"\x30\x82\xff\xff", b"not a certificate"] {
            assert!(Facts::of(bytes).is_err() && next_list(bytes).is_err());
        }
    }
}
