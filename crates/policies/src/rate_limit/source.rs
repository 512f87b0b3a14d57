//! What a request is asked for: who is counted (`key`), how much that one may ask for (`tier`), and
//! what the request costs.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use portcullis_config::Spanned;
use portcullis_core::Exchange;
use portcullis_core::mapping::{Program, Value};
use smallvec::SmallVec;

use crate::planner::Planner;

/// A value that is longer is counted by its digest: hostile values make no unbounded keys.
const LONGEST: usize = 128;

/// A counter's key: made on the stack, compared as bytes.
pub type KeyBytes = SmallVec<[u8; 96]>;

/// A place where a name can be.
#[derive(Clone)]
pub enum Source {
    Consumer,
    Claim(Box<str>),
    ClientIp,
    Header(Box<str>),
    Path(Box<str>),
    Expression(Arc<Program>),
}

/// Which of a consumer's two names is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Key,
    Tier,
}

impl Source {
    /// Where `text` says; a text that begins with $ . or ( is an expression.
    fn parse(text: &Spanned<String>, planner: &mut Planner<'_>) -> Option<Self> {
        if text.starts_with(['$', '.', '(']) {
            return planner.program(text).map(|program| Self::Expression(Arc::new(program)));
        }
        match text.split_once('.') {
            None if text.as_str() == "client_ip" => return Some(Self::ClientIp),
            None if text.as_str() == "consumer" => return Some(Self::Consumer),
            Some(("jwt", claim)) if !claim.is_empty() => return Some(Self::Claim(claim.into())),
            Some(("header", name)) if !name.is_empty() => return Some(Self::Header(name.into())),
            Some(("path", name)) if planner.route.params.iter().any(|known| **known == *name) => {
                return Some(Self::Path(name.into()));
            }
            _ => {}
        }
        let message = format!("`{}` is nothing that a request has", text.shown());
        planner.out.error(text.span, message).hint(
            "write consumer, jwt.CLAIM, client_ip, header.NAME, path.NAME of the route's path, or an expression",
        );
        None
    }

    /// The policy without which this is never there.
    fn needs(&self) -> Option<&'static str> {
        match self {
            Self::Consumer => Some("api_key"),
            Self::Claim(_) => Some("jwt"),
            _ => None,
        }
    }

    /// True when who asks has to be known first.
    pub fn needs_identity(&self) -> bool {
        match self {
            Self::Consumer | Self::Claim(_) => true,
            Self::Expression(program) => program.uses("jwt") || program.uses("consumer"),
            Self::ClientIp | Self::Header(_) | Self::Path(_) => false,
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Consumer => "consumer",
            Self::Claim(_) => "jwt",
            Self::ClientIp => "ip",
            Self::Header(_) => "header",
            Self::Path(_) => "path",
            Self::Expression(_) => "expression",
        }
    }

    pub fn read<'e>(&self, purpose: Purpose, exchange: &'e Exchange) -> Option<Cow<'e, str>> {
        match self {
            Self::Consumer => {
                let consumer = exchange.consumer.as_ref()?;
                let name = match purpose {
                    Purpose::Key => Some(&consumer.name),
                    Purpose::Tier => consumer.tier.as_ref(),
                };
                name.map(|name| Cow::Borrowed(&**name))
            }
            Self::Claim(claim) => exchange.jwt.as_ref()?.text(claim),
            Self::Header(name) => exchange.header(name),
            Self::Path(name) => exchange.param(name).map(Into::into),
            Self::ClientIp => Some(exchange.client_ip.to_string().into()),
            Self::Expression(program) => {
                let value = program.run_one(Value::NULL, exchange).ok()?;
                match value.as_str() {
                    Some(text) => Some(text.to_owned().into()),
                    None => matches!(value.kind(), "number" | "boolean")
                        .then(|| value.to_string().into()),
                }
            }
        }
    }
}

/// The sources that a setting names and this route can have. A complaint when nobody could be counted
/// by any of them; without a source of tiers everybody has the default one.
pub fn plan(
    texts: &[Spanned<String>],
    purpose: Purpose,
    planner: &mut Planner<'_>,
) -> Option<Vec<Source>> {
    let all: Vec<_> = texts.iter().map(|text| Source::parse(text, planner)).collect();
    let all = all.into_iter().collect::<Option<Vec<_>>>()?;
    let route = &planner.route.kinds;
    let possible = |source: &Source| source.needs().is_none_or(|kind| route.contains(&kind));
    let (can, cannot): (Vec<_>, Vec<_>) = all.into_iter().partition(possible);
    let nobody = can.is_empty() && purpose == Purpose::Key;
    if let (true, Some(first), Some(text)) = (nobody, cannot.first(), texts.first()) {
        let kind = first.needs().unwrap_or_default();
        let message = format!("`{}` needs the policy {kind}, which this route lacks", text.shown());
        let problem = planner.out.error(text.span, message);
        problem.hint("count by client_ip here: rate_limit: { key: client_ip }");
        return None;
    }
    Some(can)
}

