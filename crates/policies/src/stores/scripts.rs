//! What runs on the server: scripts, so that a decision is one step and one round trip.

use std::sync::LazyLock;

use redis::{Script, Value};

use crate::rate_limit::window::Line;

static DECIDE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("decide.lua")));
static REFUND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("refund.lua")));
static ANNOUNCE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("announce.lua")));

/// A key is kept for this much longer than it counts, in milliseconds.
const KEPT: u64 = 1000;

/// One limit's question.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub key: &'a [u8],
    pub lines: &'a [Line],
    pub cost: u64,
    pub enforced: bool,
    /// More than the cost: permits are wanted in advance, charged this many microseconds ahead.
    pub wanted: u64,
    pub ahead: u64,
}

/// One limit's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub fits: bool,
    pub line: usize,
    pub remaining: u64,
    pub wait: Option<u64>,
    pub reset: u64,
    pub granted: u64,
    /// The run that was charged, for a refund.
    pub began: u64,
}

/// A decision for all these limits. `now` is 0 for the server's clock.
pub fn decide(
    asks: &[Ask<'_>],
    epoch: Option<&[u8]>,
    now: u64,
) -> redis::ScriptInvocation<'static> {
    let mut call = DECIDE.prepare_invoke();
    for ask in asks {
        call.key(ask.key);
    }
    if let Some(epoch) = epoch {
        call.key(epoch);
    }
    call.arg(u8::from(epoch.is_some())).arg(now);
    for ask in asks {
        let longest = ask.lines.iter().map(|line| line.per + line.share()).max().unwrap_or(0);
        let keep = (longest + ask.ahead) / 1000 + KEPT;
        call.arg(u8::from(ask.enforced)).arg(ask.cost).arg(ask.wanted).arg(ask.ahead).arg(keep);
        call.arg(ask.lines.len());
        for line in ask.lines {
            call.arg(line.requests).arg(line.per);
        }
    }
    call
}

/// What [`decide`] said: the epoch, and each limit's answer.
pub fn told(value: &Value, limits: usize) -> Option<(u64, Vec<Told>)> {
    let Value::Array(all) = value else { return None };
    let number = |at: usize| match all.get(at)? {
        Value::Int(number) => Some(*number),
        _ => None,
    };
    let natural = |at: usize| number(at).and_then(|number| u64::try_from(number).ok());
    let told = (0..limits).map(|limit| {
        let at = 2 + limit * 7;
        Some(Told {
            fits: number(at)? == 1,
            line: usize::try_from(number(at + 1)?).ok()?,
            remaining: natural(at + 2)?,
            wait: u64::try_from(number(at + 3)?).ok(),
            reset: natural(at + 4)?,
            granted: natural(at + 5)?,
            began: natural(at + 6)?,
        })
    });
    Some((natural(0)?, told.collect::<Option<_>>()?))
}

pub fn refund(key: &[u8], cost: u64, lines: usize, began: u64) -> redis::ScriptInvocation<'static> {
    let mut call = REFUND.prepare_invoke();
    call.key(key).arg(cost).arg(lines).arg(began);
    call
}

/// Says that a gateway is there, and is to be believed for so long, in microseconds; gives the epoch,
/// its age in microseconds, and all gateways.
pub fn announce(
    prefix: &str,
    id: &str,
    believed: u64,
    is_sharded: bool,
) -> redis::ScriptInvocation<'static> {
    let mut call = ANNOUNCE.prepare_invoke();
    // One hash tag: on a Cluster both keys have to live on one node.
    call.key(format!("{prefix}:{{gateways}}")).key(match is_sharded {
        false => format!("{prefix}:epoch"),
        true => format!("{prefix}:{{gateways}}:epoch"),
    });
    call.arg(id).arg(believed);
    call
}
