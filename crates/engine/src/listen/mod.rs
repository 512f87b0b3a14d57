//! Where clients come in: sockets, protocols, connections and their supervision.

mod connection;
mod door;
pub mod framing;
mod line;
mod protocol;
mod refuse;
pub mod socket;
mod watched;

pub use door::{Door, Listener};
pub use line::Line;
