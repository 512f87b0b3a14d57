//! What a program may say: everything that ends and stays inside the request. jaq would run
//! `def f: f; f` for ever, so such programs are refused when they are loaded.

use std::collections::BTreeSet;

use jaq_core::load::lex::{Lexer, StrPart, Tok, Token};
use jaq_core::load::parse::{BinaryOp, Def, Parser, Pattern, Term};
use jaq_core::path::Part;

use super::program::{CompileError, offset_of};
use super::reads::Reads;

/// The longest `range` of constants, in steps.
const RANGE_LIMIT: f64 = 10_000.0;
/// How deep a program's brackets may nest.
const NESTING: usize = 64;
/// How many operators may stand one after another or inside each other, and how long a program may
/// be in bytes: jaq recurses over both.
const OPERATORS: usize = 500;
const LENGTH: usize = 64 * 1024;

/// Words that, like operators, nest what follows.
const STACKED: [&str; 12] =
    ["and", "or", "as", "if", "elif", "try", "catch", "label", "reduce", "foreach", "def", "then"];

const ENDLESS_HINT: &str = "walk over what is there: .[], map, reduce, first(...), `..`";
const OUTSIDE_HINT: &str = "a program sees its input and its variables, nothing else";

type Node<'a> = Term<&'a str>;

/// What is known about a program that may run.
pub(super) struct Facts<'a> {
    /// Names of variables that occur, with `$`; also those that it binds itself.
    pub variables: BTreeSet<&'a str>,
    /// The names in `$env.NAME`.
    pub env: Vec<&'a str>,
    pub reads: Reads<'a>,
}

/// Refuses what is too large to be parsed without worry.
pub(super) fn size(text: &str) -> Result<(), CompileError> {
    let refused = |offset: usize, message: String| {
        let hint = Some("split it: mappings can be chained".to_owned());
        Err(CompileError { offset, message, hint })
    };
    if text.len() > LENGTH {
        return refused(LENGTH, format!("a program is at most {LENGTH} bytes long"));
    }
    let mut open = 0_usize;
    for (offset, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > NESTING {
            return refused(offset, format!("brackets nest deeper than {NESTING}"));
        }
    }
    match weigh(&Lexer::new(text).lex().unwrap_or_default(), 0) {
        Ok(()) => Ok(()),
        Err(place) => {
            let message = format!("more than {OPERATORS} operators in a row or inside each other");
            refused(offset_of(text, place), message)
        }
    }
}

/// Counts what makes a program's tree deeper; gives the place where it gets too deep.
fn weigh<'a>(tokens: &[Token<&'a str>], above: usize) -> Result<(), &'a str> {
    let (mut weight, mut path) = (above, 0);
    for Token(text, token) in tokens {
        match token {
            Tok::Sym if text.starts_with('.') => path += 1,
            Tok::Block(_) if text.starts_with('[') => path += 1,
            Tok::Sym if *text == "?" => {}
            _ => path = 0,
        }
        match token {
            Tok::Sym if !text.starts_with(['.', ':', ';', '?']) => weight += 1,
            Tok::Word if STACKED.contains(text) => weight += 1,
            Tok::Block(inner) => weigh(inner, weight)?,
            Tok::Str(parts) => {
                for part in parts {
                    if let StrPart::Term(Token(text, Tok::Block(inner))) = part {
                        weight += 1;
                        if weight > OPERATORS {
                            return Err(text);
                        }
                        weigh(inner, weight)?;
                    }
                }
            }
            _ => {}
        }
        if weight > OPERATORS || path > OPERATORS {
            return Err(text);
        }
    }
    Ok(())
}

/// Checks a program that parses.
pub(super) fn check(text: &str) -> Result<Facts<'_>, Vec<CompileError>> {
    let tokens = Lexer::new(text).lex().unwrap_or_default();
    let term = Parser::new(&tokens).parse(Parser::term).unwrap_or_default();
    let (scope, variables, env, errors) = Default::default();
    let mut check = Check { text, scope, variables, env, errors };
    check.walk(&term);
    if check.errors.is_empty() {
        Ok(Facts { variables: check.variables, env: check.env, reads: Reads::of(&term) })
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
        if let Some((message, hint)) = refusal {
            let offset = offset_of(self.text, name);
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

/// Calls `visit` with every term that stands directly inside `term`.
pub(super) fn each<'t, 'a>(term: &'t Node<'a>, visit: &mut impl FnMut(&'t Node<'a>)) {
    match term {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Var(_) | Term::Break(_) => {}
        Term::Arr(None) => {}
        Term::Str(_, parts) => parts.iter().for_each(|part| {
            if let StrPart::Term(term) = part {
                visit(term);
            }
        }),
        Term::Arr(Some(term)) | Term::Neg(term) | Term::Label(_, term) => visit(term),
        Term::Obj(members) => members.iter().for_each(|(name, value)| {
            visit(name);
            value.iter().for_each(&mut *visit);
        }),
        Term::BinOp(left, operator, right) => {
            visit(left);
            if let BinaryOp::Pipe(Some(pattern)) = operator {
                each_key(pattern, visit);
            }
            visit(right);
        }
        Term::Fold(_, items, pattern, arguments) => {
            visit(items);
            each_key(pattern, visit);
            arguments.iter().for_each(visit);
        }
        Term::TryCatch(term, catch) => {
            visit(term);
            catch.iter().for_each(|term| visit(term));
        }
        Term::IfThenElse(cases, otherwise) => {
            cases.iter().for_each(|(condition, then)| {
                visit(condition);
                visit(then);
            });
            otherwise.iter().for_each(|term| visit(term));
        }
        Term::Def(defs, body) => {
            defs.iter().for_each(|def| visit(&def.body));
            visit(body);
        }
        Term::Call(_, arguments) => arguments.iter().for_each(visit),
        Term::Path(term, path) => {
            visit(term);
            path.0.iter().for_each(|(part, _)| match part {
                Part::Index(term) => visit(term),
                Part::Range(from, to) => from.iter().chain(to).for_each(&mut *visit),
            });
        }
    }
}

fn each_key<'t, 'a>(pattern: &'t Pattern<&'a str>, visit: &mut impl FnMut(&'t Node<'a>)) {
    match pattern {
        Pattern::Var(_) => {}
        Pattern::Arr(patterns) => patterns.iter().for_each(|pattern| each_key(pattern, visit)),
        Pattern::Obj(members) => members.iter().for_each(|(key, pattern)| {
            visit(key);
            each_key(pattern, visit);
        }),
    }
}
