//! Bodies on their way through: streamed by default, read whole only on request and up to a limit.
//!
//! A policy that needs the bytes calls [`Body::read`]; afterwards the body is [`Body::Full`] and
//! reading it again is free. Nothing else buffers.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use crate::intake::Intake;
use crate::tunnel::Tunnel;

/// Why a body could not be read to its end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("no byte of the body came for {0:?}")]
    Stalled(std::time::Duration),
    #[error("the body broke off: {0}")]
    Broken(String),
    #[error("the body came too slowly")]
    TooSlow,
    #[error("{0}")]
    Other(String),
}

type Stream = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError>>>;

/// The body of a request or a response.
#[derive(Default)]
pub enum Body {
    #[default]
    Empty,
    /// All of it, in memory; `None` once it has been taken by the wire.
    Full(Option<Bytes>),
    /// From the wire. `left` of `limit` bytes may still come; [`u64::MAX`] for no limit. `intake` is
    /// for whoever watches how fast.
    Incoming { inner: Arriving, left: u64, limit: u64, intake: Option<Rc<Intake>> },
    /// Anything else. Not `Send`: it stays on its worker.
    Stream(Stream),
    /// Of a 101: there is no body, and what follows is no HTTP.
    Tunnel(Tunnel),
}

/// What is on the wire of a body that was let go before its end, once it was.
pub struct Rest(Rc<RefCell<Left>>);

/// Where a body is left that nobody wants more of.
#[derive(Default)]
enum Left {
    /// It is wanted, or came to its end.
    #[default]
    Nothing,
    There(Incoming),
    /// Whoever gets it, as soon as it is there.
    Awaited(Box<dyn FnOnce(Incoming)>),
}

impl Rest {
    /// `None`: it came to its end, or is wanted still.
    pub fn take(&self) -> Option<Incoming> {
        match self.0.take() {
            Left::There(body) => Some(body),
            Left::Nothing | Left::Awaited(_) => None,
        }
    }

    /// Hands it on later, if it is wanted still and will be let go before its end.
    pub fn await_with(&self, whoever: impl FnOnce(Incoming) + 'static) {
        if Rc::strong_count(&self.0) > 1 {
            self.0.replace(Left::Awaited(Box::new(whoever)));
        }
    }
}

/// A body on the wire.
pub struct Arriving {
    /// There as long as this lives.
    inner: Option<Incoming>,
    rest: Option<Rc<RefCell<Left>>>,
}

impl Arriving {
    pub fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, hyper::body::Body::size_hint)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let Some(rest) = &self.rest else { return };
        let Some(inner) = self.inner.take().filter(|inner| !inner.is_end_stream()) else { return };
        match rest.take() {
            Left::Awaited(whoever) => whoever(inner),
            Left::Nothing | Left::There(_) => drop(rest.replace(Left::There(inner))),
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) => write!(f, "Full({:?} bytes)", bytes.as_ref().map(Bytes::len)),
            Self::Incoming { left, limit, .. } => write!(f, "Incoming({left} of {limit} left)"),
            Self::Stream(_) => f.write_str("Stream"),
            Self::Tunnel(_) => f.write_str("Tunnel"),
        }
    }
}

impl Body {
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::Empty } else { Self::Full(Some(bytes)) }
    }

    /// A body from the wire that fails with [`BodyError::TooLarge`] after `limit` bytes, and with
    /// [`BodyError::TooSlow`] when whoever watches it says so. Not watched: one without a limit.
    pub fn incoming(inner: Incoming, limit: u64) -> Self {
        if inner.is_end_stream() {
            return Self::Empty;
        }
        let intake = (limit < u64::MAX).then(Rc::default);
        Self::Incoming {
            inner: Arriving { inner: Some(inner), rest: None },
            left: limit,
            limit,
            intake,
        }
    }

    /// For a body from the wire: where that is left when nobody here wants more of it.
    pub fn rest(&mut self) -> Option<Rest> {
        let Self::Incoming { inner, .. } = self else { return None };
        Some(Rest(Rc::clone(inner.rest.get_or_insert_default())))
    }

    /// How it comes in, when that is watched.
    pub fn intake(&self) -> Option<&Rc<Intake>> {
        match self {
            Self::Incoming { intake, .. } => intake.as_ref(),
            Self::Empty | Self::Full(_) | Self::Stream(_) | Self::Tunnel(_) => None,
        }
    }

    /// Sets how much a body from the wire may have, before anything of it was read.
    /// [`BodyError::TooLarge`] when it is known to have more.
    pub fn limit(&mut self, most: u64) -> Result<(), BodyError> {
        if let Self::Incoming { left, limit, .. } = self {
            (*left, *limit) = (most, most);
        }
        match self.size_hint().lower() > most {
            true => Err(BodyError::TooLarge { limit: most }),
            false => Ok(()),
        }
    }

    /// Lets a body from the wire be as long and as slow as it likes, before anything of it was read.
    pub fn release(&mut self) {
        if let Self::Incoming { left, limit, intake, .. } = self {
            (*left, *limit, *intake) = (u64::MAX, u64::MAX, None);
        }
    }

    pub fn stream(body: impl http_body::Body<Data = Bytes, Error = BodyError> + 'static) -> Self {
        Self::Stream(Box::pin(body))
    }

    /// True when the whole body is in memory, so that it can be sent again.
    pub fn can_replay(&self) -> bool {
        matches!(self, Self::Empty | Self::Full(Some(_)))
    }

    /// Reads the whole body, at most `limit` bytes of it, and keeps it as [`Body::Full`]. One that has
    /// more, or breaks off, stays what it was, to its last byte and its error.
    /// Trailers are dropped: who reads a body replaces or checks it as a whole.
    pub async fn read(&mut self, limit: u64) -> Result<Bytes, BodyError> {
        self.read_if_fits(limit).await?.ok_or(BodyError::TooLarge { limit })
    }

    /// As [`Body::read`]; `None` when it has more.
    pub async fn read_if_fits(&mut self, limit: u64) -> Result<Option<Bytes>, BodyError> {
        match self {
            Self::Empty | Self::Full(None) | Self::Tunnel(_) => return Ok(Some(Bytes::new())),
            Self::Full(Some(bytes)) => {
                return Ok((bytes.len() as u64 <= limit).then(|| bytes.clone()));
            }
            Self::Incoming { .. } | Self::Stream(_) => {}
        }
        if self.size_hint().lower() > limit {
            return Ok(None);
        }
        let (mut pieces, mut length) = (VecDeque::new(), 0);
        let broken = loop {
            match std::future::poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await {
                None => {
                    let whole = joined(pieces, length);
                    *self = Self::full(whole.clone());
                    return Ok(Some(whole));
                }
                Some(Err(error)) => break Some(error),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    length += data.len();
                    pieces.push_back(data);
                    if length as u64 > limit {
                        break None;
                    }
                }
            }
        };
        let rest = std::mem::take(self);
        *self = Self::stream(Begun { pieces, broken: broken.clone(), rest });
        broken.map_or(Ok(None), Err)
    }
}

