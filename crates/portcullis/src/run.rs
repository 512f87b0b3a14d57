//! `run`: start, the banner, signals, reloads, the end.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_admin::{Admin, Ask};
use portcullis_core::{Clock, Worker};
use portcullis_engine::{Gateway, Inherited, Loaded, Reload, Source, load};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::console::tell;
use crate::verbs::{BAD_CONFIGURATION, complain};
use crate::watch::{INTERVAL, Watch};

pub fn run(source: &Source) -> ExitCode {
    run_with(source, || {})
}

/// Runs, and calls `ready` once everything listens.
pub fn run_with(source: &Source, ready: impl FnOnce()) -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false) // it would tell of a closed standard error there, and panic
        .init();
    let mut watch = Watch::new(&source.paths);
    let loaded = load(source);
    watch.name(&loaded.files);
    complain(&loaded);
    if loaded.plan.is_none() {
        return ExitCode::from(BAD_CONFIGURATION);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start: {error}")),
    };
    let local = tokio::task::LocalSet::new();
    match local.block_on(&runtime, serve(loaded, source.clone(), watch, ready)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => failed(&why),
    }
}

fn failed(why: &str) -> ExitCode {
    tell(&format!("error: {why}"));
    ExitCode::FAILURE
}

async fn serve(
    loaded: Loaded,
    source: Source,
    mut watch: Watch,
    ready: impl FnOnce(),
) -> Result<(), String> {
    let (_, warnings) = loaded.diagnostics.counts();
    let Some(plan) = loaded.plan else { return Ok(()) };
    let admin_plan = plan.admin.clone();
    let routes = plan.routes.len();
    let admin_listener = match &admin_plan {
        Some(admin) => Some(
            tokio::net::TcpListener::bind(admin.address)
                .await
                .map_err(|error| format!("cannot listen on {} (admin): {error}", admin.address))?,
        ),
        None => None,
    };
    let mut signals = Signals::new().map_err(|error| format!("cannot watch signals: {error}"))?;
    let mut gateway =
        Gateway::start(plan, source.clone(), Clock::system(), Inherited::default()).await?;
    let (asks, mut asked) = mpsc::channel(4);
    let files: Vec<_> = source.paths.iter().map(|path| path.display().to_string()).collect();
    tell(&format!("portcullis {} runs {}", env!("CARGO_PKG_VERSION"), files.join(", ")));
    tell(&format!("{}, {}", count(routes, "route"), count(warnings, "warning")));
    for url in gateway.urls() {
        tell(&format!("listening on {url}"));
    }
    match admin_listener.map(|listener| (listener.local_addr(), listener)) {
        Some((Ok(address), listener)) => {
            let (house, listeners) = (Arc::clone(&gateway.house), gateway.addresses().collect());
            let requests = asks.clone();
            let worker = Worker::new(usize::MAX, house.clock.clone());
            let admin = Admin { house, address, listeners, files, requests, worker };
            tokio::task::spawn_local(portcullis_admin::serve(listener, Rc::new(admin)));
            tell(&format!("admin on http://{address}"));
        }
        _ => tell("admin off"),
    }
    ready();
    let mut looks = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => report(&reload(&mut gateway, &mut watch).await),
            _ = signals.reopen.recv() => gateway.reopen_log(),
            _ = looks.tick() => {
                if watch.changed() {
                    report(&reload(&mut gateway, &mut watch).await);
                }
            }
            Some(Ask::Reload(done)) = asked.recv() => {
                let outcome = reload(&mut gateway, &mut watch).await;
                report(&outcome);
                let _ = done.send(match outcome {
                    Reload::Applied => Ok("applied"),
                    Reload::Unchanged => Ok("unchanged"),
                    Reload::Refused(why) => Err(why),
                });
            }
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
        }
    }
    tracing::info!("ending: listeners drain");
    gateway.stop().await;
    Ok(())
}

async fn reload(gateway: &mut Gateway, watch: &mut Watch) -> Reload {
    watch.take();
    let outcome = gateway.reload().await;
    if outcome == Reload::Applied {
        watch.name(&gateway.house.snapshot().plan.files);
    }
    outcome
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn report(outcome: &Reload) {
    match outcome {
        Reload::Applied => tracing::info!("the configuration was reloaded"),
        Reload::Unchanged => tracing::info!("the configuration has not changed"),
        Reload::Refused(why) => {
            tracing::error!("the new configuration was refused; the old one goes on\n{why}");
        }
    }
}

struct Signals {
    hangup: tokio::signal::unix::Signal,
    reopen: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}
