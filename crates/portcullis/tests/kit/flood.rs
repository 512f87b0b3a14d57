//! A peer that writes until nobody takes any more, and one that then reads: what is between them shows
//! how much it keeps.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Who takes nothing for so long takes nothing more.
const STUCK: Duration = Duration::from_millis(500);

/// How many bytes are taken, `most` at most.
pub async fn pour(to: &mut (impl AsyncWrite + Unpin), most: usize) -> Result<usize> {
    let piece = [b'x'; 64 * 1024];
    let mut poured = 0;
    while poured < most {
        match tokio::time::timeout(STUCK, to.write(&piece)).await {
            Ok(wrote) => poured += wrote?,
            Err(_) => break,
        }
    }
    Ok(poured)
}

/// Reads so many bytes.
pub async fn drink(from: &mut (impl AsyncRead + Unpin), count: usize) -> Result<()> {
    let (mut left, mut buffer) = (count, vec![0; 1 << 20]);
    while left > 0 {
        let room = left.min(buffer.len());
        let read = from.read(buffer.get_mut(..room).unwrap_or_default()).await?;
        ensure!(read > 0, "closed with {left} bytes to come");
        left -= read;
    }
    Ok(())
}

/// What a count comes to that stands still at last.
pub async fn still(count: impl Fn() -> usize) -> usize {
    let mut before = 0;
    loop {
        super::pause::pass(STUCK).await;
        let now = count();
        if now > 0 && now == before {
            return now;
        }
        before = now;
    }
}
