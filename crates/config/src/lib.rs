//! Floor 1: YAML text to nodes with positions to typed settings; diagnostics; schema. No gateway
//! word in it, so that every floor above can describe its own block of the language here.
//!
//! The way through: [`parse`] makes a [`Node`] of a file, a type made by [`settings!`] or
//! [`choices!`] decodes it, every complaint lands in one [`Diagnostics`], and the same types write
//! the JSON Schema ([`document`]).
//!
//! ```
//! use portcullis_config::{Decode, Diagnostics, ProcessEnvironment, Sources, parse, settings};
//!
//! settings! {
//!     /// Tea as it should be.
//!     pub struct Tea {
//!         /// How long it draws.
//!         pub draws: std::time::Duration = "3m",
//!         /// Which leaves.
//!         pub leaves: String,
//!     }
//! }
//!
//! let (mut sources, mut out) = (Sources::new(), Diagnostics::new());
//! let text = "leaves: green\ndraw: 2m\n".to_owned();
//! let node = parse(&mut sources, "tea.yaml".into(), text, &ProcessEnvironment, &mut out);
//! let tea = node.and_then(|node| Tea::decode(&node, &mut out));
//! // The decoder goes on after a mistake: ask whether there was one.
//! assert!(tea.is_some() && out.has_errors());
//! assert_eq!(
//!     out.render(&sources, false),
//!     "\
//! error: unknown key `draw`
//!  --> tea.yaml:2:1
//!   |
//! 2 | draw: 2m
//!   | ^^^^
//!   |
//!   = hint: did you mean `draws`?
//! "
//! );
//! ```

mod decode;
mod defaults;
mod diagnostic;
mod environment;
mod fields;
mod files;
mod inside;
mod macros;
mod merge;
mod network;
mod node;
mod places;
mod quantity;
mod read;
mod render;
mod scalar;
mod schema;
mod shape;
mod source;
mod suggest;
mod text;
mod timestamp;
mod words;

pub use decode::{Decode, Secret};
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use environment::{Environment, ProcessEnvironment};
pub use fields::Fields;
pub use files::Reader;
pub use merge::merge;
pub use node::{Map, MapEntry, Node, Value};
pub use quantity::{Bytes, Percent, Ranged};
pub use read::{FILE_LIMIT, parse};
pub use scalar::Number;
pub use schema::{Definitions, ObjectSchema, document};
pub use shape::{Named, NamedEntry, OneOrMany, OrOff, Spanned};
pub use source::{Position, SourceId, Sources, Span};
pub use suggest::did_you_mean;
pub use timestamp::Timestamp;

/// What the macros of this crate expand to. Not for anyone else.
#[doc(hidden)]
pub mod expansion {
    pub use crate::decode::choice;
    pub use crate::macros::key;
    pub use crate::schema::choices;
    pub use serde_json::Value as Json;
}
