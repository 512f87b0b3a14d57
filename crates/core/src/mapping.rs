//! The mapping language: jq, compiled at load, never per request.
//!
//! jaq parses, compiles and runs it. Everything outside sees [`Program`] and [`Value`] only, so that
//! a faster plan can come behind them. A program reaches nothing outside its input and variables.

use std::fmt::Write as _;

use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data, load, unwrap_valr};
use jaq_json::{Num, Val};

/// Words that reach outside or may not end: refused at load.
const REFUSED: [&str; 14] = [
    "repeat",
    "while",
    "until",
    "recurse",
    "range",
    "input",
    "inputs",
    "halt",
    "halt_error",
    "env",
    "debug",
    "stderr",
    "limit",
    "def",
];
/// `19`, not `19.0`: a number's text is the one that jq and JavaScript print.
const TOSTRING: &str = "def tostring: if type == \"string\" then . \
    else tojson | if test(\"^-?[0-9]+[.]0$\") then .[:-2] else . end end;";
/// What a client may read of an error, in bytes.
const MESSAGE_LIMIT: usize = 200;
/// How deep a JSON text may nest.
const DEPTH_LIMIT: usize = 64;

/// A JSON value. Keeps the order of keys and the text of numbers. Cloning is cheap.
#[derive(Clone, Debug, PartialEq)]
pub struct Value(Val);

/// Why a text is no JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(String);

impl Value {
    pub const NULL: Self = Self(Val::Null);

    /// Reads exactly one JSON value. Refuses repeated keys, bytes that are not UTF-8, and nesting
    /// deeper than 64.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        check(text)?;
        jaq_json::read::parse_single(text).map(Self).map_err(|error| ParseError(error.to_string()))
    }

    pub fn text(text: &str) -> Self {
        Self(Val::utf8_str(text.to_owned()))
    }

    pub fn integer(number: i64) -> Self {
        Self(isize::try_from(number).map_or(Val::Null, Val::from))
    }

    pub fn object(members: impl IntoIterator<Item = (String, Self)>) -> Self {
        Self(Val::obj(
            members.into_iter().map(|(name, value)| (Val::utf8_str(name), value.0)).collect(),
        ))
    }

    pub fn json(value: &serde_json::Value) -> Self {
        jaq_json::read::parse_single(value.to_string().as_bytes()).map_or(Self::NULL, Self)
    }

    pub fn is_true(&self) -> bool {
        matches!(self.0, Val::Bool(true))
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Strict JSON by serde_json, which also bounds the depth, and no key twice.
fn check(text: &[u8]) -> Result<(), ParseError> {
    let text =
        std::str::from_utf8(text).map_err(|error| ParseError(format!("not UTF-8: {error}")))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let strict = serde::de::DeserializeSeed::deserialize(strict::Strict(DEPTH_LIMIT), &mut reader);
    strict.and_then(|()| reader.end()).map_err(|error| ParseError(error.to_string()))
}

mod strict {
    //! A reader that keeps nothing and refuses repeated keys and deep nesting.

    use std::collections::HashSet;

    use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

    pub(super) struct Strict(pub(super) usize);

    impl Strict {
        fn deeper<E: Error>(&self) -> Result<Self, E> {
            self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("nested too deep"))
        }
    }

    impl<'de> DeserializeSeed<'de> for Strict {
        type Value = ();

        fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
            reader.deserialize_any(self)
        }
    }

    impl<'de> Visitor<'de> for Strict {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("JSON")
        }

        fn visit_bool<E>(self, _: bool) -> Result<(), E> {
            Ok(())
        }

        fn visit_i64<E>(self, _: i64) -> Result<(), E> {
            Ok(())
        }

        fn visit_u64<E>(self, _: u64) -> Result<(), E> {
            Ok(())
        }

        fn visit_f64<E>(self, _: f64) -> Result<(), E> {
            Ok(())
        }

        fn visit_str<E>(self, _: &str) -> Result<(), E> {
            Ok(())
        }

        fn visit_unit<E>(self) -> Result<(), E> {
            Ok(())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
            while list.next_element_seed(self.deeper()?)?.is_some() {}
            Ok(())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            let mut keys = HashSet::new();
            while let Some(key) = map.next_key::<String>()? {
                map.next_value_seed(self.deeper()?)?;
                if keys.contains(&key) {
                    return Err(A::Error::custom(format!("the key {key:?} stands twice")));
                }
                keys.insert(key);
            }
            Ok(())
        }
    }
}

