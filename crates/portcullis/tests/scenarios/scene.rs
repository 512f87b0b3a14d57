//! One scenario being played: what stands around the gateway, the gateway, and the steps.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::TcpListener;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use portcullis_config::{Named, Node};
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;

use crate::collect::Found;
use crate::fill::{Variables, check_filled, names_of};
use crate::kit::certificates::{Certificates, Front};
use crate::kit::client::Connection;
use crate::kit::gateway::Gateway;
use crate::kit::issuer::Issuer;
use crate::kit::place::{Place, hold_port, keep_port};
use crate::kit::upstream::Upstream;
use crate::language::{CertificateSettings, RuleSettings, Scenario, Step};
use crate::outside::Marks;
use crate::{act, check, convert};

/// The configuration's name in the scenario's directory.
pub const FILE: &str = "portcullis.yaml";

/// Everything that lasts from step to step.
pub struct Scene {
    // The gateway goes first: it must not live to see its directory and upstreams vanish.
    pub gateway: Option<Gateway>,
    pub upstreams: BTreeMap<String, Upstream>,
    pub issuer: Option<Issuer>,
    pub certificates: Certificates,
    fronts: Vec<Front>,
    pub variables: Variables,
    pub environment: Vec<(String, String)>,
    pub place: Place,
    pub connections: RefCell<HashMap<String, Connection>>,
    pub background: HashMap<String, JoinHandle<Result<act::Outcome>>>,
    /// Ports that nobody but the gateway gets.
    _kept: Vec<TcpSocket>,
    /// Ports that somebody else has.
    _taken: Vec<TcpListener>,
}

/// Plays a scenario from its first to its last step.
pub async fn play(found: &Found) -> Result<()> {
    let mut scene = Scene::around(found)?;
    scene.secure(&found.text.decode(&found.node)?).await?;
    let filled = scene.variables.node(&found.node);
    let scenario: Scenario = found.text.decode(&filled)?;
    scene.set(&scenario).await?;
    if let Some(arguments) = &scenario.command {
        let config = scenario.config.as_deref();
        config.map(|text| scene.place.write(FILE, text)).transpose()?;
        let ended = act::command(&scene, arguments).await?;
        let expect = scenario.expect.as_ref().context("a command needs an `expect`")?;
        let expect = found.text.decode(expect)?;
        return check::outcome(&expect, &act::Outcome::Ended(ended));
    }
    if let Some(config) = &scenario.config {
        scene.start(config, &scenario.beside).await?;
    }
    for (index, node) in scenario.steps.iter().enumerate() {
        let place = found.text.place(node);
        let number = index + 1;
        scene.step(found, node).await.map_err(|error| {
            let (sentence, tails) = (&found.name, scene.tails());
            anyhow!("\"{sentence}\"\nstep {number} ({place}): {error:#}\n{tails}")
        })?;
    }
    Ok(())
}

impl Scene {
    /// What the scenario names and the runner has to bring: ports, upstreams, an issuer.
    fn around(found: &Found) -> Result<Self> {
        let place = Place::new()?;
        let mut variables = Variables::default();
        variables.set("dir", place.path().display().to_string());
        let written = format!("{:?}", found.node);
        let mut upstreams = BTreeMap::new();
        let named = found.node.get("upstreams").and_then(Node::as_map);
        for entry in named.into_iter().flatten() {
            let upstream = Upstream::start(&entry.key, Vec::new())?;
            variables.set(&format!("upstream.{}", entry.key), upstream.url());
            variables.set(&format!("upstream.{}.address", entry.key), upstream.address.to_string());
            upstreams.insert(entry.key.clone(), upstream);
        }
        let issuer = written.contains("${issuer.").then(Issuer::start).transpose()?;
        if let Some(issuer) = &issuer {
            variables.set("issuer.url", issuer.url());
            variables.set("issuer.jwks", issuer.jwks_url());
        }
        for length in names_of(&written, "long") {
            variables.set(&format!("long.{length}"), "x".repeat(length.parse()?));
        }
        let (mut kept, mut taken) = (Vec::new(), Vec::new());
        for name in names_of(&written, "port") {
            let (socket, port) = keep_port()?;
            variables.set(&format!("port.{name}"), port.to_string());
            kept.push(socket);
        }
        for name in names_of(&written, "taken") {
            let (listener, port) = hold_port()?;
            variables.set(&format!("taken.{name}"), port.to_string());
            taken.push(listener);
        }
        Ok(Self {
            gateway: None,
            upstreams,
            issuer,
            certificates: Certificates::default(),
            fronts: Vec::new(),
            variables,
            environment: Vec::new(),
            place,
            connections: RefCell::default(),
            background: HashMap::new(),
            _kept: kept,
            _taken: taken,
        })
    }

