//! Floor 2: delivery: endpoints, breaker, pools, attempts.
