//! Programs that are not ours as clients, over every way to speak HTTP that a listener has: curl once, and
//! h2load with thousands of requests, of which none may be lost and none may come twice.

#![allow(clippy::unwrap_used, clippy::panic)] // a failed step is a failed test

mod kit;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kit::certificates::{Certificates, Wish};
use kit::gateway::Gateway;
use kit::pause::within;
use kit::place::Place;
use kit::script::{Answer, Content, Rule};
use kit::upstream::Upstream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

/// Debug builds on a busy machine take their time over thousands of requests.
const BOUND: Duration = Duration::from_secs(120);
const REQUESTS: usize = 3000;

/// A gateway in the clear (listener 0) and through TLS (listener 1), before one upstream.
struct House {
    gateway: Gateway,
    upstream: Upstream,
    place: Place,
}

/// A service that answers after the first bytes of a body, and closes: at once, or when it has said so and then read
/// all that came.
async fn early(patient: bool) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(answer_early(stream, patient));
        }
    });
    Ok(address)
}

async fn answer_early(mut stream: TcpStream, patient: bool) -> Result<()> {
    let mut buffer = vec![0; 2048];
    stream.read_exact(&mut buffer).await?;
    let answer = "HTTP/1.1 413 No\r\ncontent-length: 8\r\nconnection: close\r\n\r\ntoo much";
    stream.write_all(answer.as_bytes()).await?;
    if patient {
        stream.shutdown().await?;
        while stream.read(&mut buffer).await? > 0 {}
    }
    Ok(())
}

impl House {
    async fn open() -> Result<Self> {
        let (place, mut certificates) = (Place::new()?, Certificates::default());
        let names = vec!["shop.example".to_owned(), "127.0.0.1".to_owned()];
        let wish = Wish { names, days: 90, ..Wish::default() };
        certificates.make(place.path(), "site", &wish)?;
        let content = Content::Text("answer".into());
        let upstream =
            Upstream::start("up", vec![Rule::always(Answer { content, ..Answer::default() })])?;
        let config = format!(
            "listeners:\n\
             - {{ address: 127.0.0.1:0 }}\n\
             - {{ address: 127.0.0.1:0, tls: {{ certificates: [{{ certificate: site.pem, key: site.key }}] }} }}\n\
             admin: off\n\
             upstreams:\n\
             \x20 up: {{ endpoints: [\"{}\"] }}\n\
             \x20 away: {{ endpoints: [\"http://127.0.0.1:9\"] }}\n\
             \x20 hasty: {{ endpoints: [\"http://{}\"] }}\n\
             \x20 patient: {{ endpoints: [\"http://{}\"] }}\n\
             routes:\n\
             - {{ name: closed, match: {{ path: /closed }}, policies: {{ authorize: \"false\" }}, forward: {{ to: up }} }}\n\
             - {{ name: small, match: {{ path: /small }}, policies: {{ body_limit: 1KiB }}, forward: {{ to: up }} }}\n\
             - {{ name: away, match: {{ path: /away }}, forward: {{ to: away }} }}\n\
             - {{ name: hasty, match: {{ path: /hasty }}, forward: {{ to: hasty }} }}\n\
             - {{ name: patient, match: {{ path: /patient }}, forward: {{ to: patient }} }}\n\
             - {{ name: all, match: {{ path: \"/*\" }}, forward: {{ to: up }} }}\n",
            upstream.url(),
            early(false).await?,
            early(true).await?,
        );
        let file = place.write("portcullis.yaml", &config)?;
        let gateway = Gateway::start(place.path(), &file, &[]).await?;
        Ok(Self { gateway, upstream, place })
    }

    /// What a program prints; it has to be content. `CLEAR` and `SECURE` are the listeners' addresses.
    async fn run(&self, program: &str, line: &str) -> Result<String> {
        let line = line
            .replace("CLEAR", &format!("http://{}", self.gateway.listener(0)?))
            .replace("SECURE", &format!("https://{}", self.gateway.listener(1)?));
        let mut command = Command::new(program);
        command.args(line.split_whitespace()).current_dir(self.place.path()).kill_on_drop(true);
        let output = within(BOUND, &line, command.output()).await?;
        let output = output.with_context(|| format!("{program}; see `cargo xtask test`"))?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        ensure!(output.status.success(), "{program} {line}: {said}");
        Ok(said)
    }
}