fn joined(mut pieces: VecDeque<Bytes>, length: usize) -> Bytes {
    if pieces.len() <= 1 {
        return pieces.pop_front().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(length);
    pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
    whole.freeze()
}

/// A body of which a part was read: that part, what it broke off with, and the rest.
struct Begun {
    pieces: VecDeque<Bytes>,
    broken: Option<BodyError>,
    rest: Body,
}

impl http_body::Body for Begun {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.pieces.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => match self.broken.take() {
                Some(error) => Poll::Ready(Some(Err(error))),
                None => Pin::new(&mut self.rest).poll_frame(cx),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.broken.is_none() && self.rest.is_end_stream()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty | Self::Tunnel(_) => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Incoming { inner, left, limit, intake } => {
                if intake.as_ref().is_some_and(|intake| intake.is_given_up()) {
                    return Poll::Ready(Some(Err(BodyError::TooSlow)));
                }
                let Some(wire) = &mut inner.inner else { return Poll::Ready(None) };
                let Poll::Ready(frame) = Pin::new(wire).poll_frame(cx) else {
                    intake.iter().for_each(|intake| intake.wait(cx));
                    return Poll::Pending;
                };
                if let Some(Ok(frame)) = &frame
                    && let Some(data) = frame.data_ref()
                {
                    intake.iter().for_each(|intake| intake.receive(data.len()));
                    match left.checked_sub(data.len() as u64) {
                        Some(rest) => *left = rest,
                        None => {
                            return Poll::Ready(Some(Err(BodyError::TooLarge { limit: *limit })));
                        }
                    }
                }
                Poll::Ready(
                    frame.map(|frame| frame.map_err(|error| BodyError::Broken(error.to_string()))),
                )
            }
            Self::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Full(None) | Self::Tunnel(_) => true,
            Self::Full(Some(_)) => false,
            Self::Incoming { inner, .. } => {
                inner.inner.as_ref().is_none_or(hyper::body::Body::is_end_stream)
            }
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Full(None) | Self::Tunnel(_) => SizeHint::with_exact(0),
            Self::Full(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Self::Incoming { inner, .. } => inner.size_hint(),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// Pieces, and perhaps an error after them.
    fn streamed(pieces: &[&'static str], broken: Option<BodyError>) -> Body {
        let pieces = pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect();
        Body::stream(Begun { pieces, broken, rest: Body::Empty })
    }

    fn read(body: &mut Body, limit: u64) -> Result<Option<Bytes>, BodyError> {
        body.read_if_fits(limit).now_or_never().unwrap()
    }

    #[test]
    fn what_fits_is_kept_and_can_be_read_again() {
        let mut body = streamed(&["ab", "", "cd"], None);
        assert_eq!(read(&mut body, 4).unwrap().unwrap(), "abcd");
        assert!(body.can_replay());
        assert_eq!(read(&mut body, 4).unwrap().unwrap(), "abcd");
        assert!(matches!(body.read(3).now_or_never(), Some(Err(BodyError::TooLarge { limit: 3 }))));
        assert_eq!(read(&mut body, 9).unwrap().unwrap(), "abcd");
    }

    #[test]
    fn what_is_too_large_or_breaks_off_stays_what_it_was() {
        let mut body = streamed(&["ab", "cd", "ef"], None);
        assert_eq!(read(&mut body, 3).unwrap(), None);
        assert_eq!(read(&mut body, 6).unwrap().unwrap(), "abcdef");

        let mut body = streamed(&["ab"], Some(BodyError::Broken("gone".to_owned())));
        assert!(matches!(read(&mut body, 9), Err(BodyError::Broken(_))));
        assert!(!body.is_end_stream());
        let next = |body: &mut Body| {
            std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).now_or_never().unwrap()
        };
        assert_eq!(next(&mut body).unwrap().unwrap().into_data().unwrap(), "ab");
        assert!(matches!(next(&mut body), Some(Err(BodyError::Broken(_)))));
        assert!(next(&mut body).is_none());
    }
}
