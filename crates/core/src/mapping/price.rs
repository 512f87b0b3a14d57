//! What a program pays in jaq where no value sees its steps: thirty times `(., .) | ...`, or functions
//! of its own that each call the one before twice, make a billion steps without one sum. So every `,`
//! and every call of an own function goes through a step that is paid for.

use jaq_core::box_iter::box_once;
use jaq_core::load::parse::{BinaryOp, Term};
use jaq_core::native::{Fun, v};
use jaq_core::{Exn, Native};

use super::budget::{STEP, charge};
use super::native::Plain;
use super::syntax::{Node, each_mut};

/// No program can call it.
const PAID: &str = "!paid";

/// The same program, which pays.
pub(super) fn priced(mut program: Node<'_>) -> Node<'_> {
    price(&mut program);
    program
}

fn price(term: &mut Node<'_>) {
    each_mut(term, &mut price);
    match term {
        Term::BinOp(_, BinaryOp::Comma, right) => pay(right),
        Term::Def(defs, _) => defs.iter_mut().for_each(|def| pay(&mut def.body)),
        _ => {}
    }
}

fn pay(term: &mut Node<'_>) {
    let paid = Box::new(Term::Call(PAID, Vec::new()));
    *term = Term::BinOp(paid, BinaryOp::Pipe(None), Box::new(std::mem::take(term)));
}

/// `.`, at the price of a step.
pub(super) fn function() -> Fun<Plain> {
    let native = Native::new(|cv| box_once(paid(cv.1)))
        .with_paths(|cv| box_once(paid(cv.1)))
        .with_update(|cv, update| match charge(STEP) {
            Ok(()) => update(cv.1),
            Err(error) => box_once(Err(error.into())),
        });
    (PAID, v(0), native)
}

fn paid<'a, T>(value: T) -> Result<T, Exn<'a, super::Value>> {
    charge(STEP)?;
    Ok(value)
}
