//! `grpc_web`: gRPC for browsers. What their programs send and can read becomes gRPC as services speak
//! it, and back: trailers are a last frame of the body, and the whole may be text.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, TE, TRAILER};
use http_body::{Body as _, Frame};
use portcullis_config::{Decode, Definitions, Node, choices};
use portcullis_core::grpc::Rpc;
use portcullis_core::{
    Body, BodyError, Build, Event, Exchange, Grpc, Outcome, Policy, Response, Step,
};

use crate::planner::{Planned, Planner};

const NAME: &str = "grpc_web";
/// By this a client of HTTP/1.1 says that its content type is meant; a service of gRPC need not know.
const X_GRPC_WEB: HeaderName = HeaderName::from_static("x-grpc-web");
/// The flag of a frame that holds trailers.
const TRAILERS: u8 = 0x80;
/// Base64 goes by four characters.
const QUAD: usize = 4;

choices! {
    /// Whether calls of gRPC-Web become calls of gRPC.
    pub enum GrpcWeb {
        On = "on",
    }
}

pub fn schema(definitions: &mut Definitions) -> serde_json::Value {
    GrpcWeb::schema(definitions)
}

pub fn plan(block: &Node, planner: &mut Planner<'_>) -> Option<Box<dyn Planned>> {
    GrpcWeb::decode(block, planner.out).map(|GrpcWeb::On| Box::new(Plan) as Box<dyn Planned>)
}

struct Plan;

impl Planned for Plan {
    fn build(&self, _build: &mut Build<'_>) -> Arc<dyn Policy> {
        Arc::new(Translator)
    }
}

struct Translator;

impl Policy for Translator {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let Some(form) = spoken(exchange) else { return Step::Next };
        let headers = &mut exchange.request.headers;
        rename(headers, form, Grpc::Native);
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.remove(X_GRPC_WEB);
        if form == Grpc::WebText {
            headers.remove(CONTENT_LENGTH);
            let body = std::mem::take(&mut exchange.body);
            exchange.body = Body::stream(Decoded { body, text: BytesMut::new() });
        }
        exchange.record.event(Event::new(NAME, Outcome::Changed));
        Step::Next
    }

    fn on_response<'a>(
        &'a self,
        exchange: &'a mut Exchange,
        response: &'a mut Response,
    ) -> Step<'a> {
        let Some(form) = spoken(exchange) else { return Step::Next };
        if Grpc::of(response.headers()) != Some(Grpc::Native) {
            return Step::Next; // the gateway's own problem, or no gRPC at all
        }
        let headers = response.headers_mut();
        rename(headers, Grpc::Native, form);
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRAILER);
        // Where there is no message, what would be its trailers may stay in the head.
        if !response.body().is_end_stream() {
            let (body, rpc) = (std::mem::take(response.body_mut()), exchange.record.rpc.clone());
            *response.body_mut() = Body::stream(Encoded { body, rpc, form });
        }
        Step::Next
    }
}

/// How the client speaks, when that is gRPC-Web.
fn spoken(exchange: &Exchange) -> Option<Grpc> {
    let form = exchange.record.rpc.as_ref()?.form;
    (form != Grpc::Native).then_some(form)
}

/// Says another form in the content type; what names the messages (`+proto`) stays.
fn rename(headers: &mut HeaderMap, from: Grpc, to: Grpc) {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return };
    let rest = kind.as_bytes().get(from.content_type().len()..).unwrap_or_default();
    let renamed = [to.content_type().as_bytes(), rest].concat();
    if let Ok(renamed) = HeaderValue::from_bytes(&renamed) {
        headers.insert(CONTENT_TYPE, renamed);
    }
}

/// A request's body out of its text. A client may end a piece with `=` wherever it likes.
struct Decoded {
    body: Body,
    /// What came of the next four characters.
    text: BytesMut,
}

