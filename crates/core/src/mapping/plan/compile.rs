//! From jaq's syntax tree to a plan, or to nothing where the everyday part of the language is left:
//! definitions, labels, `foreach`, `..`, patterns, operands with several values, and functions of
//! the library that are called with more than constants.

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Pattern, Term};
use jaq_core::path::{self, Opt};

use super::functions::{binary, gives_one, unary};
use super::items::Order;
use super::update::Change;
use super::{Literal, Many, Name, One, Part, Plan, Step, Variable};
use crate::mapping::native::Compiled;
use crate::mapping::syntax::Node;

/// How many calls of a plan jaq may run: each holds jaq's library.
const LEAVES: usize = 16;

/// The plan of a program, if it has one. `given` are its variables, with `$`, and `leaf` compiles a
/// call for jaq.
pub(in crate::mapping) fn compile<'a>(
    program: &Node<'a>,
    given: &'a [String],
    leaf: &'a dyn Fn(&Node<'a>) -> Option<Compiled>,
) -> Option<Plan> {
    Compile { given, bound: Vec::new(), leaves: 0, leaf }.plan(program)
}

struct Compile<'a> {
    given: &'a [String],
    /// Names that the program binds, the innermost last.
    bound: Vec<&'a str>,
    leaves: usize,
    leaf: &'a dyn Fn(&Node<'a>) -> Option<Compiled>,
}

/// One node of either kind, by whether its parts are all of the one kind.
fn either(
    parts: (Plan, Plan),
    one: impl FnOnce(Box<One>, Box<One>) -> One,
    many: impl FnOnce(Box<Plan>, Box<Plan>) -> Many,
) -> Plan {
    match parts {
        (Plan::One(left), Plan::One(right)) => Plan::One(one(Box::new(left), Box::new(right))),
        (left, right) => Plan::Many(many(Box::new(left), Box::new(right))),
    }
}

impl<'a> Compile<'a> {
    fn plan(&mut self, term: &Node<'a>) -> Option<Plan> {
        Some(Plan::One(match term {
            Term::Id => One::Input,
            Term::Num(text) => One::Literal(match text.parse() {
                Ok(number) => Literal::Integer(number),
                Err(_) => Literal::Number((*text).into()),
            }),
            Term::Str(None, parts) => self.text(parts)?,
            Term::Arr(None) => One::Array(Box::new(Plan::Many(Many::Empty))),
            Term::Arr(Some(items)) => One::Array(self.boxed(items)?),
            Term::Obj(members) => One::Object(
                members.iter().map(|member| self.member(member)).collect::<Option<_>>()?,
            ),
            Term::Neg(term) => One::Negated(self.one(term)?),
            Term::Var(name) => One::Variable(self.variable(name)?),
            Term::BinOp(left, operator, right) => return self.operator(left, operator, right),
            Term::Path(base, path) => return self.path(base, &path.0),
            Term::IfThenElse(cases, otherwise) => {
                return self.cases(cases, otherwise.as_deref());
            }
            Term::TryCatch(term, catch) => {
                let catch = match catch {
                    Some(catch) => self.plan(catch)?,
                    None => Plan::Many(Many::Empty),
                };
                return Some(either((self.plan(term)?, catch), One::Try, Many::Try));
            }
            Term::Fold("reduce", items, Pattern::Var(name), arguments) => {
                let [start, step] = arguments.as_slice() else { return None };
                let (items, start) = (self.boxed(items)?, self.one(start)?);
                One::Reduce(items, start, self.within(name, |own| own.one(step))?)
            }
            Term::Call(name, arguments) => return self.call(name, arguments),
            _ => return None,
        }))
    }

    fn boxed(&mut self, term: &Node<'a>) -> Option<Box<Plan>> {
        self.plan(term).map(Box::new)
    }

    fn one(&mut self, term: &Node<'a>) -> Option<Box<One>> {
        match self.plan(term)? {
            Plan::One(one) => Some(Box::new(one)),
            Plan::Many(_) => None,
        }
    }

    fn within<T>(&mut self, name: &'a str, work: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.bound.push(name);
        let result = work(self);
        self.bound.pop();
        result
    }

