//! The seam between deciding where a request goes and sending it there: connections, or in a
//! simulation what behaves like them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use http::StatusCode;
use portcullis_core::Response;

use crate::answer::{self, Home, Patience};
use crate::attempt::{Attempt, Lost, Nudge};
use crate::deadline::Deadline;
use crate::deliver::Held;
use crate::h2::Shared;
use crate::request::Ready;
use crate::set::Set;
use crate::upstream::Upstream;
use crate::websocket;

/// One request to one endpoint.
pub(crate) struct Errand<'e> {
    pub(crate) upstream: &'e Upstream,
    /// Of the endpoint in its set.
    pub(crate) place: usize,
    pub(crate) begun: Instant,
    pub(crate) deadline: Option<Deadline>,
    /// Sends are counted here; this one is already.
    pub(crate) sends: &'e Cell<u32>,
    /// Whether a request is wanted back when its answer has this status.
    pub(crate) wants_back: &'e dyn Fn(u16) -> bool,
    pub(crate) held: Held,
    /// Who wants to know when it takes long.
    pub(crate) nudge: Option<&'e Nudge>,
}

pub(crate) trait Carrier {
    /// Sends what is in `request`. What was lost, or answered in a way that makes it wanted back, is
    /// in `request` again if it can be sent again.
    fn carry(
        &self,
        errand: Errand<'_>,
        request: &mut Option<Ready>,
    ) -> impl Future<Output = Result<Response, Lost>>;
}

/// Over connections.
impl Carrier for Set {
    // Not an `async fn`: its arguments would be stored twice.
    fn carry(
        &self,
        errand: Errand<'_>,
        request: &mut Option<Ready>,
    ) -> impl Future<Output = Result<Response, Lost>> {
        let upstream = errand.upstream;
        async move {
            let Some(member) = self.members.get(errand.place) else {
                return Err(Lost::Connect("it is gone".to_owned()));
            };
            let progress = request.as_ref().and_then(|request| request.body.progress());
            let attempt = Attempt {
                pool: &member.pool,
                endpoint: &member.endpoint,
                timeouts: &upstream.timeouts,
                metrics: &upstream.metrics,
                deadline: errand.deadline,
                sends: errand.sends,
                nudge: errand.nudge,
            };
            let (idle, deadline) = (upstream.timeouts.idle, errand.deadline);
            let patience = Patience { progress, idle, deadline };
            if let Some(streams) = &member.pool.streams {
                // On the heap: it is twice as large as what HTTP/1.1 needs.
                let sharing = attempt.share(streams, request, errand.begun, errand.wants_back);
                let answered = Box::pin(sharing).await?;
                let ((mut head, incoming), stream) = (answered.0.into_parts(), answered.1);
                answer::clean(&mut head.headers);
                let patience = patience.with(&head.headers);
                let body = answer::body(Shared::new(incoming, stream, errand.held), patience);
                return Ok(Response::from_parts(head, body));
            }
            let websocket = request.as_ref().and_then(|request| request.head.websocket.as_ref());
            let lasting = websocket.map(|handshake| handshake.lasting);
            let (head, mut connection) = attempt.run(request, errand.begun).await?;
            if let (Some(lasting), StatusCode::SWITCHING_PROTOCOLS) = (lasting, head.status) {
                connection.let_go();
                return Ok(websocket::switched(head, connection, errand.held, lasting));
            }
            match (errand.wants_back)(head.status.as_u16()) {
                true => *request = connection.take_back(),
                false => connection.let_go(),
            }
            let home = Home { pool: Rc::clone(&member.pool), connection, _held: errand.held };
            Ok(answer::receive(head, home, patience))
        }
    }
}
