//! Quantities with their units: a number alone never says what it counts.

use std::fmt;
use std::time::Duration;

use serde_json::json;

use crate::decode::{Decode, whole, whole_schema};
use crate::diagnostic::Diagnostics;
use crate::node::Node;
use crate::schema::Definitions;

type Units = [(&'static str, u64)];

/// In milliseconds.
const TIMES: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// In bytes.
const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Digits and a unit, without blanks between.
fn measured(text: &str, units: &Units) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

/// How a text of the file should have been written: a unit that is missing, or spelled otherwise.
fn repaired(node: &Node, units: &Units, missing: &str) -> Option<String> {
    if node.is_from_environment() {
        return None;
    }
    let text: String = node.scalar_text()?.chars().filter(|c| !c.is_whitespace()).collect();
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
        return Some(format!("the unit is missing: write {text}{missing}"));
    }
    if let Some((whole, rest)) = text.split_once('.') {
        let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
        let value = format!("{whole}.{}", rest.strip_suffix(unit)?).parse::<f64>().ok()?;
        let (base, _) = units.first()?;
        let exact = value * *factor as f64;
        let fits = exact.fract() == 0.0 && exact < 1e15;
        return fits.then(|| format!("write {exact}{base}"));
    }
    let digits = text.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0)?;
    let (number, unit) = text.split_at(digits);
    let lower = unit.to_ascii_lowercase();
    let long = |name: &str| match name {
        "ms" => lower.starts_with("milli") || lower.starts_with("msec"),
        "s" => lower.starts_with("sec"),
        "m" => lower.starts_with("min"),
        "h" => lower.starts_with("hour") || lower == "hr",
        "d" => lower.starts_with("day"),
        _ => name.to_ascii_lowercase() == lower || name.strip_suffix("iB") == Some(unit),
    };
    let (name, _) = units.iter().find(|(name, _)| *name == lower || long(name))?;
    Some(format!("write {number}{name}"))
}

/// `300ms`, `30s`, `5m`, `1h`, `1d`.
impl Decode for Duration {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let read = node.scalar_text().and_then(|text| measured(text, &TIMES));
        if read.is_none() {
            let hint = repaired(node, &TIMES, "s");
            node.expected_hint("a duration such as 300ms, 30s or 5m", hint, out);
        }
        read.map(Duration::from_millis)
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        definitions.or_variable(json!({
            "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "description": "A duration: 300ms, 30s, 5m, 1h, 1d."
        }))
    }
}

/// A size in bytes: `64KiB`, `1MiB`, `10MB`, `512B`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Bytes(pub u64);

impl Bytes {
    /// For lengths in memory; cut to what this machine can address.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// In the largest unit that leaves a whole number.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole =
            |(_, factor): &&(&str, u64)| self.0 >= *factor && self.0.is_multiple_of(*factor);
        match SIZES.iter().take(5).rev().find(whole) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl Decode for Bytes {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let read = node.scalar_text().and_then(|text| measured(text, &SIZES));
        if read.is_none() {
            let hint = repaired(node, &SIZES, "B");
            node.expected_hint("a size such as 64KiB, 1MiB or 10MB", hint, out);
        }
        read.map(Bytes)
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        definitions.or_variable(json!({
            "type": "string", "pattern": "^[0-9]+([KMGT]i?)?B$", "description": "A size: 64KiB, 1MiB, 10MB."
        }))
    }
}

/// A share, from 0 to 1; written `50%`.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug, Default)]
pub struct Percent(f64);

impl Percent {
    /// From 0 to 1.
    pub fn share(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0 * 100.0)
    }
}

impl Decode for Percent {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let percent = |text: &str| {
            let digits = text.strip_suffix('%')?;
            let plain = digits.chars().all(|c| c.is_ascii_digit() || c == '.');
            let value = digits.parse::<f64>().ok().filter(|_| plain)?;
            (value <= 100.0).then_some(value / 100.0)
        };
        let text = node.scalar_text();
        let read = text.and_then(percent);
        if read.is_none() {
            let written = text.filter(|_| !node.is_from_environment());
            let bare = written.and_then(|text| {
                let value = percent(&format!("{text}%"))?;
                // 0.5 is more likely a half than half a percent.
                let meant = if value > 0.0 && value < 0.01 { value * 1e4 } else { value * 100.0 };
                Some(format!("write {}%", (meant * 1e6).round() / 1e6))
            });
            node.expected_hint("a share from 0% to 100%", bare, out);
        }
        read.map(Percent)
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        definitions.or_variable(json!({
            "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?%$", "description": "A share: 50%."
        }))
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ranged<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Ranged<MIN, MAX> {
    pub fn get(self) -> u64 {
        self.0
    }

    /// For counts in memory; cut to what this machine can address.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> Decode for Ranged<MIN, MAX> {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        whole(node, MIN, MAX, out).map(Self)
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        whole_schema(MIN, MAX, definitions)
    }
}
