//! What the tests of this crate begin with: a plan of a file's text, and an exchange without a socket.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::{Diagnostics, Sources, parse};
use portcullis_core::{Body, CanonicalPath, Clock, Exchange, Peer, Record, Worker};

use crate::plan::{self, Plan};

/// The plan of a file without mistakes.
pub fn plan(text: &str) -> Plan {
    let (mut sources, mut out) = (Sources::new(), Diagnostics::new());
    let (name, nothing) = ("portcullis.yaml".into(), |_: &str| None);
    let root = parse(&mut sources, name, text.to_owned(), &nothing, &mut out).unwrap();
    let plan = plan::plan(&root, &sources, &mut out);
    plan.unwrap_or_else(|| panic!("{}", out.render(&sources, false)))
}

/// An exchange that asks for a path, without headers and body.
pub fn exchange(clock: &Clock, path: &str) -> Exchange {
    let peer = Peer::new(([127, 0, 0, 1], 7).into(), Arc::from("127.0.0.1:80"));
    let record = Record::unread(clock, &peer, Arc::from("r-1"));
    let (parts, ()) = http::Request::new(()).into_parts();
    let (worker, path) = (Worker::new(0, clock.clone()), CanonicalPath::parse(path).unwrap());
    let id = http::HeaderValue::from_static("r-1");
    let limit = 1024 * 1024;
    Exchange::new(worker, Rc::new(peer), parts, path, Body::Empty, limit, record, id)
}

/// Lets that much of the runtime's time pass. Nobody waits for real where the runtime's time stands.
pub async fn pass(time: Duration) {
    let _ = tokio::time::timeout(time, std::future::pending::<()>()).await;
}
