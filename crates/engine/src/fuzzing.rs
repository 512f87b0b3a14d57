//! What fuzz targets ask of this crate, also asked of their seeds by a plain test.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use portcullis_config::{Diagnostics, Sources, parse};
use portcullis_core::{Peer, mask};

use crate::listen::frames::{Allowance, Budget, Frames};
use crate::listen::framing::{Framing, Limits};
use crate::listen::gaps::Gaps;
use crate::listen::proxy::{Progress, parse as proxied};
use crate::open::forwarded::{self, Trusted};
use crate::open::headers::{self, IdentityHeaders, Passing};
use crate::open::present::Present;
use crate::open::{host, ids};

const LIMITS: Limits = Limits { bytes: 4096, fields: 20 };
const ALLOWANCE: Allowance = Allowance { control: 100, resets: 10 };

/// Requests on a connection, behind a byte that says how they are cut: the same is refused, and what
/// is let through before a refusal is what was let through in one piece.
pub fn framing(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else { return };
    let mut whole = Framing::new(LIMITS);
    let good = whole.feed(bytes);
    assert!(good <= bytes.len());
    let mut pieces = Framing::new(LIMITS);
    for piece in bytes.chunks(usize::from(*cut).max(1)) {
        assert!(pieces.feed(piece) <= piece.len());
    }
    assert_eq!(whole.refused(), pieces.refused());
    assert!(whole.refused().is_some() || whole.owes_body() == pieces.owes_body());
    assert!(!whole.broke_off());
}

/// Frames of a connection, behind a byte that says how they are cut: the same heads are seen, they
/// cover all bytes, and a budget is spent at the same one.
pub fn frames(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else { return };
    let cut = usize::from(*cut).max(1);
    let (mut whole, mut seen, mut length) = (Frames::behind(0), Vec::new(), 0);
    whole.feed(bytes, |frame| {
        length += 9 + frame.length as usize;
        seen.push(frame);
    });
    assert!(!whole.is_between() || length == bytes.len());
    let (mut pieces, mut again) = (Frames::behind(0), Vec::new());
    bytes.chunks(cut).for_each(|piece| pieces.feed(piece, |frame| again.push(frame)));
    assert_eq!((seen, whole.is_between()), (again, pieces.is_between()));
    let mut budgets = [Budget::new(ALLOWANCE), Budget::new(ALLOWANCE)];
    let [whole, pieces] = &mut budgets;
    let fits = whole.receive(bytes);
    let fits_in_pieces = bytes.chunks(cut).fold(true, |_, piece| pieces.receive(piece));
    assert_eq!(fits, fits_in_pieces);
    assert_eq!(whole.waits_for_head(), pieces.waits_for_head());
    let _ = (whole.send(bytes), whole.goaway(0));
}

/// The PROXY protocol: what is said of some bytes holds however many more follow, and a header is never
/// read beyond its end.
pub fn proxy(data: &[u8]) {
    let whole = proxied(data);
    if let Progress::Done(end, _) = whole {
        assert!(end <= data.len());
        let upto = |cut: usize| proxied(data.get(..cut).unwrap_or_default());
        assert_eq!(upto(end), whole);
        assert_eq!(proxied(&[data, b"\r\nPROXY"].concat()), whole);
        for cut in 0..end {
            assert_eq!(upto(cut), Progress::More);
        }
    }
    if whole == Progress::Bad {
        assert_eq!(proxied(&[data, b"\r\n"].concat()), Progress::Bad);
    }
}

/// Frames of a WebSocket, behind a byte that says how they are cut: a frame of somebody else's has room at
/// the same places.
pub fn gaps(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else { return };
    let (mut whole, mut pieces) = (Gaps::default(), Gaps::default());
    whole.feed(bytes);
    bytes.chunks(usize::from(*cut).max(1)).for_each(|piece| pieces.feed(piece));
    assert_eq!(whole.has_room(), pieces.has_room());
}

/// A request's head behind hyper, a line each: hosts, forwarding headers, ids, masks.
pub fn head(data: &[u8]) {
    let mut request = http::Request::builder();
    for line in data.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            if let Ok(uri) = http::Uri::try_from(line) {
                request = request.uri(uri);
            }
            continue;
        };
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        let value = value.get(1..).unwrap_or_default();
        let (name, value) =
            (http::HeaderName::from_bytes(name), http::HeaderValue::from_bytes(value));
        if let (Ok(name), Ok(value)) = (name, value) {
            request = request.header(name, value);
        }
    }
    if let Ok(request) = request.body(()) {
        door(request);
    }
}

/// The door's looks at a head, once for a stranger and once for a trusted proxy.
fn door(request: http::Request<()>) {
    let (parts, ()) = request.into_parts();
    let identity = IdentityHeaders::new([http::HeaderName::from_static("x-user-id")]);
    let peer = Peer::new(([10, 0, 0, 1], 80).into(), Arc::from("127.0.0.1:80"));
    let networks = "10.0.0.0/8".parse().into_iter().collect();
    let (trusted, host) = (Trusted(networks), host::of(&parts, &host::Last::default()).ok());
    for believed in [false, true] {
        let mut kept = parts.headers.clone();
        let passing = Passing { hints: believed, ..Passing::default() };
        let present = Present::of(&kept);
        headers::strip(&mut kept, &identity, passing, present);
        let gone = ["connection", "x_user_id", "x-http-method-override", "x-original-url"];
        let gone = if believed { gone.get(..3).unwrap_or_default() } else { &gone };
        assert!(!kept.keys().any(|name| gone.contains(&name.as_str())));
        let (client, _) = forwarded::apply(&mut kept, &peer, &trusted, believed, host.as_deref());
        assert!(believed || client == peer.ip);
        let (id, _) = ids::assign(&mut kept, present, UNIX_EPOCH);
        assert!(!id.is_empty() && id.len() <= 128);
        let _ = ids::trace_id(&kept);
    }
    let _ = mask::query(parts.uri.query().unwrap_or_default());
    let _ = mask::path(parts.uri.path());
}

/// A configuration file: every text gives a plan or complaints that can be shown, and no file is
/// read for it.
pub fn configuration(data: &[u8]) {
    let Ok(data) = std::str::from_utf8(data) else { return };
    let (mut sources, mut out) = (Sources::new(), Diagnostics::new());
    let environment = |name: &str| (name == "SET").then(|| "value".to_owned());
    let file = "portcullis.yaml".into();
    let root = parse(&mut sources, file, data.to_owned(), &environment, &mut out);
    let plan = root.and_then(|root| crate::plan::plan(&root, &sources, &mut out));
    assert!(plan.is_some() || out.has_errors(), "no plan, and nobody says why");
    let shown = out.render(&sources, false);
    assert!(out.is_empty() == shown.is_empty());
}
