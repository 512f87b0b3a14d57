//! What a step does: changes first, then its request, again and again if it says so.

use std::rc::Rc;

use anyhow::{Context as _, Result, anyhow, bail};
use futures_util::future::join_all;
use tokio::net::TcpStream;

use crate::fill::unescape;
use crate::kit::BOUND;
use crate::kit::client::{self, Ask, Connection, Got, RawGot};
use crate::kit::gateway::{self, Ended};
use crate::kit::issuer::{Issuer, Mood};
use crate::kit::pause;
use crate::kit::wire::Wire;
use crate::language::{AskSettings, HangUp, IssuerMood, Step, WriteStep};
use crate::outside::Marks;
use crate::scene::{FILE, Scene, completed};
use crate::{check, convert, outside};

/// What came of a step's request.
pub enum Outcome {
    Nothing,
    /// One entry for each request.
    Answers(Vec<Result<Got>>),
    Raw(RawGot),
    Ended(Ended),
}

/// Changes the world before the request.
pub async fn prepare(scene: &mut Scene, step: &Step) -> Result<()> {
    for entry in &step.script {
        scene.script(&entry.name, &entry.value)?;
    }
    for name in step.upstream_down.iter() {
        scene.upstream(name)?.down().await?;
    }
    for name in step.upstream_up.iter() {
        scene.upstream(name)?.up()?;
    }
    for name in step.release.iter() {
        scene.upstream(name)?.release();
    }
    issuer(scene, step).await?;
    scene.make(&step.certificates)?;
    if let Some(write) = &step.write {
        write_file(scene, write)?;
    }
    if let Some(rename) = &step.rename {
        let path = scene.place.path();
        std::fs::rename(path.join(&rename.from), path.join(&rename.to))?;
    }
    if let Some(signal) = &step.signal {
        scene.gateway.as_mut().context("no gateway runs")?.signal(signal).await?;
    }
    Ok(())
}

async fn issuer(scene: &Scene, step: &Step) -> Result<()> {
    let issuer = scene.issuer.as_ref();
    if step.rotate_keys {
        issuer.context("no issuer in this scenario")?.rotate()?;
    }
    match step.issuer.as_ref().and_then(|issuer| issuer.set) {
        Some(mood) => set_issuer(issuer, mood).await,
        None => Ok(()),
    }
}

pub async fn set_issuer(issuer: Option<&Issuer>, mood: IssuerMood) -> Result<()> {
    let Some(issuer) = issuer else { return Ok(()) };
    match mood {
        IssuerMood::Down => issuer.down().await,
        IssuerMood::Up => issuer.up(),
        IssuerMood::Healthy => issuer.set_mood(Mood::Healthy),
        IssuerMood::Failing => issuer.set_mood(Mood::Failing),
        IssuerMood::Huge => issuer.set_mood(Mood::Huge),
        IssuerMood::Redirecting => issuer.set_mood(Mood::Redirecting),
        IssuerMood::Garbage => issuer.set_mood(Mood::Garbage),
        IssuerMood::Empty => issuer.set_mood(Mood::Empty),
        IssuerMood::Slow => issuer.set_mood(Mood::Slow),
    }
}

fn write_file(scene: &Scene, write: &WriteStep) -> Result<()> {
    let text = match (&write.config, &write.text) {
        (Some(config), None) => completed(config),
        (None, Some(text)) => text.clone(),
        _ => bail!("write: either `config` or `text`"),
    };
    scene.place.write(&write.file, &text)?;
    Ok(())
}

/// Asks and looks, once or until it is as expected. `marks` were set before the step began.
pub async fn ask(scene: &mut Scene, step: &Step, marks: &Marks) -> Result<()> {
    if let Some(name) = &step.background {
        return begin(scene, step, name, marks).await;
    }
    let awaited = match &step.r#await {
        Some(name) => Some(finish(scene, name).await?),
        None => None,
    };
    if let Some(code) = step.wait_exit {
        let gateway = scene.gateway.as_mut().context("no gateway runs")?;
        let got = gateway.wait_exit(BOUND).await?;
        if got != i32::from(code) {
            bail!("exit code: expected {code}, got {got}");
        }
    }
    let shared = &*scene;
    let saved = match (awaited, step.eventually) {
        (Some(outcome), _) => look(shared, step, marks, &outcome).await?,
        (None, Some(bound)) => {
            let attempt = async || once(shared, step, &marks.again(shared)).await;
            pause::eventually(bound, attempt).await?
        }
        (None, None) => once(shared, step, marks).await?,
    };
    for (name, value) in saved {
        scene.variables.set(&format!("saved.{name}"), value);
    }
    Ok(())
}

async fn once(scene: &Scene, step: &Step, marks: &Marks) -> Result<Vec<(String, String)>> {
    let outcome = perform(scene, step, marks).await?;
    look(scene, step, marks, &outcome).await
}