/// Where a program's variables get their values, once per run each.
pub trait Scope {
    fn variable(&self, name: &str) -> Value;
}

/// What is wrong with a program, and at which byte of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    pub offset: usize,
    pub message: String,
}

/// Why a run gave no value. Fit for a client: short, without the body's content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RunError(String);

/// A compiled program, shared by workers.
pub struct Program {
    compiled: jaq_core::compile::Filter<jaq_core::Native<data::JustLut<Val>>>,
    /// The variables that are set, in order; those that it does not use are null.
    variables: Vec<(&'static str, bool)>,
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Program>();
};

impl Program {
    /// Compiles a program that may use these variables (named without the `$`).
    pub fn compile(text: &str, variables: &[&'static str]) -> Result<Self, Vec<CompileError>> {
        if let Some(error) = refused(text) {
            return Err(vec![error]);
        }
        let own = load::parse(TOSTRING, |parser| parser.defs()).unwrap_or_default();
        let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs()).chain(own);
        let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let arena = Arena::default();
        let modules =
            Loader::new(defs).load(&arena, File { code: text, path: () }).map_err(|errors| {
                errors.into_iter().flat_map(|(_, error)| syntax(text, error)).collect::<Vec<_>>()
            })?;
        let names: Vec<String> = variables.iter().map(|name| format!("${name}")).collect();
        let compiled = Compiler::default()
            .with_funs(funs)
            .with_global_vars(names.iter().map(String::as_str))
            .compile(modules)
            .map_err(|errors| {
                let undefined = errors.into_iter().flat_map(|(_, errors)| errors);
                let known = names.join(", ");
                undefined
                    .map(|(name, kind)| CompileError {
                        offset: load::span(text, name).start,
                        message: format!("unknown {} `{name}`; variables: {known}", kind.as_str()),
                    })
                    .collect::<Vec<_>>()
            })?;
        let used = |name: &&'static str| (*name, text.contains(&format!("${name}")));
        Ok(Self { compiled, variables: variables.iter().map(used).collect() })
    }

    pub fn uses(&self, variable: &str) -> bool {
        self.variables.iter().any(|(name, used)| *used && *name == variable)
    }

    /// Runs the program, which has to give exactly one value.
    pub fn run_one(&self, input: Value, scope: &dyn Scope) -> Result<Value, RunError> {
        let values = self
            .variables
            .iter()
            .map(|(name, used)| if *used { scope.variable(name).0 } else { Val::Null });
        let context = Ctx::<data::JustLut<Val>>::new(&self.compiled.lut, Vars::new(values));
        let mut outputs = self.compiled.id.run((context, input.0)).map(unwrap_valr);
        let first =
            outputs.next().ok_or_else(|| RunError("the mapping gave no value".to_owned()))?;
        let first = first.map_err(|error| RunError(short(&error.to_string())))?;
        match outputs.next() {
            None => Ok(Value(plain(first))),
            Some(_) => Err(RunError("the mapping gave several values".to_owned())),
        }
    }
}

/// Computed whole numbers print as jq and JavaScript print them; copied ones keep their text.
fn plain(value: Val) -> Val {
    match value {
        Val::Num(Num::Float(number)) => whole(number).unwrap_or(Val::Num(Num::Float(number))),
        Val::Arr(items) => items.iter().cloned().map(plain).collect(),
        Val::Obj(members) => Val::obj(
            members.iter().map(|(name, value)| (name.clone(), plain(value.clone()))).collect(),
        ),
        other => other,
    }
}

fn whole(number: f64) -> Option<Val> {
    let exact = number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0;
    exact.then(|| format!("{number:.0}").parse::<isize>().ok().map(Val::from)).flatten()
}

fn refused(text: &str) -> Option<CompileError> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    REFUSED.iter().find_map(|word| {
        let offset = text.match_indices(word).map(|(at, _)| at).find(|at| {
            let before = at.checked_sub(1).and_then(|at| text.as_bytes().get(at).copied());
            let after = text.as_bytes().get(at + word.len()).copied();
            !before.is_some_and(|byte| is_name(byte) || matches!(byte, b'.' | b'$' | b'"'))
                && !after.is_some_and(|byte| is_name(byte) || matches!(byte, b':' | b'"'))
        })?;
        let message = format!("`{word}` may not end, or reaches outside the request");
        Some(CompileError { offset, message })
    })
}