#[tokio::test(flavor = "local")]
async fn curl_speaks_every_version() {
    let house = House::open().await.unwrap();
    for (arguments, version) in [
        ("--http1.0 CLEAR/a", "1"),
        ("--http1.1 CLEAR/a", "1.1"),
        ("--http1.1 --header Upgrade:h2c CLEAR/a", "1.1"), // asks for what nobody has to give
        ("--http2-prior-knowledge CLEAR/a", "2"),
        ("--http1.1 --cacert site.pem SECURE/a", "1.1"),
        ("--http2 --cacert site.pem SECURE/a", "2"),
        ("--http2 --tls-max 1.2 --cacert site.pem SECURE/a", "2"),
    ] {
        for (upload, method) in [("", "GET"), ("--data-binary @portcullis.yaml", "POST")] {
            let before = house.upstream.count();
            let line =
                format!("-sS --write-out |%{{http_version}}|%{{http_code}} {upload} {arguments}");
            let said = house.run("curl", &line).await.unwrap();
            let said = said.replace("|1.0|", "|1|"); // as other versions of curl write it
            assert_eq!(said, format!("answer|{version}|200"), "curl {line}");
            let seen = house.upstream.seen_since(before);
            assert_eq!(seen.len(), 1, "curl {line}");
            assert_eq!(seen[0].head.method, method);
            assert!(seen[0].complete);
        }
    }
    let said = house.run("curl", "-sS --head --http2-prior-knowledge CLEAR/a").await.unwrap();
    assert!(said.starts_with("HTTP/2 200"), "{said}");
}

#[tokio::test(flavor = "local")]
async fn who_is_answered_early_gets_the_answer_whatever_is_still_sent() {
    let house = House::open().await.unwrap();
    house.place.write("large", &"x".repeat(2 * 1024 * 1024)).unwrap();
    for how in ["--http1.1", "--http2-prior-knowledge", "--http2 --cacert site.pem"] {
        let base = if how.contains("cacert") { "SECURE" } else { "CLEAR" };
        for (path, status) in [("/closed", "403"), ("/small", "413"), ("/away", "")] {
            for upload in [
                "--data-binary @large",
                "--data-binary @portcullis.yaml",
                "--header transfer-encoding:chunked --data-binary @large",
                "--header content-type:application/grpc --data-binary @large",
            ] {
                if upload.contains("portcullis.yaml") && path == "/small" {
                    continue;
                }
                // An endpoint that fails again and again is set aside: then it is a 503.
                let wanted: &[&str] = match path {
                    _ if upload.contains("grpc") => &["200"],
                    "/away" => &["502", "503"],
                    _ => &[status],
                };
                let line =
                    format!("-sS -m 10 -o /dev/null -w %{{http_code}} {how} {upload} {base}{path}");
                for _ in 0..3 {
                    let said = house.run("curl", &line).await.unwrap();
                    assert!(wanted.contains(&said.as_str()), "curl {line}: {said}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "local")]
async fn who_is_answered_early_by_a_service_gets_that_answer_too() {
    let house = House::open().await.unwrap();
    house.place.write("large", &"x".repeat(8 * 1024 * 1024)).unwrap();
    for how in ["--http1.1", "--http2-prior-knowledge", "--http2 --cacert site.pem"] {
        let base = if how.contains("cacert") { "SECURE" } else { "CLEAR" };
        for path in ["/hasty", "/patient"] {
            for upload in ["", "--header transfer-encoding:chunked"] {
                let line = format!(
                    "-sS -m 20 -w |%{{http_code}} {how} {upload} --upload-file large {base}{path}"
                );
                for _ in 0..5 {
                    let said = house.run("curl", &line).await.unwrap();
                    assert_eq!(said, "too much|413", "curl {line}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "local")]
async fn thousands_of_requests_are_as_many_at_the_upstream() {
    let house = House::open().await.unwrap();
    for arguments in [
        "-c 8 -m 20 CLEAR/a",
        "-c 8 -m 20 SECURE/a",
        "--h1 -c 8 CLEAR/a",
        "--h1 -c 8 SECURE/a",
        "-c 8 -m 20 -d site.pem SECURE/a",
    ] {
        let before = house.upstream.count();
        let said = house.run("h2load", &format!("-n {REQUESTS} {arguments}")).await.unwrap();
        let all = format!(
            "requests: {REQUESTS} total, {REQUESTS} started, {REQUESTS} done, {REQUESTS} succeeded, \
             0 failed, 0 errored, 0 timeout"
        );
        assert!(said.contains(&all), "h2load {arguments}: {said}");
        assert!(said.contains(&format!("{REQUESTS} 2xx")), "h2load {arguments}: {said}");
        assert_eq!(house.upstream.count() - before, REQUESTS, "h2load {arguments}");
    }
}
