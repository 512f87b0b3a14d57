//! Where one WebSocket frame ends and the next one begins (RFC 6455 section 5.2). Nothing else of them is
//! looked at: this only tells where a word of the gateway's own can stand between them.

/// A frame's first two bytes say how long its head is.
const FIRST: usize = 2;
const LONGEST: usize = 14;
const CLOSE: u8 = 0x8;
/// "Going away" (RFC 6455 section 7.4.1), as a server says it, and as a client does: masked, by a key of
/// zeros.
pub const FAREWELL: [u8; 4] = [0x88, 0x02, 0x03, 0xE9];
pub const MASKED_FAREWELL: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE9];

/// Follows the frames of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    head: [u8; LONGEST],
    /// How much of the head has come.
    known: usize,
    /// How much of the payload is still to come.
    left: u64,
    /// A frame has said that it was the last one.
    closed: bool,
}

impl Gaps {
    /// Takes the next bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= skipped as u64;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            if let Some(place) = self.head.get_mut(self.known) {
                *place = *first;
            }
            self.known += 1;
            bytes = rest;
            if self.known >= FIRST && self.known == self.head_length() {
                self.left = self.payload();
                self.closed |= self.head.first().is_some_and(|byte| byte & 0x0F == CLOSE);
                self.known = 0;
            }
        }
    }

    /// True where a frame of somebody else's can stand.
    pub fn has_room(&self) -> bool {
        self.known == 0 && self.left == 0 && !self.closed
    }

    /// Of the second byte's highest bit the mask, of the others the length, or how it is written.
    fn second(&self) -> (bool, u8) {
        let byte = self.head.get(1).copied().unwrap_or_default();
        (byte & 0x80 != 0, byte & 0x7F)
    }

    fn head_length(&self) -> usize {
        let (masked, length) = self.second();
        let extended = match length {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        FIRST + extended + if masked { 4 } else { 0 }
    }

    fn payload(&self) -> u64 {
        let digits = match self.second().1 {
            126 => self.head.get(2..4),
            127 => self.head.get(2..10),
            length => return length.into(),
        };
        digits.unwrap_or_default().iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where there is room in these bytes, before each of them and at the end.
    fn rooms(bytes: &[u8]) -> Vec<usize> {
        let mut gaps = Gaps::default();
        let mut rooms = Vec::new();
        for (place, byte) in bytes.iter().enumerate() {
            if gaps.has_room() {
                rooms.push(place);
            }
            gaps.feed(&[*byte]);
        }
        if gaps.has_room() {
            rooms.push(bytes.len());
        }
        rooms
    }

    #[test]
    fn there_is_room_between_frames_only() {
        let hello = [0x81, 5, b'h', b'e', b'l', b'l', b'o'];
        let masked = [0x82, 0x81, 1, 2, 3, 4, 9];
        let ping = [0x89, 0];
        let all = [&hello[..], &masked, &ping, &hello].concat();
        assert_eq!(rooms(&all), [0, 7, 14, 16, 23]);
        for (length, written) in
            [(126_usize, vec![126, 0, 126]), (70_000, vec![127, 0, 0, 0, 0, 0, 1, 0x11, 0x70])]
        {
            let long = [&[0x82][..], &written, &vec![0x88; length], &ping].concat();
            assert_eq!(rooms(&long), [0, long.len() - 2, long.len()]);
        }
    }

    #[test]
    fn behind_a_close_there_is_none() {
        assert_eq!(rooms(&[0x88, 0, 0x81, 0]), [0]);
        assert!(!rooms(&FAREWELL).contains(&FAREWELL.len()));
        assert!(!rooms(&MASKED_FAREWELL).contains(&MASKED_FAREWELL.len()));
    }

    #[test]
    fn however_the_bytes_are_cut() {
        let bytes: Vec<u8> = (0..2000_u32).map(|it| (it * it / 3 % 251) as u8).collect();
        let mut whole = Gaps::default();
        whole.feed(&bytes);
        for size in 1..40 {
            let mut pieces = Gaps::default();
            bytes.chunks(size).for_each(|piece| pieces.feed(piece));
            assert_eq!(
                (pieces.left, pieces.known, pieces.closed),
                (whole.left, whole.known, whole.closed)
            );
        }
    }

    #[test]
    fn a_length_beyond_all_bounds_is_no_mistake_here() {
        let mut gaps = Gaps::default();
        gaps.feed(&[0x82, 127, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3]);
        assert_eq!((gaps.left, gaps.has_room()), (u64::MAX - 3, false));
    }
}