    /// Certificates, and TLS in front of upstreams. Names and numbers of days need nothing filled in.
    async fn secure(&mut self, scenario: &Scenario) -> Result<()> {
        self.make(&scenario.certificates)?;
        for entry in &scenario.secure {
            let address = self.upstream(&entry.name)?.address;
            let (own, clients) = (&entry.value.certificate, entry.value.clients.as_deref());
            let front = self.certificates.front(address, own, clients).await?;
            let (name, address) = (&entry.name, front.address);
            self.variables.set(&format!("upstream.{name}"), format!("https://{address}"));
            self.variables.set(&format!("upstream.{name}.address"), address.to_string());
            self.fronts.push(front);
        }
        Ok(())
    }

    pub fn make(&mut self, certificates: &Named<CertificateSettings>) -> Result<()> {
        for entry in certificates {
            let wish = convert::certificate(&entry.value)?;
            self.certificates.make(self.place.path(), &entry.name, &wish)?;
        }
        Ok(())
    }

    async fn set(&mut self, scenario: &Scenario) -> Result<()> {
        act::set_issuer(self.issuer.as_ref(), scenario.issuer).await?;
        for entry in &scenario.upstreams {
            self.script(&entry.name, &entry.value)?;
        }
        for (name, text) in &scenario.files.0 {
            self.place.write(name, text)?;
        }
        self.environment.clone_from(&scenario.env.0);
        Ok(())
    }

    pub fn script(&self, name: &str, rules: &[RuleSettings]) -> Result<()> {
        self.upstream(name)?.set_rules(convert::rules(rules)?);
        Ok(())
    }

    pub fn upstream(&self, name: &str) -> Result<&Upstream> {
        self.upstreams.get(name).with_context(|| format!("no upstream {name} in this scenario"))
    }

    pub fn gateway(&self) -> Result<&Gateway> {
        self.gateway.as_ref().context("no gateway runs in this scenario")
    }

    async fn start(&mut self, config: &str, beside: &[PathBuf]) -> Result<()> {
        let config = completed(config);
        check_filled(&config)?;
        let file = self.place.write(FILE, &config)?;
        let paths = [std::slice::from_ref(&file), beside].concat();
        let gateway = Gateway::start_with(self.place.path(), &paths, &self.environment).await?;
        for (index, address) in gateway.listeners.iter().enumerate() {
            self.variables.set(&format!("listener.{index}"), address.to_string());
            if index == 0 {
                self.variables.set("gateway", address.to_string());
            }
        }
        if let Some(admin) = gateway.admin {
            self.variables.set("admin", admin.to_string());
        }
        self.gateway = Some(gateway);
        Ok(())
    }

    async fn step(&mut self, found: &Found, node: &Node) -> Result<()> {
        let filled = self.variables.node(node);
        check_filled(&format!("{filled:?}"))?;
        let step: Step = found.text.decode(&filled)?;
        let marks = Marks::of(self);
        act::prepare(self, &step).await?;
        act::ask(self, &step, &marks).await
    }

    /// What the gateway said last, for a failure's report.
    fn tails(&self) -> String {
        let Some(gateway) = &self.gateway else { return "no gateway runs".to_owned() };
        let (stderr, log) = (gateway.stderr.tail(30), gateway.log.tail(10));
        format!("the gateway's standard error:\n{stderr}the gateway's log:\n{log}")
    }
}

/// A configuration on free ports where it says nothing else. What is added goes below, so that line
/// numbers stay as they are.
pub fn completed(config: &str) -> String {
    let mut text = config.to_owned();
    for block in ["listeners:", "admin:"] {
        if !text.lines().any(|line| line.starts_with(block)) {
            let address = "{ address: 127.0.0.1:0 }";
            let value = if block == "admin:" { address.into() } else { format!("[{address}]") };
            text.push_str(&format!("\n{block} {value}\n"));
        }
    }
    text
}
