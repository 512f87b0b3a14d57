//! `map`: runs a route's transform on the desk, with a body from standard input.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};
use portcullis_core::exchange::Claims;
use portcullis_core::metrics::Metrics;
use portcullis_core::{
    Body, Build, CanonicalPath, Clock, Exchange, PathRules, Peer, Policy, Problem, Record,
    Response, Step, Worker,
};
use portcullis_engine::load;
use portcullis_engine::plan::RoutePlan;

use crate::console::{print, tell};
use crate::verbs::{BAD_CONFIGURATION, complain, header, source};

/// A body may have this many bytes.
const LIMIT: u64 = 64 * 1024 * 1024;

#[derive(clap::Args)]
pub struct Map {
    /// The route's name.
    route: String,
    /// Which way: in or out.
    #[arg(value_enum)]
    side: Side,
    /// Files and folders of the configuration.
    #[arg(value_name = "FILE|DIR", default_value = "portcullis.yaml")]
    paths: Vec<PathBuf>,
    /// A header of the request.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The request's target, such as '/orders/7?page=2'.
    #[arg(long, default_value = "/", value_name = "PATH")]
    path: String,
    /// The values of the route's `{NAME}`s.
    #[arg(long = "param", value_name = "NAME=VALUE")]
    params: Vec<String>,
    /// The claims of the token, as JSON.
    #[arg(long, value_name = "JSON")]
    jwt: Option<String>,
    /// The status of the service's answer.
    #[arg(long, default_value_t = 200)]
    status: u16,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Side {
    Request,
    Response,
}

pub fn map(asked: &Map) -> ExitCode {
    let refuse = |why: String| {
        tell(&format!("error: {why}"));
        ExitCode::from(BAD_CONFIGURATION)
    };
    let loaded = load(&source(asked.paths.clone()));
    let Some(plan) = &loaded.plan else {
        complain(&loaded);
        return ExitCode::from(BAD_CONFIGURATION);
    };
    let Some(route) = plan.routes.iter().find(|route| *route.name == *asked.route) else {
        let known: Vec<&str> = plan.routes.iter().map(|route| &*route.name).collect();
        return refuse(format!(
            "no route is called `{}`; there is {}",
            asked.route,
            known.join(", ")
        ));
    };
    let Some(policy) = transform(route) else {
        return refuse(format!("the route `{}` has no transform", asked.route));
    };
    let mut input = Vec::new();
    if let Err(error) = std::io::stdin().take(LIMIT).read_to_end(&mut input) {
        return refuse(format!("standard input: {error}"));
    }
    let exchange = match exchange(asked, route, plan.path_rules, input.clone()) {
        Ok(exchange) => exchange,
        Err(why) => return refuse(why),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(error.to_string()),
    };
    match runtime.block_on(run(asked, &*policy, exchange, input)) {
        Ok(output) => print(&format!("{output}\n")),
        Err(problem) => {
            let why = match problem.private_detail() {
                "" => problem.detail(),
                private => private,
            };
            tell(&format!("{} {}: {why}", problem.status().as_u16(), problem.code().name));
            ExitCode::FAILURE
        }
    }
}

fn transform(route: &RoutePlan) -> Option<Arc<dyn Policy>> {
    let applied = route.policies.iter().find(|applied| applied.kind.name == "transform")?;
    let (clock, metrics) = (Clock::system(), Metrics::default());
    Some(applied.plan.build(&mut Build::new(clock, &metrics, None)))
}

/// The request that the answer is to, or that is mapped itself.
fn exchange(
    asked: &Map,
    route: &RoutePlan,
    rules: PathRules,
    input: Vec<u8>,
) -> Result<Exchange, String> {
    let mut request = http::Request::new(()).into_parts().0;
    let uri = asked.path.parse::<http::Uri>().map_err(|error| format!("--path: {error}"))?;
    let path =
        CanonicalPath::parse_by(uri.path(), rules).map_err(|error| format!("--path: {error}"))?;
    request.uri = uri;
    request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for text in &asked.headers {
        let (name, value): (HeaderName, HeaderValue) = header(text)?;
        request.headers.insert(name, value);
    }
    let clock = Clock::system();
    let peer = Peer::new(([127, 0, 0, 1], 0).into(), Arc::from("desk"));
    let record = Record::unread(&clock, &peer, Arc::from("desk"));
    let worker = Worker::new(0, clock);
    let id = HeaderValue::from_static("desk");
    let body = Body::full(input);
    let mut exchange = Exchange::new(worker, Rc::new(peer), request, path, body, LIMIT, record, id);
    for text in &asked.params {
        let (name, value) = text.split_once('=').ok_or("--param is written as NAME=VALUE")?;
        exchange.params.push((Arc::from(name), value.into()));
    }
    if let Some(text) = &asked.jwt {
        let claims = serde_json::from_str(text).map_err(|error| format!("--jwt: {error}"))?;
        exchange.jwt = Some(Arc::new(Claims::new(Arc::clone(&route.name), claims)));
    }
    Ok(exchange)
}

/// The body that comes out.
async fn run(
    asked: &Map,
    policy: &dyn Policy,
    mut exchange: Exchange,
    input: Vec<u8>,
) -> Result<String, Problem> {
    let unread = |error: portcullis_core::BodyError| {
        Problem::new(&portcullis_core::problem::REQUEST_BROKEN, error.to_string())
    };
    let bytes = match asked.side {
        Side::Request => {
            settled(policy.on_request(&mut exchange)).await?;
            exchange.body.read(LIMIT).await.map_err(unread)?
        }
        Side::Response => {
            let mut response = Response::new(Body::full(input));
            *response.status_mut() = StatusCode::from_u16(asked.status).unwrap_or(StatusCode::OK);
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            settled(policy.on_response(&mut exchange, &mut response)).await?;
            response.body_mut().read(LIMIT).await.map_err(unread)?
        }
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn settled(step: Step<'_>) -> Result<(), Problem> {
    match step {
        Step::Fail(problem) => Err(problem),
        Step::Wait(future) => future.await.map(|_| ()),
        Step::Next | Step::Stop(_) => Ok(()),
    }
}
