//! What an answer becomes on its client's connection when the request asked for a WebSocket: the way out
//! of HTTP, or an answer behind which nothing more is read as HTTP.

use std::cell::RefCell;
use std::rc::Rc;

use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::{Response as Head, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use portcullis_core::{Body, Problem, Response, Tunnel};

use super::tunnel;
use super::watched::Arrivals;
use crate::close::{self, Recorded, Recording};
use crate::problems::NO_WEBSOCKET;

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// What a connection of HTTP/1.1 is to be after its 101.
pub struct Switched {
    pub tunnel: Tunnel,
    pub recording: Recording,
}

/// Where it finds that.
pub type Switch = Rc<RefCell<Option<Switched>>>;

/// How a request can leave HTTP.
pub enum Exit {
    /// It does not want to.
    None,
    /// HTTP/1.1: the connection itself, behind this answer.
    Connection(Switch),
    /// HTTP/2: its stream.
    Stream(OnUpgrade, Arrivals),
}

impl Exit {
    /// The answer as the client gets it.
    pub fn answer(self, mut response: Response, mut recording: Recording) -> Head<Recorded> {
        let tunnel = take_tunnel(&mut response);
        match (self, tunnel) {
            (Self::Connection(switch), Some(tunnel)) => {
                let headers = response.headers_mut();
                headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                *switch.borrow_mut() = Some(Switched { tunnel, recording });
                response.map(|_| Recorded::nothing())
            }
            (Self::Stream(stream, arrivals), Some(tunnel)) => {
                // RFC 8441 section 5: neither a 101 nor a proof of the handshake.
                *response.status_mut() = StatusCode::OK;
                response.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
                recording.exchange().record.status = StatusCode::OK.as_u16();
                tokio::task::spawn_local(async move {
                    let Ok(stream) = stream.await else { return };
                    let (client, never) = (TokioIo::new(stream), std::future::pending());
                    tunnel::run(client, Vec::new(), tunnel, arrivals, recording, never).await;
                });
                response.map(|_| Recorded::nothing())
            }
            (Self::Stream(..), None) if response.status().is_success() => {
                let exchange = recording.exchange();
                let problem = Problem::new(&NO_WEBSOCKET, "there is no WebSocket here");
                let response = close::problem(exchange, &problem);
                close::finish(exchange, response).map(|body| recording.answered(body))
            }
            (Self::Connection(_), None) => {
                // What came behind the request was sent to somebody who does not speak HTTP there.
                response.headers_mut().insert(CONNECTION, CLOSE);
                response.map(|body| recording.answered(body))
            }
            _ => response.map(|body| recording.answered(body)),
        }
    }
}

/// The tunnel of a 101. On any other answer there is none: it may have been made into one.
fn take_tunnel(response: &mut Response) -> Option<Tunnel> {
    if !matches!(response.body(), Body::Tunnel(_)) {
        return None;
    }
    match std::mem::take(response.body_mut()) {
        Body::Tunnel(tunnel) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Some(tunnel)
        }
        _ => None,
    }
}
