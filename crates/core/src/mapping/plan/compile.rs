//! From jaq's syntax tree to a plan, or to nothing where the everyday part of the language is left:
//! definitions, labels, `foreach`, `..`, patterns, updates of what is no path from `.` on, and functions
//! of the library that are called with more than constants.

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Pattern, Term};
use jaq_core::path::{self, Opt};

use super::update::Change;
use super::{Literal, Many, Name, One, Part, Plan, Step, Variable};
use crate::mapping::native::Compiled;
use crate::mapping::syntax::Node;

/// The plan of a program, if it has one. `given` are its variables, with `$`, and `leaf` compiles a
/// call for jaq.
pub(in crate::mapping) fn compile<'a>(
    program: &Node<'a>,
    given: &'a [String],
    leaf: &'a dyn Fn(&Node<'a>) -> Option<Compiled>,
) -> Option<Plan> {
    Compile { given, bound: Vec::new(), leaves: 0, leaf }.plan(program)
}

pub(super) struct Compile<'a> {
    given: &'a [String],
    /// Names that the program binds, the innermost last.
    bound: Vec<&'a str>,
    /// How many calls jaq runs.
    pub leaves: usize,
    pub leaf: &'a dyn Fn(&Node<'a>) -> Option<Compiled>,
}

/// A node whose operands may give several values; it takes them one by one.
fn over(
    operands: Vec<Plan>,
    node: impl FnOnce(&mut dyn Iterator<Item = Box<One>>) -> Option<Plan>,
) -> Option<Plan> {
    if operands.iter().any(|operand| matches!(operand, Plan::Many(_))) {
        let bound = |ago| Box::new(One::Variable(Variable::Bound(ago)));
        let node = node(&mut (0..operands.len()).rev().map(bound))?;
        return Some(Plan::Many(Many::Combined(operands, Box::new(node))));
    }
    node(&mut operands.into_iter().filter_map(|operand| match operand {
        Plan::One(one) => Some(Box::new(one)),
        Plan::Many(_) => None,
    }))
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
    pub(super) fn plan(&mut self, term: &Node<'a>) -> Option<Plan> {
        Some(Plan::One(match term {
            Term::Id => One::Input,
            Term::Num(text) => One::Literal(match text.parse() {
                Ok(number) => Literal::Integer(number),
                Err(_) => Literal::Number((*text).into()),
            }),
            Term::Str(format, parts) => return self.text(*format, parts),
            Term::Arr(None) => One::Array(Box::new(Plan::Many(Many::Empty))),
            Term::Arr(Some(items)) => One::Array(self.boxed(items)?),
            Term::Obj(members) => return self.object(members),
            Term::Neg(term) => return self.with_one(term, One::Negated),
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

    pub(super) fn boxed(&mut self, term: &Node<'a>) -> Option<Box<Plan>> {
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

    /// A node of one operand.
    pub(super) fn with_one(
        &mut self,
        term: &Node<'a>,
        node: impl FnOnce(Box<One>) -> One,
    ) -> Option<Plan> {
        over(vec![self.plan(term)?], |one| Some(Plan::One(node(one.next()?))))
    }

    /// A node of two.
    fn with_two(
        &mut self,
        (left, right): (&Node<'a>, &Node<'a>),
        node: impl FnOnce(Box<One>, Box<One>) -> One,
    ) -> Option<Plan> {
        let operands = vec![self.plan(left)?, self.plan(right)?];
        over(operands, |one| Some(Plan::One(node(one.next()?, one.next()?))))
    }

    fn text(
        &mut self,
        format: Option<&'a str>,
        parts: &[StrPart<&'a str, Node<'a>>],
    ) -> Option<Plan> {
        let literal = |text: &str| Plan::One(One::Literal(Literal::Text(text.into())));
        if let Some(text) = constant_text(parts) {
            return Some(literal(&text));
        }
        let pieces = parts.iter().map(|part| match part {
            StrPart::Str(text) => Some(literal(text)),
            StrPart::Char(character) => Some(literal(character.encode_utf8(&mut [0; 4]))),
            StrPart::Term(term) => match format {
                None => self.plan(term),
                Some(format) => {
                    let parts = (self.plan(term)?, self.call(format, &[])?);
                    Some(either(parts, One::Pipe, Many::Pipe))
                }
            },
        });
        over(pieces.collect::<Option<_>>()?, |pieces| {
            Some(Plan::One(One::Text(pieces.map(|piece| *piece).collect())))
        })
    }

    fn object(&mut self, members: &[(Node<'a>, Option<Node<'a>>)]) -> Option<Plan> {
        let (mut names, mut operands) = (Vec::new(), Vec::new());
        for (name, value) in members {
            let fixed = match name {
                Term::Str(..) => self::fixed(name),
                Term::Var(name) if value.is_none() => name.strip_prefix('$').map(str::to_owned),
                _ => None,
            };
            let value = match (name, value, &fixed) {
                (_, Some(value), _) => self.plan(value)?,
                (Term::Var(_), None, _) => self.plan(name)?,
                (_, None, Some(fixed)) => {
                    let part = Part::Member(fixed.as_str().into());
                    let step = Step { part, opt: Opt::Essential };
                    Plan::One(One::Path(Box::new(One::Input), vec![step]))
                }
                (_, None, None) => return None,
            };
            if fixed.is_none() {
                operands.push(self.plan(name)?);
            }
            names.push(fixed);
            operands.push(value);
        }
        over(operands, |one| {
            let member = |fixed: Option<String>| {
                let name = match fixed {
                    Some(fixed) => Name::Fixed(fixed.into()),
                    None => Name::Computed(*one.next()?),
                };
                Some((name, *one.next()?))
            };
            let members = names.into_iter().map(member).collect::<Option<_>>()?;
            Some(Plan::One(One::Object(members)))
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
            BinaryOp::Or => return self.logic(left, true, right),
            BinaryOp::And => return self.logic(left, false, right),
            BinaryOp::Math(math) => {
                return self.with_two((left, right), |left, right| One::Math(left, *math, right));
            }
            BinaryOp::Cmp(compare) => {
                return self
                    .with_two((left, right), |left, right| One::Compare(left, *compare, right));
            }
            BinaryOp::Update => One::Update(self.place(left)?, Change::Each(self.boxed(right)?)),
            BinaryOp::Assign => return self.computed(left, right, Change::Set),
            BinaryOp::UpdateMath(math) => {
                return self.computed(left, right, |value| Change::Math(*math, value));
            }
            BinaryOp::UpdateAlt => return self.computed(left, right, Change::Otherwise),
        }))
    }

    fn logic(&mut self, left: &Node<'a>, stop: bool, right: &Node<'a>) -> Option<Plan> {
        let literal = |value| Plan::One(One::Literal(Literal::Boolean(value)));
        Some(match (self.plan(left)?, self.plan(right)?) {
            (Plan::One(left), Plan::One(right)) => {
                Plan::One(One::Logic(Box::new(left), stop, Box::new(right)))
            }
            (left, right) => {
                let truth = choice(Plan::One(One::Input), literal(true), literal(false));
                let right = either((right, truth), One::Pipe, Many::Pipe);
                if stop {
                    choice(left, literal(true), right)
                } else {
                    choice(left, right, literal(false))
                }
            }
        })
    }

    /// A change by what is computed from the whole input.
    fn computed(
        &mut self,
        path: &Node<'a>,
        value: &Node<'a>,
        change: impl FnOnce(Box<One>) -> Change,
    ) -> Option<Plan> {
        let value = self.plan(value)?;
        let path = match value {
            Plan::One(_) => self.place(path)?,
            // The path's own variables stand further out by the one that the value is bound to.
            Plan::Many(_) => self.within("", |own| own.place(path))?,
        };
        over(vec![value], |one| Some(Plan::One(One::Update(path, change(one.next()?)))))
    }

    fn path(&mut self, base: &Node<'a>, parts: &[(path::Part<Node<'a>>, Opt)]) -> Option<Plan> {
        let indices = self.indices(parts)?;
        let several = indices.iter().any(|index| matches!(index, Plan::Many(_)));
        if several && !matches!(base, Term::Id) {
            return None;
        }
        let base = self.plan(base)?;
        over(indices, |one| {
            let steps = steps(parts, one)?;
            let single = |step: &Step| {
                matches!(step.opt, Opt::Essential) && !matches!(step.part, Part::Items)
            };
            Some(match base {
                Plan::One(base) if steps.iter().all(single) => {
                    Plan::One(One::Path(Box::new(base), steps))
                }
                base => Plan::Many(Many::Path(Box::new(base), steps)),
            })
        })
    }

    /// What is computed for a path, in its order.
    fn indices(&mut self, parts: &[(path::Part<Node<'a>>, Opt)]) -> Option<Vec<Plan>> {
        let terms = parts.iter().flat_map(|(part, _)| match part {
            path::Part::Index(index) if fixed(index).is_some() => [None, None],
            path::Part::Index(index) => [Some(index), None],
            path::Part::Range(from, to) => [from.as_ref(), to.as_ref()],
        });
        terms.flatten().map(|term| self.plan(term)).collect()
    }

    /// A path that can be updated: from `.` on.
    pub(super) fn place(&mut self, term: &Node<'a>) -> Option<Vec<Step>> {
        let Term::Path(base, parts) = term else { return None };
        let Term::Id = **base else { return None };
        let indices = self.indices(&parts.0)?.into_iter().map(|index| match index {
            Plan::One(one) => Some(Box::new(one)),
            Plan::Many(_) => None,
        });
        let indices: Vec<_> = indices.collect::<Option<_>>()?;
        steps(&parts.0, &mut indices.into_iter())
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
            Some(choice(self.plan(condition)?, self.plan(then)?, otherwise))
        })
    }
}

/// The parts of a path, with what is computed for them.
fn steps(
    parts: &[(path::Part<Node<'_>>, Opt)],
    indices: &mut dyn Iterator<Item = Box<One>>,
) -> Option<Vec<Step>> {
    let mut computed = |there: bool| {
        if there { indices.next().map(|one| Some(*one)) } else { Some(None) }
    };
    let step = |(part, opt): &(path::Part<Node<'_>>, Opt)| {
        let part = match part {
            path::Part::Range(None, None) => Part::Items,
            path::Part::Range(from, to) => {
                Part::Slice(computed(from.is_some())?, computed(to.is_some())?)
            }
            path::Part::Index(index) => match fixed(index) {
                Some(name) => Part::Member(name.into()),
                None => Part::Index(computed(true)??),
            },
        };
        Some(Step { part, opt: *opt })
    };
    parts.iter().map(step).collect()
}

/// `if condition then then else otherwise end`
fn choice(condition: Plan, then: Plan, otherwise: Plan) -> Plan {
    match (condition, then, otherwise) {
        (Plan::One(condition), Plan::One(then), Plan::One(otherwise)) => {
            Plan::One(One::If(Box::new(condition), Box::new(then), Box::new(otherwise)))
        }
        (condition, then, otherwise) => {
            Plan::Many(Many::If(Box::new(condition), Box::new(then), Box::new(otherwise)))
        }
    }
}

/// The name that a constant string is.
pub(super) fn fixed(term: &Node<'_>) -> Option<String> {
    match term {
        Term::Str(None, parts) => constant_text(parts),
        _ => None,
    }
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
