//! Cases against one gateway and one upstream, one after the other.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::net::TcpStream;

use crate::cases::{Case, File};
use crate::kit::BOUND;
use crate::kit::client::{Ask, ask};
use crate::kit::gateway::Gateway;
use crate::kit::pause::within;
use crate::kit::place::Place;
use crate::kit::script::{Answer, Content, Rule, Seen};
use crate::kit::upstream::Upstream;
use crate::kit::wire::Wire;

/// Asked on a connection that has to be kept, behind what the case sent.
const PROBE: &[u8] = b"GET /probe HTTP/1.1\r\nHost: wire\r\n\r\n";

/// What a file says of policies is not for what follows a case.
pub const ROUTES: &str = "\
- { name: probe, match: { path: /probe }, policies: { authorize: off, validate: off }, forward: { to: up } }
- { name: all, match: { path: '/*' }, forward: { to: up } }";

/// A gateway before one upstream.
pub struct House {
    pub upstream: Upstream,
    pub address: SocketAddr,
    gateway: Gateway,
    _place: Place,
}

impl House {
    /// `routes` is a list of YAML, `more` are other lines of the file; `${up}` is the upstream.
    pub async fn open(routes: &str, more: &str) -> Result<Self> {
        let upstream = Upstream::start("up", Vec::new())?;
        let config = format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\nworkers: 1\n\
             upstreams: {{ up: {{ endpoints: [\"{}\"], breaker: off }} }}\n{more}\nroutes:\n{routes}\n",
            upstream.url()
        );
        let place = Place::new()?;
        let file = place.write("portcullis.yaml", &config)?;
        let gateway = Gateway::start(place.path(), &file, &[]).await?;
        let address = gateway.listener(0)?;
        Ok(Self { upstream, address, gateway, _place: place })
    }
}

impl House {
    pub async fn metric(&self, name: &str, word: &str) -> Result<f64> {
        metric(&self.gateway, name, word).await
    }
}

/// The sum of a metric's samples that have this word in their labels.
pub async fn metric(gateway: &Gateway, name: &str, word: &str) -> Result<f64> {
    let metrics = Ask { method: "GET".into(), path: "/metrics".into(), ..Ask::default() };
    let text = ask(gateway.admin()?, &metrics, BOUND).await?.text();
    let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(word));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

/// Tells of every case that did not go as it should.
pub async fn all(file: &File) -> Result<()> {
    let house = House::open(ROUTES, &file.config).await?;
    let (mut wrong, mut count) = (Vec::new(), 0);
    for case in &file.cases {
        if let Err(why) = one(&house, case).await {
            wrong.push(format!("{}: {why:#}", case.name));
        }
        count += case.expected.count + usize::from(!case.expected.closed);
    }
    // A request that came late would have been missed above.
    let seen = house.upstream.count();
    if wrong.is_empty() && seen != count {
        wrong.push(format!("in all the upstream saw {seen} requests, not {count}"));
    }
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("\n")) }
}

async fn one(house: &House, case: &Case) -> Result<()> {
    let upstream = &house.upstream;
    upstream.set_rules(match case.answered.as_slice() {
        [] => Vec::new(),
        bytes => vec![raw(bytes)],
    });
    let mark = upstream.count();
    let mut wire = Wire::new(TcpStream::connect(house.address).await?);
    let sent = wire.write(&case.sent).await; // the gateway may have answered and closed already
    let statuses = within(BOUND, "the answers", statuses(&mut wire, case)).await?;
    let statuses = statuses.with_context(|| format!("sending: {sent:?}"))?;
    ensure!(statuses == case.expected.statuses, "answered {statuses:?}");
    let connections = upstream.connections();
    if case.expected.closed {
        within(BOUND, "the connection's end", wire.closed()).await??;
    } else {
        upstream.set_rules(Vec::new());
        wire.write(PROBE).await?;
        let head = within(BOUND, "an answer behind it", wire.response()).await??;
        let status = head.context("closed")?.status;
        ensure!(status == 200, "what followed was answered {status}");
    }
    let mut seen = upstream.seen_since(mark);
    if !case.expected.closed {
        let probe = seen.pop().context("the upstream did not see what followed")?;
        ensure!(probe.head.target == "/probe", "what followed was taken for {:?}", told(&probe));
    }
    let seen: Vec<String> = seen.iter().map(told).collect();
    ensure!(seen.len() == case.expected.count, "the upstream saw {seen:?}");
    ensure!(case.seen.is_empty() || seen == case.seen, "the upstream saw {seen:?}");
    let fresh = upstream.connections() > connections;
    ensure!(fresh || !case.expected.fresh, "the connection to the upstream was used again");
    Ok(())
}

/// Bytes once, and then what an upstream says by itself.
fn raw(bytes: &[u8]) -> Rule {
    let answer = Answer { content: Content::Raw(bytes.to_vec()), ..Answer::default() };
    Rule::always(answer)
}

/// As many as are expected, or fewer when the connection ends before.
async fn statuses(wire: &mut Wire, case: &Case) -> Result<Vec<u16>> {
    let to_head = case.sent.starts_with(b"HEAD ");
    let mut statuses = Vec::new();
    while statuses.len() < case.expected.statuses.len() {
        let Some(head) = wire.response().await? else { break };
        wire.response_body(&head, to_head).await?;
        statuses.push(head.status);
    }
    Ok(statuses)
}

fn told(seen: &Seen) -> String {
    let body = String::from_utf8_lossy(&seen.body.bytes);
    let told = format!("{} {} {body}", seen.head.method, seen.head.target);
    told.trim_end().replace("\r\n", "\\r\\n")
}
