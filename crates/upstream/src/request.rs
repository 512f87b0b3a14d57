//! Requests are written anew: their own Host, their own framing, nothing of the client's connection.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Method;
use http::header::{CONNECTION, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, TRAILER};
use http::uri::PathAndQuery;
use http_body::{Body as _, Frame, SizeHint};
use portcullis_core::problem::too_large;
use portcullis_core::{Body, BodyError, Lasting, Problem, headers};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::websocket::Handshake;

/// A request as the engine hands it over.
pub struct Outbound {
    pub method: Method,
    pub path_and_query: PathAndQuery,
    /// Without what belonged to the client's connection.
    pub headers: HeaderMap,
    /// What `Host` says; `None` for the endpoint's own authority.
    pub host: Option<HeaderValue>,
    /// The hash by which an endpoint is chosen, from [`crate::Upstream::affinity`].
    pub affinity: Option<u64>,
    /// Whether it may be sent again although its method is not idempotent.
    pub retry_non_idempotent: bool,
    /// A WebSocket is asked for, and how long it may last; over HTTP/1.1 only.
    pub websocket: Option<Lasting>,
    pub body: Body,
}

/// Whatever of these a request still has, it does not go to an endpoint: framing is written here,
/// `Expect` was answered by the gateway, and the rest belongs to one connection only.
fn is_not_sent(name: &str) -> bool {
    name != "te" && headers::is_hop_by_hop(name) || matches!(name, "content-length" | "expect")
}

/// A request that is ready to go. On the heap, because it is handed on many times until it is sent.
pub(crate) type Ready = Box<Request>;

/// A request as endpoints get it.
pub(crate) struct Request {
    /// The same for every attempt.
    pub(crate) head: Rc<Head>,
    /// What `Host` says: another endpoint's may be another one.
    pub(crate) host: HeaderValue,
    /// What the endpoint is told of the deadline; stands in for fields of the same name.
    pub(crate) told: Vec<(HeaderName, HeaderValue)>,
    pub(crate) framing: Framing,
    pub(crate) body: Outgoing,
}

/// What does not change from one attempt to the next.
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) path_and_query: PathAndQuery,
    /// Without `Host` and without framing.
    pub(crate) headers: HeaderMap,
    /// What a 101 has to say; without it there is none.
    pub(crate) websocket: Option<Handshake>,
}

impl Head {
    /// A GET without headers, to read answers by.
    pub(crate) fn bare() -> Self {
        let path_and_query = PathAndQuery::from_static("/");
        Self { method: Method::GET, path_and_query, headers: HeaderMap::new(), websocket: None }
    }
}

/// How a request's body is framed (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// It has none, and nobody expects one.
    Nothing,
    Length(u64),
    Chunked,
}

impl Request {
    /// The fields that are not the endpoint's business alone, but for those that stand in `told`.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let is_told = |name: &HeaderName| self.told.iter().any(|(told, _)| told == name);
        let own = self.head.headers.iter().filter(move |(name, _)| !is_told(name));
        own.chain(self.told.iter().map(|(name, value)| (name, value)))
    }

    /// A second one, for when the first has no body or is still whole.
    pub(crate) fn without_body(head: Rc<Head>) -> Ready {
        let (host, told) = (HeaderValue::from_static(""), Vec::new());
        let body = Outgoing::new(Body::Empty, 0);
        Box::new(Self { head, host, told, framing: Framing::Nothing, body })
    }
}

/// The request, but for its Host when that is the endpoint's. Up to `keep` bytes of its body are kept
/// while they pass, so that it can be sent again.
pub(crate) fn write(outbound: Outbound, keep: u64) -> Result<Ready, Problem> {
    let Outbound { method, path_and_query, mut headers, host, body, websocket, .. } = outbound;
    fits(&body)?;
    headers.remove(HOST);
    let (mut has_te, mut cookies, mut has_unsendable) = (false, 0, false);
    for (name, _) in &headers {
        match name.as_str() {
            "te" => has_te = true,
            "cookie" => cookies += 1,
            name => has_unsendable |= is_not_sent(name),
        }
    }
    if has_unsendable {
        headers::remove_where(&mut headers, is_not_sent);
    }
    if has_te {
        headers.insert(CONNECTION, HeaderValue::from_static("te")); // RFC 9110 section 10.1.4
    }
    if cookies > 1 {
        join_cookies(&mut headers);
    }
    let websocket = websocket.map(|lasting| Handshake::ask(&mut headers, lasting));
    let framing = match body.size_hint().exact() {
        Some(0) if !expects_content(&method) => Framing::Nothing,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    };
    let host = host.unwrap_or(HeaderValue::from_static(""));
    let body = Outgoing { announced: announced(&headers), ..Outgoing::new(body, keep) };
    let head = Rc::new(Head { method, path_and_query, headers, websocket });
    let told = Vec::new();
    Ok(Box::new(Request { head, host, told, framing, body }))
}

