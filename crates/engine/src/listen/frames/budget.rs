//! What a client's frames may cost beside its requests.
//!
//! A PING, a SETTINGS, an empty DATA or a reset costs a client a few bytes and us work, so there are two
//! budgets. They grow back with time, and with honest work: whoever sends requests and takes answers
//! needs WINDOW_UPDATEs and may cancel some. A flood does neither, and ends the connection.
//!
//! Resets count in both directions: a client can make us reset streams as well (CVE-2025-8671).

use std::time::Duration;

use super::{END_HEADERS, END_STREAM, Frame, Frames, PREFACE, goaway, kind};

/// How much there may be at once; a tenth of it grows back every second.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Frames that carry nothing of a request: PING, SETTINGS, WINDOW_UPDATE, PRIORITY, CONTINUATION,
    /// empty DATA, and what nobody knows.
    pub control: u32,
    /// Streams that end by a reset, whoever sends it.
    pub resets: u32,
}

/// What one request's head earns in control frames: browsers send a priority and a window with each.
const BY_HEADERS: u64 = 8;
/// A gRPC client may measure its connection with every piece of data.
const BY_DATA_RECEIVED: u64 = 1;
/// Windows of stream and connection, and room for small pieces.
const BY_DATA_SENT: u64 = 4;

/// Shares are counted in thousandths, so that little time gives a little.
const WHOLE: u64 = 1000;

/// A share that is spent and grows back.
#[derive(Clone, Copy, Debug)]
struct Purse {
    left: u64,
    most: u64,
}

impl Purse {
    fn new(most: u32) -> Self {
        let most = u64::from(most) * WHOLE;
        Self { left: most, most }
    }

    fn earn(&mut self, count: u64) {
        self.left = (self.left + count * WHOLE).min(self.most);
    }

    /// A tenth of all that there can be for a second.
    fn refill(&mut self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let grown = (self.most / WHOLE).saturating_mul(millis) / 10;
        self.left = self.left.saturating_add(grown).min(self.most);
    }

    /// False when there is nothing left.
    fn spend(&mut self) -> bool {
        let rest = self.left.checked_sub(WHOLE);
        self.left = rest.unwrap_or(self.left);
        rest.is_some()
    }
}

/// What is known of one connection.
#[derive(Debug)]
pub struct Budget {
    received: Frames,
    sent: Frames,
    account: Account,
}

#[derive(Debug)]
struct Account {
    control: Purse,
    resets: Purse,
    spent: bool,
    /// A header block has begun and not ended.
    in_block: bool,
    last_stream: u32,
    /// Pieces of answers that have left.
    data_sent: u64,
}

impl Budget {
    pub fn new(allowance: Allowance) -> Self {
        let Allowance { control, resets } = allowance;
        let account = Account {
            control: Purse::new(control),
            resets: Purse::new(resets),
            spent: false,
            in_block: false,
            last_stream: 0,
            data_sent: 0,
        };
        Self { received: Frames::behind(PREFACE.len()), sent: Frames::behind(0), account }
    }

    /// Counts what comes from the client; false when it was too much.
    pub fn receive(&mut self, bytes: &[u8]) -> bool {
        let Self { received, account, .. } = self;
        received.feed(bytes, |frame| account.received(frame));
        !account.spent
    }

    /// Counts what goes to the client; false when it was too much.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        let Self { sent, account, .. } = self;
        sent.feed(bytes, |frame| account.sent(frame));
        !account.spent
    }

    pub fn refill(&mut self, time: Duration) {
        self.account.control.refill(time);
        self.account.resets.refill(time);
    }

    /// True while nothing else can come before the client has ended what it began.
    pub fn waits_for_head(&self) -> bool {
        self.account.in_block || self.received.is_inside_of_control()
    }

    pub fn data_sent(&self) -> u64 {
        self.account.data_sent
    }

    /// The GOAWAY that ends the connection; `None` where it would stand inside of another frame.
    pub fn goaway(&self, code: u32) -> Option<Vec<u8>> {
        self.sent.is_between().then(|| goaway(self.account.last_stream, code))
    }
}

impl Account {
    fn received(&mut self, frame: Frame) {
        let fits = match frame.kind {
            kind::DATA if frame.length > 0 || frame.has(END_STREAM) => {
                self.control.earn(BY_DATA_RECEIVED);
                true
            }
            kind::HEADERS => {
                self.in_block = !frame.has(END_HEADERS);
                self.last_stream = self.last_stream.max(frame.stream);
                self.control.earn(BY_HEADERS);
                true
            }
            kind::RST_STREAM => self.resets.spend(),
            kind::CONTINUATION => {
                self.in_block = !frame.has(END_HEADERS);
                self.control.spend()
            }
            _ => self.control.spend(),
        };
        self.spent |= !fits;
    }

    fn sent(&mut self, frame: Frame) {
        match frame.kind {
            kind::DATA => {
                self.data_sent += 1;
                self.control.earn(BY_DATA_SENT);
            }
            kind::RST_STREAM => self.spent |= !self.resets.spend(),
            _ => {}
        }
        if matches!(frame.kind, kind::DATA | kind::HEADERS) && frame.has(END_STREAM) {
            self.resets.earn(1);
        }
    }
}
