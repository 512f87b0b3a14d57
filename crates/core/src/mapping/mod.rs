//! The mapping language: jq, for body mappings, conditions and compositions.
//!
//! Everything outside sees [`Program`], [`Value`] and [`Scope`] only. What runs behind them is a plan
//! of our own ([`plan`]) where the program stays within the everyday part of the language, and jaq
//! otherwise; both work on the same values. A program is compiled when the configuration is loaded, reaches nothing but
//! its input and its variables, and ends: constructs that may not are refused ([`check`]), and what
//! remains pays for every step out of one budget ([`budget`]).
//!
//! One stated difference from jaq: computed numbers print as jq and JavaScript print them (19, not
//! 19.0). Numbers that are only copied keep their text.
//!
//! ```
//! use portcullis_core::mapping::{Program, Scope, Value};
//!
//! struct Claims;
//! impl Scope for Claims {
//!     fn variable(&self, _: &str) -> Value {
//!         Value::object([("sub", Value::text("u-1"))])
//!     }
//! }
//!
//! let program = Program::compile("{ user: $jwt.sub, total: (.n * .price) }", &["jwt"]).unwrap();
//! let input = Value::parse(br#"{ "n": 2, "price": 9.50 }"#).unwrap();
//! let output = program.run_one(input, &Claims).unwrap();
//! assert_eq!(output.to_string(), r#"{"user":"u-1","total":19}"#);
//! ```

mod access;
mod arithmetic;
mod budget;
mod check;
mod library;
mod members;
mod native;
mod number;
mod order;
mod parse;
mod pattern;
pub mod plain;
mod plan;
mod pointer;
mod price;
mod program;
mod reads;
mod syntax;
mod value;
mod write;

#[cfg(test)]
mod tests;

pub use parse::ParseError;
pub use program::{CompileError, Program, RunError, Scope};
pub use value::Value;

/// The largest result of a program, in bytes as it is written.
pub const OUTPUT_LIMIT: usize = 8 * 1024 * 1024;
