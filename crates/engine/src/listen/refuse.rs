//! The last word to a client whose bytes became no request: a problem, a line in the log, a count.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use portcullis_core::{Peer, Problem, Record};
use portcullis_tls::Stream;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};

use super::door::Door;
use super::line::Line;
use crate::open::ids;

/// A client that was told something may take this long to read it.
const LAST_WORD: Duration = Duration::from_secs(1);
/// What a client still sends is read and thrown away for this long: closing before it was read
/// would take the answer away from it (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(5);

/// Says the last word, if there is one, and closes so that it can be read.
pub async fn end(
    door: &Rc<Door>,
    line: &Line,
    peer: &Peer,
    mut stream: Stream,
    problem: Option<Problem>,
) {
    if let Some(problem) = problem {
        tell(door, peer, &mut stream, &problem).await;
    }
    tokio::select! {
        () = linger(door, stream) => {}
        _ = line.ordered() => {}
    }
}

/// Answers with a problem, and writes down that this happened.
async fn tell(door: &Door, peer: &Peer, stream: &mut Stream, problem: &Problem) {
    let desk = &door.desk;
    let (clock, snapshot) = (&desk.house.clock, desk.snapshot());
    let id: Arc<str> = ids::make(clock.wall()).into();
    let mut record = Record::unread(clock, peer, Arc::clone(&id));
    record.fail(problem);
    record.status = problem.status().as_u16();
    let reply = problem.reply(&id);
    let head = format!(
        "HTTP/1.1 {}\r\ncontent-type: application/problem+json\r\nx-request-id: {id}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        reply.status,
        reply.body.len()
    );
    let bytes = [head.as_bytes(), &reply.body].concat();
    let written = tokio::time::timeout(LAST_WORD, stream.write_all(&bytes)).await;
    let whole = matches!(written, Ok(Ok(())));
    record.bytes_out = if whole { reply.body.len() as u64 } else { 0 };
    let duration = clock.now().saturating_duration_since(record.started);
    snapshot.metrics.observe(&record, duration, !whole);
    snapshot.log.write(&desk.worker, &record, duration, !whole);
}

/// Closes: nothing more is said, and what the client still says is not heard.
async fn linger(door: &Door, mut stream: Stream) {
    let _ = tokio::time::timeout(LINGER, async {
        stream.shutdown().await?;
        std::future::poll_fn(|cx| {
            loop {
                let ended = door.arrivals.with(|buffer| {
                    let mut heard = ReadBuf::new(buffer);
                    let read = Pin::new(&mut stream).poll_read(cx, &mut heard);
                    read.map_ok(|()| heard.filled().is_empty())
                });
                if !ready!(ended)? {
                    continue;
                }
                return Poll::Ready(Ok::<(), io::Error>(()));
            }
        })
        .await
    })
    .await;
}
