//! Bodies on their way through: streamed by default, read whole only on request and up to a limit.
//!
//! A policy that needs the bytes calls [`Body::read`]; afterwards the body is [`Body::Full`] and
//! reading it again is free. Nothing else buffers.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("no byte of the body came for {0:?}")]
    Stalled(std::time::Duration),
    #[error("the body broke off: {0}")]
    Broken(String),
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
    /// From the wire. `left` of `limit` bytes may still come; [`u64::MAX`] for no limit.
    Incoming { inner: Incoming, left: u64, limit: u64 },
    /// Anything else. Not `Send`: it stays on its worker.
    Stream(Stream),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) => write!(f, "Full({:?} bytes)", bytes.as_ref().map(Bytes::len)),
            Self::Incoming { left, limit, .. } => write!(f, "Incoming({left} of {limit} left)"),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl Body {
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::Empty } else { Self::Full(Some(bytes)) }
    }

    /// A body from the wire that fails with [`BodyError::TooLarge`] after `limit` bytes.
    pub fn incoming(inner: Incoming, limit: u64) -> Self {
        if inner.is_end_stream() {
            Self::Empty
        } else {
            Self::Incoming { inner, left: limit, limit }
        }
    }

    pub fn stream(body: impl http_body::Body<Data = Bytes, Error = BodyError> + 'static) -> Self {
        Self::Stream(Box::pin(body))
    }

    /// True when the whole body is in memory, so that it can be sent again.
    pub fn can_replay(&self) -> bool {
        matches!(self, Self::Empty | Self::Full(Some(_)))
    }

    /// Reads the whole body, at most `limit` bytes of it, and keeps it as [`Body::Full`].
    /// Trailers are dropped: who reads a body replaces or checks it as a whole.
    pub async fn read(&mut self, limit: u64) -> Result<Bytes, BodyError> {
        match self {
            Self::Empty | Self::Full(None) => return Ok(Bytes::new()),
            Self::Full(Some(bytes)) if bytes.len() as u64 <= limit => return Ok(bytes.clone()),
            Self::Full(Some(_)) => return Err(BodyError::TooLarge { limit }),
            Self::Incoming { .. } | Self::Stream(_) => {}
        }
        if self.size_hint().lower() > limit {
            return Err(BodyError::TooLarge { limit });
        }
        let bytes = self.collect(limit).await?;
        *self = Self::full(bytes.clone());
        Ok(bytes)
    }

    /// Reads the whole body if it has no more than `limit` bytes. `None` when it has more: it is then
    /// as it was, to be passed on.
    pub async fn read_if_fits(&mut self, limit: u64) -> Result<Option<Bytes>, BodyError> {
        if matches!(self, Self::Empty | Self::Full(_)) {
            return match self.read(limit).await {
                Ok(bytes) => Ok(Some(bytes)),
                Err(BodyError::TooLarge { .. }) => Ok(None),
                Err(error) => Err(error),
            };
        }
        let (mut pieces, mut length) = (VecDeque::new(), self.size_hint().lower());
        while length <= limit {
            let next = std::future::poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await;
            let Some(frame) = next else {
                let whole: Vec<Bytes> = pieces.into();
                *self = Self::full(whole.concat());
                return self.read(limit).await.map(Some);
            };
            let Ok(data) = frame?.into_data() else { continue };
            pieces.push_back(data);
            length = pieces.iter().map(|piece| piece.len() as u64).sum();
        }
        if !pieces.is_empty() {
            let rest = std::mem::take(self);
            *self = Self::stream(Begun { pieces, rest });
        }
        Ok(None)
    }

    async fn collect(&mut self, limit: u64) -> Result<Bytes, BodyError> {
        let mut first = Bytes::new();
        let mut rest: Option<BytesMut> = None;
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await
        {
            let Ok(data) = frame?.into_data() else { continue };
            let held = rest.as_ref().map_or(first.len(), BytesMut::len);
            if (held + data.len()) as u64 > limit {
                return Err(BodyError::TooLarge { limit });
            }
            match &mut rest {
                Some(rest) => rest.extend_from_slice(&data),
                None if first.is_empty() => first = data,
                None => {
                    let mut joined = BytesMut::with_capacity(first.len() + data.len());
                    joined.extend_from_slice(&first);
                    joined.extend_from_slice(&data);
                    rest = Some(joined);
                }
            }
        }
        Ok(rest.map_or(first, BytesMut::freeze))
    }
}

/// A body of which a part was read: that part, and the rest.
struct Begun {
    pieces: VecDeque<Bytes>,
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
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.rest.is_end_stream()
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
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Incoming { inner, left, limit } => {
                let frame = std::task::ready!(Pin::new(inner).poll_frame(cx));
                if let Some(Ok(frame)) = &frame
                    && let Some(data) = frame.data_ref()
                {
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
            Self::Empty | Self::Full(None) => true,
            Self::Full(Some(_)) => false,
            Self::Incoming { inner, .. } => inner.is_end_stream(),
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Full(None) => SizeHint::with_exact(0),
            Self::Full(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Self::Incoming { inner, .. } => inner.size_hint(),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}
