//! Numbers: read so that a copied one keeps its text, written as jq and JavaScript write them.
//!
//! Whole numbers of up to 40 digits are exact; longer ones, fractions and exponents keep their text
//! until they are computed with, then they are 64-bit floating point (IEEE 754).

use std::io::Write as _;
use std::ops::Range;
use std::rc::Rc;

use jaq_json::Num;

/// Beyond this many digits a whole number stays text: big-integer arithmetic costs the square.
const EXACT_DIGITS: usize = 40;
/// A computed whole number above this many bits is beyond floating point anyway.
const EXACT_BITS: u64 = 1024;

/// How many bytes at the start of `text` are a number by RFC 8259 section 6; 0 for none.
pub(super) fn scan(text: &[u8]) -> usize {
    let digits = |at: usize| {
        text.get(at..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let at = |at: usize| text.get(at).copied();
    let mut end = usize::from(at(0) == Some(b'-'));
    end += match at(end) {
        Some(b'0') => 1,
        _ => digits(end),
    };
    if !at(end.wrapping_sub(1)).is_some_and(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    if at(end) == Some(b'.') {
        match digits(end + 1) {
            0 => return 0,
            count => end += 1 + count,
        }
    }
    if matches!(at(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(at(end + 1), Some(b'+' | b'-')));
        match digits(end + 1 + sign) {
            0 => return 0,
            count => end += 1 + sign + count,
        }
    }
    end
}

/// The number that a JSON number's text stands for.
pub(super) fn read(text: &str) -> Num {
    let whole = text.strip_prefix('-').unwrap_or(text);
    let exact = whole.len() <= EXACT_DIGITS && whole.bytes().all(|byte| byte.is_ascii_digit());
    let number = if exact && text != "-0" { Num::from_str_radix(text, 10) } else { None };
    number.unwrap_or_else(|| Num::Dec(Rc::new(text.to_owned())))
}

/// The number of a program's text, which is not always JSON's: `007`, `.5`, `1.`.
pub(super) fn literal(text: &str) -> Num {
    let short = text.trim_start_matches('0');
    let whole = short.starts_with(|first: char| first.is_ascii_digit());
    let text = if whole { short.to_owned() } else { format!("0{short}") };
    if scan(text.as_bytes()) == text.len() {
        return read(&text);
    }
    Num::Float(text.parse().unwrap_or(0.0))
}

/// What `tonumber` takes: a JSON number, which keeps its text, or one that is only not strict
/// (`+1`, `007`, `.5`), which does not.
pub(super) fn convert(text: &str) -> Option<Num> {
    if !text.is_empty() && scan(text.as_bytes()) == text.len() {
        return Some(read(text));
    }
    let plain = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    if text.len() > EXACT_DIGITS || !text.bytes().all(plain) {
        return None;
    }
    Num::from_str_radix(text, 10).or_else(|| text.parse().ok().map(Num::Float))
}

/// As floating point, rounded.
pub(super) fn float(number: &Num) -> f64 {
    match number {
        Num::Int(whole) => *whole as f64,
        Num::Float(float) => *float,
        Num::Dec(text) => text.parse().unwrap_or(f64::NAN),
        Num::BigInt(_) => match number.clone() * Num::Float(1.0) {
            Num::Float(float) => float,
            _ => f64::NAN,
        },
    }
}

pub(super) fn is_whole(number: &Num) -> bool {
    matches!(number, Num::Int(_) | Num::BigInt(_))
}

/// Whether JSON can hold it.
pub(super) fn is_finite(number: &Num) -> bool {
    !matches!(number, Num::Float(float) if !float.is_finite())
}

/// A computed number, with whole numbers kept to a size that stays cheap.
pub(super) fn computed(number: Num) -> Num {
    match &number {
        Num::BigInt(big) if big.bits() > EXACT_BITS => Num::Float(float(&number)),
        _ => number,
    }
}

/// The number without its sign.
pub(super) fn absolute(number: &Num) -> Num {
    match number {
        Num::Float(float) => Num::Float(float.abs()),
        Num::Dec(_) => Num::Float(float(number).abs()),
        whole if *whole < Num::Int(0) => -whole.clone(),
        whole => whole.clone(),
    }
}

pub(super) fn write(number: &Num, out: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let _ = match number {
        Num::Int(whole) => write!(out, "{whole}"),
        Num::BigInt(big) => write!(out, "{big}"),
        Num::Float(float) => return write_float(*float, out),
        Num::Dec(text) => out.write_all(text.as_bytes()),
    };
}

/// Numbers in between are written without an exponent (ECMA-262 section 6.1.6.1.20).
const PLAIN: Range<f64> = 1e-6..1e21;

/// ECMA-262's Number::toString, with jq's answer for what JSON lacks. Rust's digits are the same: the
/// shortest that are read as this number again.
fn write_float(float: f64, out: &mut Vec<u8>) {
    let float = float.clamp(f64::MIN, f64::MAX);
    // Writing to memory cannot fail.
    let _ = if float.is_nan() {
        out.write_all(b"null")
    } else if float == 0.0 {
        out.write_all(b"0") // also -0
    } else if PLAIN.contains(&float.abs()) {
        write!(out, "{float}")
    } else if float.abs() < PLAIN.start {
        write!(out, "{float:e}")
    } else {
        out.write_all(format!("{float:e}").replace('e', "e+").as_bytes())
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float_text(float: f64) -> String {
        let mut out = Vec::new();
        write(&Num::Float(float), &mut out);
        String::from_utf8(out).unwrap()
    }

    /// What node prints for the same numbers.
    #[test]
    fn floats_print_as_javascript_prints_them() {
        let table = [
            (19.0, "19"),
            (0.1 + 0.2, "0.30000000000000004"),
            (-0.0, "0"),
            (-1.5, "-1.5"),
            (123.456, "123.456"),
            (1e20, "100000000000000000000"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (1e-6, "0.000001"),
            (1.25e-7, "1.25e-7"),
            (0.00001234, "0.00001234"),
            (5e-324, "5e-324"),
            (f64::NAN, "null"),
            (f64::NEG_INFINITY, "-1.7976931348623157e+308"),
        ];
        for (float, text) in table {
            assert_eq!(float_text(float), text);
        }
    }

    #[test]
    fn numbers_are_what_rfc_8259_says() {
        for (text, length) in [
            ("0", 1),
            ("-0", 2),
            ("12.50e+3,", 8),
            ("1e5", 3),
            ("01", 1),
            ("-", 0),
            ("", 0),
            (".5", 0),
            ("1.", 0),
            ("1e", 0),
            ("1e+", 0),
            ("+1", 0),
            ("NaN", 0),
        ] {
            assert_eq!(scan(text.as_bytes()), length, "{text}");
        }
    }

    #[test]
    fn a_copied_number_keeps_its_text() {
        let long = "9".repeat(400);
        for text in ["0", "-0", "1.10", "1e400", "12345678901234567890", "-7", &long] {
            let mut out = Vec::new();
            write(&read(text), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
