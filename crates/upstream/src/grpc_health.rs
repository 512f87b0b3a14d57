//! The health check that gRPC services know, `grpc.health.v1.Health/Check`. Its messages have one field
//! each, so both are written and read by hand (protobuf's wire format).

use std::pin::Pin;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use http::uri::PathAndQuery;
use http::{Method, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use portcullis_core::Body;
use portcullis_core::grpc::{Grpc, Status};

use crate::request::Outbound;

const PATH: PathAndQuery = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
/// An answer has a few bytes.
const LONGEST: usize = 4096;
/// A message stands behind a flag and its length.
const PREFIX: usize = 5;
/// What field 1 of the answer says when all is well.
const SERVING: u64 = 1;

/// The request, as the last part of what an endpoint is asked.
pub(crate) fn ask(service: &str, outbound: Outbound) -> Outbound {
    let mut headers = outbound.headers;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    let body = Body::full(question(service));
    Outbound { method: Method::POST, path_and_query: PATH, headers, body, ..outbound }
}

fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(1 << 3 | 2); // field 1, a text
        let mut length = service.len();
        while length > 0x7F {
            message.put_u8(length as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0); // not compressed
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    framed.freeze()
}

/// What an answer says: that the service serves, or why not.
pub(crate) async fn judge(answer: Response<Incoming>) -> Result<(), String> {
    let (head, mut body) = answer.into_parts();
    if head.status != http::StatusCode::OK || Grpc::of(&head.headers) != Some(Grpc::Native) {
        return Err(format!("answered {} and not in gRPC", head.status.as_u16()));
    }
    let (mut bytes, mut fields) = (Vec::new(), head.headers);
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame.map_err(|error| error.to_string())?.into_data() {
            Ok(data) if bytes.len() + data.len() > LONGEST => {
                return Err("answered with more than a state".to_owned());
            }
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => fields = frame.into_trailers().unwrap_or_default(),
        }
    }
    ended(&fields)?;
    match state(&bytes) {
        Some(SERVING) => Ok(()),
        Some(0) => Err("does not know how it is".to_owned()),
        Some(2) => Err("says that it is not serving".to_owned()),
        Some(3) => Err("does not know this service".to_owned()),
        _ => Err("answered what is no state".to_owned()),
    }
}

fn ended(fields: &HeaderMap) -> Result<(), String> {
    match Status::of(fields) {
        Some(Status::OK) => Ok(()),
        Some(status) => Err(format!("answered {}", status.name())),
        None => Err("ended without a gRPC status".to_owned()),
    }
}

/// Field 1 of the one message that these bytes are; 0 when it is left out.
pub(crate) fn state(framed: &[u8]) -> Option<u64> {
    let (prefix, mut message) = framed.split_at_checked(PREFIX)?;
    let (flag, length) = prefix.split_first()?;
    let length = length.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    if *flag != 0 || length != message.len() as u64 {
        return None;
    }
    let mut state = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let skipped = match key & 7 {
            0 => {
                let value = varint(&mut message)?;
                if key >> 3 == 1 {
                    state = value;
                }
                0
            }
            1 => 8,
            2 => varint(&mut message)?,
            5 => 4,
            _ => return None,
        };
        message = message.get(usize::try_from(skipped).ok()?..)?;
    }
    Some(state)
}

/// A number of at most 64 bits, the lowest seven first.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0][..], &length, message].concat()
    }

    #[test]
    fn questions() {
        assert_eq!(question(""), framed(b"").as_slice());
        assert_eq!(question("a.B"), framed(b"\x0A\x03a.B").as_slice());
        let long = "x".repeat(300);
        let message = [b"\x0A\xAC\x02", long.as_bytes()].concat();
        assert_eq!(question(&long), framed(&message).as_slice());
    }

    #[test]
    fn states() {
        assert_eq!(state(&framed(b"\x08\x01")), Some(1));
        assert_eq!(state(&framed(b"")), Some(0));
        // Fields of later versions, of every kind, before and behind it.
        let more = b"\x12\x03abc\x19\0\0\0\0\0\0\0\0\x25\0\0\0\0\x08\x02\x30\xFF\x01";
        assert_eq!(state(&framed(more)), Some(2));
        for bad in [
            &b"\x08"[..],
            b"\x12\x09abc",
            b"\x0B",
            b"\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01",
        ] {
            assert_eq!(state(&framed(bad)), None, "{bad:?}");
        }
        assert_eq!(state(b"\x01\0\0\0\x02\x08\x01"), None, "compressed");
        assert_eq!(state(b"\0\0\0\0\x03\x08\x01"), None, "cut off");
        assert_eq!(state(b"\0\0\0"), None);
    }
}
