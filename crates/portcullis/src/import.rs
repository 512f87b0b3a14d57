//! `import`: writes a configuration for somebody else's description of an API. What it writes is
//! planned before it is printed, so that `check` has nothing against it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use portcullis_config::{Diagnostics, FILE_LIMIT, ProcessEnvironment, Sources, parse};
use portcullis_policies::openapi::{Document, Operation, Segment, Server, Template};

use crate::console::{print, tell};
use crate::verbs::BAD_CONFIGURATION;

/// What stands for the address of a service that a document does not tell.
const NOWHERE: &str = "http://127.0.0.1:8081";
/// Names may have 64 letters; some are left for a number.
const LONGEST: usize = 56;
const DISCOVERY: &str = "/.well-known/openid-configuration";

#[derive(clap::Subcommand)]
pub enum Import {
    /// Write a configuration for an OpenAPI document (3.0 or 3.1, JSON or YAML) to standard output.
    Openapi {
        /// The document. The configuration names it as it is named here, relative to itself.
        file: PathBuf,
    },
}

pub fn import(asked: &Import) -> ExitCode {
    let Import::Openapi { file } = asked;
    let document = match read(file).and_then(Document::read) {
        Ok(document) => document,
        Err(all) => {
            all.iter().for_each(|why| tell(&format!("error: {}: {why}", file.display())));
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let writer = Writer::new(&document);
    let schemes: Vec<_> = writer.schemes().into_iter().collect();
    let text = writer.text(file);
    let (mut sources, mut out) = (Sources::new(), Diagnostics::new());
    let path = PathBuf::from("portcullis.yaml");
    let root = parse(&mut sources, path, text.clone(), &ProcessEnvironment, &mut out);
    let plan = root.and_then(|root| portcullis_engine::plan::plan(&root, &sources, &mut out));
    if !out.is_empty() {
        tell(out.render(&sources, std::io::stderr().is_terminal()).trim_end());
    }
    if plan.is_none() {
        tell(&format!("error: {} cannot be imported: see above", file.display()));
        return ExitCode::from(BAD_CONFIGURATION);
    }
    if !schemes.is_empty() {
        tell(&format!(
            "note: the document asks for credentials ({}): the comments say what to complete",
            one_line(&schemes.join(", "))
        ));
    }
    print(&text)
}

fn read(file: &Path) -> Result<String, Vec<String>> {
    let mut text = String::new();
    let most = FILE_LIMIT as u64;
    let read = std::fs::File::open(file)
        .and_then(|opened| opened.take(most + 1).read_to_string(&mut text));
    match read {
        Ok(length) if length > FILE_LIMIT => Err(vec![format!("it is larger than {most} bytes")]),
        Ok(_) => Ok(text),
        Err(error) => Err(vec![format!("cannot read it: {error}")]),
    }
}

/// A service that operations name: an origin, or what a document without one leaves open.
type Origin<'d> = Option<&'d str>;

struct Writer<'d> {
    document: &'d Document,
    title: String,
    /// Every origin, with the upstream's name.
    upstreams: Vec<(Origin<'d>, String)>,
    names: BTreeSet<String>,
}

impl<'d> Writer<'d> {
    fn new(document: &'d Document) -> Self {
        let info = document.whole().get("info");
        let title = info.as_ref().and_then(|info| info.text("title")).unwrap_or_default();
        let mut origins: Vec<Origin<'d>> = Vec::new();
        for server in document.operations.iter().filter_map(|it| it.servers.first()) {
            if !origins.contains(&server.origin()) {
                origins.push(server.origin());
            }
        }
        let mut names = BTreeSet::new();
        let is_alone = origins.len() == 1;
        let upstreams = origins.into_iter().map(|origin| {
            let host = origin.and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
            let name = word(host.filter(|_| !is_alone).unwrap_or(title)).to_ascii_lowercase();
            (origin, unique(if name.is_empty() { "service" } else { &name }, "-", &mut names))
        });
        let upstreams = upstreams.collect();
        Self { document, title: one_line(title), upstreams, names: BTreeSet::new() }
    }

    fn text(mut self, file: &Path) -> String {
        let file = quoted(&file.display().to_string());
        let mut out = format!(
            "# {}: written by `portcullis import openapi`.\n\
             # Requests are held to the document, whose path is relative to this file.\n\n\
             listeners: [{{ address: 127.0.0.1:8080 }}]\n\nupstreams:\n",
            if self.title.is_empty() { "An API" } else { &self.title },
        );
        for (origin, name) in &self.upstreams {
            let address = quoted(origin.unwrap_or(NOWHERE));
            let _ = writeln!(out, "  {}: {{ endpoints: [{address}] }}", quoted(name));
            if origin.is_none() {
                out.push_str(
                    "  # ^ the document does not say where the service is: write it there\n",
                );
            }
        }
        for other in self.others() {
            let _ = writeln!(out, "  # the document names {} as well", one_line(other));
        }
        let _ = write!(out, "\npolicies:\n  validate: {{ openapi: {file} }}\n");
        out.push_str(&self.credentials());
        out.push_str("\nroutes:\n");
        for operation in &self.document.operations {
            self.route(operation, &mut out);
        }
        out
    }

    /// Servers that are no endpoints here: nobody says that they are the same service. One of them may
    /// be for tests.
    fn others(&self) -> BTreeSet<&'d str> {
        let servers = self.document.operations.iter().flat_map(|it| &it.servers);
        let known = |server: &&Server| self.upstreams.iter().any(|(it, _)| *it == server.origin());
        servers.filter(|server| !known(server)).map(|server| server.url.as_str()).collect()
    }

    fn route(&mut self, operation: &Operation, out: &mut String) {
        let server = operation.servers.first();
        let base = server.map(Server::base).unwrap_or_default();
        let origin = server.and_then(Server::origin);
        let Ok(template) = Template::parse(base, &operation.path) else { return };
        let upstream = self.upstreams.iter().find(|(known, _)| *known == origin);
        let upstream = upstream.map_or("service", |(_, name)| name.as_str());
        let path = route_path(&template, operation.path.ends_with('/'));
        let own = word(operation.id.as_deref().unwrap_or_default());
        let name = match own.is_empty() {
            true => word(&operation.shown().to_ascii_lowercase()),
            false => own,
        };
        let name = unique(&name, "-", &mut self.names);
        let _ = write!(
            out,
            "  - name: {}\n    match: {{ path: {}, methods: [{}] }}\n    forward: {{ to: {} }}\n",
            quoted(&name),
            quoted(&path),
            operation.method,
            quoted(upstream),
        );
        if self.asks_for_nothing(operation) {
            out.push_str("    # no credentials here: policies: { jwt: off, api_key: off }\n");
        }
    }
}

/// Credentials: a document says that there are some, and seldom all that is needed to check them.
impl Writer<'_> {
    /// The security that holds for an operation: its own, or the document's.
    fn wanted(&self, operation: &Operation) -> Option<Vec<serde_json::Value>> {
        let own = self.document.operation(operation).get("security");
        let wanted = own.or_else(|| self.document.whole().get("security"))?;
        wanted.value.as_array().cloned()
    }

    /// The schemes that any operation wants, by name.
    fn schemes(&self) -> BTreeSet<String> {
        let wanted = self.document.operations.iter().filter_map(|it| self.wanted(it)).flatten();
        let objects = wanted.filter_map(|it| it.as_object().cloned());
        objects.flat_map(|object| object.keys().cloned().collect::<Vec<_>>()).collect()
    }

    fn asks_for_nothing(&self, operation: &Operation) -> bool {
        let is_empty = |it: &serde_json::Value| it.as_object().is_some_and(|it| it.is_empty());
        let wanted = self.wanted(operation).unwrap_or_default();
        !self.schemes().is_empty() && (wanted.is_empty() || wanted.iter().any(is_empty))
    }

    /// Comments that say what is left to do about each scheme.
    fn credentials(&self) -> String {
        let schemes = self.schemes();
        if schemes.is_empty() {
            return String::new();
        }
        let mut out = String::from(
            "\n# The document asks for credentials, which nothing above checks yet:\n",
        );
        for name in &schemes {
            let _ = writeln!(out, "# - {}: {}", one_line(name), one_line(&self.scheme(name)));
        }
        out
    }

    fn scheme(&self, name: &str) -> String {
        let all = self.document.whole().get("components").and_then(|it| it.get("securitySchemes"));
        let Some(scheme) = all.and_then(|all| all.get(name)) else {
            return "the document does not describe it".to_owned();
        };
        let Ok(scheme) = self.document.resolve(scheme) else {
            return "what it refers to is not in the document".to_owned();
        };
        let text = |key: &str| scheme.text(key).unwrap_or_default();
        let tokens = |issuer: &str| {
            format!(
                "tokens. Add `issuers: {{ tokens: {{ issuer: {}, audiences: [...] }} }}` and the \
                 policy `jwt: {{ issuers: [tokens] }}`",
                quoted(issuer)
            )
        };
        match (text("type"), text("scheme").to_ascii_lowercase().as_str(), text("in")) {
            ("http", "bearer", _) | ("oauth2", ..) => tokens("https://..."),
            ("openIdConnect", ..) => {
                let url = text("openIdConnectUrl");
                tokens(url.strip_suffix(DISCOVERY).unwrap_or(url))
            }
            ("apiKey", _, "header") => format!(
                "keys. Add `consumers` (`portcullis key new` prints a line) and the policy \
                 `api_key: {{ header: {} }}`",
                quoted(text("name"))
            ),
            (kind, ..) => format!("{kind} is left to the service"),
        }
    }
}