/// The trailers that may follow: those that the head names, since the door has looked at those names.
fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(TRAILER).iter().map(HeaderValue::as_bytes);
    let names = values.flat_map(|value| value.split(|byte| *byte == b','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect()
}

/// HTTP/2 lets a client send a cookie in pieces; HTTP/1.1 knows one field only (RFC 9113 section
/// 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let pieces: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(whole) = HeaderValue::from_bytes(&pieces.join(b"; ".as_slice())) {
        headers.insert(COOKIE, whole);
    }
}

/// A body that is known to be too large is refused before anyone is contacted.
fn fits(body: &Body) -> Result<(), Problem> {
    match body {
        Body::Incoming { inner, left, limit, .. } if inner.size_hint().lower() > *left => {
            Err(too_large(*limit))
        }
        _ => Ok(()),
    }
}

/// Methods whose empty body is said to be empty (RFC 9110 section 8.6).
fn expects_content(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// A request's body on its way to an endpoint.
pub(crate) struct Outgoing {
    body: Body,
    /// What was taken from the body, while it is little enough to be sent again.
    kept: Option<SmallVec<[Bytes; 1]>>,
    /// How many bytes that is, and may be; as many as there are of a body that is in memory anyway.
    size: u64,
    limit: Option<u64>,
    /// How much of what is kept has gone out this time.
    gone: usize,
    /// No other trailers go out.
    announced: Vec<HeaderName>,
    /// Only of a body that is not in memory: nobody waits for the others.
    progress: Option<Rc<Progress>>,
}

impl Outgoing {
    pub(crate) fn new(body: Body, keep: u64) -> Self {
        let in_memory = body.can_replay();
        let progress = (!in_memory && !body.is_end_stream()).then(Progress::new);
        let limit = (!in_memory).then_some(keep);
        let (kept, announced) = (Some(SmallVec::new()), Vec::new());
        Self { body, kept, size: 0, limit, gone: 0, announced, progress }
    }

    /// The frame without trailers that were not announced; `None` when nothing is left of it.
    fn without_strangers(&self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        let mut trailers = match frame.into_trailers() {
            Ok(trailers) => trailers,
            Err(frame) => return Some(frame),
        };
        headers::remove_where(&mut trailers, |name| !self.announced.iter().any(|it| it == name));
        (!trailers.is_empty()).then(|| Frame::trailers(trailers))
    }

    /// Keeps up to so many bytes from now on.
    pub(crate) fn keep_up_to(&mut self, keep: u64) {
        self.limit = self.limit.map(|_| keep);
    }

    /// Starts again from the first byte; false when it is too much to be sent again.
    pub(crate) fn rewind(&mut self) -> bool {
        let fits = self.gone == 0 || self.limit.is_none_or(|limit| self.size <= limit);
        self.gone = 0;
        if let Some(progress) = &self.progress {
            progress.restart();
        }
        self.kept.is_some() && fits
    }

    pub(crate) fn progress(&self) -> Option<Rc<Progress>> {
        self.progress.clone()
    }

    fn again(&mut self) -> Option<Bytes> {
        let bytes = self.kept.as_ref()?.get(self.gone)?.clone();
        self.gone += 1;
        Some(bytes)
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        let size = frame.data_ref().map(|data| self.size.saturating_add(data.len() as u64));
        let size = size.filter(|size| self.limit.is_none_or(|limit| *size <= limit));
        match (&mut self.kept, frame.data_ref(), size) {
            (Some(kept), Some(data), Some(size)) => {
                kept.push(data.clone());
                (self.size, self.gone) = (size, kept.len());
            }
            _ => self.kept = None,
        }
    }

    fn ahead(&self) -> impl Iterator<Item = &Bytes> {
        self.kept.iter().flatten().skip(self.gone)
    }
}

/// Whose turn it is while a body streams: a client that sends slowly must not look like an upstream
/// that answers slowly.
pub(crate) struct Progress {
    client_owes: Cell<bool>,
    since: Cell<Instant>,
}

impl Progress {
    fn new() -> Rc<Self> {
        Rc::new(Self { client_owes: Cell::new(false), since: Cell::new(Instant::now()) })
    }

    /// True while more of the body was asked for and the client has not sent it.
    pub(crate) fn client_owes(&self) -> bool {
        self.client_owes.get()
    }

    /// Since when it has been that side's turn.
    pub(crate) fn since(&self) -> Instant {
        self.since.get()
    }

    fn restart(&self) {
        self.client_owes.set(false);
        self.since.set(Instant::now());
    }

    fn note(&self, waiting: bool) {
        let waited = self.client_owes.replace(waiting);
        // A further look at the same wait is no progress.
        if !(waiting && waited) {
            self.since.set(Instant::now());
        }
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(bytes) = self.again() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(progress) = &self.progress {
            progress.note(polled.is_pending());
        }
        let polled = polled.map(|frame| match frame {
            Some(Ok(frame)) => self.without_strangers(frame).map(Ok),
            other => other,
        });
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.keep(frame);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.ahead().next().is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let ahead: u64 = self.ahead().map(|bytes| bytes.len() as u64).sum();
        let rest = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + ahead);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + ahead);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http::header::TE;

    use super::*;

    fn written(method: Method, headers: &[(&str, &str)], body: Body) -> Ready {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let path_and_query = PathAndQuery::from_static("/orders?limit=1");
        let outbound = Outbound {
            method,
            path_and_query,
            headers: map,
            host: None,
            affinity: None,
            retry_non_idempotent: false,
            websocket: None,
            body,
        };
        write(outbound, 0).unwrap()
    }

    #[test]
    fn framing_is_the_bodys_own() {
        let lies =
            [("content-length", "7"), ("transfer-encoding", "gzip"), ("expect", "100-continue")];
        let request = written(Method::POST, &lies, Body::full("abc"));
        assert_eq!((request.framing, request.fields().count()), (Framing::Length(3), 0));
        assert_eq!(request.head.path_and_query, "/orders?limit=1");
        assert_eq!(written(Method::GET, &lies, Body::Empty).framing, Framing::Nothing);
        assert_eq!(written(Method::PUT, &[], Body::Empty).framing, Framing::Length(0));
    }

    #[test]
    fn as_much_is_sent_again_as_is_kept() {
        let take = |outgoing: &mut Outgoing| {
            let mut context = Context::from_waker(std::task::Waker::noop());
            let mut count = 0;
            while let Poll::Ready(Some(frame)) = Pin::new(&mut *outgoing).poll_frame(&mut context) {
                count += frame.unwrap().into_data().unwrap().len();
            }
            count
        };
        let body = || Body::stream(Body::full("abcd"));
        for (keep, again) in [(4, true), (3, false)] {
            let mut outgoing = Outgoing::new(body(), keep);
            assert_eq!((take(&mut outgoing), outgoing.rewind()), (4, again));
        }
        // What one upstream kept goes to another one, and there once more only as that one wants it.
        for (keep, again) in [(4, true), (3, false)] {
            let mut outgoing = Outgoing::new(body(), 9);
            assert_eq!((take(&mut outgoing), outgoing.rewind()), (4, true));
            outgoing.keep_up_to(keep);
            assert!(outgoing.rewind(), "nothing of it has gone");
            assert_eq!((take(&mut outgoing), outgoing.rewind()), (4, again));
        }
        let mut outgoing = Outgoing::new(Body::full("abcd"), 0);
        outgoing.keep_up_to(0);
        assert_eq!((take(&mut outgoing), outgoing.rewind()), (4, true));
    }

    #[test]
    fn only_announced_trailers_follow() {
        struct Trailers(Option<HeaderMap>);
        impl http_body::Body for Trailers {
            type Data = Bytes;
            type Error = BodyError;

            fn poll_frame(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
                Poll::Ready(self.0.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
        }
        let sent = |announced: &[(&str, &str)]| {
            let names = ["x-sum", "x-user-id"].map(HeaderName::from_static);
            let trailers = names.map(|name| (name, HeaderValue::from_static("1"))).into_iter();
            let body = Body::stream(Trailers(Some(trailers.collect())));
            let mut body = written(Method::POST, announced, body).body;
            let mut context = Context::from_waker(std::task::Waker::noop());
            let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(&mut context) else {
                panic!("it waits")
            };
            frame.map(|frame| frame.unwrap().into_trailers().unwrap())
        };
        let told = sent(&[("trailer", "X-Other"), ("trailer", "x-more, X-Sum")]).unwrap();
        assert_eq!(told.keys().collect::<Vec<_>>(), ["x-sum"]);
        assert_eq!((sent(&[]), sent(&[("trailer", "x-user")])), (None, None));
    }

    #[test]
    fn te_is_named_by_connection() {
        let request = written(Method::GET, &[("te", "trailers"), ("connection", "x")], Body::Empty);
        assert_eq!(request.head.headers[TE], "trailers");
        assert_eq!(request.head.headers[CONNECTION], "te");
    }

    #[test]
    fn a_cookie_is_one_field() {
        let request = written(Method::GET, &[("cookie", "a=1"), ("cookie", "b=2")], Body::Empty);
        let cookies: Vec<_> = request.head.headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2"]);
    }

    #[test]
    fn what_is_told_stands_in_for_what_was_there() {
        let mut request = written(Method::GET, &[("a", "1"), ("b", "2")], Body::Empty);
        request.told.push((HeaderName::from_static("a"), HeaderValue::from_static("3")));
        let fields: Vec<_> = request.fields().map(|(name, value)| (name.as_str(), value)).collect();
        assert_eq!(fields, [("b", &HeaderValue::from_static("2")), ("a", &"3".parse().unwrap())]);
    }
}
