//! The last word to a client whose bytes became no request: a problem, a line in the log, a count.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Version;
use portcullis_core::{Peer, Problem, Record};
use portcullis_tls::Stream;
use tokio::io::AsyncWriteExt as _;

use super::door::Door;
use super::line::Line;
use crate::open::ids;

/// A client that was told something may take this long to read it.
const LAST_WORD: Duration = Duration::from_secs(1);
/// What a client still sends is read and thrown away for this long: closing before it was read
/// would take the answer away from it (RFC 9112 section 9.6).
pub const LINGER: Duration = Duration::from_secs(5);

/// The last word on a connection, and why it is said.
pub struct LastWord {
    problem: Problem,
    version: Version,
    /// What HTTP/2 says in place of an answer, where it can say anything.
    goaway: Option<Vec<u8>>,
}

impl LastWord {
    /// An answer of HTTP/1.1.
    pub fn answer(problem: Problem) -> Self {
        Self { problem, version: Version::HTTP_11, goaway: None }
    }

    /// The end of an HTTP/2 connection.
    pub fn goaway(problem: Problem, line: &Line, code: u32) -> Self {
        let goaway = line.budget().and_then(|budget| budget.borrow().goaway(code));
        Self { problem, version: Version::HTTP_2, goaway }
    }

    /// As it is written, and how much of it is a body.
    fn bytes(&self, id: &str) -> (Vec<u8>, u64) {
        if self.version == Version::HTTP_2 {
            return (self.goaway.clone().unwrap_or_default(), 0);
        }
        let reply = self.problem.reply(id);
        let head = format!(
            "HTTP/1.1 {}\r\ncontent-type: application/problem+json\r\nx-request-id: {id}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            reply.status,
            reply.body.len()
        );
        ([head.as_bytes(), &reply.body].concat(), reply.body.len() as u64)
    }
}

/// Says the last word, if there is one, and closes so that it can be read.
pub async fn end(
    door: &Rc<Door>,
    line: &Line,
    peer: &Peer,
    mut stream: Stream,
    last_word: Option<LastWord>,
) {
    if let Some(last_word) = last_word {
        tell(door, peer, &mut stream, &last_word).await;
    }
    tokio::select! {
        () = linger(door, stream) => {}
        () = line.aborted() => {}
    }
}

/// Says what is wrong, and writes down that this happened.
async fn tell(door: &Door, peer: &Peer, stream: &mut Stream, last_word: &LastWord) {
    let desk = &door.desk;
    let (clock, snapshot) = (&desk.house.clock, desk.snapshot());
    let id: Arc<str> = ids::make(clock.wall());
    let (bytes, length) = last_word.bytes(&id);
    let mut record = Record::unread(clock, peer, id);
    record.version = last_word.version;
    record.fail(&last_word.problem);
    record.status = last_word.problem.status().as_u16();
    let written = tokio::time::timeout(LAST_WORD, stream.write_all(&bytes)).await;
    let whole = matches!(written, Ok(Ok(())));
    record.bytes_out = if whole { length } else { 0 };
    let duration = clock.now().saturating_duration_since(record.started);
    snapshot.metrics.observe(&record, duration, !whole);
    snapshot.log.write(&desk.worker, &record, duration, !whole);
}

/// Closes: nothing more is said, and what the client still says is not heard.
async fn linger(door: &Door, mut stream: Stream) {
    let _ = tokio::time::timeout(LINGER, async {
        stream.shutdown().await?;
        while door.arrivals.discard(&mut stream).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
}
