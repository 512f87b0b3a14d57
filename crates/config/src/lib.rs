//! Floor 1: YAML text to nodes with positions to typed settings; diagnostics; schema. No gateway
//! word in it, so that every floor above can describe its own block of the language here.
//!
//! The way through: [`parse`] makes a [`Node`] of a file, a type made by [`settings!`] or
//! [`choices!`] decodes it, every complaint lands in one [`Diagnostics`], and the same types write
//! the JSON Schema ([`document`]).

mod decode;
mod diagnostic;
mod environment;
mod fields;
mod inside;
mod macros;
mod node;
mod quantity;
mod read;
mod render;
mod scalar;
mod schema;
mod shape;
mod source;
mod suggest;
mod text;
mod words;

pub use decode::{Decode, Secret};
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use environment::{Environment, ProcessEnvironment};
pub use fields::Fields;
pub use node::{Map, MapEntry, Node, Value};
pub use quantity::{Bytes, Percent, Ranged};
pub use read::{FILE_LIMIT, parse};
pub use scalar::Number;
pub use schema::{Definitions, ObjectSchema, document};
pub use shape::{Named, NamedEntry, OneOrMany, OrOff, Spanned};
pub use source::{Position, SourceId, Sources, Span};
pub use suggest::did_you_mean;

/// What the macros of this crate expand to. Not for anyone else.
#[doc(hidden)]
pub mod expansion {
    pub use crate::decode::choice;
    pub use crate::macros::key;
    pub use crate::schema::choices;
    pub use serde_json::Value as Json;
}
