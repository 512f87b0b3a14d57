//! A kept-alive HTTP/1.1 connection: enough of a client to time answers and to notice every answer
//! that is not what it should be.

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
        let mut connection = Self { stream, request: Vec::new(), answer: Vec::new() };
        connection.set_headers(path, "");
        Ok(connection)
    }

    /// The same with further header lines, each with its end.
    pub(crate) fn set_headers(&mut self, path: &str, headers: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        self.request = request.into_bytes();
    }

    /// A POST of so many bytes.
    pub(crate) fn set_body(&mut self, path: &str, bytes: usize) {
        let body = "x".repeat(bytes);
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {bytes}");
        self.request = format!("{head}\r\n\r\n{body}").into_bytes();
    }

    /// Sends the request and gives the body of the answer, which has to be a 200 of a known length.
    pub(crate) fn exchange(&mut self) -> Result<&[u8]> {
        match self.ask()? {
            (200, body) => Ok(self.answer.get(body..).unwrap_or_default()),
            _ => bail!("not a success: {}", String::from_utf8_lossy(&self.answer)),
        }
    }

    /// Sends the request and gives the status of its answer.
    pub(crate) fn status(&mut self) -> Result<u16> {
        self.ask().map(|(status, _)| status)
    }

    /// The status of the answer, and where its body begins.
    fn ask(&mut self) -> Result<(u16, usize)> {
        self.stream.write_all(&self.request)?;
        self.answer.clear();
        let mut part = [0_u8; 8192];
        loop {
            let read = self.stream.read(&mut part)?;
            if read == 0 {
                bail!("the connection was closed inside an answer");
            }
            self.answer.extend_from_slice(part.get(..read).unwrap_or_default());
            if let Some(complete) = complete(&self.answer)? {
                return Ok(complete);
            }
        }
    }
}

/// The status of a complete answer and where its body begins: head, and as many bytes as its
/// Content-Length says.
fn complete(answer: &[u8]) -> Result<Option<(u16, usize)>> {
    let Some(head_end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(answer.get(..head_end).unwrap_or_default());
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.with_context(|| format!("no answer: {head}"))?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    let length = length.with_context(|| format!("an answer without a length: {head}"))??;
    Ok((answer.len() >= head_end + 4 + length).then_some((status, head_end + 4)))
}

#[test]
fn an_answer_ends_where_its_length_says() {
    assert_eq!(complete(b"HTTP/1.1 200 OK\r\nContent-").unwrap(), None);
    assert_eq!(complete(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab").unwrap(), None);
    let whole = complete(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(whole.unwrap(), Some((200, 38)));
    assert!(complete(b"HELLO\r\n\r\n").is_err());
}
