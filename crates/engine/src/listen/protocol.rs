//! Which protocol a client speaks: HTTP/2 with prior knowledge announces itself by a preface
//! (RFC 9113 section 3.4); everything else is HTTP/1.1. Looked at without taking the bytes.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

use super::frames::PREFACE;

/// No HTTP/1 method begins like this, so that much of the preface decides.
const ENOUGH: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// Waits for the first bytes. `None` when the client closed without a word. Ends by itself only
/// when bytes come: the caller bounds the wait.
pub async fn detect(stream: &TcpStream) -> io::Result<Option<Protocol>> {
    let mut start = [0; PREFACE.len()];
    let mut pause = Duration::from_millis(1);
    loop {
        let read = stream.peek(&mut start).await?;
        let came = start.get(..read).unwrap_or_default();
        if came.is_empty() {
            return Ok(None);
        }
        if !PREFACE.starts_with(came) {
            return Ok(Some(Protocol::Http1));
        }
        if read >= ENOUGH {
            return Ok(Some(Protocol::Http2));
        }
        // One to three bytes that could be either: peeking tells nothing of a fourth one's arrival.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
