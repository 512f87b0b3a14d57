//! From a program's text to jaq's syntax tree, once: what checks it, plans it and runs it has the same
//! tree. jaq's lexer and parser recurse, so what is too large for them is refused here.

use std::fmt::Display;

use jaq_core::load::lex::{Lexer, StrPart, Tok, Token};
use jaq_core::load::parse::{BinaryOp, Parser, Pattern, Term};
use jaq_core::path::Part;

use super::program::CompileError;

/// How deep a program's brackets may nest.
const NESTING: usize = 64;
/// How many operators may stand one after another or inside each other, and how long a program may
/// be in bytes: jaq recurses over both.
const OPERATORS: usize = 500;
const LENGTH: usize = 64 * 1024;

/// Words that, like operators, nest what follows.
const STACKED: [&str; 12] =
    ["and", "or", "as", "if", "elif", "try", "catch", "label", "reduce", "foreach", "def", "then"];

/// What jaq reads from other files, or says of its own.
const MODULES: [&str; 3] = ["import", "include", "module"];

pub(super) type Node<'a> = Term<&'a str>;

/// The syntax tree of a program.
pub(super) fn parse(text: &str) -> Result<Node<'_>, Vec<CompileError>> {
    brackets(text).map_err(|error| vec![error])?;
    let unexpected = |what: &str, part: &str| expected(text, what, part);
    let tokens = Lexer::new(text).lex().map_err(|errors| {
        errors.into_iter().map(|(what, part)| unexpected(what.as_str(), part)).collect::<Vec<_>>()
    })?;
    if let Err(part) = weigh(&tokens, 0) {
        let message = format!("more than {OPERATORS} operators in a row or inside each other");
        return Err(vec![too_large(offset_of(text, part), message)]);
    }
    if let Some(Token(word, Tok::Word)) = tokens.first()
        && MODULES.contains(word)
    {
        return Err(vec![CompileError {
            offset: offset_of(text, word),
            message: "a program cannot load modules".to_owned(),
            hint: Some("name the mapping in the configuration, and use it from there".to_owned()),
        }]);
    }
    Parser::new(&tokens).parse(Parser::term).map_err(|errors| {
        let place = |found: Option<&Token<_>>| Token::opt_as_str(found, text);
        errors.into_iter().map(|(what, found)| unexpected(what.as_str(), place(found))).collect()
    })
}

/// The byte at which `part`, a slice of `text`, begins; 0 for what is no slice of it.
pub(super) fn offset_of(text: &str, part: &str) -> usize {
    let offset = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize);
    offset.filter(|offset| *offset <= text.len()).unwrap_or(0)
}

fn too_large(offset: usize, message: String) -> CompileError {
    let hint = Some("split it: mappings can be chained".to_owned());
    CompileError { offset, message, hint }
}

/// Refuses what is too large to be read without worry.
fn brackets(text: &str) -> Result<(), CompileError> {
    if text.len() > LENGTH {
        return Err(too_large(LENGTH, format!("a program is at most {LENGTH} bytes long")));
    }
    let mut open = 0_usize;
    for (offset, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > NESTING {
            return Err(too_large(offset, format!("brackets nest deeper than {NESTING}")));
        }
    }
    Ok(())
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

/// What jaq expected, and what stands there.
fn expected(text: &str, what: &str, part: &str) -> CompileError {
    let what = if what.chars().all(char::is_alphabetic) || what.contains(' ') {
        what.to_owned()
    } else {
        format!("`{what}`")
    };
    let found: &dyn Display = match part.lines().next() {
        None => &"the end",
        Some(line) => &format!("`{}`", line.chars().take(20).collect::<String>()),
    };
    let message = format!("expected {what}, found {found}");
    CompileError { offset: offset_of(text, part), message, hint: None }
}

/// A function that calls `visit` with every term that stands directly inside a term, and, if they
/// are to be changed, one that may.
macro_rules! walks {
    ($each:ident, $each_key:ident, $iter:ident $(, $mut:tt)?) => {
        pub(super) fn $each<'t, 'a>(
            term: &'t $($mut)? Node<'a>,
            visit: &mut impl FnMut(&'t $($mut)? Node<'a>),
        ) {
            match term {
                Term::Id | Term::Recurse | Term::Num(_) | Term::Var(_) | Term::Break(_) => {}
                Term::Arr(None) => {}
                Term::Str(_, parts) => parts.$iter().for_each(|part| {
                    if let StrPart::Term(term) = part {
                        visit(term);
                    }
                }),
                Term::Arr(Some(term)) | Term::Neg(term) | Term::Label(_, term) => visit(term),
                Term::Obj(members) => members.$iter().for_each(|(name, value)| {
                    visit(name);
                    value.$iter().for_each(&mut *visit);
                }),
                Term::BinOp(left, operator, right) => {
                    visit(left);
                    if let BinaryOp::Pipe(Some(pattern)) = operator {
                        $each_key(pattern, visit);
                    }
                    visit(right);
                }
                Term::Fold(_, items, pattern, arguments) => {
                    visit(items);
                    $each_key(pattern, visit);
                    arguments.$iter().for_each(visit);
                }
                Term::TryCatch(term, catch) => {
                    visit(term);
                    catch.$iter().for_each(|term| visit(term));
                }
                Term::IfThenElse(cases, otherwise) => {
                    cases.$iter().for_each(|(condition, then)| {
                        visit(condition);
                        visit(then);
                    });
                    otherwise.$iter().for_each(|term| visit(term));
                }
                Term::Def(defs, body) => {
                    defs.$iter().for_each(|def| visit(& $($mut)? def.body));
                    visit(body);
                }
                Term::Call(_, arguments) => arguments.$iter().for_each(visit),
                Term::Path(term, path) => {
                    visit(term);
                    path.0.$iter().for_each(|(part, _)| match part {
                        Part::Index(term) => visit(term),
                        Part::Range(from, to) => from.$iter().chain(to).for_each(&mut *visit),
                    });
                }
            }
        }

        fn $each_key<'t, 'a>(
            pattern: &'t $($mut)? Pattern<&'a str>,
            visit: &mut impl FnMut(&'t $($mut)? Node<'a>),
        ) {
            match pattern {
                Pattern::Var(_) => {}
                Pattern::Arr(items) => items.$iter().for_each(|item| $each_key(item, visit)),
                Pattern::Obj(members) => members.$iter().for_each(|(key, pattern)| {
                    visit(key);
                    $each_key(pattern, visit);
                }),
            }
        }
    };
}

walks!(each, each_key, iter);
walks!(each_mut, each_key_mut, iter_mut, mut);