fn syntax(text: &str, error: load::Error<&str>) -> Vec<CompileError> {
    let at = |part: &str| load::span(text, part).start.min(text.len());
    match error {
        load::Error::Io(errors) => errors
            .into_iter()
            .map(|(part, why)| CompileError { offset: at(part), message: why })
            .collect(),
        load::Error::Lex(errors) => errors
            .into_iter()
            .map(|(expected, part)| CompileError {
                offset: at(part),
                message: format!("expected {}", expected.as_str()),
            })
            .collect(),
        load::Error::Parse(errors) => errors
            .into_iter()
            .map(|(expected, part)| CompileError {
                offset: at(part),
                message: format!("expected {}", expected.as_str()),
            })
            .collect(),
    }
}

fn short(message: &str) -> String {
    let mut out = String::new();
    for character in message.chars().take_while(|c| !c.is_control()) {
        if out.len() >= MESSAGE_LIMIT {
            let _ = write!(out, "...");
            break;
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Claims;

    impl Scope for Claims {
        fn variable(&self, name: &str) -> Value {
            match name {
                "jwt" => Value::json(&serde_json::json!({ "sub": "u-1", "permissions": ["a"] })),
                _ => Value::NULL,
            }
        }
    }

    fn run(program: &str, input: &str) -> Result<String, RunError> {
        let program = Program::compile(program, &["jwt", "headers"]).unwrap();
        program.run_one(Value::parse(input.as_bytes()).unwrap(), &Claims).map(|out| out.to_string())
    }

    #[test]
    fn the_shops_order_mapping() {
        let program = "{ userId: $jwt.sub, items: .orderItems | map({ productId: .id, quantity: .qty, \
                       price: (.unitPrice | tonumber) }), source: $headers[\"x\"] }";
        let input = r#"{"orderItems":[{"id":"p1","qty":2,"unitPrice":"9.50"}]}"#;
        assert_eq!(
            run(program, input).unwrap(),
            r#"{"userId":"u-1","items":[{"productId":"p1","quantity":2,"price":9.50}],"source":null}"#
        );
    }

    #[test]
    fn computed_numbers_print_as_javascript_does() {
        let program = "{ n: (.q * .p), s: (.q * .p | tostring), copied: .p, l: [.q * .p] }";
        let out = run(program, r#"{"q":2,"p":9.50}"#).unwrap();
        assert_eq!(out, r#"{"n":19,"s":"19","copied":9.50,"l":[19]}"#);
    }

    #[test]
    fn exactly_one_value() {
        assert!(
            run(".[]", "[1,2]").is_err() && run("empty", "1").is_err() && run(".a", "[1]").is_err()
        );
        assert_eq!(run("$jwt.permissions // [] | any(. == \"a\")", "null").unwrap(), "true");
    }

    #[test]
    fn what_does_not_compile_says_where() {
        let offset = |text| Program::compile(text, &["jwt"]).err().unwrap().first().unwrap().offset;
        assert_eq!(offset(".a | $nope"), 5);
        assert_eq!(offset(".a | nope"), 5);
        assert_eq!(offset("[range(9)]"), 1);
        assert!(Program::compile("{ limit: .range }", &[]).is_ok());
    }

    #[test]
    fn bodies_are_strict_json() {
        for bad in ["{\"a\":1,\"a\":2}", "1 2", "", "NaN", "{\"a\":}", "// x\n1"] {
            assert!(Value::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Value::parse(&[b'"', 0xff, b'"']).is_err());
        assert!(Value::parse("[".repeat(70).as_bytes()).is_err());
        let big = "12345678901234567890123";
        assert_eq!(Value::parse(big.as_bytes()).unwrap().to_string(), big);
    }
}
