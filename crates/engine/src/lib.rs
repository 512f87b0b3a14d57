//! Floor 3: the request path, plan, router, targets, snapshot, reload, listeners, drain, records.

pub mod router;
