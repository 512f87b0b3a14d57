//! A stranger's look at TLS: testssl.sh tries versions, ciphers and known attacks on a listener that says
//! nothing but which certificate it has.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{Wish, house};
use crate::run::{self, Guest, Room};

const START: Duration = Duration::from_secs(10);

pub(super) fn run(_: &Wish) -> Result<String> {
    let room = Room::new("tls")?;
    certificates(&room)?;
    let port = run::free_port()?;
    let file = room.path().join("portcullis.yaml");
    fs::write(
        &file,
        format!(
            "listeners:
  - address: 127.0.0.1:{port}
    tls: {{ certificates: [{{ certificate: site.pem, key: site.key }}], hsts: 365d }}
admin: off
log: {{ file: \"{}/access.log\" }}
routes:
  - name: all
    match: {{ path: \"/*\" }}
    respond: {{ text: hello, headers: {{ x-content-type-options: nosniff, x-frame-options: DENY }} }}
",
            room.path().display()
        ),
    )?;
    let mut command = Command::new(house::gateway()?);
    command.arg("run").arg(&file);
    let mut guest = Guest::start("portcullis", None, &command, &room)?;
    guest.wait_for(port, START)?;
    let told = room.path().join("told.json");
    let mut look = Command::new("testssl");
    look.args(["--quiet", "--color", "0", "--warnings", "batch", "--severity", "MEDIUM"]);
    look.arg("--add-ca").arg(room.path().join("ca.pem")).arg("--jsonfile").arg(&told);
    // Its exit code counts findings of any kind: what it wrote is read instead.
    let said = look.arg(format!("localhost:{port}")).output().context("running testssl")?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    if !said.contains("\n Done ") || !guest.is_running() {
        bail!("testssl did not come to its end:\n{said}");
    }
    let told: Value = serde_json::from_str(&fs::read_to_string(&told)?)?;
    let text = |of: &Value, key: &str| of.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let found = told.as_array().context("testssl told no list")?.iter().filter(|it| {
        matches!(text(it, "severity").as_str(), "MEDIUM" | "HIGH" | "CRITICAL" | "FATAL")
    });
    let found: Vec<String> =
        found.map(|it| format!("{}: {}", text(it, "id"), text(it, "finding"))).collect();
    if !found.is_empty() {
        bail!("testssl found\n{}", found.join("\n"));
    }
    Ok("testssl found nothing of severity MEDIUM or higher".to_owned())
}

/// An authority and a certificate as public ones are: names, a place to ask for revocations, 90 days.
fn certificates(room: &Room) -> Result<()> {
    let folder = room.path();
    fs::write(
        folder.join("more"),
        "subjectAltName=DNS:localhost\nbasicConstraints=critical,CA:FALSE\n\
         keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n\
         crlDistributionPoints=URI:http://127.0.0.1/list.crl\n",
    )?;
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let lines: [&[&str]; 3] = [
        &[
            "req", "-x509", "-days", "90", "-subj", "/CN=soak", "-out", "ca.pem", "-keyout",
            "ca.key",
        ],
        &["req", "-new", "-subj", "/CN=localhost", "-out", "site.csr", "-keyout", "site.key"],
        &[
            "x509", "-req", "-in", "site.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "90",
            "-extfile", "more", "-out", "site.pem",
        ],
    ];
    for line in lines {
        let mut openssl = Command::new("openssl");
        openssl.args(line).current_dir(folder);
        if line.first() == Some(&"req") {
            openssl.args(key);
        }
        run::output(&mut openssl)?;
    }
    Ok(())
}