    fn variable(&self, name: &str) -> Option<Variable> {
        let bound = self.bound.iter().rev().position(|bound| *bound == name);
        let given = || self.given.iter().rposition(|given| given == name);
        bound.map(Variable::Bound).or_else(|| given().map(Variable::Given))
    }

    fn text(&mut self, parts: &[StrPart<&'a str, Node<'a>>]) -> Option<One> {
        if let Some(text) = constant_text(parts) {
            return Some(One::Literal(Literal::Text(text.into())));
        }
        let piece = |part: &StrPart<&'a str, Node<'a>>| match part {
            StrPart::Str(text) => Some(One::Literal(Literal::Text((*text).into()))),
            StrPart::Char(character) => {
                Some(One::Literal(Literal::Text(character.to_string().into())))
            }
            StrPart::Term(term) => self.one(term).map(|one| *one),
        };
        parts.iter().map(piece).collect::<Option<_>>().map(One::Text)
    }

    fn member(&mut self, (name, value): &(Node<'a>, Option<Node<'a>>)) -> Option<(Name, One)> {
        let fixed = match name {
            Term::Str(None, parts) => constant_text(parts),
            Term::Var(name) if value.is_none() => name.strip_prefix('$').map(str::to_owned),
            _ => None,
        };
        Some(match (fixed, name, value) {
            (Some(fixed), Term::Var(name), None) => {
                (Name::Fixed(fixed.into()), One::Variable(self.variable(name)?))
            }
            (Some(fixed), _, None) => {
                let part = Part::Member(fixed.as_str().into());
                let value =
                    One::Path(Box::new(One::Input), vec![Step { part, opt: Opt::Essential }]);
                (Name::Fixed(fixed.into()), value)
            }
            (Some(fixed), _, Some(value)) => (Name::Fixed(fixed.into()), *self.one(value)?),
            (None, name, Some(value)) => (Name::Computed(*self.one(name)?), *self.one(value)?),
            (None, _, None) => return None,
        })
    }

    fn operator(
        &mut self,
        left: &Node<'a>,
        operator: &BinaryOp<&'a str>,
        right: &Node<'a>,
    ) -> Option<Plan> {
        Some(Plan::One(match operator {
            BinaryOp::Pipe(None) => {
                return Some(either((self.plan(left)?, self.plan(right)?), One::Pipe, Many::Pipe));
            }
            BinaryOp::Pipe(Some(Pattern::Var(name))) => {
                let left = self.plan(left)?;
                let right = self.within(name, |own| own.plan(right))?;
                return Some(either((left, right), One::Bind, Many::Bind));
            }
            BinaryOp::Pipe(Some(_)) => return None,
            BinaryOp::Comma => {
                let (left, right) = (self.boxed(left)?, self.boxed(right)?);
                return Some(Plan::Many(Many::Comma(left, right)));
            }
            BinaryOp::Alt => {
                let sides = (self.plan(left)?, self.plan(right)?);
                return Some(either(sides, One::Alternative, Many::Alternative));
            }
            BinaryOp::Or => One::Logic(self.one(left)?, true, self.one(right)?),
            BinaryOp::And => One::Logic(self.one(left)?, false, self.one(right)?),
            BinaryOp::Math(math) => One::Math(self.one(left)?, *math, self.one(right)?),
            BinaryOp::Cmp(compare) => One::Compare(self.one(left)?, *compare, self.one(right)?),
            BinaryOp::Assign => One::Update(self.plain(left)?, Change::Set(self.one(right)?)),
            BinaryOp::Update => One::Update(self.plain(left)?, Change::Each(self.boxed(right)?)),
            BinaryOp::UpdateMath(math) => {
                One::Update(self.plain(left)?, Change::Math(*math, self.one(right)?))
            }
            BinaryOp::UpdateAlt => {
                One::Update(self.plain(left)?, Change::Otherwise(self.one(right)?))
            }
        }))
    }

