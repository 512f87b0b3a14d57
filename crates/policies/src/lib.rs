//! Floor 2: KINDS, the ordered list of policies, and one file or folder per policy.
//!
//! A policy's settings (its block in the YAML), behaviour and unit tests live in one file or folder;
//! one line in [`kinds::KINDS`] registers it.

pub mod kinds;
pub mod planner;

pub use kinds::{KINDS, Kind};
pub use planner::{Planned, Planner, RouteFacts, Shared};
