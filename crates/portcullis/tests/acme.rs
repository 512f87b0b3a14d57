//! Certificates from a real authority (pebble): got by either challenge, used at once, renewed while
//! connections come.

#![allow(clippy::unwrap_used, clippy::panic)] // a failed step is a failed test

mod kit;

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
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
    /// `life` is that of its certificates.
    async fn start(life: u32) -> Result<Self> {
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
            "httpPort": plain.1, "tlsPort": secure.1, "certificateValidityPeriod": life,
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

    /// A gateway whose certificate is got by this challenge, by way of the ports that the authority looks at.
    async fn gateway(&self, challenge: &str) -> Result<Gateway> {
        self.gateway_at(challenge, self.plain.1, self.secure.1).await
    }

    async fn gateway_at(&self, challenge: &str, plain: u16, secure: u16) -> Result<Gateway> {
        let port = self.port;
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
        let file = self.place.write(&format!("portcullis-{secure}.yaml"), &config)?;
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

/// The processes of one authority and one account have one folder; how often each has ordered.
async fn orders(gateway: &Gateway, outcome: &str) -> Result<usize> {
    let url = format!("http://{}/metrics", gateway.admin()?);
    let said = Command::new("curl").args(["-sS", &url]).kill_on_drop(true).output().await?.stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    let name =
        format!("portcullis_acme_orders_total{{host=\"shop.example\",outcome=\"{outcome}\"}} ");
    let line = said.lines().find_map(|line| line.strip_prefix(&name));
    Ok(line.map_or(0, |count| count.trim().parse().unwrap()))
}

fn process(place: &Place, program: &str, line: &str) -> Result<Child> {
    let mut command = Command::new(program);
    command.args(line.split_whitespace()).current_dir(place.path()).kill_on_drop(true);
    // It looks each time, as it would do after a while.
    command.env("PEBBLE_AUTHZREUSE", "0").env("PEBBLE_VA_NOSLEEP", "1");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.spawn()?)
}

async fn got_and_renewed(challenge: &str) -> Result<()> {
    let authority = Authority::start(LIFE).await?;
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

/// The one that orders is not the one that the authority comes to.
async fn got_by_way_of_another(challenge: &str) -> Result<()> {
    let authority = Authority::start(100 * LIFE).await?;
    let mut front = authority.gateway(challenge).await?;
    let first = eventually(BOUND, async || authority.serial().await).await?;
    let folder = authority.place.path().join(format!("acme/127.0.0.1_{}", authority.port));
    let account = std::fs::read(folder.join("account.json"))?;
    for name in ["account.json", "shop.example.pem", "lock"] {
        let mode = std::fs::metadata(folder.join(name))?.permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(std::fs::metadata(&folder)?.permissions().mode() & 0o777, 0o700);
    // The front is held while its file is taken away, so that somebody else has to order.
    front.signal("STOP").await?;
    std::fs::remove_file(folder.join("shop.example.pem"))?;
    let (plain, secure) = (keep_port()?, keep_port()?);
    let behind = authority.gateway_at(challenge, plain.1, secure.1).await?;
    eventually(BOUND, async || match std::fs::read_dir(folder.join("shown"))?.next() {
        Some(_) => Ok(()),
        None => bail!("nothing is shown yet"),
    })
    .await?;
    front.signal("CONT").await?;
    let second = async || match authority.serial().await? {
        same if same == first => bail!("still the first"),
        second => Ok(second),
    };
    let second = eventually(BOUND, second).await?;
    assert_eq!((orders(&front, "good").await?, orders(&behind, "good").await?), (1, 1));
    assert_eq!(std::fs::read(folder.join("account.json"))?, account, "one account");
    // Who begins anew has all that was there.
    drop((front, behind));
    let again = authority.gateway(challenge).await?;
    assert_eq!(authority.serial().await?, second);
    assert_eq!((orders(&again, "good").await?, orders(&again, "failed").await?), (0, 0));
    Ok(())
}

#[tokio::test(flavor = "local")]
async fn processes_with_one_folder_prove_for_each_other_by_handshakes() {
    got_by_way_of_another("tls-alpn-01").await.unwrap();
}

#[tokio::test(flavor = "local")]
async fn processes_with_one_folder_prove_for_each_other_by_requests() {
    got_by_way_of_another("http-01").await.unwrap();
}

#[tokio::test(flavor = "local")]
async fn an_authority_that_is_somebody_else_gets_no_account_and_is_not_asked_again_at_once() {
    let authority = Authority::start(LIFE).await.unwrap();
    // The one that is believed is another, of the same name.
    let own = std::fs::read_to_string(authority.place.path().join("authority.pem")).unwrap();
    let wish = Wish { names: vec!["127.0.0.1".into()], days: 90, ..Wish::default() };
    Certificates::default().make(authority.place.path(), "authority", &wish).unwrap();
    let mut gateway = authority.gateway("http-01").await.unwrap();
    let failed = async || match orders(&gateway, "failed").await? {
        0 => bail!("none yet"),
        count => Ok(count),
    };
    assert_eq!(eventually(BOUND, failed).await.unwrap(), 1);
    let told = |line: &String| {
        line.contains("cannot get a certificate")
            && line.contains("shop.example")
            && line.contains("certificate")
    };
    assert!(gateway.stderr.since(0).iter().any(told));
    let folder = authority.place.path().join(format!("acme/127.0.0.1_{}", authority.port));
    assert!(!folder.join("account.json").exists());
    // What was wrong is put right, and the gateway told: it does not wait for the pause to end.
    authority.place.write("authority.pem", &own).unwrap();
    gateway.signal("HUP").await.unwrap();
    eventually(BOUND, async || authority.serial().await).await.unwrap();
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
