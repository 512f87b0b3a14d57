//! The verbs that serve nothing: check, explain, schema.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use portcullis_config::{ProcessEnvironment, document};
use portcullis_core::CanonicalPath;
use portcullis_engine::router::{Missed, Query, Router};
use portcullis_engine::settings::FileSettings;
use portcullis_engine::{Loaded, Source, load};

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

fn source(paths: Vec<PathBuf>) -> Source {
    Source { paths, environment: Arc::new(ProcessEnvironment) }
}

/// Prints what there is to complain about.
pub fn complain(loaded: &Loaded) {
    if !loaded.diagnostics.is_empty() {
        let color = std::io::stderr().is_terminal();
        eprint!("{}", loaded.diagnostics.render(&loaded.sources, color));
    }
}

pub fn check(source: &Source) -> ExitCode {
    let loaded = load(source);
    complain(&loaded);
    if loaded.plan.is_some() { ExitCode::SUCCESS } else { ExitCode::from(BAD_CONFIGURATION) }
}

pub fn schema() -> ExitCode {
    println!("{:#}", document::<FileSettings>("Portcullis configuration"));
    ExitCode::SUCCESS
}

#[derive(clap::Args)]
pub struct Explain {
    /// The request's method.
    method: String,
    /// The request's URL, such as http://127.0.0.1:8080/api/v1/orders.
    url: String,
    /// Files and folders of the configuration.
    #[arg(value_name = "FILE|DIR", default_value = "portcullis.yaml")]
    paths: Vec<PathBuf>,
}

pub fn explain(asked: &Explain) -> ExitCode {
    let (Ok(method), Ok(url)) =
        (asked.method.parse::<http::Method>(), asked.url.parse::<http::Uri>())
    else {
        eprintln!("error: `{} {}` is no method and URL", asked.method, asked.url);
        return ExitCode::from(BAD_CONFIGURATION);
    };
    let path = match CanonicalPath::parse(url.path()) {
        Ok(path) => path,
        Err(error) => {
            println!("400 bad_path: {error}");
            return ExitCode::SUCCESS;
        }
    };
    let loaded = load(&source(asked.paths.clone()));
    let Some(plan) = &loaded.plan else {
        complain(&loaded);
        return ExitCode::from(BAD_CONFIGURATION);
    };
    let mut router = Router::builder();
    for route in &plan.routes {
        for wanted in &route.matches {
            router.add(wanted.clone(), route);
        }
    }
    let router = router.build();
    let host = url.host().unwrap_or("localhost").to_ascii_lowercase();
    let headers = http::HeaderMap::new();
    let query = Query {
        host: &host,
        path: path.as_str(),
        method: &method,
        headers: &headers,
        query: url.query(),
    };
    let explanation = router.explain(&query);
    match &explanation.result {
        Ok(found) => {
            println!("route: {}", found.value.name);
            for applied in &found.value.policies {
                let block = applied.block.to_json().to_string();
                println!("policy: {} {}", applied.kind.name, loaded.sources.mask(&block));
                for note in applied.plan.notes() {
                    println!("  {note}");
                }
            }
            println!("target: {}", found.value.target);
        }
        Err(Missed::NotFound) => println!("404 route_not_found: no route has this path"),
        Err(Missed::MethodNotAllowed { allow }) => {
            println!("405 method_not_allowed: allowed: {allow}");
        }
    }
    for considered in &explanation.considered {
        println!("considered: {}: {}", considered.value.name, considered.why);
    }
    for near in &explanation.near {
        println!("near: {}: {}", near.value.name, near.apart);
    }
    ExitCode::SUCCESS
}