/// Who is counted when nothing is said: who is known to ask, else from where.
pub fn default_keys(kinds: &[&str]) -> Vec<Source> {
    let all = [Source::Consumer, Source::Claim("sub".into()), Source::ClientIp];
    let possible = |source: &Source| source.needs().is_none_or(|kind| kinds.contains(&kind));
    all.into_iter().filter(possible).collect()
}

/// The key of a request's counter: its tier, what kind of name, and the name. Who has none of the
/// names is counted by the address; an IPv6 client by the network that it has to itself.
pub fn key(keys: &[Source], exchange: &Exchange, tier: &[u8], prefix: u8) -> KeyBytes {
    for source in keys {
        if let Source::ClientIp = source {
            break;
        }
        if let Some(value) = source.read(Purpose::Key, exchange) {
            return join(tier, source.kind(), &value);
        }
    }
    address_key(tier, exchange.client_ip, prefix)
}

/// The key of who is counted by the address.
pub fn address_key(tier: &[u8], address: IpAddr, prefix: u8) -> KeyBytes {
    let mut text = AddressText::new();
    let _ = match address {
        IpAddr::V4(address) => write!(text, "{address}"),
        IpAddr::V6(address) => write!(text, "{}/{prefix}", network(address, prefix)),
    };
    join(tier, "ip", text.as_str())
}

/// The key's bytes. A value that is too long is its digest.
pub fn join(tier: &[u8], kind: &str, value: &str) -> KeyBytes {
    let mut out = KeyBytes::new();
    out.extend_from_slice(tier);
    out.push(b':');
    out.extend_from_slice(kind.as_bytes());
    out.push(b':');
    if value.len() <= LONGEST {
        out.extend_from_slice(value.as_bytes());
        return out;
    }
    for byte in digest(&SHA256, value.as_bytes()).as_ref() {
        for half in [byte >> 4, byte & 15] {
            out.push(*b"0123456789abcdef".get(usize::from(half)).unwrap_or(&b'0'));
        }
    }
    out
}

fn network(address: Ipv6Addr, prefix: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    Ipv6Addr::from(u128::from(address) & mask)
}

/// An address as text, without an allocation.
struct AddressText(SmallVec<[u8; 48]>);

impl AddressText {
    fn new() -> Self {
        Self(SmallVec::new())
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Write for AddressText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// What a request costs.
#[derive(Clone)]
pub enum Cost {
    Fixed(u64),
    Computed(Arc<Program>),
}

impl Cost {
    /// A whole number of at least 1, or an expression.
    pub fn plan(text: &Spanned<String>, planner: &mut Planner<'_>) -> Option<Self> {
        if let Ok(number) = text.parse::<u64>() {
            if number > 0 {
                return Some(Self::Fixed(number));
            }
        } else if text.starts_with(['$', '.', '(']) {
            return planner.program(text).map(|program| Self::Computed(Arc::new(program)));
        }
        planner
            .out
            .error(text.span, format!("`{}` is no cost", text.shown()))
            .hint("write a whole number of at least 1, or an expression that begins with $ . or (");
        None
    }

    pub fn needs_identity(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Computed(program) => program.uses("jwt") || program.uses("consumer"),
        }
    }

    /// Rounded up; what is no number of at least 0 costs 1.
    pub fn of(&self, exchange: &Exchange) -> u64 {
        match self {
            Self::Fixed(cost) => *cost,
            Self::Computed(program) => program
                .run_one(Value::NULL, exchange)
                .ok()
                .filter(|value| value.kind() == "number")
                .and_then(|value| value.to_string().parse::<f64>().ok())
                .filter(|cost| *cost >= 0.0)
                .map_or(1, |cost| cost.ceil() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_what_a_client_has_to_itself() {
        let address: Ipv6Addr = "2001:db8:1:2:3:4:5:6".parse().unwrap();
        assert_eq!(network(address, 64).to_string(), "2001:db8:1:2::");
        assert_eq!(network(address, 128), address);
        assert_eq!(network(address, 56).to_string(), "2001:db8:1::");
        assert_eq!(network(address, 0).to_string(), "::");
    }

    #[test]
    fn keys_are_told_apart_and_bounded() {
        assert_eq!(&join(b"free", "ip", "127.0.0.1")[..], b"free:ip:127.0.0.1");
        let long = |end: &str| join(b"free", "header", &format!("{}{end}", "x".repeat(10_000)));
        assert_eq!(long("a").len(), b"free:header:".len() + 64);
        assert_ne!(long("a"), long("b"));
    }
}
