//! What a program reads of its input. A body is buffered only where a program reads one, and a call of
//! a composition waits only for the answers that its programs read; both are found here, at load.
//! In doubt the answer is more than what is true, never less.

use std::collections::BTreeSet;

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Pattern, Term};
use jaq_core::path::{Opt, Part};

use super::syntax::{Node, each};

/// What a program reads of its input.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reads<'a> {
    /// Whether it may read more than the members that are named.
    pub whole: bool,
    /// The input's members that it reads by name.
    pub members: BTreeSet<&'a str>,
    /// Whether it defines functions: what these read may be taken for the input's.
    pub defines: bool,
}

impl<'a> Reads<'a> {
    pub fn of(program: &Node<'a>) -> Self {
        let (reads, inputs, functions) = Default::default();
        let mut walk = Walk { reads, inside: true, inputs, functions };
        walk.term(program);
        walk.reads
    }
}

struct Walk<'a> {
    reads: Reads<'a>,
    /// Whether `.` may be the input where the walk is.
    inside: bool,
    /// Variables that hold the input.
    inputs: Vec<&'a str>,
    /// The functions that the program defines, and their arguments, with how many they take.
    functions: Vec<(&'a str, usize)>,
}

impl<'a> Walk<'a> {
    fn term(&mut self, term: &Node<'a>) {
        match term {
            _ if self.is_input(term) => self.reads.whole = true,
            Term::Recurse => self.reads.whole |= self.inside,
            Term::IfThenElse(_, None) => {
                self.reads.whole |= self.inside;
                each(term, &mut |child| self.term(child));
            }
            Term::Path(from, path) if self.is_input(from) => self.path(&path.0),
            Term::BinOp(left, BinaryOp::Pipe(None), right) => {
                let inside = self.is_input(left);
                if !inside {
                    self.term(left);
                }
                self.with(inside, right);
            }
            Term::BinOp(left, BinaryOp::Pipe(Some(Pattern::Var(name))), right)
                if self.is_input(left) =>
            {
                self.inputs.push(name);
                self.term(right);
            }
            // What is updated is given as a whole.
            Term::BinOp(_, operator, _) if is_update(operator) && self.inside => {
                self.reads.whole = true;
            }
            Term::TryCatch(term, catch) => {
                self.term(term);
                catch.iter().for_each(|catch| self.with(false, catch));
            }
            Term::Fold(_, items, Pattern::Var(_), arguments) => {
                self.term(items);
                let mut arguments = arguments.iter();
                arguments.next().into_iter().for_each(|start| self.term(start));
                // The steps read the state.
                arguments.for_each(|step| self.with(false, step));
            }
            Term::Obj(members) => {
                members.iter().for_each(|(name, value)| self.pair(name, value.as_ref()));
            }
            Term::Call(name, arguments) => self.call(name, arguments),
            Term::Def(defs, body) => {
                self.reads.defines = true;
                let known = self.functions.len();
                for def in defs {
                    self.functions.push((def.name, def.args.len()));
                    let arguments = def.args.iter().map(|name| (name.trim_start_matches('$'), 0));
                    self.functions.extend(arguments);
                    self.with(true, &def.body);
                }
                self.term(body);
                self.functions.truncate(known);
            }
            term => each(term, &mut |child| self.term(child)),
        }
    }

    /// Walks what has another `.`.
    fn with(&mut self, inside: bool, term: &Node<'a>) {
        let around = std::mem::replace(&mut self.inside, inside);
        self.term(term);
        self.inside = around;
    }

    fn is_input(&self, term: &Node<'a>) -> bool {
        match term {
            Term::Id => self.inside,
            Term::Var(name) => self.inputs.contains(name),
            _ => false,
        }
    }

    /// A path from the input on.
    fn path(&mut self, parts: &[(Part<Node<'a>>, Opt)]) {
        match parts.first() {
            Some((Part::Index(name), _)) => self.member(name),
            _ => self.reads.whole = true,
        }
        for (part, _) in parts {
            match part {
                Part::Index(at) => self.term(at),
                Part::Range(from, to) => from.iter().chain(to).for_each(|at| self.term(at)),
            }
        }
    }

    /// A member of an object: `{a}` is `{a: .a}`, but `{$a}` is `{a: $a}`.
    fn pair(&mut self, name: &Node<'a>, value: Option<&Node<'a>>) {
        match (name, value) {
            (Term::Var(_), None) => self.term(name),
            (name, None) => {
                self.term(name);
                if self.inside {
                    self.member(name);
                }
            }
            (name, Some(value)) => {
                self.term(name);
                self.term(value);
            }
        }
    }

    fn member(&mut self, name: &Node<'a>) {
        match name {
            Term::Str(None, parts) => match parts.as_slice() {
                [StrPart::Str(name)] => {
                    self.reads.members.insert(name);
                }
                _ => self.reads.whole = true,
            },
            _ => self.reads.whole = true,
        }
    }

    fn call(&mut self, name: &'a str, arguments: &[Node<'a>]) {
        let own = self.functions.contains(&(name, arguments.len()));
        // What reads nothing of its input but what its arguments read.
        let blind = own
            || matches!(
                (name, arguments.len()),
                ("empty" | "true" | "false" | "null" | "now" | "nan" | "infinite", 0)
                    | ("error" | "first" | "last" | "isempty" | "add", 1)
                    | ("any" | "all" | "limit" | "skip" | "nth", 2)
                    | ("range", _)
            );
        self.reads.whole |= self.inside && !blind;
        // The condition of these reads what the generator gives, which is no input without a `whole`.
        if let ("any" | "all", [items, condition]) = (name, arguments)
            && !own
        {
            self.term(items);
            return self.with(false, condition);
        }
        // An own function may give its arguments any `.`.
        let inside = self.inside || own;
        arguments.iter().for_each(|argument| self.with(inside, argument));
    }
}

fn is_update<S>(operator: &BinaryOp<S>) -> bool {
    use BinaryOp::{Assign, Update, UpdateAlt, UpdateMath};
    matches!(operator, Assign | Update | UpdateAlt | UpdateMath(_))
}
