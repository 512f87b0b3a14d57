//! What fuzz targets reach: parsers that are nobody else's business.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use portcullis_core::{Peer, mask};

pub use crate::listen::framing::{Framing, Limits};
pub use crate::listen::proxy::{Progress, parse as proxy};
use crate::open::forwarded::{self, Trusted};
use crate::open::headers::{self, IdentityHeaders};
use crate::open::{host, ids};

/// The door's looks at a head, once for a stranger and once for a trusted proxy.
pub fn door(request: http::Request<()>) {
    let (parts, ()) = request.into_parts();
    let identity = IdentityHeaders::new([http::HeaderName::from_static("x-user-id")]);
    let peer = Peer::new(([10, 0, 0, 1], 80).into(), Arc::from("127.0.0.1:80"));
    let networks = "10.0.0.0/8".parse().into_iter().collect();
    let (trusted, host) = (Trusted(networks), host::of(&parts));
    let authority = host.ok().map(|host| host.authority);
    for believed in [false, true] {
        let mut kept = parts.headers.clone();
        headers::strip(&mut kept, &identity, believed, false);
        assert!(!kept.keys().any(|name| matches!(name.as_str(), "connection" | "x_user_id")));
        let client = forwarded::apply(&mut kept, &peer, &trusted, believed, authority.as_ref());
        assert!(believed || client == peer.ip);
        let (id, _) = ids::assign(&mut kept, UNIX_EPOCH);
        assert!(!id.is_empty() && id.len() <= 128);
        let _ = ids::trace_id(&kept);
    }
    let _ = mask::query(parts.uri.query().unwrap_or_default());
    let _ = mask::path(parts.uri.path());
}
