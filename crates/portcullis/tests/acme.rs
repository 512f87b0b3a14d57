//! Certificates from a real authority (pebble): got by either challenge, used at once, renewed while
//! connections come.

#![allow(clippy::unwrap_used, clippy::panic)] // a failed step is a failed test

mod kit;

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, bail};
use kit::certificates::{Certificates, Wish};
use kit::gateway::{Gateway, run};
use kit::pause::eventually;
use kit::place::{Place, hold_port, keep_port};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::process::{Child, Command};

const BOUND: Duration = Duration::from_secs(60);
/// In seconds: the gateway gets a new one after two thirds.
const LIFE: u32 = 24;

/// An authority that looks at these ports of every host, all of which lead here.
struct Authority {
    place: Place,
    port: u16,
    plain: (TcpSocket, u16),
    secure: (TcpSocket, u16),
    _processes: [Child; 2],
}

impl Authority {
    async fn start() -> Result<Self> {
        let place = Place::new()?;
        let wish = Wish { names: vec!["127.0.0.1".into()], days: 90, ..Wish::default() };
        Certificates::default().make(place.path(), "authority", &wish)?;
        let (plain, secure) = (keep_port()?, keep_port()?);
        let names = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?;
        let held = [hold_port()?, hold_port()?, hold_port()?];
        let [port, management, spare] = held.each_ref().map(|(_, port)| *port);
        drop(held);
        let settings = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": "authority.pem", "privateKey": "authority.key",
            "httpPort": plain.1, "tlsPort": secure.1, "certificateValidityPeriod": LIFE,
        } });
        place.write("pebble.json", &settings.to_string())?;
        let dns = format!(
            "-defaultIPv4 127.0.0.1 -defaultIPv6= -dns01 {names} -http01= -https01= -tlsalpn01= \
             -management 127.0.0.1:{spare}"
        );
        let processes = [
            process(&place, "pebble-challtestsrv", &dns)?,
            process(&place, "pebble", &format!("-config pebble.json -dnsserver {names}"))?,
        ];
        let reached = async || Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?);
        eventually(BOUND, reached).await?;
        Ok(Self { place, port, plain, secure, _processes: processes })
    }

    /// A gateway whose certificate is got by this challenge.
    async fn gateway(&self, challenge: &str) -> Result<Gateway> {
        let (plain, secure, port) = (self.plain.1, self.secure.1, self.port);
        let config = format!(
            "admin: {{ address: 127.0.0.1:0 }}\n\
             listeners:\n\
             - {{ address: 127.0.0.1:{plain}, redirect_to_https: {secure} }}\n\
             - address: 127.0.0.1:{secure}\n\
             \x20 tls:\n\
             \x20   acme: {{ hosts: [shop.example], agree_to_terms: on, challenge: {challenge}, \
                    ca: authority.pem, directory: \"https://127.0.0.1:{port}/dir\" }}\n\
             routes: [{{ name: all, match: {{ path: \"/*\" }}, respond: {{ text: answer }} }}]\n"
        );
        let file = self.place.write("portcullis.yaml", &config)?;
        Gateway::start(self.place.path(), &file, &[]).await
    }

    /// The serial number of the certificate that is shown for the host.
    async fn serial(&self) -> Result<String> {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-servername", "shop.example", "-connect"]);
        command.arg(format!("127.0.0.1:{}", self.secure.1)).stdin(Stdio::null());
        let shown = command.kill_on_drop(true).output().await?.stdout;
        self.place.write("shown.pem", &String::from_utf8_lossy(&shown))?;
        let mut command = Command::new("openssl");
        command.args(["x509", "-in", "shown.pem", "-noout", "-serial", "-issuer"]);
        let said = command.current_dir(self.place.path()).kill_on_drop(true).output().await?.stdout;
        let said = String::from_utf8_lossy(&said).into_owned();
        if !said.contains("Pebble") {
            bail!("not the authority's: {said}");
        }
        Ok(said)
    }
}

fn process(place: &Place, program: &str, line: &str) -> Result<Child> {
    let mut command = Command::new(program);
    command.args(line.split_whitespace()).current_dir(place.path()).kill_on_drop(true);
    command.env("PEBBLE_VA_NOSLEEP", "1").stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.spawn()?)
}

async fn got_and_renewed(challenge: &str) -> Result<()> {
    let authority = Authority::start().await?;
    let gateway = authority.gateway(challenge).await?;
    let lines = || gateway.stderr.since(0).into_iter().filter(|line| !line.contains("handshake"));
    let told = async |error| {
        anyhow::anyhow!("{error}; the gateway:\n{}", lines().collect::<Vec<_>>().join("\n"))
    };
    let first = match eventually(BOUND, async || authority.serial().await).await {
        Ok(first) => first,
        Err(error) => return Err(told(error).await),
    };
    let renewed = async || match authority.serial().await? {
        same if same == first => bail!("still the first"),
        _ => Ok(()),
    };
    match eventually(BOUND, renewed).await {
        Ok(()) => Ok(()),
        Err(error) => Err(told(error).await),
    }
}

#[tokio::test(flavor = "local")]
async fn a_certificate_is_got_by_a_handshake_and_renewed() {
    got_and_renewed("tls-alpn-01").await.unwrap();
}

#[tokio::test(flavor = "local")]
async fn a_certificate_is_got_by_a_request_and_renewed() {
    got_and_renewed("http-01").await.unwrap();
}

#[tokio::test(flavor = "local")]
async fn what_an_authority_cannot_be_asked_for_is_told() {
    let place = Place::new().unwrap();
    let config = "listeners:\n\
         - address: 127.0.0.1:0\n\
         \x20 tls: { acme: { hosts: [\"*.shop.example\", 127.0.0.1], agree_to_terms: off } }\n\
         routes: [{ name: all, match: { path: \"/*\" }, respond: { text: answer } }]\n";
    place.write("portcullis.yaml", config).unwrap();
    let arguments = ["check".to_owned(), "portcullis.yaml".to_owned()];
    let ended = run(place.path(), &arguments, &[]).await.unwrap();
    assert_ne!(ended.exit, Some(0));
    for said in ["only a challenge in DNS", "is an address", "agree_to_terms: on"] {
        assert!(ended.stderr.contains(said), "{said} is not in: {}", ended.stderr);
    }
}
