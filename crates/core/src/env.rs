//! What programs and templates may know of the environment: the names that the configuration lists, with
//! the values that they had when it was read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use crate::mapping::Value;

/// A shorter value is not looked for in texts: its letters would be found everywhere.
const SHORTEST_SECRET: usize = 6;

/// Values by name. What may be a secret is in no message.
#[derive(Default)]
pub struct Env(BTreeMap<String, Listed>);

struct Listed {
    value: String,
    is_secret: bool,
}

impl Env {
    /// `is_secret` for what does not stand in the configuration itself.
    pub fn list(&mut self, name: &str, value: &str, is_secret: bool) {
        self.0.insert(name.to_owned(), Listed { value: value.to_owned(), is_secret });
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|listed| listed.value.as_str())
    }

    /// Whether any of the values may be a secret.
    pub(crate) fn has_secrets(&self) -> bool {
        self.0.values().any(|listed| listed.is_secret)
    }

    /// `$env`
    pub(crate) fn value(&self) -> Value {
        Value::object(self.0.iter().map(|(name, listed)| (name, Value::text(&listed.value))))
    }

    /// The text with `$env.NAME` for every value in it that may be a secret.
    pub(crate) fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let secrets = self.0.iter().filter(|(_, listed)| listed.is_secret);
        let long = secrets.filter(|(_, listed)| listed.value.len() >= SHORTEST_SECRET);
        long.fold(Cow::Borrowed(text), |text, (name, listed)| {
            if !text.contains(&listed.value) {
                return text;
            }
            Cow::Owned(text.replace(&listed.value, &format!("$env.{name}")))
        })
    }

    /// What is wrong with a name that is not listed: the message, and a hint.
    pub(crate) fn unlisted(&self, name: &str) -> (String, String) {
        let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
        let hint = match names.as_slice() {
            [] => format!(
                "list it at the top of the configuration: env: {{ {name}: \"${{{name}}}\" }}"
            ),
            names => format!("it lists {}", names.join(", ")),
        };
        (format!("the configuration's `env` does not list {name}"), hint)
    }
}

/// Names, and no values.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
