//! `compress`: answers in a coding that the client takes (RFC 9110 sections 8.4 and 12.5.3), encoded
//! while they pass, and never twice.

mod stream;
mod types;

use std::sync::Arc;

use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG,
    HeaderValue,
};
use http::{HeaderMap, Method, StatusCode};
use http_body::Body as _;
use portcullis_config::{Bytes, Decode, Definitions, Node, OrOff, Spanned, choices, settings};
use portcullis_core::{Body, Build, Event, Exchange, Outcome, Policy, Response, Step, headers};

use crate::accepts::Weights;
use crate::coding::{self, Coding};
use crate::planner::{Planned, Planner};
use crate::{bodies, compress::types::Types};
use stream::{Encoded, Running};

const NAME: &str = "compress";

settings! {
    /// Answers in a coding that the client takes.
    pub struct CompressSettings {
        /// Which codings, the preferred first where a client likes several equally.
        pub codings: Vec<Offered> = "[zstd, br, gzip]",
        /// Media types of answers: `text/*`, `application/*+json`, or whole names.
        pub types: Vec<Spanned<String>> = "[text/*, application/json, application/*+json, application/xml, application/*+xml, application/javascript, application/x-javascript, application/x-ndjson, application/yaml, application/wasm, image/svg+xml, image/x-icon, font/ttf, font/otf]",
        /// Shorter answers are not worth it. One of unknown length is.
        pub minimum: Bytes = "1KiB",
    }
}

choices! {
    /// A coding that is offered.
    pub enum Offered {
        /// gzip, which everybody takes.
        Gzip = "gzip",
        /// Brotli.
        Brotli = "br",
        /// Zstandard.
        Zstd = "zstd",
    }
}

pub fn schema(definitions: &mut Definitions) -> serde_json::Value {
    OrOff::<CompressSettings>::schema(definitions)
}

pub fn plan(block: &Node, planner: &mut Planner<'_>) -> Option<Box<dyn Planned>> {
    let settings = OrOff::<CompressSettings>::decode(block, planner.out)?.into_on()?;
    for key in ["codings", "types"] {
        let list = block.get(key).filter(|node| node.as_list().is_some_and(<[Node]>::is_empty));
        if let Some(list) = list {
            let problem = planner.out.error(list.span, "an empty list compresses nothing");
            problem.hint(format!("leave `{key}` out for the usual ones, or write `compress: off`"));
            return None;
        }
    }
    for one in settings.types.iter().filter(|one| Types::parse([one.as_str()]).is_err()) {
        let problem = planner.out.error(one.span, format!("`{}` is no media type", one.shown()));
        problem.hint("write a name such as application/json, or text/*, or application/*+json");
    }
    let types = Types::parse(settings.types.iter().map(|one| one.as_str())).ok()?;
    let codings = settings.codings.iter().map(|offered| match offered {
        Offered::Gzip => Coding::Gzip,
        Offered::Brotli => Coding::Brotli,
        Offered::Zstd => Coding::Zstd,
    });
    let compress = Compress { codings: codings.collect(), types, minimum: settings.minimum.0 };
    Some(Box::new(Plan(Arc::new(compress))))
}

struct Plan(Arc<Compress>);

impl Planned for Plan {
    fn build(&self, _build: &mut Build<'_>) -> Arc<dyn Policy> {
        Arc::clone(&self.0) as Arc<dyn Policy>
    }
}

struct Compress {
    codings: Vec<Coding>,
    types: Types,
    minimum: u64,
}

/// What the client was found to take, kept beside its request: the header may travel on, or not.
#[derive(Clone, Copy)]
struct Negotiated {
    coding: Coding,
    /// A body without a coding is refused: then nothing is too short or of the wrong type.
    or_nothing: bool,
}

impl Policy for Compress {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let request = &mut exchange.request;
        if !request.headers.contains_key(ACCEPT_ENCODING) || asks_for_no_change(&request.headers) {
            return Step::Next;
        }
        let weights = Weights::of_lines(request.headers.get_all(ACCEPT_ENCODING));
        if let Some(coding) = weights.best(&self.codings) {
            let or_nothing = weights.of_identity() == 0;
            request.extensions.insert(Negotiated { coding, or_nothing });
        }
        Step::Next
    }

    fn on_response<'a>(
        &'a self,
        exchange: &'a mut Exchange,
        response: &'a mut Response,
    ) -> Step<'a> {
        let negotiated = exchange.request.extensions.get::<Negotiated>().copied();
        let is_head = exchange.record.method == Method::HEAD;
        if !self.is_meant(response, is_head, negotiated.is_some_and(|it| it.or_nothing)) {
            return Step::Next;
        }
        headers::vary(response.headers_mut(), "Accept-Encoding");
        let Some(Negotiated { coding, .. }) = negotiated else { return Step::Next };
        weaken(response.headers_mut());
        if response.status() == StatusCode::NOT_MODIFIED {
            return Step::Next;
        }
        let body = match is_head {
            true => Body::Empty,
            false => match Running::start(coding) {
                Some(running) => {
                    Body::stream(Encoded::new(std::mem::take(response.body_mut()), running))
                }
                None => {
                    let event = Event::new(NAME, Outcome::Skipped).with("why", "busy");
                    exchange.record.event(event);
                    return Step::Next;
                }
            },
        };
        *response.body_mut() = body;
        headers::forget_bytes(response.headers_mut());
        response.headers_mut().insert(CONTENT_ENCODING, coding.value());
        exchange.record.event(Event::new(NAME, Outcome::Changed).with("coding", coding.name()));
        Step::Next
    }
}

impl Compress {
    /// Whether this answer comes in several codings, of which a client gets one.
    fn is_meant(&self, response: &Response, is_head: bool, or_nothing: bool) -> bool {
        let (status, headers) = (response.status(), response.headers());
        let is_whole = !status.is_informational()
            && !matches!(
                status,
                StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT
            )
            && !headers.contains_key(CONTENT_RANGE);
        if !is_whole || asks_for_no_change(headers) || coding::of(headers) != Ok(None) {
            return false;
        }
        if status == StatusCode::NOT_MODIFIED {
            return true; // it stands for an answer that came before
        }
        let media_type = bodies::media_type(headers);
        let length = length(response);
        let is_empty = length == Some(0) && !is_head;
        let is_worth_it =
            self.types.have(&media_type) && length.is_none_or(|length| length >= self.minimum);
        !types::is_never(&media_type) && !is_empty && (or_nothing || is_worth_it)
    }
}

/// What an answer's body has, if that is known; of one to HEAD, what it would have.
fn length(response: &Response) -> Option<u64> {
    let declared = response.headers().get(CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok()?.parse().ok());
    declared.or_else(|| response.body().size_hint().exact())
}

/// `Cache-Control: no-transform` (RFC 9111 sections 5.2.1.6 and 5.2.2.6).
fn asks_for_no_change(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut directives = lines.flat_map(|line| line.split(',')).map(str::trim);
    directives.any(|directive| directive.eq_ignore_ascii_case("no-transform"))
}

/// The bytes are other ones now, and what they mean is the same (RFC 9110 section 8.8.1).
fn weaken(headers: &mut HeaderMap) {
    let strong = headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    let weak = strong.map(|tag| [b"W/", tag.as_bytes()].concat());
    if let Some(weak) = weak.and_then(|weak| HeaderValue::from_bytes(&weak).ok()) {
        headers.insert(ETAG, weak);
    }
}