/// The path of a route: names as routes spell them, no name twice.
fn route_path(template: &Template, ends_in_slash: bool) -> String {
    let (mut out, mut names) = (String::new(), BTreeSet::new());
    for segment in template.segments() {
        match segment {
            Segment::Text(text) => {
                let _ = write!(out, "/{text}");
            }
            Segment::Name(name) => {
                let fits = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
                let mut name: String = name.chars().map(fits).collect();
                if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                    name.insert(0, '_');
                }
                let _ = write!(out, "/{{{}}}", unique(&name, "_", &mut names));
            }
        }
    }
    if ends_in_slash || out.is_empty() {
        out.push('/');
    }
    out
}

/// A text as a name: letters, digits and `_`, and `-` for all else.
fn word(text: &str) -> String {
    let mut word = String::new();
    for c in text.chars().take(LONGEST) {
        match c {
            c if c.is_ascii_alphanumeric() || c == '_' => word.push(c),
            _ if word.ends_with('-') => {}
            _ => word.push('-'),
        }
    }
    word.trim_matches('-').to_owned()
}

/// The name, or with a number behind it when somebody has it.
fn unique(name: &str, between: &str, taken: &mut BTreeSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{name}{between}{number}"));
    let mut all = std::iter::once(name.to_owned()).chain(numbered);
    let free = all.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(free.clone());
    free
}

