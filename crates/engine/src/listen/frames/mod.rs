//! HTTP/2 frames as they pass, of which only the heads are looked at (RFC 9113 section 4.1).
//!
//! hyper counts some of what a client can do for nothing, and has no setting for the rest. So frames are
//! counted in front of it, in both directions: nine bytes and a length are all that is remembered.

mod budget;

pub use budget::{Allowance, Budget};

const HEAD: usize = 9;

/// What a client says before its first frame.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a frame is about (RFC 9113 section 6); there are others.
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const GOAWAY: u8 = 7;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub length: u32,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

impl Frame {
    fn of(head: [u8; HEAD]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]);
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        Self { length, kind, flags, stream }
    }

    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Follows the frames of one direction.
#[derive(Debug)]
pub struct Frames {
    head: [u8; HEAD],
    /// How much of a head has come.
    have: usize,
    /// What is left of a payload.
    left: usize,
    kind: u8,
}

impl Frames {
    /// Frames that begin behind so many bytes.
    pub fn behind(skipped: usize) -> Self {
        Self { head: [0; HEAD], have: 0, left: skipped, kind: u8::MAX }
    }

    /// Takes the next bytes and tells of every head that is whole with them.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        loop {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return;
            }
            let taken = (HEAD - self.have).min(bytes.len());
            let (now, later) = bytes.split_at_checked(taken).unwrap_or_default();
            if let Some(place) = self.head.get_mut(self.have..self.have + taken) {
                place.copy_from_slice(now);
            }
            self.have += taken;
            bytes = later;
            if self.have < HEAD {
                return;
            }
            let frame = Frame::of(self.head);
            (self.have, self.left, self.kind) = (0, frame.length as usize, frame.kind);
            each(frame);
        }
    }

    /// True between two frames.
    pub fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    /// True inside of something else than data: nothing can follow before it is whole.
    pub fn is_inside_of_control(&self) -> bool {
        self.have > 0 || self.left > 0 && self.kind != kind::DATA
    }
}

/// A whole GOAWAY (RFC 9113 section 6.8).
pub fn goaway(last_stream: u32, code: u32) -> Vec<u8> {
    let head = [0, 0, 8, kind::GOAWAY, 0, 0, 0, 0, 0];
    [head.as_slice(), &last_stream.to_be_bytes(), &code.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests;