    fn path(&mut self, base: &Node<'a>, parts: &[(path::Part<Node<'a>>, Opt)]) -> Option<Plan> {
        let base = self.plan(base)?;
        let steps: Vec<Step> = parts.iter().map(|part| self.step(part)).collect::<Option<_>>()?;
        let single =
            |step: &Step| matches!(step.opt, Opt::Essential) && !matches!(step.part, Part::Items);
        Some(match base {
            Plan::One(base) if steps.iter().all(single) => {
                Plan::One(One::Path(Box::new(base), steps))
            }
            base => Plan::Many(Many::Path(Box::new(base), steps)),
        })
    }

    fn step(&mut self, (part, opt): &(path::Part<Node<'a>>, Opt)) -> Option<Step> {
        let mut end = |end: &Option<Node<'a>>| match end {
            Some(term) => self.one(term).map(|one| Some(*one)),
            None => Some(None),
        };
        let part = match part {
            path::Part::Range(None, None) => Part::Items,
            path::Part::Range(from, to) => Part::Slice(end(from)?, end(to)?),
            path::Part::Index(Term::Str(None, parts)) if constant_text(parts).is_some() => {
                Part::Member(constant_text(parts)?.into())
            }
            path::Part::Index(index) => Part::Index(*self.one(index)?),
        };
        Some(Step { part, opt: *opt })
    }

    /// A path that can be updated: from `.`, by constants and variables.
    fn plain(&mut self, term: &Node<'a>) -> Option<Vec<Step>> {
        let Term::Path(base, parts) = term else { return None };
        let steps: Vec<Step> = parts.0.iter().map(|part| self.step(part)).collect::<Option<_>>()?;
        let known = |one: &One| match one {
            One::Negated(one) => matches!(**one, One::Literal(_)),
            One::Literal(_) | One::Variable(_) => true,
            _ => false,
        };
        let plain = |step: &Step| match &step.part {
            Part::Member(_) | Part::Items => true,
            Part::Index(index) => known(index),
            Part::Slice(from, to) => from.iter().chain(to).all(known),
        };
        let whole = matches!(**base, Term::Id) && !steps.is_empty();
        (whole && steps.iter().all(plain)).then_some(steps)
    }

    fn cases(
        &mut self,
        cases: &[(Node<'a>, Node<'a>)],
        otherwise: Option<&Node<'a>>,
    ) -> Option<Plan> {
        let otherwise = match otherwise {
            Some(term) => self.plan(term)?,
            None => Plan::One(One::Input),
        };
        cases.iter().rev().try_fold(otherwise, |otherwise, (condition, then)| {
            let condition = self.one(condition)?;
            Some(match (self.plan(then)?, otherwise) {
                (Plan::One(then), Plan::One(otherwise)) => {
                    Plan::One(One::If(condition, Box::new(then), Box::new(otherwise)))
                }
                (then, otherwise) => {
                    Plan::Many(Many::If(condition, Box::new(then), Box::new(otherwise)))
                }
            })
        })
    }

    fn call(&mut self, name: &'a str, arguments: &[Node<'a>]) -> Option<Plan> {
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
            return Some(Plan::One(One::Binary(function, self.one(argument)?)));
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
            "error" => One::Fail(self.one(argument)?),
            "select" => return Some(Plan::Many(Many::Select(self.boxed(argument)?))),
            "first" => return Some(Plan::Many(Many::First(self.boxed(argument)?))),
            _ => return self.quantified(name, None, argument),
        }))
    }

    /// `del` of one path, or of several one after another, as jaq updates `,`.
    fn removal(&mut self, term: &Node<'a>) -> Option<One> {
        if let Term::BinOp(left, BinaryOp::Comma, right) = term {
            let (left, right) = (self.removal(left)?, self.removal(right)?);
            return Some(One::Pipe(Box::new(left), Box::new(right)));
        }
        let nothing = Change::Each(Box::new(Plan::Many(Many::Empty)));
        Some(One::Update(self.plain(term)?, nothing))
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

/// A string without interpolation.
fn constant_text(parts: &[StrPart<&str, Node<'_>>]) -> Option<String> {
    let mut out = String::new();
    for part in parts {
        match part {
            StrPart::Str(text) => out.push_str(text),
            StrPart::Char(character) => out.push(*character),
            StrPart::Term(_) => return None,
        }
    }
    Some(out)
}

/// A number, a string, or a word that stands for a value.
fn is_constant(term: &Node<'_>) -> bool {
    match term {
        Term::Neg(term) => matches!(**term, Term::Num(_)),
        Term::Call("null" | "true" | "false", arguments) => arguments.is_empty(),
        Term::Num(_) => true,
        Term::Str(None, parts) => constant_text(parts).is_some(),
        _ => false,
    }
}
