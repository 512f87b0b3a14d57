//! A kept-alive HTTP/1.1 connection that repeats one GET: enough of a client to time answers and to
//! notice every answer that is not a success.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How long one answer may take before it counts as none.
const BOUND: Duration = Duration::from_secs(60);

#[allow(clippy::disallowed_methods)] // the time of real requests to a real process
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The connection, and the last answer on it.
pub(crate) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(port: u16, path: &str) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(BOUND))?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes();
        Ok(Self { stream, request, answer: Vec::new() })
    }

    /// Sends the request and gives the body of the answer, which has to be a 200 of a known length.
    pub(crate) fn exchange(&mut self) -> Result<&[u8]> {
        self.stream.write_all(&self.request)?;
        self.answer.clear();
        let mut part = [0_u8; 8192];
        loop {
            let read = self.stream.read(&mut part)?;
            if read == 0 {
                bail!("the connection was closed inside an answer");
            }
            self.answer.extend_from_slice(part.get(..read).unwrap_or_default());
            if let Some(body) = body(&self.answer)? {
                return Ok(self.answer.get(body..).unwrap_or_default());
            }
        }
    }
}

/// Where the body of a complete answer begins: head, and as many bytes as its Content-Length says.
fn body(answer: &[u8]) -> Result<Option<usize>> {
    let Some(head_end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(answer.get(..head_end).unwrap_or_default());
    if !head.starts_with("HTTP/1.1 200 ") {
        bail!("not a success: {}", String::from_utf8_lossy(answer));
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    let length = length.with_context(|| format!("an answer without a length: {head}"))??;
    Ok((answer.len() >= head_end + 4 + length).then_some(head_end + 4))
}

#[test]
fn an_answer_ends_where_its_length_says() {
    assert_eq!(body(b"HTTP/1.1 200 OK\r\nContent-").unwrap(), None);
    assert_eq!(body(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab").unwrap(), None);
    assert_eq!(body(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").unwrap(), Some(38));
    assert!(body(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").is_err());
}
