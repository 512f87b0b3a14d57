//! `${NAME}` and `${NAME:-default}` in values: what differs from one machine to the next, and what
//! is secret, stays out of the file. Filled in after the file was taken apart, so a value can never
//! become structure.

use std::collections::{BTreeMap, HashMap};

use crate::text::clip;

/// Where `${NAME}` comes from.
pub trait Environment {
    /// `None` when it is not set.
    fn get(&self, name: &str) -> Option<String>;
}

/// The environment of this process. A value that is not UTF-8 counts as not set.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

impl<F: Fn(&str) -> Option<String>> Environment for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }
}

impl Environment for HashMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        HashMap::get(self, name).cloned()
    }
}

impl Environment for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        BTreeMap::get(self, name).cloned()
    }
}

/// A text after its variables were filled in.
#[derive(Default, Debug)]
pub(crate) struct Filled {
    pub(crate) value: String,
    /// What is shown for it: the text with `${NAME}` for each variable. `None` when it had none.
    pub(crate) written: Option<String>,
    /// Each value that came from the environment, with its `${NAME}`.
    pub(crate) secrets: Vec<(String, String)>,
    pub(crate) faults: Vec<Fault>,
}

/// Something wrong with one `${…}`.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Of the `$`, in bytes of the text before filling in.
    pub(crate) offset: usize,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// Fills in every `${NAME}`. `$${` is a plain `${`.
pub(crate) fn fill(text: &str, environment: &dyn Environment) -> Filled {
    let mut filled = Filled::default();
    let mut written = String::new();
    let mut has_variable = false;
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(escaped) = before.strip_suffix('$') {
            for target in [&mut filled.value, &mut written] {
                target.push_str(escaped);
                target.push_str("${");
            }
            rest = from.get(2..).unwrap_or("");
            continue;
        }
        filled.value.push_str(before);
        written.push_str(before);
        has_variable = true;
        let offset = text.len() - from.len();
        match variable(from) {
            Ok((name, default, after)) => {
                let shown = format!("${{{name}}}");
                written.push_str(&shown);
                filled.look_up(name, default, shown, offset, environment);
                rest = after;
            }
            Err(fault) => {
                filled.faults.push(Fault { offset, ..fault });
                rest = from.split_once('}').map_or("", |(_, after)| after);
            }
        }
    }
    filled.value.push_str(rest);
    written.push_str(rest);
    filled.written = has_variable.then_some(written);
    filled
}

impl Filled {
    /// As in a shell: the default stands in for a variable that is not set or empty.
    fn look_up(
        &mut self,
        name: &str,
        default: Option<&str>,
        shown: String,
        offset: usize,
        environment: &dyn Environment,
    ) {
        let value = environment.get(name);
        match (value.filter(|value| default.is_none() || !value.is_empty()), default) {
            (Some(value), _) => {
                self.value.push_str(&value);
                self.secrets.push((value, shown));
            }
            (None, Some(default)) => self.value.push_str(default),
            (None, None) => self.faults.push(Fault {
                offset,
                message: format!("the environment variable `{}` is not set", clip(name)),
                hint: format!("set it, or give a default: ${{{}:-value}}", clip(name)),
            }),
        }
    }
}

type Variable<'t> = (&'t str, Option<&'t str>, &'t str);

/// Takes `${NAME}` or `${NAME:-default}` off the front: name, default, what follows.
fn variable(text: &str) -> Result<Variable<'_>, Fault> {
    let fault = |message: String, hint: &str| Fault { offset: 0, message, hint: hint.to_owned() };
    let Some((inner, after)) = text.get(2..).unwrap_or("").split_once('}') else {
        return Err(fault("`${` is never closed".to_owned(), "write ${NAME}; a plain `${` is $${"));
    };
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(fault(
            format!("`{}` is no name of an environment variable", clip(name)),
            "write ${NAME} or ${NAME:-default}; a plain `${` is $${",
        ));
    }
    if default.is_some_and(|default| default.contains("${")) {
        return Err(fault(
            "a default cannot hold another variable".to_owned(),
            "a default ends at the first `}`",
        ));
    }
    Ok((name, default, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Filled {
        let environment = |name: &str| match name {
            "A" => Some("alpha".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${A}".to_owned()),
            _ => None,
        };
        fill(text, &environment)
    }

    #[test]
    fn variables_defaults_and_escapes() {
        for (text, value) in [
            ("plain", "plain"),
            ("${A}", "alpha"),
            ("x${A}y${A}", "xalphayalpha"),
            ("${NONE:-d e f}", "d e f"),
            ("${NONE:-}", ""),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY}", ""),
            ("$${A}", "${A}"),
            ("a $ b $name $$ {", "a $ b $name $$ {"),
            ("${TRICK}", "${A}"),
        ] {
            let filled = filled(text);
            assert_eq!(filled.value, value, "{text}");
            assert!(filled.faults.is_empty(), "{text}: {:?}", filled.faults);
        }
    }

    #[test]
    fn what_is_shown_never_holds_a_value() {
        assert_eq!(filled("u:${A}@${NONE:-h}").written.unwrap(), "u:${A}@${NONE}");
        assert_eq!(filled("none").written, None);
        assert_eq!(filled("${A}").secrets, [("alpha".to_owned(), "${A}".to_owned())]);
        assert!(filled("${NONE:-x}").secrets.is_empty(), "a default stands in the file");
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let faults = filled("${B} ${1} ${A-x} ${C:-${D}} ${").faults;
        let told: Vec<_> = faults.iter().map(|f| (f.offset, f.message.as_str())).collect();
        assert_eq!(
            told,
            [
                (0, "the environment variable `B` is not set"),
                (5, "`1` is no name of an environment variable"),
                (10, "`A-x` is no name of an environment variable"),
                (17, "a default cannot hold another variable"),
                (28, "`${` is never closed"),
            ]
        );
    }
}