/// Looks at everything that the step names; what it saves comes back.
async fn look(
    scene: &Scene,
    step: &Step,
    marks: &Marks,
    outcome: &Outcome,
) -> Result<Vec<(String, String)>> {
    if let Some(expect) = &step.expect {
        check::outcome(expect, outcome)?;
    } else if let Outcome::Answers(answers) = outcome
        && let Some(error) = answers.iter().find_map(|answer| answer.as_ref().err())
    {
        bail!("{error:#}");
    }
    check::statuses(&step.statuses, outcome)?;
    outside::look(scene, step, marks, outcome).await?;
    step.save.0.iter().map(|(name, what)| check::saved(name, what, outcome)).collect()
}

async fn perform(scene: &Scene, step: &Step, marks: &Marks) -> Result<Outcome> {
    if let Some(settings) = &step.request {
        let address = scene.gateway()?.listener(settings.listener)?;
        return requests(scene, step, settings, address).await;
    }
    if let Some(settings) = &step.admin {
        return requests(scene, step, settings, scene.gateway()?.admin()?).await;
    }
    if let Some(bytes) = &step.raw {
        return raw(scene, step, &unescape(bytes)?, marks).await;
    }
    if let Some(arguments) = &step.command {
        return Ok(Outcome::Ended(command(scene, arguments).await?));
    }
    Ok(Outcome::Nothing)
}

async fn raw(scene: &Scene, step: &Step, bytes: &[u8], marks: &Marks) -> Result<Outcome> {
    let address = scene.gateway()?.listener(step.listener)?;
    if let Some(when) = step.hang_up {
        let mut wire = Wire::new(TcpStream::connect(address).await?);
        wire.write(bytes).await?;
        let seen = async || outside::upstreams(scene, step, marks).await;
        pause::eventually(BOUND, seen).await?;
        if when == HangUp::AfterHead {
            pause::within(BOUND, "the answer's head", wire.response()).await??;
        }
        return Ok(Outcome::Nothing);
    }
    let expect = step.expect.as_ref();
    let answers = expect.map_or(1, |expect| expect.then.len() + usize::from(!expect.refused));
    let last = expect.and_then(|expect| expect.then.last().or(Some(expect)));
    let wait_for_end = last.is_some_and(|expect| expect.closed || expect.refused);
    let got = client::raw(address, bytes, answers, wait_for_end, BOUND).await?;
    Ok(Outcome::Raw(got))
}

async fn requests(
    scene: &Scene,
    step: &Step,
    settings: &AskSettings,
    address: std::net::SocketAddr,
) -> Result<Outcome> {
    let mut answers = Vec::new();
    for _ in 0..step.repeat {
        let mut wanted = Vec::new();
        for _ in 0..step.parallel {
            wanted.push(convert::ask(settings, scene)?);
        }
        if let (Some(name), [wanted]) = (&settings.connection, wanted.as_slice()) {
            answers.push(on_kept(scene, name, address, wanted).await);
        } else {
            let all = wanted.iter().map(|wanted| client::ask(address, wanted, BOUND));
            answers.append(&mut join_all(all).await);
        }
    }
    Ok(Outcome::Answers(answers))
}

/// On the connection of this name, opened when there is none.
async fn on_kept(
    scene: &Scene,
    name: &str,
    address: std::net::SocketAddr,
    ask: &Ask,
) -> Result<Got> {
    let kept = scene.connections.borrow_mut().remove(name);
    let mut connection = match kept {
        Some(connection) => connection,
        None => Connection::open_for(address, ask).await?,
    };
    let got = connection.send(ask, BOUND).await;
    scene.connections.borrow_mut().insert(name.to_owned(), connection);
    got
}

/// Starts a request that goes on while other steps run. When the step says what upstreams see, it
/// ends as soon as they have seen it.
async fn begin(scene: &mut Scene, step: &Step, name: &str, marks: &Marks) -> Result<()> {
    let settings = step.request.as_ref().context("`background` wants a `request`")?;
    let address = scene.gateway()?.listener(settings.listener)?;
    let ask = convert::ask(settings, scene)?;
    let count = step.repeat * step.parallel;
    let kept = settings.connection.as_ref();
    let kept = kept.and_then(|name| scene.connections.borrow_mut().remove(name));
    let task = tokio::task::spawn_local(async move {
        let ask = Rc::new(ask);
        let answers = match kept {
            Some(mut connection) => vec![connection.send(&ask, BOUND * 2).await],
            None => join_all((0..count).map(|_| client::ask(address, &ask, BOUND * 2))).await,
        };
        Ok(Outcome::Answers(answers))
    });
    scene.background.insert(name.to_owned(), task);
    pause::eventually(BOUND, || outside::upstreams(scene, step, marks)).await
}

async fn finish(scene: &mut Scene, name: &str) -> Result<Outcome> {
    let task = scene.background.remove(name);
    let task = task.ok_or_else(|| anyhow!("no step in the background has the name {name}"))?;
    pause::within(BOUND * 2, "the answer in the background", task).await??
}

/// Runs the binary; `{file}` is the configuration.
pub async fn command(scene: &Scene, arguments: &[String]) -> Result<Ended> {
    let file = scene.place.path().join(FILE).display().to_string();
    let arguments: Vec<_> =
        arguments.iter().map(|argument| argument.replace("{file}", &file)).collect();
    gateway::run(scene.place.path(), &arguments, &scene.environment).await
}
