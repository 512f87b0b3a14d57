//! Floor 1: a small hardened HTTP client for the gateway's own errands.
