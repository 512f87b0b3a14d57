//! Calls of functions: which a plan has of its own, and which jaq runs for it.

use jaq_core::load::parse::{BinaryOp, Term};
use jaq_core::path::Opt;

use super::compile::{Compile, fixed};
use super::functions::{binary, gives_one, unary};
use super::items::Order;
use super::update::Change;
use super::{Literal, Many, One, Part, Plan, Step};
use crate::mapping::syntax::Node;

/// How many calls of a plan jaq may run: each holds jaq's library.
const LEAVES: usize = 16;

impl<'a> Compile<'a> {
    pub(super) fn call(&mut self, name: &'a str, arguments: &[Node<'a>]) -> Option<Plan> {
        let done = match arguments {
            [] => call_alone(name),
            [argument] => self.call_with(name, argument),
            [items, condition] => self.quantified(name, Some(items), condition),
            _ => None,
        };
        done.or_else(|| self.leaf(name, arguments))
    }

    fn call_with(&mut self, name: &'a str, argument: &Node<'a>) -> Option<Plan> {
        if let Some(function) = binary(name) {
            return self.with_one(argument, |argument| One::Binary(function, argument));
        }
        if let Some(order) = name.strip_suffix("_by").and_then(Order::named) {
            return Some(Plan::One(One::Ordered(order, self.boxed(argument)?)));
        }
        Some(Plan::One(match name {
            "map" => mapped(self.plan(argument)?),
            "map_values" => One::Update(vec![items()], Change::Each(self.boxed(argument)?)),
            "with_entries" => {
                let entries = One::Unary(unary("to_entries")?);
                let back = One::Unary(unary("from_entries")?);
                let mapped = mapped(self.plan(argument)?);
                One::Pipe(Box::new(One::Pipe(Box::new(entries), Box::new(mapped))), Box::new(back))
            }
            "del" => self.removal(argument)?,
            "add" => One::Sum(self.boxed(argument)?),
            "isempty" => One::IsEmpty(self.boxed(argument)?),
            "error" => return self.with_one(argument, One::Fail),
            "select" => return Some(Plan::Many(Many::Select(self.boxed(argument)?))),
            "first" => return Some(Plan::Many(Many::First(self.boxed(argument)?))),
            "last" => return Some(Plan::Many(Many::Last(self.boxed(argument)?))),
            _ => return self.quantified(name, None, argument),
        }))
    }

    /// `del` of one path, or of several that cannot meet: these go one after another, which is the same.
    fn removal(&mut self, term: &Node<'a>) -> Option<One> {
        let (mut rest, mut paths) = (term, Vec::new());
        while let Term::BinOp(left, BinaryOp::Comma, right) = rest {
            paths.push(self.place(right)?);
            rest = left;
        }
        let first = self.place(rest)?;
        let mut begins: Vec<_> = paths.iter().chain([&first]).map(|steps| begin(steps)).collect();
        begins.sort_unstable();
        let meet = begins.windows(2).any(|two| matches!(two, [x, y] if x == y));
        if !paths.is_empty() && (meet || begins.contains(&None)) {
            return None;
        }
        Some(paths.into_iter().rev().fold(One::Update(first, Change::Remove), |before, path| {
            One::Pipe(Box::new(before), Box::new(One::Update(path, Change::Remove)))
        }))
    }

    fn quantified(
        &mut self,
        name: &str,
        over: Option<&Node<'a>>,
        condition: &Node<'a>,
    ) -> Option<Plan> {
        let stop = stop_of(name)?;
        let over = match over {
            Some(term) => self.boxed(term)?,
            None => all_items(),
        };
        Some(Plan::One(One::Quantified(over, stop, self.boxed(condition)?)))
    }

    /// A call with constants, which jaq runs.
    fn leaf(&mut self, name: &'a str, arguments: &[Node<'a>]) -> Option<Plan> {
        self.leaves += 1;
        if self.leaves > LEAVES || !arguments.iter().all(is_constant) {
            return None;
        }
        let leaf = Box::new((self.leaf)(&Term::Call(name, arguments.to_vec()))?);
        Some(if gives_one(name, arguments.len()) {
            Plan::One(One::Leaf(leaf))
        } else {
            Plan::Many(Many::Leaf(leaf))
        })
    }
}

/// The member that a path leads into, when nothing on its way is computed.
fn begin(steps: &[Step]) -> Option<&str> {
    let plain = |step: &Step| {
        matches!(step.part, Part::Member(_) | Part::Items | Part::Index(One::Literal(_)))
    };
    match steps.first().map(|step| &step.part) {
        Some(Part::Member(name)) if steps.iter().all(plain) => Some(name),
        _ => None,
    }
}

fn call_alone(name: &str) -> Option<Plan> {
    if let Some(function) = unary(name) {
        return Some(Plan::One(One::Unary(function)));
    }
    let input = || Box::new(Plan::One(One::Input));
    if let Some(order) = Order::named(name).filter(|order| !matches!(order, Order::Group)) {
        return Some(Plan::One(One::Ordered(order, input())));
    }
    let at = |place| {
        let part = Part::Index(One::Literal(Literal::Integer(place)));
        One::Path(Box::new(One::Input), vec![Step { part, opt: Opt::Essential }])
    };
    Some(Plan::One(match name {
        "null" => One::Literal(Literal::Null),
        "true" => One::Literal(Literal::Boolean(true)),
        "false" => One::Literal(Literal::Boolean(false)),
        "first" => at(0),
        "last" => at(-1),
        "add" => One::Sum(all_items()),
        "empty" => return Some(Plan::Many(Many::Empty)),
        _ => One::Quantified(all_items(), stop_of(name)?, input()),
    }))
}

/// What ends `any` and `all`.
fn stop_of(name: &str) -> Option<bool> {
    match name {
        "any" => Some(true),
        "all" => Some(false),
        _ => None,
    }
}

fn items() -> Step {
    Step { part: Part::Items, opt: Opt::Essential }
}

/// `.[]`
fn all_items() -> Box<Plan> {
    Box::new(Plan::Many(Many::Path(Box::new(Plan::One(One::Input)), vec![items()])))
}

/// `[.[] | f]`
fn mapped(plan: Plan) -> One {
    One::Array(Box::new(Plan::Many(Many::Pipe(all_items(), Box::new(plan)))))
}

/// A number, a string, or a word that stands for a value.
fn is_constant(term: &Node<'_>) -> bool {
    match term {
        Term::Neg(term) => matches!(**term, Term::Num(_)),
        Term::Call("null" | "true" | "false", arguments) => arguments.is_empty(),
        Term::Num(_) => true,
        term => fixed(term).is_some(),
    }
}
