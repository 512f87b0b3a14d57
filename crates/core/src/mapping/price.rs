//! What a program pays in jaq where no value sees its steps: thirty times `(., .) | ...`, or functions
//! of its own that each call the one before twice, make a billion steps without one sum. So every `,`
//! and every call of an own function goes through a step that is paid for. So does every step of a
//! `reduce` or `foreach`: where one is a path, jaq recurses once a step, and frees paths by recursion.

use jaq_core::box_iter::box_once;
use jaq_core::load::parse::{BinaryOp, Def, Term};
use jaq_core::native::{Fun, v};
use jaq_core::{Exn, Native};

use super::budget::descend;
use super::native::Plain;
use super::syntax::{Node, each_mut};
use super::value::{DEPTH_MADE, Error, TOO_DEEP};

/// No program can call it.
const PAID: &str = "!paid";

/// The same program, which pays.
pub(super) fn priced(mut program: Node<'_>) -> Node<'_> {
    price(&mut program);
    program
}

/// The same definition, of which each call pays.
pub(super) fn paying(mut def: Def<&str>) -> Def<&str> {
    price(&mut def.body);
    pay(&mut def.body);
    def
}

fn price(term: &mut Node<'_>) {
    each_mut(term, &mut price);
    match term {
        Term::BinOp(_, BinaryOp::Comma, right) => pay(right),
        Term::Fold(_, _, _, arguments) => arguments.iter_mut().skip(1).take(1).for_each(pay),
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
    let native = Native::new(|cv| box_once(descend().map(|()| cv.1).map_err(Exn::from)))
        .with_paths(|cv| {
            let long = cv.1.1.get(DEPTH_MADE).is_some();
            let paid = if long { Err(Error::str(TOO_DEEP)) } else { descend() };
            box_once(paid.map(|()| cv.1).map_err(Exn::from))
        })
        .with_update(|cv, update| match descend() {
            Ok(()) => update(cv.1),
            Err(error) => box_once(Err(error.into())),
        });
    (PAID, v(0), native)
}
