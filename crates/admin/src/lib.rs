//! Floor 4: the admin address: health, status, metrics.
