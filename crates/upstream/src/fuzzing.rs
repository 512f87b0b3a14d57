//! What fuzz targets reach: parsers that are nobody else's business.

use bytes::BytesMut;
use http::Method;

use crate::codec::answer::Taken;
use crate::codec::head::Heads;

/// An answer, as it comes in pieces of `cut` bytes: its status, and its body unless it is broken.
pub fn answer(bytes: &[u8], cut: usize) -> Option<(u16, Option<Vec<u8>>)> {
    let (mut input, mut heads, mut head) = (BytesMut::new(), Heads::default(), None);
    let mut body = Vec::new();
    for piece in bytes.chunks(cut.max(1)) {
        input.extend_from_slice(piece);
        if head.is_none() {
            head = heads.take(&mut input, &Method::GET).ok()?;
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
