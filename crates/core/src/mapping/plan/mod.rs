//! The plan of a program: what the request's way runs in jaq's place.
//!
//! jaq runs a program as iterators in boxes, which costs more than the mapping itself. Most
//! mappings stay within an everyday part of the language (paths, construction, arithmetic, `map`,
//! `select`, `if`, `//`, `reduce`, updates of plain paths); those become a tree that is walked
//! directly. It has two kinds of nodes: [`One`] gives exactly one value or fails, and is a plain
//! function; [`Many`] gives any number of values, each handed on to whoever wants it.
//!
//! Values, arithmetic and budget are the same as jaq's, so that the two can only differ in how they
//! walk. What has no plan ([`compile`] says which) runs in jaq as a whole; a function of jaq's
//! library that is called with constants runs in jaq as a leaf of the plan.

mod calls;
mod compile;
mod functions;
mod items;
mod place;
mod run;
mod stop;
mod update;

use jaq_core::ops::{Cmp, Math};
use jaq_core::path::Opt;

use super::native::Compiled;
use super::value::Value;
use functions::{Binary, Unary};
use items::Order;

pub(super) use compile::compile;
pub(super) use run::run;
pub(super) use stop::Stop;

/// A program, or a part of one.
pub(super) enum Plan {
    One(One),
    Many(Many),
}

/// What gives exactly one value, or fails.
pub(super) enum One {
    /// `.`
    Input,
    Literal(Literal),
    Variable(Variable),
    /// `"a \(.b)"`
    Text(Vec<One>),
    /// `[f]`
    Array(Box<Plan>),
    /// `{a: f, (g): h}`
    Object(Vec<(Name, One)>),
    /// `f.a[0][1:]`
    Path(Box<One>, Vec<Step>),
    Negated(Box<One>),
    Pipe(Box<One>, Box<One>),
    /// `f as $x | g`
    Bind(Box<One>, Box<One>),
    /// `f // g`
    Alternative(Box<One>, Box<One>),
    Math(Box<One>, Math, Box<One>),
    Compare(Box<One>, Cmp, Box<One>),
    /// `and` (stops at false) and `or` (stops at true)
    Logic(Box<One>, bool, Box<One>),
    If(Box<One>, Box<One>, Box<One>),
    /// `try f catch g`
    Try(Box<One>, Box<One>),
    /// `reduce items as $x (start; step)`
    Reduce(Box<Plan>, Box<One>, Box<One>),
    /// `add(f)`
    Sum(Box<Plan>),
    /// `any(f; g)` (stops at true) and `all(f; g)` (stops at false)
    Quantified(Box<Plan>, bool, Box<Plan>),
    /// `isempty(f)`
    IsEmpty(Box<Plan>),
    /// `sort_by(f)` and its like
    Ordered(Order, Box<Plan>),
    /// `path |= f` and its like
    Update(Vec<Step>, update::Change),
    /// `error(f)`
    Fail(Box<One>),
    Unary(Unary),
    Binary(Binary, Box<One>),
    Leaf(Leaf),
}

/// What gives any number of values.
pub(super) enum Many {
    Empty,
    /// `f.a[]?`
    Path(Box<Plan>, Vec<Step>),
    Comma(Box<Plan>, Box<Plan>),
    Pipe(Box<Plan>, Box<Plan>),
    Bind(Box<Plan>, Box<Plan>),
    Alternative(Box<Plan>, Box<Plan>),
    If(Box<Plan>, Box<Plan>, Box<Plan>),
    Try(Box<Plan>, Box<Plan>),
    Select(Box<Plan>),
    /// `first(f)`
    First(Box<Plan>),
    /// `last(f)`
    Last(Box<Plan>),
    /// A node with operands of several values: all that it gives for every combination of them, which
    /// it finds bound as the innermost variables.
    Combined(Vec<Plan>, Box<Plan>),
    Leaf(Leaf),
}

/// A constant. Values are a thread's own, and a plan is shared; so each use makes its own.
pub(super) enum Literal {
    Null,
    Boolean(bool),
    Integer(isize),
    /// As it is written.
    Number(Box<str>),
    Text(Box<str>),
}

pub(super) enum Variable {
    /// By its place among those that the scope gives.
    Given(usize),
    /// By how many bindings ago it was bound.
    Bound(usize),
}

/// A member's name.
pub(super) enum Name {
    Fixed(Box<str>),
    Computed(One),
}

/// One part of a path, and whether what it fails on is passed over.
pub(super) struct Step {
    pub part: Part,
    pub opt: Opt,
}

pub(super) enum Part {
    Member(Box<str>),
    Index(One),
    Slice(Option<One>, Option<One>),
    Items,
}

/// A call that jaq runs: it reads its input, and no variable.
pub(super) type Leaf = Box<Compiled>;

/// Takes the values of a [`Many`].
pub(super) type Sink<'s> = &'s mut dyn FnMut(Value) -> Result<(), Stop>;
