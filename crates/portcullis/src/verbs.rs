//! The verbs that serve nothing: check, explain, schema.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use portcullis_config::{ProcessEnvironment, document};
use portcullis_core::CanonicalPath;
use portcullis_engine::plan::RoutePlan;
use portcullis_engine::router::{Explanation, Missed, Query, Router, TWO_READINGS};
use portcullis_engine::settings::FileSettings;
use portcullis_engine::{Loaded, Source, load};
use portcullis_policies::Planned;
use portcullis_policies::consumers::digest_of;

use crate::console::{print, tell};

/// The configuration is wrong, or the command line is.
pub const BAD_CONFIGURATION: u8 = 2;

#[derive(clap::Args)]
pub struct Files {
    /// Files and folders of the configuration.
    #[arg(value_name = "FILE|DIR", default_value = "portcullis.yaml")]
    paths: Vec<PathBuf>,
}

impl Files {
    pub fn source(&self) -> Source {
        source(self.paths.clone())
    }
}

pub fn source(paths: Vec<PathBuf>) -> Source {
    Source { paths, environment: Arc::new(ProcessEnvironment) }
}

/// Prints what there is to complain about.
pub fn complain(loaded: &Loaded) {
    if !loaded.diagnostics.is_empty() {
        let color = std::io::stderr().is_terminal();
        tell(loaded.diagnostics.render(&loaded.sources, color).trim_end());
    }
}

#[derive(clap::Args)]
pub struct Check {
    #[command(flatten)]
    files: Files,
    /// Run the tests that stand beside mappings as well.
    #[arg(long)]
    test: bool,
}

pub fn check(asked: &Check) -> ExitCode {
    let mut loaded = load(&asked.files.source());
    let mut ran = 0;
    if let Some(plan) = loaded.plan.as_ref().filter(|_| asked.test) {
        let policies = plan.routes.iter().flat_map(|route| &route.policies);
        ran = policies.map(|applied| applied.plan.test(&mut loaded.diagnostics)).sum();
    }
    complain(&loaded);
    if loaded.plan.is_none() {
        return ExitCode::from(BAD_CONFIGURATION);
    }
    if loaded.diagnostics.has_errors() {
        return ExitCode::FAILURE;
    }
    match ran {
        0 => ExitCode::SUCCESS,
        1 => print("1 test passed\n"),
        ran => print(&format!("{ran} tests passed\n")),
    }
}

pub fn schema() -> ExitCode {
    print(&format!("{:#}\n", document::<FileSettings>("Portcullis configuration")))
}

pub fn version() -> ExitCode {
    print(&format!("portcullis {}\n", env!("CARGO_PKG_VERSION")))
}

/// 32 random bytes: nobody guesses them, so a plain digest keeps them.
pub fn new_key() -> ExitCode {
    let mut bytes = [0; 32];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        tell("error: the system gives no random bytes");
        return ExitCode::FAILURE;
    }
    let key = format!("pck_{}", BASE64_URL_SAFE_NO_PAD.encode(bytes));
    print(&format!(
        "{key}\n\nGive it to the consumer: it is not shown again. In the configuration:\n\n\
         consumers:\n  NAME: {{ keys: [{{ sha256: {} }}] }}\n",
        digest_of(&key)
    ))
}

#[derive(clap::Args)]
pub struct Explain {
    /// The request's method.
    method: String,
    /// The request's URL, such as http://127.0.0.1:8080/api/v1/orders.
    url: String,
    /// A header of the request, such as 'authorization: Bearer TOKEN': what is wrong with a token is
    /// told. Its issuer may be asked for keys.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Files and folders of the configuration.
    #[arg(value_name = "FILE|DIR", default_value = "portcullis.yaml")]
    paths: Vec<PathBuf>,
}

