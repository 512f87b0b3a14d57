//! Programs: compiled once when the configuration is loaded, run once per request.

use std::fmt::{Display, Write as _};
use std::sync::Arc;

use jaq_core::compile::Undefined;
use jaq_core::load::{Arena, File, Loader, parse::Def};
use jaq_core::{Compiler, Ctx, Vars};

use super::budget::{STEP, charge};
use super::library::{definitions, natives};
use super::native::{Compiled, Plain};
use super::plan::{self, Plan, Stop};
use super::pointer::pointer;
use super::syntax::{self, Node, offset_of};
use super::value::{Data, Error, Value};
use super::{OUTPUT_LIMIT, budget, check, price, write};
use crate::env::Env;

/// jaq's parser and compiler recurse over a program; so they get a stack of their own, in bytes.
const COMPILER_STACK: usize = 16 * 1024 * 1024;

/// What a client may read of an error, in characters.
const MESSAGE: usize = 200;

/// Where a program's variables get their values: asked once per run for each one that is used, in
/// the order in which they were declared. Names come without the `$`.
pub trait Scope {
    fn variable(&self, name: &str) -> Value;
}

/// What is wrong with a program: at which byte of it, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    pub offset: usize,
    pub message: String,
    pub hint: Option<String>,
}

/// Why a run gave no value. Fit for a client: at most 200 characters, and of the body no more than
/// short scalars.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RunError {
    message: String,
    pointer: String,
}

impl RunError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), pointer: String::new() }
    }

    /// What of the input was being mapped, as far as it is known: a JSON Pointer (RFC 6901) of at most 200
    /// bytes, empty for the whole.
    pub fn pointer(&self) -> &str {
        &self.pointer
    }
}

/// A compiled program, shared by workers.
pub struct Program {
    engine: Engine,
    /// The variables that are set, in order, and whether it uses them.
    variables: Vec<(String, bool)>,
    reads_input: bool,
    /// The input's members that it reads, when it names all of them.
    members: Option<Vec<String>>,
    /// Those that it surely reads, and where they stand.
    named: Vec<(String, usize)>,
    /// What `$env` is, when it uses that.
    env: Option<Arc<Env>>,
    /// The names in `$env.NAME`, and where they stand.
    env_names: Vec<(String, usize)>,
}

enum Engine {
    Plan(Plan),
    Jaq(Compiled),
}

const _: () = {
    const fn shared<T: Send + Sync + 'static>() {}
    shared::<Program>();
};

