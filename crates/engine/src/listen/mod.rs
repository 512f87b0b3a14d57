//! Where clients come in: sockets, protocols, connections and their supervision.

pub mod clients;
mod connection;
mod door;
mod enter;
mod entrance;
pub mod frames;
pub mod framing;
pub mod gaps;
mod line;
mod protocol;
pub mod proxy;
mod refuse;
pub mod socket;
mod switch;
mod tunnel;
mod watched;

pub use door::{Door, Listener};
pub use entrance::Entrance;
pub use line::Line;
