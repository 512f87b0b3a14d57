//! Answers of an endpoint beside another client's reading (hyper's): what both take for whole is the
//! same to both.
#![no_main]

use std::cell::RefCell;

use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;
use portcullis_upstream::fuzzing::answer;
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: RefCell<Option<Runtime>> = const { RefCell::new(None) };
}

/// Status and body as hyper reads them from an endpoint that sends these bytes and closes.
async fn other(bytes: &[u8]) -> Option<(u16, Vec<u8>)> {
    let (ours, mut theirs) = tokio::io::duplex(bytes.len() + 4096);
    let (mut sender, connection) = http1::handshake(TokioIo::new(ours)).await.ok()?;
    let driver = tokio::task::spawn_local(connection);
    let request = Request::builder().uri("/").header("host", "a").body(Empty::<Bytes>::new()).ok()?;
    let asked = sender.send_request(request);
    theirs.write_all(bytes).await.ok()?;
    theirs.shutdown().await.ok()?;
    let read = async {
        let response = asked.await.ok()?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.ok()?.to_bytes().to_vec();
        Some((status, body))
    };
    let seen = read.await;
    drop(theirs);
    driver.abort();
    seen
}

fuzz_target!(|bytes: &[u8]| {
    let Some((status, Some(body))) = answer(bytes, bytes.len().max(1)) else { return };
    let theirs = RUNTIME.with_borrow_mut(|runtime| {
        let runtime = runtime
            .get_or_insert_with(|| Builder::new_current_thread().enable_all().build().unwrap());
        tokio::task::LocalSet::new().block_on(runtime, other(bytes))
    });
    if let Some((other, theirs)) = theirs {
        assert_eq!((status, &body), (other, &theirs));
    }
});
