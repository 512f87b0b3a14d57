//! What fuzz targets ask of this crate, also asked of their seeds by a plain test.

use bytes::BytesMut;

use crate::codec::answer::Taken;
use crate::codec::head::Heads;
use crate::grpc_health;
use crate::request::Head;

/// Answers of an endpoint, behind a byte that says how they are cut: they say the same.
pub fn answers(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else { return };
    let whole = answer(bytes, bytes.len());
    let pieces = answer(bytes, usize::from(*cut));
    // A mistake may be seen before or after the head is whole, but never as another body.
    if let (Some((status, Some(body))), Some((other, Some(piecewise)))) = (&whole, &pieces) {
        assert_eq!((status, body), (other, piecewise));
    }
}

/// The answer to a health check.
pub fn grpc_health(data: &[u8]) {
    let _ = grpc_health::state(data);
}

/// An answer, as it comes in pieces of `cut` bytes: its status, and its body unless it is broken.
pub fn answer(bytes: &[u8], cut: usize) -> Option<(u16, Option<Vec<u8>>)> {
    let (mut input, mut heads, mut head) = (BytesMut::new(), Heads::default(), None);
    let mut body = Vec::new();
    for piece in bytes.chunks(cut.max(1)) {
        input.extend_from_slice(piece);
        if head.is_none() {
            head = heads.take(&mut input, &Head::bare()).ok()?;
        }
        let Some(head) = &mut head else { continue };
        loop {
            match head.framing.take(&mut input) {
                Ok(Taken::Frame(frame)) => body.extend(frame.into_data().unwrap_or_default()),
                Ok(Taken::More | Taken::End) => break,
                Err(_) => return Some((head.status.as_u16(), None)),
            }
        }
    }
    let mut head = head?;
    let whole = head.framing.close().is_ok();
    Some((head.status.as_u16(), whole.then_some(body)))
}
