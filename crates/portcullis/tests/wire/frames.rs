//! HTTP/2 frame by frame (RFC 9113), so that a test can send what no library would.

use anyhow::{Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::kit::BOUND;
use crate::kit::pause::within;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const WHOLE: u8 = END_STREAM | END_HEADERS;

/// Of SETTINGS.
pub const HEADER_TABLE_SIZE: u16 = 1;
pub const INITIAL_WINDOW_SIZE: u16 = 4;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub fn setting(name: u16, value: u32) -> Vec<u8> {
    [name.to_be_bytes().as_slice(), &value.to_be_bytes()].concat()
}

/// Fields as HPACK writes them when it neither compresses nor remembers (RFC 7541 section 6.2.2).
pub fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            integer(&mut out, text.len());
            out.extend(*text);
        }
    }
    out
}

/// With a prefix of seven bits (RFC 7541 section 5.1).
fn integer(out: &mut Vec<u8>, value: usize) {
    if value < 127 {
        out.push(value as u8);
        return;
    }
    out.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        out.push(rest as u8 | 128);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The head of a GET and what else is said in it.
pub fn get<'f>(path: &'f str, more: &[(&'f [u8], &'f [u8])]) -> Vec<u8> {
    request(b"GET", path, more)
}

pub fn request<'f>(method: &'f [u8], path: &'f str, more: &[(&'f [u8], &'f [u8])]) -> Vec<u8> {
    let pseudo: [(&[u8], &[u8]); 4] = [
        (b":method", method),
        (b":scheme", b"http"),
        (b":authority", b"a"),
        (b":path", path.as_bytes()),
    ];
    block(&[pseudo.as_slice(), more].concat())
}

/// A frame that came.
#[derive(Clone, Debug)]
pub struct Came {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Came {
    /// The number in a RST_STREAM, or the second one of a GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The `:status` at the front of an answer's head: one of the static table, or digits.
    fn status(&self) -> u16 {
        const KNOWN: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        // Behind what it says of its memory (RFC 7541 section 6.3).
        let start = self.payload.iter().position(|byte| byte >> 5 != 1).unwrap_or(0);
        match &self.payload[start..] {
            [one, ..] if *one >= 0x88 => KNOWN[usize::from(one - 0x88)],
            [_, length, digits @ ..] => {
                let digits = &digits[..usize::from(length & 127)];
                let text = if length & 128 == 0 { digits.to_vec() } else { huffman(digits) };
                String::from_utf8(text).unwrap().parse().unwrap()
            }
            other => panic!("no status: {other:?}"),
        }
    }
}

/// Three digits (RFC 7541 appendix B): 0 to 2 have five bits, the others six.
fn huffman(bytes: &[u8]) -> Vec<u8> {
    let bits = bytes.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
    let mut left = bytes.len() * 8;
    let mut digits = Vec::new();
    while digits.len() < 3 {
        let five = bits >> (left - 5) & 31;
        let (digit, used) =
            if five < 3 { (five, 5) } else { ((bits >> (left - 6) & 63) - 25 + 3, 6) };
        digits.push(b'0' + digit as u8);
        left -= used;
    }
    digits
}

/// What became of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered(u16),
    Reset(u32),
    /// The whole connection ends, for this reason.
    GoAway(u32),
    Closed,
}

/// A client that does what it is told.
pub struct Client {
    stream: TcpStream,
    came: Vec<u8>,
}

impl Client {
    /// Connected, its preface and these settings sent; answers are to be written without a memory.
    pub async fn open(address: std::net::SocketAddr, settings: &[u8]) -> Result<Self> {
        let mut client = Self::connect(address).await?;
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        let settings = [setting(HEADER_TABLE_SIZE, 0), settings.to_vec()].concat();
        client.send(&frame(SETTINGS, 0, 0, &settings)).await?;
        client.send(&frame(SETTINGS, ACK, 0, &[])).await?;
        Ok(client)
    }

    pub async fn connect(address: std::net::SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, came: Vec::new() })
    }

    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Sends until all is sent or the other side has had enough.
    pub async fn flood(&mut self, bytes: &[u8]) {
        let (mut read, mut write) = self.stream.split();
        let (mut part, mut rest) = ([0; 65536], bytes);
        let came = &mut self.came;
        while !rest.is_empty() {
            tokio::select! {
                sent = write.write(rest) => match sent {
                    Ok(count) => rest = &rest[count..],
                    Err(_) => return,
                },
                count = read.read(&mut part) => match count {
                    Ok(count @ 1..) => came.extend(&part[..count]),
                    Ok(0) | Err(_) => return,
                },
            }
        }
    }

    /// The next frame; `None` at the connection's end.
    pub async fn next(&mut self) -> Result<Option<Came>> {
        within(BOUND, "a frame", self.read()).await?
    }

    async fn read(&mut self) -> Result<Option<Came>> {
        loop {
            if let [a, b, c, kind, flags, s, t, u, v, rest @ ..] = self.came.as_slice() {
                let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                if let Some(payload) = rest.get(..length) {
                    let stream = u32::from_be_bytes([*s, *t, *u, *v]);
                    let payload = payload.to_vec();
                    let came = Came { kind: *kind, flags: *flags, stream, payload };
                    self.came.drain(..9 + length);
                    return Ok(Some(came));
                }
            }
            match self.stream.read_buf(&mut self.came).await {
                Ok(0) | Err(_) if self.came.is_empty() => return Ok(None),
                Ok(0) | Err(_) => bail!("ended inside of a frame: {:?}", self.came),
                Ok(_) => {}
            }
        }
    }

    /// The next frame of a kind; `None` at the connection's end.
    pub async fn until(&mut self, wanted: u8) -> Result<Option<Came>> {
        while let Some(came) = self.next().await? {
            if came.kind == wanted && !(wanted == SETTINGS && came.flags == ACK) {
                return Ok(Some(came));
            }
        }
        Ok(None)
    }

    /// What becomes of a stream.
    pub async fn outcome(&mut self, stream: u32) -> Result<Outcome> {
        while let Some(came) = self.next().await? {
            match came.kind {
                HEADERS if came.stream == stream => return Ok(Outcome::Answered(came.status())),
                RST_STREAM if came.stream == stream => return Ok(Outcome::Reset(came.code())),
                GOAWAY => return Ok(Outcome::GoAway(came.code())),
                _ => {}
            }
        }
        Ok(Outcome::Closed)
    }

    /// Reads to the connection's end and tells the reason that was given, if one was.
    pub async fn end(&mut self) -> Result<Option<u32>> {
        let mut reason = None;
        while let Some(came) = self.next().await? {
            if came.kind == GOAWAY {
                reason = Some(came.code());
            }
        }
        Ok(reason)
    }

    /// Asks and waits: on this stream, with this head and no body.
    pub async fn ask(&mut self, stream: u32, head: &[u8]) -> Result<Outcome> {
        self.send(&frame(HEADERS, WHOLE, stream, head)).await?;
        self.outcome(stream).await
    }
}