/// The request that is asked about.
fn request(asked: &Explain) -> Result<http::request::Parts, String> {
    let (method, url) = (asked.method.parse::<http::Method>(), asked.url.parse::<http::Uri>());
    let (Ok(method), Ok(url)) = (method, url) else {
        return Err(format!("`{} {}` is no method and URL", asked.method, asked.url));
    };
    let mut request = http::Request::new(()).into_parts().0;
    (request.method, request.uri) = (method, url);
    for text in &asked.headers {
        let (name, value) = header(text)?;
        request.headers.append(name, value);
    }
    Ok(request)
}

/// A header as a command line has it.
pub fn header(text: &str) -> Result<(http::HeaderName, http::HeaderValue), String> {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    let name = name.trim().parse::<http::HeaderName>();
    match (name, value.trim().parse::<http::HeaderValue>()) {
        (Ok(name), Ok(value)) => Ok((name, value)),
        _ => Err("a header is written as NAME: VALUE".to_owned()),
    }
}

pub fn explain(asked: &Explain) -> ExitCode {
    let request = match request(asked) {
        Ok(request) => request,
        Err(why) => {
            tell(&format!("error: {why}"));
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let url = &request.uri;
    let loaded = load(&source(asked.paths.clone()));
    let Some(plan) = &loaded.plan else {
        complain(&loaded);
        return ExitCode::from(BAD_CONFIGURATION);
    };
    let path = match CanonicalPath::parse_by(url.path(), plan.path_rules) {
        Ok(path) => path,
        Err(error) => {
            return print(&format!("400 bad_path: {error}\n"));
        }
    };
    let mut router = Router::builder();
    for route in &plan.routes {
        for wanted in &route.matches {
            router.add(wanted.clone(), route);
        }
    }
    let router = router.build();
    let host = url.host().unwrap_or("localhost").to_ascii_lowercase();
    let query = Query {
        host: &host,
        path: path.as_str(),
        method: &request.method,
        headers: &request.headers,
        query: url.query(),
        announced: None,
    };
    let announced = query.preflight();
    let query = router.meant(query, announced.as_ref(), |route| route.answers_preflights());
    let explanation = router.explain(&query);
    if let Ok(found) = &explanation.result {
        let same = |other: &&RoutePlan| other.name == found.value.name;
        if let Some((other, reading)) = router.read_otherwise(&query, &path, same) {
            let (one, two) = (&found.value.name, &other.name);
            let readings = format!("{one} as {path}, {two} as {reading}");
            return print(&format!("400 bad_path: {TWO_READINGS}: {readings}\n"));
        }
    }
    print(&told(&explanation, &request, &loaded))
}

/// An explanation in lines.
fn told(
    explanation: &Explanation<'_, '_, &RoutePlan>,
    request: &http::request::Parts,
    loaded: &Loaded,
) -> String {
    let mut out = String::new();
    let _ = match &explanation.result {
        Ok(found) => {
            let _ = writeln!(out, "route: {}", found.value.name);
            for applied in &found.value.policies {
                let block = applied.block.to_json().to_string();
                let shown = loaded.sources.mask(&block);
                let _ = writeln!(out, "policy: {} {shown}", applied.kind.name);
                for note in applied.plan.notes().into_iter().chain(judge(&*applied.plan, request)) {
                    let _ = writeln!(out, "  {note}");
                }
            }
            writeln!(out, "target: {}", found.value.target)
        }
        Err(Missed::NotFound) => writeln!(out, "404 route_not_found: no route has this path"),
        Err(Missed::MethodNotAllowed { allow }) => {
            writeln!(out, "405 method_not_allowed: allowed: {allow}")
        }
    };
    for considered in &explanation.considered {
        let _ = writeln!(out, "considered: {}: {}", considered.value.name, considered.why);
    }
    for near in &explanation.near {
        let _ = writeln!(out, "near: {}: {}", near.value.name, near.apart);
    }
    out
}

/// What a policy would say to the request; only where the request says who asks.
fn judge(plan: &dyn Planned, request: &http::request::Parts) -> Vec<String> {
    if request.headers.is_empty() {
        return Vec::new();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_or_else(|_| Vec::new(), |runtime| runtime.block_on(plan.judge(request)))
}