/// A text as YAML has it, also inside of brackets: plain where nobody can take it for something else.
fn quoted(text: &str) -> String {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let lower = text.to_ascii_lowercase();
    let is_word = matches!(lower.as_str(), "true" | "false" | "null" | "on" | "off" | "yes" | "no");
    match begins && text.chars().all(fits) && !is_word && lower != "y" && lower != "n" {
        true => text.to_owned(),
        // A JSON string is one in YAML, too.
        false => serde_json::Value::from(text.replace("${", "$${")).to_string(),
    }
}

/// A text for a comment.
fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|it| !it.is_empty()).fold(
        String::new(),
        |line, word| match line.is_empty() {
            true => word.to_owned(),
            false => format!("{line} {word}"),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_where_they_could_be_something_else() {
        for plain in ["listOrders", "/api/orders", "shop.yaml", "a-b_c"] {
            assert_eq!(quoted(plain), plain);
        }
        assert_eq!(quoted("off"), "\"off\"");
        assert_eq!(quoted("7"), "\"7\"");
        assert_eq!(quoted("/users/{id}"), "\"/users/{id}\"");
        assert_eq!(quoted("a ${b}"), "\"a $${b}\"");
        assert_eq!(quoted("~"), "\"~\"");
        assert_eq!(quoted(""), "\"\"");
    }

    #[test]
    fn names_are_words_and_unique() {
        assert_eq!(word("get /users/{id}"), "get-users-id");
        assert_eq!(word("  "), "");
        let mut taken = BTreeSet::new();
        let names = ["a", "a", "a", "a-2"].map(|name| unique(name, "-", &mut taken));
        assert_eq!(names, ["a", "a-2", "a-3", "a-2-2"]);
    }

    #[test]
    fn paths_are_spelled_as_routes_spell_them() {
        let path = |base: &str, path: &str| {
            route_path(&Template::parse(base, path).unwrap(), path.ends_with('/'))
        };
        assert_eq!(
            path("/v1", "/users/{user-id}/{user_id}/{7}"),
            "/v1/users/{user_id}/{user_id_2}/{_7}"
        );
        assert_eq!(path("", "/"), "/");
        assert_eq!(path("/v1", "/"), "/v1/");
        assert_eq!(path("", "/caf\u{e9}/"), "/caf%C3%A9/");
    }
}
