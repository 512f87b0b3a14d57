//! The one deadline of an exchange: from the settings, or earlier from a gRPC client, and told to the
//! service that has to keep it.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_core::{Clock, Grpc};
use tokio::time::Instant;

/// How long a gRPC call may take, in the protocol's own units (gRPC over HTTP/2, "Timeout").
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// When the answer is too late: seconds since 1970, with milliseconds.
const REQUEST_DEADLINE: HeaderName = HeaderName::from_static("x-request-deadline");

/// When an exchange has to be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    /// The client wanted it, and its being over says nothing about the service.
    pub(crate) by_client: bool,
}

impl Deadline {
    /// Of a request that begins now, to a service that may speak gRPC. Of what the client wanted this
    /// much is `spent`.
    pub(crate) fn of(
        headers: &HeaderMap,
        setting: Option<Duration>,
        may_be_grpc: bool,
        spent: Duration,
    ) -> Option<Self> {
        let wanted = may_be_grpc.then(|| headers.get(GRPC_TIMEOUT)).flatten();
        let wanted = wanted.filter(|_| is_grpc(headers)).and_then(parse);
        let wanted = wanted.map(|wanted| wanted.saturating_sub(spent));
        let (within, by_client) = match (setting, wanted) {
            (Some(setting), Some(wanted)) => (setting.min(wanted), wanted < setting),
            (Some(setting), None) => (setting, false),
            (None, wanted) => (wanted?, true),
        };
        // What does not fit into the clock is no deadline.
        Some(Self { at: Instant::now().checked_add(within)?, by_client })
    }

    pub(crate) fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// What the service is told: how long it has, and with a clock until when.
    pub(crate) fn told(
        &self,
        headers: &HeaderMap,
        clock: Option<&Clock>,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let mut told = Vec::new();
        if is_grpc(headers) {
            told.push((GRPC_TIMEOUT, written(self.left())));
        }
        if let Some(clock) = clock {
            let at = (clock.wall() + self.left()).duration_since(UNIX_EPOCH).unwrap_or_default();
            let text = format!("{}.{:03}", at.as_secs(), at.subsec_millis());
            told.extend(HeaderValue::try_from(text).ok().map(|value| (REQUEST_DEADLINE, value)));
        }
        told
    }
}

/// True for gRPC as services speak it, which is what a deadline of its own kind is for.
fn is_grpc(headers: &HeaderMap) -> bool {
    Grpc::of(headers) == Some(Grpc::Native)
}

/// At most eight digits and a unit.
fn parse(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: u64 = digits.parse().ok().filter(|_| plain)?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// In the smallest unit that eight digits can hold.
fn written(left: Duration) -> HeaderValue {
    let units = [(left.as_micros(), 'u'), (left.as_millis(), 'm'), (left.as_secs().into(), 'S')];
    let fitting = units.into_iter().find(|(count, _)| *count < 100_000_000);
    let (count, unit) = fitting.unwrap_or((u128::from(left.as_secs() / 60), 'M'));
    HeaderValue::try_from(format!("{}{unit}", count.min(99_999_999)))
        .unwrap_or(HeaderValue::from_static("0m"))
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_TYPE;

    use super::*;

    fn of(headers: &HeaderMap, setting: Option<Duration>) -> Option<Deadline> {
        Deadline::of(headers, setting, true, Duration::ZERO)
    }

    #[test]
    fn grpc_timeouts() {
        let parse = |text| parse(&HeaderValue::from_static(text));
        assert_eq!(parse("1500m"), Some(Duration::from_millis(1500)));
        assert_eq!(parse("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parse("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for text in ["", "m", "1", "1x", "-1S", "999999999S", "1.5S", "1 S"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(written(Duration::from_millis(1500)), "1500000u");
        assert_eq!(written(Duration::from_secs(3600)), "3600000m");
        assert_eq!(written(Duration::from_secs(500_000)), "500000S");
        assert_eq!(written(Duration::from_secs(100_000_000 * 60)), "99999999M");
    }

    #[test]
    fn the_earlier_one_counts_and_a_clients_only_for_grpc() {
        let mut headers = HeaderMap::new();
        headers.insert(GRPC_TIMEOUT, HeaderValue::from_static("1S"));
        assert_eq!(of(&headers, None), None);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        assert!(of(&headers, None).unwrap().by_client);
        assert!(!of(&headers, Some(Duration::from_millis(900))).unwrap().by_client);
        assert!(of(&headers, Some(Duration::from_secs(2))).unwrap().by_client);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpcweb"));
        assert_eq!(of(&headers, None), None);
    }

    #[test]
    fn a_service_is_told_what_is_left() {
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_millis(1_000_000_500));
        let mut headers = HeaderMap::new();
        let deadline = of(&headers, Some(Duration::from_secs(60))).unwrap();
        let told = deadline.told(&headers, Some(&clock));
        assert_eq!((told.len(), &told[0].0), (1, &REQUEST_DEADLINE));
        let at: f64 = told[0].1.to_str().unwrap().parse().unwrap();
        assert!((1_000_059.0..=1_000_060.5).contains(&at), "{at}");
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let told = deadline.told(&headers, None);
        assert_eq!((told.len(), &told[0].0), (1, &GRPC_TIMEOUT));
    }
}
