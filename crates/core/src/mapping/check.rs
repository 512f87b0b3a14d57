//! What a program may say: everything that ends and stays inside the request. jaq would run
//! `def f: f; f` for ever, so such programs are refused when they are loaded.

use std::collections::BTreeSet;

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{Def, Term};
use jaq_core::path::Part;

use super::pattern;
use super::program::CompileError;
use super::reads::Reads;
use super::syntax::{Node, each, offset_of};

/// The longest `range` of constants, in steps.
const RANGE_LIMIT: f64 = 10_000.0;

const ENDLESS_HINT: &str = "walk over what is there: .[], map, reduce, first(...), `..`";
const OUTSIDE_HINT: &str = "a program sees its input and its variables, nothing else";

/// What is known about a program that may run.
pub(super) struct Facts<'a> {
    /// Names of variables that occur, with `$`; also those that it binds itself.
    pub variables: BTreeSet<&'a str>,
    /// The names in `$env.NAME`.
    pub env: Vec<&'a str>,
    pub reads: Reads<'a>,
}

/// Checks a program that parses.
pub(super) fn check<'a>(text: &'a str, program: &Node<'a>) -> Result<Facts<'a>, Vec<CompileError>> {
    let (scope, variables, env, errors) = Default::default();
    let mut check = Check { text, scope, variables, env, errors };
    check.walk(program);
    if check.errors.is_empty() {
        Ok(Facts { variables: check.variables, env: check.env, reads: Reads::of(program) })
    } else {
        Err(check.errors)
    }
}

/// A function that the program defines, or a function's argument.
struct Local<'a> {
    name: &'a str,
    arity: usize,
    /// Whether its own body is being read: a call from there is recursion.
    open: bool,
}

struct Check<'a> {
    text: &'a str,
    scope: Vec<Local<'a>>,
    variables: BTreeSet<&'a str>,
    env: Vec<&'a str>,
    errors: Vec<CompileError>,
}

impl<'a> Check<'a> {
    fn walk(&mut self, term: &Node<'a>) {
        match term {
            Term::Def(defs, body) => {
                let depth = self.scope.len();
                defs.iter().for_each(|def| self.define(def));
                self.walk(body);
                return self.scope.truncate(depth);
            }
            Term::Call(name, arguments) => self.call(name, arguments),
            Term::Var(name) => {
                self.variables.insert(name);
            }
            Term::Path(base, path) if matches!(**base, Term::Var("$env")) => {
                if let Some((Part::Index(Term::Str(None, name)), _)) = path.0.first()
                    && let [StrPart::Str(name)] = name.as_slice()
                {
                    self.env.push(name);
                }
            }
            _ => {}
        }
        each(term, &mut |child| self.walk(child));
    }

    fn define(&mut self, def: &Def<&'a str>) {
        let depth = self.scope.len();
        self.scope.push(Local { name: def.name, arity: def.args.len(), open: true });
        let arguments = def.args.iter().filter(|name| !name.starts_with('$'));
        self.scope.extend(arguments.map(|name| Local { name, arity: 0, open: false }));
        self.walk(&def.body);
        self.scope.truncate(depth + 1);
        if let Some(own) = self.scope.last_mut() {
            own.open = false;
        }
    }

    fn call(&mut self, name: &'a str, arguments: &[Node<'a>]) {
        let arity = arguments.len();
        let mut locals = self.scope.iter().rev();
        let local = locals.find(|local| local.name == name && local.arity == arity);
        let refusal = match local {
            Some(local) if local.open => {
                Some((format!("`{name}` calls itself and may never end"), ENDLESS_HINT))
            }
            Some(_) => None,
            None => refusal(name, arguments),
        };
        let refusal = refusal.map(|(message, hint)| (name, message, hint));
        let pattern = || pattern::judge(name, arguments).filter(|_| local.is_none());
        if let Some((place, message, hint)) = refusal.or_else(pattern) {
            let offset = offset_of(self.text, place);
            self.errors.push(CompileError { offset, message, hint: Some(hint.to_owned()) });
        }
    }
}

fn refusal(name: &str, arguments: &[Node<'_>]) -> Option<(String, &'static str)> {
    let endless = |name: &str| (format!("`{name}` may never end"), ENDLESS_HINT);
    match (name, arguments.len()) {
        ("repeat", 1) | ("while" | "until", 2) | ("recurse", 1 | 2) => Some(endless(name)),
        ("range", 1..=3) if !short(arguments) => Some((
            format!("`range` has to be over constants, and at most {RANGE_LIMIT} steps long"),
            "to walk over an array, use .[], to_entries or reduce",
        )),
        ("input" | "inputs" | "env" | "debug" | "stderr" | "halt" | "halt_error", _)
        | ("input_filename" | "input_line_number" | "modulemeta" | "get_search_list", _)
        | ("localtime" | "strflocaltime", _) => {
            Some((format!("`{name}` reaches outside the request"), OUTSIDE_HINT))
        }
        _ => None,
    }
}

/// Whether a `range` is of constants and short.
fn short(arguments: &[Node<'_>]) -> bool {
    let constant = |term: &Node<'_>| match term {
        Term::Num(text) => text.parse::<f64>().ok(),
        Term::Neg(term) => match &**term {
            Term::Num(text) => text.parse::<f64>().ok().map(|number| -number),
            _ => None,
        },
        _ => None,
    };
    let constants: Option<Vec<f64>> = arguments.iter().map(constant).collect();
    let steps = match constants.as_deref() {
        Some([to]) => *to,
        Some([from, to]) => to - from,
        Some([from, to, by]) => (to - from) / by,
        _ => return false,
    };
    steps <= RANGE_LIMIT
}
