//! What an answer says of its limits: `RateLimit-Policy` and `RateLimit`
//! (draft-ietf-httpapi-ratelimit-headers-10: lists of structured fields, RFC 9651), and the older
//! `X-RateLimit-Limit`, `-Remaining` and `-Reset` of the limit that is nearest to its end.

use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, HeaderName, HeaderValue,
};
use portcullis_core::Exchange;

use super::decision::{Decision, is_nearer};
use super::window::{Line, Micros};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// What is said of a line, made at load.
pub struct Announced {
    policy: HeaderValue,
    limit: HeaderValue,
    /// `"NAME";r=`
    state: Box<str>,
}

impl Announced {
    pub fn new(name: &str, line: Line) -> Self {
        let window = (line.per / 1_000_000).max(1);
        // A name is a structured field's string: only visible ASCII, quotes escaped.
        let shown: String = name
            .chars()
            .map(|one| if one.is_ascii_graphic() || one == ' ' { one } else { '?' })
            .flat_map(|one| matches!(one, '"' | '\\').then_some('\\').into_iter().chain([one]))
            .collect();
        let policy = HeaderValue::try_from(format!("\"{shown}\";q={};w={window}", line.requests));
        Self {
            policy: policy.unwrap_or(HeaderValue::from_static("")),
            limit: HeaderValue::from(line.requests),
            state: format!("\"{shown}\";r=").into(),
        }
    }
}

/// Where an answer is shared with other origins (the service says so, Fetch section 3.3.3), scripts there
/// may read what it says of its limits.
pub fn expose(exchange: &Exchange, answer: &mut http::HeaderMap) {
    let announced = exchange.answer_headers.iter().any(|(name, _)| *name == REMAINING);
    if announced && answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) && !is_exposed(answer) {
        answer.append(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}

/// What answers say of limits, by the names of their headers.
pub const ANNOUNCED: &str = "RateLimit, RateLimit-Policy, Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset";

const EXPOSED: HeaderValue = HeaderValue::from_static(ANNOUNCED);

/// Another stage was here before.
fn is_exposed(answer: &http::HeaderMap) -> bool {
    answer.get_all(ACCESS_CONTROL_EXPOSE_HEADERS).iter().any(|value| *value == EXPOSED)
}

/// Seconds as headers tell them: rounded up, and 0 only for nothing at all.
pub fn seconds(time: Micros) -> u64 {
    time.div_ceil(1_000_000)
}

/// Puts the state of all limits of a request on its answer, beside what an earlier stage said.
pub fn announce<'a>(
    exchange: &mut Exchange,
    limits: impl Iterator<Item = (&'a Announced, Decision)> + Clone,
) {
    let Some((nearest, decision)) =
        limits.clone().reduce(|one, other| if is_nearer(&other.1, &one.1) { other } else { one })
    else {
        return;
    };
    let reset = match decision.wait {
        Some(0) => decision.reset,
        Some(wait) => wait,
        None => decision.reset,
    };
    let earlier = exchange.answer_headers.iter().any(|(name, _)| *name == REMAINING);
    let mut state = Vec::with_capacity(48);
    for (announced, decision) in limits.clone() {
        if !state.is_empty() {
            state.extend_from_slice(b", ");
        }
        state.extend_from_slice(announced.state.as_bytes());
        decimal(&mut state, decision.remaining);
        state.extend_from_slice(b";t=");
        let wait = decision.wait.filter(|wait| *wait > 0).unwrap_or(decision.reset);
        decimal(&mut state, seconds(wait));
    }
    let policy = limits.clone().map(|(announced, _)| &announced.policy);
    let policy = join(policy).unwrap_or_else(|| nearest.policy.clone());
    let state = HeaderValue::from_maybe_shared(bytes::Bytes::from(state));
    let headers = &mut exchange.answer_headers;
    if earlier {
        // The other stage's limits are listed as well; the later one is asked about more.
        extend(headers, &POLICY, policy);
        if let Ok(state) = state {
            extend(headers, &STATE, state);
        }
        headers.retain(|(name, _)| ![LIMIT, REMAINING, RESET].contains(name));
    } else {
        headers.reserve(5);
        headers.push((POLICY, policy));
        if let Ok(state) = state {
            headers.push((STATE, state));
        }
    }
    headers.push((LIMIT, nearest.limit.clone()));
    headers.push((REMAINING, HeaderValue::from(decision.remaining)));
    headers.push((RESET, HeaderValue::from(seconds(reset))));
}

/// Several values as one list; `None` for a single one, which needs no copy.
fn join<'a>(mut values: impl Iterator<Item = &'a HeaderValue>) -> Option<HeaderValue> {
    let first = values.next()?;
    let mut all: Option<Vec<u8>> = None;
    for value in values {
        let all = all.get_or_insert_with(|| first.as_bytes().to_vec());
        all.extend_from_slice(b", ");
        all.extend_from_slice(value.as_bytes());
    }
    HeaderValue::from_bytes(&all?).ok()
}

fn extend(headers: &mut [(HeaderName, HeaderValue)], name: &HeaderName, value: HeaderValue) {
    for (known, list) in headers.iter_mut() {
        if known == name
            && let Some(joined) = join([&*list, &value].into_iter())
        {
            *list = joined;
            return;
        }
    }
}

fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        used += 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are() {
        for number in [0, 7, 10, 65_535, 1_000_000_007, u64::MAX] {
            let mut out = Vec::new();
            decimal(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
        assert_eq!((seconds(0), seconds(1), seconds(1_000_000), seconds(1_000_001)), (0, 1, 1, 2));
    }

    #[test]
    fn names_are_strings_of_a_structured_field() {
        let announced = Announced::new("a\"b ü", Line { requests: 3, per: 60_000_000 });
        assert_eq!(announced.policy, "\"a\\\"b ?\";q=3;w=60");
    }
}