impl http_body::Body for Decoded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(frame) => frame?,
                None if this.text.is_empty() => return Poll::Ready(None),
                None => return Poll::Ready(Some(Err(broken()))),
            };
            let Ok(data) = frame.into_data() else { continue };
            this.text.extend_from_slice(&data);
            let bytes = decode(&mut this.text)?;
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(bytes.into()))));
            }
        }
    }
}

fn broken() -> BodyError {
    BodyError::Broken("its text is no base64".to_owned())
}

/// As much as there is of whole fours; the rest stays.
pub(crate) fn decode(text: &mut BytesMut) -> Result<Vec<u8>, BodyError> {
    let whole = text.split_to(text.len() / QUAD * QUAD);
    let mut bytes = Vec::with_capacity(whole.len() / QUAD * 3);
    let mut rest = &*whole;
    while !rest.is_empty() {
        // Up to the end of the four in which a piece ends.
        let padded = rest.iter().position(|byte| *byte == b'=');
        let end = padded.map_or(rest.len(), |at| (at / QUAD + 1) * QUAD);
        let (piece, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        STANDARD.decode_vec(piece, &mut bytes).map_err(|_| broken())?;
        rest = after;
    }
    Ok(bytes)
}

/// An answer's body, its trailers as the last frame.
struct Encoded {
    body: Body,
    /// Knows how the call ended: from here on nobody sees it any more.
    rpc: Option<Rpc>,
    form: Grpc,
}

impl http_body::Body for Encoded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
            return Poll::Ready(None);
        };
        let data = frame?.into_data().unwrap_or_else(|frame| {
            let trailers = frame.into_trailers().unwrap_or_default();
            if let Some(rpc) = &self.rpc {
                rpc.note(&trailers);
            }
            last_frame(&trailers)
        });
        let data = match self.form {
            Grpc::WebText => STANDARD.encode(&data).into(),
            Grpc::Web | Grpc::Native => data,
        };
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// Trailers as HTTP/1.1 would write them, behind a flag and their length.
fn last_frame(trailers: &HeaderMap) -> Bytes {
    let mut block = BytesMut::new();
    for (name, value) in trailers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            block.put_slice(part);
        }
    }
    let mut frame = BytesMut::with_capacity(block.len() + 5);
    frame.put_u8(TRAILERS);
    frame.put_u32(u32::try_from(block.len()).unwrap_or(u32::MAX));
    frame.put_slice(&block);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(pieces: &[&str]) -> Option<String> {
        let (mut text, mut all) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            text.extend_from_slice(piece.as_bytes());
            all.extend(decode(&mut text).ok()?);
        }
        text.is_empty().then(|| String::from_utf8(all).unwrap())
    }

    #[test]
    fn text_is_decoded_however_it_is_cut() {
        for cut in 1..30 {
            let text = "aGVsbG8=d29ybGQ=IQ==YWJjZGVm";
            let pieces: Vec<&str> =
                text.as_bytes().chunks(cut).map(|it| std::str::from_utf8(it).unwrap()).collect();
            assert_eq!(decoded(&pieces).as_deref(), Some("helloworld!abcdef"), "{cut}");
        }
        for bad in ["a", "a===", "=aaa", "aG=s", "aGV!", "aGVsbG8", "aGVsbG9="] {
            assert_eq!(decoded(&[bad]), None, "{bad}");
        }
    }

    #[test]
    fn content_types_keep_their_messages() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc-web-text+proto"));
        rename(&mut headers, Grpc::WebText, Grpc::Native);
        assert_eq!(headers[CONTENT_TYPE], "application/grpc+proto");
        rename(&mut headers, Grpc::Native, Grpc::Web);
        assert_eq!(headers[CONTENT_TYPE], "application/grpc-web+proto");
    }

    #[test]
    fn trailers_are_a_frame() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        trailers.insert("x-after", HeaderValue::from_static("1"));
        let frame = last_frame(&trailers);
        assert_eq!(&frame[..], b"\x80\0\0\0\x1cgrpc-status: 0\r\nx-after: 1\r\n");
    }
}
