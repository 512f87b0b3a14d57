//! A body that is encoded while it passes.
//!
//! What the service has written is sent on as soon as nothing more is there to be encoded with it: a
//! slow stream is not held back, and a fast one is not cut into small pieces. A large piece is encoded
//! slice by slice, and other requests get their turn in between.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use portcullis_core::{Body, BodyError};

use crate::coding::Coding;
use crate::encoder::Encoder;

/// So many bytes are encoded at once,
const SLICE: usize = 16 * 1024;
/// and so many before the worker's other requests are looked after: about a millisecond of work.
const TURN: usize = 32 * 1024;

/// So many bodies are encoded at a time by all workers: each has windows and tables of up to half a MiB.
static PLACES: Places = Places { most: 2000, taken: AtomicUsize::new(0) };

/// How many may do something at a time.
struct Places {
    most: usize,
    taken: AtomicUsize,
}

/// One of them; it is free again when its value goes.
struct Place(&'static Places);

impl Places {
    fn take(&'static self) -> Option<Place> {
        let next = |taken: usize| (taken < self.most).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        taken.is_ok().then_some(Place(self))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An encoder that has its place among all that run.
pub struct Running {
    encoder: Encoder,
    _place: Place,
}

impl Running {
    /// `None` when so many run that there is no place.
    pub fn start(coding: Coding) -> Option<Self> {
        let place = PLACES.take()?;
        Encoder::new(coding).ok().map(|encoder| Self { encoder, _place: place })
    }
}

pub struct Encoded {
    source: Source,
    /// Until the body's end.
    running: Option<Running>,
}

/// What is to be encoded.
struct Source {
    body: Body,
    /// What came and is not encoded yet.
    waiting: Bytes,
    /// Something was encoded since the last flush.
    keeps_back: bool,
    /// What was encoded in this turn, in bytes.
    spent: usize,
    trailers: Option<HeaderMap>,
}

impl Encoded {
    pub fn new(body: Body, running: Running) -> Self {
        let (waiting, trailers) = Default::default();
        let source = Source { body, waiting, keeps_back: false, spent: 0, trailers };
        Self { source, running: Some(running) }
    }
}

impl Source {
    /// Encodes until something came out. `None` at the body's end.
    fn encode(
        &mut self,
        encoder: &mut Encoder,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, BodyError>> {
        loop {
            if self.spent >= TURN {
                self.spent = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !self.waiting.is_empty() {
                let slice = self.waiting.split_to(self.waiting.len().min(SLICE));
                self.spent += slice.len();
                self.keeps_back = true;
                let written = encoder.write(&slice).map_err(broken)?;
                if !written.is_empty() {
                    return Poll::Ready(Ok(Some(written)));
                }
                continue;
            }
            match Pin::new(&mut self.body).poll_frame(cx)? {
                Poll::Pending => {
                    self.spent = 0;
                    if !std::mem::take(&mut self.keeps_back) {
                        return Poll::Pending;
                    }
                    return Poll::Ready(encoder.flush().map(Some).map_err(broken));
                }
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                Poll::Ready(Some(frame)) => match frame.into_data() {
                    Ok(data) => self.waiting = data,
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        return Poll::Ready(Ok(None));
                    }
                },
            }
        }
    }
}

fn broken(error: std::io::Error) -> BodyError {
    BodyError::Other(format!("the encoder: {error}"))
}

impl http_body::Body for Encoded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { source, running } = self.get_mut();
        let Some(Running { encoder, .. }) = running else {
            let trailers = source.trailers.take();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        };
        let written = match ready!(source.encode(encoder, cx)) {
            Ok(Some(written)) => Some(Ok(written)),
            Ok(None) => running.take().map(|it| it.encoder.finish().map_err(broken)),
            Err(error) => Some(Err(error)),
        };
        Poll::Ready(written.map(|written| written.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use super::*;

    const ALL: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

    /// Frames one by one; `None` where nothing is there at a poll.
    struct Scripted(VecDeque<Option<Frame<Bytes>>>);

    impl http_body::Body for Scripted {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            match self.0.pop_front() {
                None => Poll::Ready(None),
                Some(None) => Poll::Pending,
                Some(Some(frame)) => Poll::Ready(Some(Ok(frame))),
            }
        }
    }

    fn encoded(coding: Coding, frames: Vec<Option<Frame<Bytes>>>) -> Encoded {
        let body = Body::stream(Scripted(frames.into()));
        Encoded::new(body, Running::start(coding).unwrap())
    }

    fn data(text: &'static str) -> Option<Frame<Bytes>> {
        Some(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    /// What comes until nothing is there, and whether that is the end.
    fn drain(body: &mut Encoded, out: &mut Vec<u8>) -> (usize, Option<HeaderMap>, bool) {
        let (mut frames, mut trailers) = (0, None);
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match Pin::new(&mut *body).poll_frame(&mut cx) {
                Poll::Pending => return (frames, trailers, false),
                Poll::Ready(None) => return (frames, trailers, true),
                Poll::Ready(Some(frame)) => match frame.unwrap().into_data() {
                    Ok(data) => {
                        frames += 1;
                        out.extend_from_slice(&data);
                    }
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
            }
        }
    }

    /// As much as a client can read of what came so far.
    fn readable(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        use std::io::Read;
        let mut reader: Box<dyn Read> = match coding {
            Coding::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
            Coding::Brotli => Box::new(brotli::Decompressor::new(bytes, 4096)),
            Coding::Zstd => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
        };
        let (mut out, mut buffer) = (Vec::new(), [0; 64]);
        while let Ok(read @ 1..) = reader.read(&mut buffer) {
            out.extend_from_slice(&buffer[..read]);
        }
        out
    }

    #[test]
    fn what_was_written_can_be_read_before_more_comes() {
        for coding in ALL {
            let mut body =
                encoded(coding, vec![data("hello "), None, None, None, data("world"), None, None]);
            let mut out = Vec::new();
            assert!(!drain(&mut body, &mut out).2);
            assert_eq!(readable(coding, &out), b"hello ", "{coding:?}");
            assert_eq!(drain(&mut body, &mut out).0, 0, "nothing new, nothing said");
            assert!(!drain(&mut body, &mut out).2);
            assert_eq!(readable(coding, &out), b"hello world", "{coding:?}");
            assert!(drain(&mut body, &mut out).2);
            assert_eq!(coding.decode(&out, 100).unwrap(), "hello world");
        }
    }

    #[test]
    fn pieces_that_come_together_are_not_flushed_apart() {
        for coding in ALL {
            let mut body = encoded(coding, (0..100).map(|_| data("a")).chain([None]).collect());
            let mut out = Vec::new();
            assert!(drain(&mut body, &mut out).0 <= 3, "{coding:?}");
        }
    }

    #[test]
    fn trailers_follow_the_last_byte_and_an_empty_body_is_one() {
        for coding in ALL {
            let mut sum = HeaderMap::new();
            sum.insert("x-sum", http::HeaderValue::from_static("1"));
            let frames = vec![data("hello"), Some(Frame::trailers(sum.clone()))];
            let mut out = Vec::new();
            let (_, trailers, ended) = drain(&mut encoded(coding, frames), &mut out);
            assert_eq!((trailers, ended), (Some(sum), true));
            assert_eq!(coding.decode(&out, 100).unwrap(), "hello");

            let mut out = Vec::new();
            assert!(drain(&mut encoded(coding, Vec::new()), &mut out).2);
            assert_eq!(coding.decode(&out, 100).unwrap(), "");
        }
    }

    #[test]
    fn a_large_piece_leaves_others_their_turn() {
        let random = |seed: &u32| Some(seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        let large = std::iter::successors(Some(1), random).map(|seed| (seed >> 24) as u8);
        let large: Bytes = large.take(1_000_000).collect();
        for coding in ALL {
            let mut body = encoded(coding, vec![Some(Frame::data(large.clone()))]);
            let (mut out, mut turns) = (Vec::new(), 0);
            while !drain(&mut body, &mut out).2 {
                turns += 1;
            }
            assert_eq!(turns, large.len() / TURN, "{coding:?}");
            assert_eq!(coding.decode(&out, 2_000_000).unwrap(), large);
        }
    }

    #[test]
    fn there_are_so_many_places_and_one_is_free_again_when_its_body_has_ended() {
        static TWO: Places = Places { most: 2, taken: AtomicUsize::new(0) };
        let (first, second) = (TWO.take(), TWO.take());
        assert!(first.is_some() && second.is_some() && TWO.take().is_none());
        drop(first);
        assert!(TWO.take().is_some());

        let mut body = encoded(Coding::Gzip, vec![data("a")]);
        assert!(drain(&mut body, &mut Vec::new()).2 && body.running.is_none());
    }

    #[test]
    fn a_body_that_breaks_off_breaks_off() {
        struct Broken;
        impl http_body::Body for Broken {
            type Data = Bytes;
            type Error = BodyError;
            fn poll_frame(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
                Poll::Ready(Some(Err(BodyError::Broken("gone".to_owned()))))
            }
        }
        let mut body = Encoded::new(Body::stream(Broken), Running::start(Coding::Gzip).unwrap());
        let polled = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Some(Err(BodyError::Broken(_))))));
    }
}
