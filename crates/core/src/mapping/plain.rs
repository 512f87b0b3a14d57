//! How far a JSON string can be read or written as it stands.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = ONES << 7;

/// How many bytes at the begin stand for themselves inside a JSON string: no quote, no backslash and no
/// control character (RFC 8259 section 7). Looks at eight bytes at a time.
pub fn plain(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let found = special(u64::from_le_bytes(*word));
        if found != 0 {
            return 8 * at + found.trailing_zeros() as usize / 8;
        }
    }
    // The rest at once, with bytes that were looked at already.
    if let Some(last) = bytes.last_chunk::<8>()
        && special(u64::from_le_bytes(*last)) == 0
    {
        return bytes.len();
    }
    let is_special = |byte: &u8| *byte < b' ' || matches!(byte, b'"' | b'\\');
    let rest_plain = rest.iter().position(is_special).unwrap_or(rest.len());
    8 * words.len() + rest_plain
}

/// The highest bit of bytes that do not stand for themselves. Exact for the lowest of them: a borrow
/// comes only from bytes that are found as well.
fn special(word: u64) -> u64 {
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let below_space = word.wrapping_sub(ONES * b' ' as u64) & !word;
    let quote = is_zero(word ^ (ONES * b'"' as u64));
    let backslash = is_zero(word ^ (ONES * b'\\' as u64));
    (below_space | quote | backslash) & HIGHS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_judged_alike_at_every_place() {
        for byte in 0..=255_u8 {
            let stands_for_itself = byte >= b' ' && byte != b'"' && byte != b'\\';
            for length in 1..20 {
                for at in 0..length {
                    for around in [b'a', 0x80, 0xff, b'!', b'#', b'[', b']', 0x7f] {
                        let mut bytes = vec![around; length];
                        bytes[at] = byte;
                        let expected = if stands_for_itself { length } else { at };
                        assert_eq!(plain(&bytes), expected, "{bytes:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_first_one_counts() {
        assert_eq!(plain(b"ab\"\"\\\x00\x1f\"cdefg"), 2);
        assert_eq!(plain(b"\x21\x22\x21\x20\x1f"), 1);
        assert_eq!(plain(b""), 0);
    }
}
