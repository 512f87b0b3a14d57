//! Where in a value something is wrong. Nobody keeps track of it: the parts are collected, the innermost
//! first, while an error travels outwards, so that what goes well costs nothing.

use std::fmt::Write as _;

use super::value::Text;

/// The longest pointer that is told, in bytes. One that would be longer names what is around.
const LENGTH: usize = 200;

/// One part of the way into a value.
#[derive(PartialEq, Eq)]
pub(super) enum Key {
    Member(Text),
    Item(usize),
}

/// A JSON Pointer (RFC 6901) of parts of which the innermost comes first.
pub(super) fn pointer(keys: &[Key]) -> String {
    let mut out = String::new();
    for key in keys.iter().rev() {
        let whole = out.len();
        // Writing to memory cannot fail.
        let _ = match key {
            Key::Member(name) => write!(out, "/{}", name.replace('~', "~0").replace('/', "~1")),
            Key::Item(at) => write!(out, "/{at}"),
        };
        if out.len() > LENGTH {
            out.truncate(whole);
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_escaped_and_never_cut_within_a_part() {
        let member = |name: &str| Key::Member(name.into());
        assert_eq!(pointer(&[]), "");
        assert_eq!(pointer(&[member("a/b~c"), Key::Item(7), member("")]), "//7/a~1b~0c");
        assert_eq!(pointer(&[member("x"), member(&"y".repeat(300)), member("a")]), "/a");
    }
}
