//! What a decision of a shared limit adds to a request: its script beside an empty one by the same
//! client, and beside the usual four commands of a sorted set in one pipeline. For `cargo xtask limits`.
//!
//! `store URL COUNT`

#![allow(clippy::print_stdout, clippy::disallowed_methods)] // it is a program for people and tools

use std::time::{Duration, Instant};

use portcullis_policies::rate_limit::counting::Line;
use portcullis_policies::stores::measuring::{Ask, Servers, decide};

const LINES: [Line; 1] = [Line { requests: 1_000_000_000, per: 60_000_000 }];
const WINDOW: f64 = 60.0;

fn main() -> Result<(), redis::RedisError> {
    let mut words = std::env::args().skip(1);
    let url = words.next().unwrap_or_default();
    let count = words.next().and_then(|word| word.parse().ok()).unwrap_or(20_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(url, count))
}

async fn measure(url: String, count: usize) -> Result<(), redis::RedisError> {
    let mut connection = Servers::One(url).connect(Duration::from_secs(5)).await?;
    let empty = redis::Script::new("return 1");
    let ask = Ask { key: b"k", lines: &LINES, cost: 1, enforced: true, wanted: 0, ahead: 0 };
    let mut times: [Vec<Duration>; 3] = Default::default();
    for number in 0..count {
        let begun = Instant::now();
        empty.key("k").invoke_async::<u64>(&mut connection).await?;
        let bare = begun.elapsed();

        let begun = Instant::now();
        let call = decide(&[ask], Some(b"epoch"), 0);
        call.invoke_async::<Vec<i64>>(&mut connection).await?;
        let own = begun.elapsed();

        let now = number as f64 / 1000.0;
        let begun = Instant::now();
        let mut pipeline = redis::pipe();
        pipeline.zrembyscore("log", 0, now - WINDOW).zadd("log", now.to_string(), now);
        pipeline.zcard("log").expire("log", 60);
        pipeline.query_async::<Vec<i64>>(&mut connection).await?;
        let sorted = begun.elapsed();
        for (all, one) in times.iter_mut().zip([bare, own, sorted]) {
            all.push(one);
        }
    }
    let [bare, own, sorted] = times.map(median);
    println!(
        "p50 of {count} round trips: an empty script {bare} us, a decision {own} us ({:.2}), the pipeline of a sorted set {sorted} us ({:.2})",
        own / bare,
        sorted / bare,
    );
    Ok(())
}

/// In microseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_nanos() as f64 / 1000.0)
}
