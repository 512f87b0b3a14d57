//! What black-box tests stand on: the real binary as a child process, scripted upstreams, a token
//! issuer and clients, all on free ports of loopback.
//!
//! Nothing of the gateway's own code is linked, so that a mistake in it cannot hide behind itself.
//! Every wait has a bound; every process and socket ends with the value that holds it.

// Several test targets share this module, and each uses a part of it. They have no outside: `pub` is
// for the modules beside.
#![allow(dead_code, unreachable_pub)]

pub mod certificates;
pub mod client;
pub mod fields;
pub mod flood;
pub mod gateway;
pub mod issuer;
pub mod lines;
pub mod load;
pub mod pause;
pub mod pip;
pub mod place;
pub mod redis;
pub mod script;
pub mod upstream;
pub mod wire;

use std::time::Duration;

/// No wait of a test is longer, unless it says so itself.
pub const BOUND: Duration = Duration::from_secs(10);
