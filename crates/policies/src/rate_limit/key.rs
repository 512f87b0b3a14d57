//! Who is counted.

use std::fmt::Write as _;
use std::net::IpAddr;

use portcullis_config::Spanned;
use portcullis_core::Exchange;

use crate::planner::Planner;

/// A value longer than this is cut: hostile values make no unbounded keys.
const LONGEST: usize = 128;

#[derive(Clone, Debug)]
pub enum Key {
    Consumer,
    Claim(Box<str>),
    ClientIp,
    Header(Box<str>),
    Path(Box<str>),
}

/// The keys of a limit, of which the first that a request has counts. The client's address is
/// always the last resort.
pub fn plan(keys: &[Spanned<String>], planner: &mut Planner<'_>) -> Option<Vec<Key>> {
    if keys.is_empty() {
        return Some(vec![Key::Consumer, Key::Claim("sub".into()), Key::ClientIp]);
    }
    let mut plans: Vec<Key> = keys.iter().map(|key| one(key, planner)).collect::<Option<_>>()?;
    plans.push(Key::ClientIp);
    Some(plans)
}

fn one(key: &Spanned<String>, planner: &mut Planner<'_>) -> Option<Key> {
    match key.split_once('.') {
        None if key.as_str() == "client_ip" => Some(Key::ClientIp),
        None if key.as_str() == "consumer" => {
            if planner.route.kinds.contains(&"api_key") {
                return Some(Key::Consumer);
            }
            let message = "`consumer` needs the policy api_key, which this route lacks";
            let problem = planner.out.error(key.span, message);
            problem.hint("count by client_ip here: rate_limit: { key: client_ip }");
            None
        }
        Some(("jwt", claim)) if !claim.is_empty() => {
            if planner.route.kinds.contains(&"jwt") {
                return Some(Key::Claim(claim.into()));
            }
            planner
                .out
                .error(
                    key.span,
                    format!("`{}` needs the policy jwt, which this route lacks", key.shown()),
                )
                .hint("count by client_ip here: rate_limit: { key: client_ip }");
            None
        }
        Some(("header", name)) if !name.is_empty() => Some(Key::Header(name.into())),
        Some(("path", name)) if planner.route.params.iter().any(|known| **known == *name) => {
            Some(Key::Path(name.into()))
        }
        _ => {
            planner
                .out
                .error(key.span, format!("`{}` says not who is counted", key.shown()))
                .hint("write consumer, jwt.CLAIM, client_ip, header.NAME, or path.NAME of the route's path");
            None
        }
    }
}

/// The counter's name for one request.
pub fn read(keys: &[Key], exchange: &Exchange, tier: &str) -> String {
    let mut out = String::with_capacity(64);
    let _ = writeln!(out, "{tier}");
    for key in keys {
        let value = match key {
            Key::Consumer => exchange.consumer.as_ref().map(|consumer| (&*consumer.name).into()),
            Key::Claim(claim) => exchange.jwt.as_ref().and_then(|claims| claims.text(claim)),
            Key::Header(name) => exchange.header(name).map(Into::into),
            Key::Path(name) => exchange.param(name).map(Into::into),
            Key::ClientIp => Some(network(exchange.client_ip).into()),
        };
        if let Some(value) = value {
            let kind = match key {
                Key::Consumer => "consumer",
                Key::Claim(_) => "jwt",
                Key::Header(_) => "header",
                Key::Path(_) => "path",
                Key::ClientIp => "ip",
            };
            let _ = writeln!(out, "{kind}");
            out.extend(value.chars().take(LONGEST));
            return out;
        }
    }
    out
}

/// An IPv6 client owns a /64, and is counted by it.
fn network(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}
