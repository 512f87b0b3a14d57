//! Floor 3: the request path, plan, router, targets, snapshot, reload, listeners, drain, records.
//!
//! Begin at [`pipeline`], which is the whole way of a request on one screen.

mod close;
#[doc(hidden)]
pub mod fuzzing;
pub mod gateway;
mod listen;
pub mod load;
pub mod metrics;
mod open;
pub mod pipeline;
pub mod plan;
pub mod problems;
mod records;
pub mod router;
mod routing;
pub mod settings;
pub mod snapshot;
mod targets;
#[cfg(test)]
mod testing;
mod worker;

pub use gateway::{Gateway, House, Reload};
pub use listen::socket::Inherited;
pub use load::{Loaded, Source, load};