impl Program {
    /// Compiles a program that may use these variables (named without the `$`). Takes about a
    /// millisecond.
    pub fn compile(text: &str, variables: &[&str]) -> Result<Self, Vec<CompileError>> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(COMPILER_STACK);
            let compiling = thread.spawn_scoped(scope, || Self::compile_here(text, variables));
            compiling
                .map_err(|error| error.to_string())
                .and_then(|compiling| compiling.join().map_err(|_| "its parser gave up".to_owned()))
        })
        .unwrap_or_else(|error| Err(gave_up(&error)))
    }

    fn compile_here(text: &str, variables: &[&str]) -> Result<Self, Vec<CompileError>> {
        let program = syntax::parse(text)?;
        let facts = check::check(text, &program)?;
        let names: Vec<String> = variables.iter().map(|name| format!("${name}")).collect();
        let used = |name: &&str| (name.to_string(), facts.variables.contains(&*format!("${name}")));
        let leaf = |call: &Node<'_>| compiled_for_jaq(text, call.clone(), &[]).ok();
        let plan = plan::compile(&program, &names, &leaf);
        let sure = !facts.reads.whole && !facts.reads.defines;
        let named = facts.reads.members.iter().filter(|_| sure);
        let named = named.map(|name| ((*name).to_owned(), offset_of(text, name))).collect();
        let compiled = compiled_for_jaq(text, program, &names)?;
        Ok(Self {
            engine: plan.map_or(Engine::Jaq(compiled), Engine::Plan),
            variables: variables.iter().map(used).collect(),
            reads_input: facts.reads.whole || !facts.reads.members.is_empty(),
            members: (!facts.reads.whole)
                .then(|| facts.reads.members.into_iter().map(str::to_owned).collect()),
            named,
            env: None,
            env_names: facts
                .env
                .into_iter()
                .map(|name| (name.to_owned(), offset_of(text, name)))
                .collect(),
        })
    }

    /// The program with what its `$env` is, of which it may name nothing else.
    pub fn with_env(mut self, env: &Arc<Env>) -> Result<Self, Vec<CompileError>> {
        let unlisted = self.env_names.iter().filter(|(name, _)| env.get(name).is_none());
        let errors = unlisted.map(|(name, offset)| {
            let (message, hint) = env.unlisted(name);
            CompileError { offset: *offset, message, hint: Some(hint) }
        });
        let errors: Vec<_> = errors.collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        self.env = self.uses("env").then(|| Arc::clone(env));
        Ok(self)
    }

    /// Whether the program mentions this variable (named without the `$`).
    pub fn uses(&self, variable: &str) -> bool {
        self.variables.iter().any(|(name, used)| *used && name == variable)
    }

    /// Whether it can read `.`: false means that no body needs to be there.
    pub fn reads_input(&self) -> bool {
        self.reads_input
    }

    /// Whether it can read this member of its input.
    pub fn reads_member(&self, name: &str) -> bool {
        self.members.as_ref().is_none_or(|members| members.iter().any(|member| member == name))
    }

    /// The members of its input that it surely reads, and at which byte of it, where it names all of them.
    pub fn named_members(&self) -> impl Iterator<Item = (&str, usize)> {
        self.named.iter().map(|(name, offset)| (name.as_str(), *offset))
    }

    /// Which engine runs it: `plan` or `jaq`.
    pub fn engine(&self) -> &'static str {
        match self.engine {
            Engine::Plan(_) => "plan",
            Engine::Jaq(_) => "jaq",
        }
    }

    /// Runs the program, which has to give exactly one value, that JSON can hold in 8 MiB.
    pub fn run_one(&self, input: Value, scope: &dyn Scope) -> Result<Value, RunError> {
        let values: Vec<Value> = self
            .variables
            .iter()
            .map(|(name, used)| match (used, &self.env) {
                (false, _) => Value::NULL,
                (true, Some(env)) if name == "env" => env.value(),
                (true, _) => scope.variable(name),
            })
            .collect();
        let (result, enough) = budget::with(budget::RUN, || self.only(input, values));
        if enough { result } else { Err(RunError::new(budget::SPENT)) }
    }

    /// Runs a condition: allowed is exactly one output that is `true`.
    pub fn is_allowed(&self, input: Value, scope: &dyn Scope) -> Result<bool, RunError> {
        self.run_one(input, scope).map(|output| output.is_true())
    }

    fn only(&self, input: Value, variables: Vec<Value>) -> Result<Value, RunError> {
        let mut found = None;
        let mut several = false;
        let mut take = |value| {
            several = found.is_some();
            found.get_or_insert(value);
            if several { Err(Stop::Enough) } else { Ok(()) }
        };
        let ended = match &self.engine {
            Engine::Plan(plan) => plan::run(plan, &variables, input, &mut take),
            Engine::Jaq(compiled) => jaq(compiled, variables, input, &mut take),
        };
        if let Err(Stop::Failed(failure)) = ended {
            let pointer = pointer(&failure.at);
            let message = message(failure.error, self.env.as_deref());
            return Err(RunError { message, pointer });
        }
        let none = || RunError::new("the mapping gave no value, and one is needed");
        let value = found.ok_or_else(none)?;
        if several {
            return Err(RunError::new("the mapping gave several values, and one is needed"));
        }
        write::fits(&value, OUTPUT_LIMIT).map_err(|unfit| match unfit {
            write::Unfit::TooLarge => {
                RunError::new(format!("the result is larger than {OUTPUT_LIMIT} bytes"))
            }
            write::Unfit::NotFinite => RunError::new(
                "the result has a number that is not finite, as of a division by zero",
            ),
        })?;
        Ok(value)
    }
}

/// Runs a program in jaq, as [`plan::run`] runs a plan.
pub(super) fn jaq(
    compiled: &Compiled,
    variables: Vec<Value>,
    input: Value,
    sink: plan::Sink<'_>,
) -> Result<(), Stop> {
    let context = Ctx::<Plain>::new(&compiled.lut, Vars::new(variables));
    for output in compiled.id.run((context, input)) {
        charge(STEP)?;
        sink(output.map_err(|stop| {
            stop.get_err().unwrap_or_else(|_| Error::str("the mapping stopped without a value"))
        })?)?;
    }
    Ok(())
}

