//! Where clients come in: sockets, protocols, connections and their supervision.

mod connection;
mod door;
mod line;
mod protocol;
pub mod socket;
mod watched;

pub use door::Door;
pub use line::Line;
