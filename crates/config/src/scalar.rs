//! What plain text means: the core schema of YAML 1.2 (section 10.3.2), in which `on`, `off`,
//! `yes` and `no` are text.

use crate::node::Value;

/// A number as it was written: `1.10` stays `1.10` where text is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Number(String);

impl Number {
    pub fn as_text(&self) -> &str {
        &self.0
    }

    /// A whole number that is not negative: decimal, `0o17` or `0xff`.
    pub fn as_u64(&self) -> Option<u64> {
        let text = self.0.strip_prefix('+').unwrap_or(&self.0);
        match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
            (Some(digits), _) => u64::from_str_radix(digits, 16).ok(),
            (_, Some(digits)) => u64::from_str_radix(digits, 8).ok(),
            _ => text.parse().ok(),
        }
    }

    pub fn as_i64(&self) -> Option<i64> {
        match self.as_u64() {
            Some(number) => i64::try_from(number).ok(),
            None => self.0.parse().ok(),
        }
    }

    /// Finite or not: `.inf` and `.nan` are numbers in YAML.
    pub fn as_f64(&self) -> Option<f64> {
        let lower = self.0.to_ascii_lowercase();
        match lower.trim_start_matches(['+', '-']) {
            ".nan" => Some(f64::NAN),
            ".inf" if lower.starts_with('-') => Some(f64::NEG_INFINITY),
            ".inf" => Some(f64::INFINITY),
            digits if digits.starts_with("0x") || digits.starts_with("0o") => {
                self.as_u64().map(|number| number as f64)
            }
            _ => lower.parse().ok(),
        }
    }

    /// JSON has no infinity and no NaN: those two become text.
    pub fn to_json(&self) -> serde_json::Value {
        if let Some(number) = self.as_u64() {
            return number.into();
        }
        if let Some(number) = self.as_i64() {
            return number.into();
        }
        let finite = self.as_f64().and_then(serde_json::Number::from_f64);
        finite.map_or_else(|| self.0.as_str().into(), serde_json::Value::Number)
    }
}

/// A plain (unquoted) scalar as the core schema reads it.
pub(crate) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::Text(text.to_owned()), Value::Number),
    }
}

/// The text as a number, when it is one by the core schema.
pub(crate) fn number(text: &str) -> Option<Number> {
    is_number(text).then(|| Number(text.to_owned()))
}

fn is_number(text: &str) -> bool {
    let all = |digits: &str, radix: u32| {
        !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix))
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return all(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return all(digits, 8);
    }
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return true;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let exponent_fits = exponent
        .is_none_or(|exponent| all(exponent.strip_prefix(['+', '-']).unwrap_or(exponent), 10));
    let mantissa_fits = match mantissa.split_once('.') {
        Some((whole, "")) => all(whole, 10),
        Some((whole, fraction)) => (whole.is_empty() || all(whole, 10)) && all(fraction, 10),
        None => all(mantissa, 10),
    };
    exponent_fits && mantissa_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_schema_decides() {
        for text in
            ["off", "on", "yes", "no", "1_000", "1.2.3", "1e", ".", "-", "0x", "1:30", "30s"]
        {
            assert!(matches!(plain(text), Value::Text(_)), "{text}");
        }
        for text in ["0", "-1", "+2", "0o17", "0xfF", "1.", ".5", "1.5e-3", "1E6", ".inf", ".NaN"] {
            assert!(matches!(plain(text), Value::Number(_)), "{text}");
        }
        assert!(matches!(plain("~"), Value::Null));
        assert!(matches!(plain("TRUE"), Value::Bool(true)));
        assert!(matches!(plain("tRUE"), Value::Text(_)));
    }

    #[test]
    fn numbers_become_json() {
        let json = |text: &str| number(text).unwrap().to_json();
        assert_eq!(json("7"), 7);
        assert_eq!(json("-7"), -7);
        assert_eq!(json("0x10"), 16);
        assert_eq!(json("1.5"), 1.5);
        assert_eq!(json(".5"), 0.5);
        assert_eq!(json(".inf"), ".inf");
        assert_eq!(json("18446744073709551615"), u64::MAX);
    }
}
