//! Content codings (RFC 9110 section 8.4): bodies that are read are decoded first, with a bound on what
//! comes out and on how much larger that is than what went in.

use std::io::Read;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, IF_RANGE, RANGE};

use crate::accepts::Weights;
use crate::encoder::Encoder;

/// What comes out may be this many times what went in, and [`FREE`] bytes.
const RATIO: u64 = 200;
const FREE: u64 = 64 * 1024;
/// A coding that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Brotli,
    Zstd,
}

/// All of them, for `Accept-Encoding` of an answer that refuses another (RFC 9110 section 12.5.3).
pub const KNOWN: HeaderValue = HeaderValue::from_static("gzip, br, zstd");

/// Why a body cannot be decoded.
#[derive(Debug, PartialEq, Eq)]
pub enum Broken {
    /// More comes out than may.
    TooLarge,
    /// It is not what its coding says.
    Garbage(String),
}

impl Coding {
    pub fn parse(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "br" => Some(Self::Brotli),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The whole body, of no more than `limit` bytes.
    pub fn decode(self, bytes: &[u8], limit: u64) -> Result<Bytes, Broken> {
        let limit = limit.min((bytes.len() as u64).saturating_mul(RATIO).saturating_add(FREE));
        let mut out = Vec::new();
        let read = match self {
            Self::Gzip => within(flate2::read::MultiGzDecoder::new(bytes), limit, &mut out),
            Self::Brotli => within(brotli::Decompressor::new(bytes, 4096), limit, &mut out),
            Self::Zstd => zstd::stream::read::Decoder::new(bytes)
                .and_then(|decoder| within(decoder, limit, &mut out)),
        };
        match read {
            Err(error) => Err(Broken::Garbage(error.to_string())),
            Ok(()) if out.len() as u64 > limit => Err(Broken::TooLarge),
            Ok(()) => Ok(out.into()),
        }
    }

    pub fn encode(self, bytes: &[u8]) -> std::io::Result<Bytes> {
        let mut encoder = Encoder::new(self)?;
        let begun = encoder.write(bytes)?;
        let rest = encoder.finish()?;
        Ok(if begun.is_empty() { rest } else { [begun, rest].concat().into() })
    }

    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    pub fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }
}

/// Reads to the end, or one byte more than may come.
fn within(reader: impl Read, limit: u64, out: &mut Vec<u8>) -> std::io::Result<()> {
    reader.take(limit.saturating_add(1)).read_to_end(out).map(|_| ())
}

/// The coding of a body; `Err` with the words for one that is not known, or for several.
pub fn of(headers: &HeaderMap) -> Result<Option<Coding>, String> {
    let mut all = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let text = value.to_str().unwrap_or("?");
        let names = text.split(',').map(str::trim);
        all.extend(names.filter(|it| !it.is_empty() && !it.eq_ignore_ascii_case("identity")));
    }
    match all.as_slice() {
        [] => Ok(None),
        [one] => Coding::parse(one).map(Some).ok_or_else(|| (*one).to_owned()),
        several => Err(several.join(", ")),
    }
}

/// An answer's body as it is without its coding, or why it cannot be read.
pub fn whole(headers: &HeaderMap, bytes: Bytes, limit: u64) -> Result<Bytes, String> {
    match of(headers) {
        Ok(None) => Ok(bytes),
        Ok(Some(coding)) => coding.decode(&bytes, limit).map_err(|broken| match broken {
            Broken::TooLarge => "its decoded answer is too large".to_owned(),
            Broken::Garbage(why) => format!("its answer is not {}: {why}", coding.name()),
        }),
        Err(names) => Err(format!("its answer has an unknown coding: {names}")),
    }
}

/// Whether a client takes this coding.
pub fn is_accepted(coding: Coding, accepts: &HeaderValue) -> bool {
    Weights::of_lines([accepts]).of(coding) > 0
}

/// What a client said that it takes, kept while `Accept-Encoding` does not travel on.
#[derive(Clone)]
pub struct Accepts(pub HeaderValue);

/// Has the service answer with the whole, and without a coding: its answer is read here. A part of it
/// (RFC 9110 section 14) could not be mapped, and would show what the mapping hides.
pub fn ask_for_whole(request: &mut http::request::Parts) {
    request.headers.remove(RANGE);
    request.headers.remove(IF_RANGE);
    if let Some(accepts) = request.headers.remove(ACCEPT_ENCODING) {
        request.extensions.insert(Accepts(accepts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

    #[test]
    fn what_is_encoded_is_decoded_again() {
        for coding in ALL {
            for length in [0, 1, 100, 100_000] {
                let bytes: Vec<u8> = (0..length).map(|at: u64| (at * at % 251) as u8).collect();
                let encoded = coding.encode(&bytes).unwrap();
                assert_eq!(coding.decode(&encoded, 1_000_000).unwrap(), bytes, "{coding:?}");
            }
        }
    }

    #[test]
    fn a_bomb_is_too_large_however_it_is_packed() {
        let bomb = vec![0; 50_000_000];
        for coding in ALL {
            let encoded = coding.encode(&bomb).unwrap();
            assert!(encoded.len() < 100_000);
            assert_eq!(coding.decode(&encoded, 1_000_000), Err(Broken::TooLarge), "{coding:?}");
            assert_eq!(coding.decode(&encoded, u64::MAX), Err(Broken::TooLarge), "by its ratio");
        }
    }

    #[test]
    fn what_is_cut_off_or_something_else_is_garbage() {
        for coding in ALL {
            let encoded = coding.encode(b"hello hello hello").unwrap();
            let cut = encoded.slice(..encoded.len() - 2);
            assert!(matches!(coding.decode(&cut, 1000), Err(Broken::Garbage(_))), "{coding:?}");
            assert!(matches!(coding.decode(b"{\"a\":1}", 1000), Err(Broken::Garbage(_))));
        }
    }

    #[test]
    fn what_headers_say() {
        let of = |value| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(value));
            of(&headers)
        };
        assert_eq!(of("GZip"), Ok(Some(Coding::Gzip)));
        assert_eq!(of("identity"), Ok(None));
        assert_eq!(of("deflate"), Err("deflate".to_owned()));
        assert_eq!(of("gzip, br"), Err("gzip, br".to_owned()));
        let accepted = |value| is_accepted(Coding::Brotli, &HeaderValue::from_static(value));
        assert!(accepted("gzip, br;q=0.5") && !accepted("gzip, br;q=0") && !accepted("gzip"));
    }
}