/// A program as jaq runs it. `names` are its variables, with `$`.
fn compiled_for_jaq(
    text: &str,
    program: Node<'_>,
    names: &[String],
) -> Result<Compiled, Vec<CompileError>> {
    // jaq takes a tree only as a definition, which what it reads as text then calls: by a name that
    // the program cannot mean.
    let mut main = "main".to_owned();
    while text.contains(&main) {
        main.push('_');
    }
    let mut definitions = definitions();
    definitions.push(Def { name: &main, args: Vec::new(), body: price::priced(program) });
    let mut known: Vec<(&str, usize)> =
        definitions.iter().map(|def| (def.name, def.args.len())).collect();
    let natives: Vec<_> = natives().collect();
    known.extend(natives.iter().map(|(name, arguments, _)| (*name, arguments.len())));

    let arena = Arena::default();
    let modules = Loader::new(definitions)
        .load(&arena, File { code: &main, path: () })
        .map_err(|_| gave_up("jaq does not know its name"))?;
    Compiler::default()
        .with_funs(natives)
        .with_global_vars(names.iter().map(String::as_str))
        .compile(modules)
        .map_err(|errors| {
            let unknown = errors.into_iter().flat_map(|(_, errors)| errors);
            unknown
                .map(|(name, kind)| undefined(text, name, &kind, names, &known))
                .collect::<Vec<_>>()
        })
}

fn gave_up(why: &str) -> Vec<CompileError> {
    let message = format!("the program cannot be compiled: {why}");
    vec![CompileError { offset: 0, message, hint: None }]
}

fn undefined(
    text: &str,
    name: &str,
    kind: &Undefined,
    variables: &[String],
    known: &[(&str, usize)],
) -> CompileError {
    let offset = offset_of(text, name);
    let (message, hint) = match kind {
        Undefined::Var if variables.is_empty() => {
            (format!("unknown variable {name}"), Some("there are no variables here".to_owned()))
        }
        Undefined::Var => (
            format!("unknown variable {name}"),
            Some(format!("there are {}", variables.join(", "))),
        ),
        Undefined::Label | Undefined::Mod => (format!("unknown {} {name}", kind.as_str()), None),
        _ => {
            let mut forms: Vec<usize> =
                known.iter().filter(|(other, _)| *other == name).map(|(_, count)| *count).collect();
            forms.sort_unstable();
            forms.dedup();
            if forms.is_empty() {
                (format!("unknown function `{name}`"), None)
            } else {
                let forms: Vec<_> = forms.into_iter().map(|count| shape(name, count)).collect();
                let hint = format!("there is {}", forms.join(" and "));
                (format!("`{name}` takes another number of arguments"), Some(hint))
            }
        }
    };
    CompileError { offset, message, hint }
}

/// How a call of a function looks.
fn shape(name: &str, arguments: usize) -> String {
    match arguments {
        0 => format!("`{name}`"),
        count => format!("`{name}({})`", vec!["_"; count].join("; ")),
    }
}

/// A step's error as a client may read it. What the program itself says with `error` is shown as it
/// is; of values, what their short form shows. Where the program has secrets, no value is shown.
fn message(error: Error, env: Option<&Env>) -> String {
    let secret = env.is_some_and(Env::has_secrets);
    let shown = |it: &dyn Display| if secret { format!("{it:-#}") } else { format!("{it:#}") };
    let short = shown(&error);
    let value = error.into_val();
    let own = shown(&value) == short;
    match (&value.0, env) {
        (Data::Text(text), Some(env)) if own => bounded(&env.mask(text)),
        (Data::Text(text), None) if own => bounded(text),
        _ => bounded(&short),
    }
}

fn bounded(message: &str) -> String {
    let mut out = String::new();
    for (index, character) in message.chars().enumerate() {
        if index >= MESSAGE - 3 {
            let _ = write!(out, "...");
            break;
        }
        out.push(if character.is_control() { ' ' } else { character });
    }
    out
}
