//! TLS with clients that are not ours: curl and OpenSSL. Versions, protocols, resumption in whatever
//! worker, staples, and certificates that change while connections live.

#![allow(clippy::unwrap_used, clippy::panic)] // a failed step is a failed test

mod kit;

use std::path::Path;
use std::process::Stdio;

use kit::BOUND;
use kit::certificates::{Certificates, Wish};
use kit::client::{Ask, AskTls, Got};
use kit::gateway::Gateway;
use kit::load::Load;
use kit::pause::{eventually, within};
use kit::place::{Place, hold_port};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// A gateway with TLS, in a directory of its own.
struct House {
    gateway: Gateway,
    certificates: Certificates,
    place: Place,
}

fn site(days: i64) -> Wish {
    let names = vec!["shop.example".to_owned()];
    Wish { names, days, ..Wish::default() }
}

fn config(tls: &str) -> String {
    format!(
        "workers: 4\n\
         listeners: [{{ address: 127.0.0.1:0, tls: {{ certificates: [{{ certificate: site.pem, \
         key: site.key{tls} }} }}]\n\
         admin: {{ address: 127.0.0.1:0 }}\n\
         routes: [{{ name: all, match: {{ path: \"/*\" }}, respond: {{ text: answer }} }}]\n"
    )
}

impl House {
    /// `tls` goes on behind the first certificate's key.
    async fn open(tls: &str) -> Self {
        let (place, mut certificates) = (Place::new().unwrap(), Certificates::default());
        certificates.make(place.path(), "site", &site(90)).unwrap();
        let wish = Wish { authority: true, list_days: 10, days: 90, ..Wish::default() };
        certificates.make(place.path(), "clients", &wish).unwrap();
        let wish = Wish { by: Some("clients".into()), days: 90, ..Wish::default() };
        certificates.make(place.path(), "robot", &wish).unwrap();
        let file = place.write("portcullis.yaml", &config(tls)).unwrap();
        let gateway = Gateway::start(place.path(), &file, &[]).await.unwrap();
        Self { gateway, certificates, place }
    }

    fn port(&self) -> u16 {
        self.gateway.listener(0).unwrap().port()
    }

    /// What curl prints, and whether it was content.
    async fn curl(&self, arguments: &str) -> (bool, String) {
        let port = self.port();
        let line = format!(
            "--silent --show-error --cacert site.pem --resolve shop.example:{port}:127.0.0.1 \
             --write-out %{{http_version}}|%{{ssl_verify_result}} {arguments} \
             https://shop.example:{port}/"
        );
        self.run("curl", &line, "").await
    }

    /// What `openssl s_client` prints of a request that it sends.
    async fn openssl(&self, arguments: &str) -> String {
        let line = format!(
            "s_client -connect 127.0.0.1:{} -servername shop.example -CAfile site.pem -ign_eof \
             {arguments}",
            self.port()
        );
        let request = "GET / HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n";
        self.run("openssl", &line, request).await.1
    }

    async fn run(&self, program: &str, line: &str, input: &str) -> (bool, String) {
        let mut command = Command::new(program);
        command.args(line.split_whitespace()).current_dir(self.place.path()).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let _ = stdin.write_all(input.as_bytes()).await; // it may not want to know
        drop(stdin);
        let output = within(BOUND, line, child.wait_with_output()).await.unwrap().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Of the authority `clients`, with what it says of the certificate in `site.ocsp`.
    async fn staple(&mut self) {
        let wish = Wish { by: Some("clients".into()), ..site(90) };
        self.certificates.make(self.place.path(), "site", &wish).unwrap();
        let facts = self.run("openssl", "x509 -in site.pem -noout -serial", "").await.1;
        let serial = facts.trim().trim_start_matches("serial=");
        let line = format!("V\t400101000000Z\t\t{serial}\tunknown\t/CN=site\n");
        self.place.write("index", &line).unwrap();
        self.respond("site").await;
    }

    /// Asks the responder anew.
    async fn respond(&self, certificate: &str) {
        let line = format!(
            "ocsp -index index -CA clients.pem -rsigner clients.pem -rkey clients.key \
             -issuer clients.pem -cert {certificate}.pem -respout site.ocsp -ndays 7"
        );
        let (good, said) = self.run("openssl", &line, "").await;
        assert!(good, "{said}");
    }

    /// Makes the next answer be of 2001.
    fn age(&self) {
        let file = self.place.path().join("site.ocsp");
        let mut old = std::fs::read(&file).unwrap();
        let is_time = |it: &[u8]| {
            it.split_last().is_some_and(|(z, it)| *z == b'Z' && it.iter().all(u8::is_ascii_digit))
        };
        let mut times = old.windows(15).enumerate().filter(|(_, it)| is_time(it));
        let (at, _) = times.nth(2).unwrap(); // when the next one comes
        old.splice(at..at + 4, *b"2001");
        std::fs::write(&file, old).unwrap();
    }

    /// Waits until what OpenSSL prints of the staple has this.
    async fn stapled(&self, wanted: &str) {
        let stapled = async || {
            let said = self.openssl("-status").await;
            anyhow::ensure!(said.contains(wanted) && said.contains("answer"), "{said}");
            Ok(())
        };
        eventually(BOUND, stapled).await.unwrap();
    }

    fn ask(&self, http2: bool) -> Ask {
        let config = self.certificates.client("site", None, http2).unwrap();
        let tls = AskTls { config, server_name: "shop.example".into() };
        let host = Some("shop.example".to_owned());
        Ask {
            method: "GET".into(),
            path: "/".into(),
            host,
            http2,
            tls: Some(tls),
            ..Ask::default()
        }
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn curl_gets_what_it_asks_for() {
    run(async {
        let house = House::open(" }]").await;
        for (arguments, version) in [
            ("", "2"),
            ("--http1.1", "1.1"),
            ("--tls-max 1.2", "2"),
            ("--tls-max 1.2 --http1.1", "1.1"),
            ("--tlsv1.3", "2"),
            ("--no-alpn", "1.1"),
        ] {
            let got = house.curl(arguments).await;
            assert_eq!(got, (true, format!("answer{version}|0")), "curl {arguments}");
        }
        let (_, said) = house.curl("--http1.1 --verbose --header connection:close").await;
        assert!(!said.contains("unexpected eof") && said.contains("close notify"), "{said}");
    });
}

#[test]
fn the_versions_are_settings_and_never_older_than_1_2() {
    run(async {
        let house = House::open(" }], min_version: 1.3").await;
        assert!(house.curl("--tlsv1.3").await.0);
        let (good, said) = house.curl("--tls-max 1.2").await;
        assert!(!good && said.contains("alert protocol version"), "{said}");
        let house = House::open(" }], max_version: 1.2").await;
        assert!(!house.curl("--tlsv1.3").await.0);
        assert_eq!(house.curl("").await, (true, "answer2|0".to_owned()));
        let house = House::open(" }]").await;
        let said = house.openssl("-tls1_1 -cipher ALL:@SECLEVEL=0").await;
        assert!(said.contains(" alert ") && !said.contains("answer"), "{said}");
    });
}

#[test]
fn a_session_is_resumed_by_whatever_worker_and_after_a_reload() {
    run(async {
        let mut house = House::open(" }]").await;
        for version in ["-tls1_2", "-tls1_3"] {
            let said = house.openssl(&format!("{version} -sess_out session")).await;
            assert!(said.contains("answer") && said.contains("New, TLSv1"), "{said}");
            for round in 0..12 {
                if round == 6 {
                    let text = config(" }], hsts: 1d");
                    house.place.write("portcullis.yaml", &text).unwrap();
                    house.gateway.signal("HUP").await.unwrap();
                    let reloaded = async || {
                        let (_, said) = house.curl("--http1.1 --include").await;
                        anyhow::ensure!(said.contains("strict-transport-security"), "{said}");
                        Ok(())
                    };
                    eventually(BOUND, reloaded).await.unwrap();
                }
                let said = house.openssl(&format!("{version} -sess_in session")).await;
                assert!(said.contains("answer") && said.contains("Reused, TLSv1"), "{said}");
            }
        }
    });
}

#[test]
fn a_session_does_not_outlive_what_its_certificate_was_judged_by() {
    run(async {
        let clients = " }], client_certificates: { ca: clients.pem, crl: clients.crl }";
        let mut house = House::open(clients).await;
        let own = "-cert robot.pem -key robot.key";
        for version in ["-tls1_2", "-tls1_3"] {
            let said = house.openssl(&format!("{version} {own} -sess_out session")).await;
            assert!(said.contains("answer"), "{said}");
            let said = house.openssl(&format!("{version} {own} -sess_in session")).await;
            assert!(said.contains("answer") && said.contains("Reused, TLSv1"), "{said}");
            // The authority, anew: what it had signed before is signed by somebody else.
            let wish = Wish { authority: true, list_days: 10, days: 90, ..Wish::default() };
            let (folder, certificates) = (house.place.path(), &mut house.certificates);
            certificates.make(folder, "clients", &wish).unwrap();
            let refused = async || {
                let said = house.openssl(&format!("{version} {own} -sess_in session")).await;
                anyhow::ensure!(!said.contains("answer"), "still answered");
                Ok(())
            };
            eventually(BOUND, refused).await.unwrap();
            let wish = Wish { by: Some("clients".into()), days: 90, ..Wish::default() };
            let (folder, certificates) = (house.place.path(), &mut house.certificates);
            certificates.make(folder, "robot", &wish).unwrap();
        }
    });
}

#[test]
fn certificates_change_under_load_and_fail_no_request() {
    run(async {
        let mut house = House::open(" }]").await;
        let good = |got: &Got| {
            let good = got.status == 200 && got.body == b"answer" && got.broken.is_none();
            if good { Ok(()) } else { Err(format!("{}: {}", got.status, got.text())) }
        };
        let address = house.gateway.listener(0).unwrap();
        let (one, two) = (house.ask(false), house.ask(true));
        let (one, two) = (Load::start(address, 8, &one, good), Load::start(address, 4, &two, good));
        one.more(50).await.unwrap();
        for days in [100, 200, 300] {
            let (folder, certificates) = (house.place.path(), &mut house.certificates);
            certificates.make(folder, "site", &site(days)).unwrap();
            let shown = async || {
                let (good, said) = house.curl("").await; // it believes the new one only
                anyhow::ensure!(good, "{said}");
                Ok(())
            };
            eventually(BOUND, shown).await.unwrap();
            one.more(50).await.unwrap();
            two.more(50).await.unwrap();
        }
        let (one, two) = (one.stop().await.unwrap(), two.stop().await.unwrap());
        for tally in [&one, &two] {
            let failures = tally.failures.borrow();
            assert!(failures.is_empty(), "{} failed, such as {failures:#?}", tally.failed.get());
        }
        assert_eq!((one.connections.get(), two.connections.get()), (8, 4));
    });
}

#[test]
fn the_example_does_what_it_says() {
    run(async {
        let place = Place::new().unwrap();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/tls");
        let mut shell = Command::new("sh");
        shell.args(["-c", "cp -R \"$0\"/. . && ./certificates.sh"]).arg(example);
        assert!(shell.current_dir(place.path()).status().await.unwrap().success());
        // Ports that were free a moment ago: the example calls itself.
        let ports = [hold_port(), hold_port()].map(|held| held.unwrap().1);
        let environment = [("HTTPS_PORT", ports[0]), ("HTTP_PORT", ports[1])]
            .map(|(name, port)| (name.to_owned(), port.to_string()));
        let file = place.path().join("portcullis.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        let with_admin = format!("{text}admin: {{ address: 127.0.0.1:0 }}\n");
        place.write("portcullis.yaml", &with_admin).unwrap();
        let _gateway = Gateway::start(place.path(), &file, &environment).await.unwrap();
        let lines =
            text.lines().filter_map(|line| line.strip_prefix("#   curl ")).collect::<Vec<_>>();
        let answers = ["hello", "\"status\":403", "hello robot", "hello robot", "hello"];
        assert_eq!(lines.len(), answers.len());
        for (line, answer) in lines.iter().zip(answers) {
            let line = line.replace("8443", &ports[0].to_string());
            let line = line.replace("8080", &ports[1].to_string());
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("curl --silent --show-error {line}")]);
            let output =
                shell.current_dir(place.path().join("certificates")).output().await.unwrap();
            let said =
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(said.contains(answer), "curl {line}: {said}");
        }
    });
}

#[test]
fn what_the_authority_said_of_a_certificate_is_handed_on() {
    run(async {
        let mut house = House::open(" }]").await;
        house.staple().await;
        let text = config(", ocsp: site.ocsp }]");
        house.place.write("portcullis.yaml", &text).unwrap();
        house.gateway.signal("HUP").await.unwrap();
        house.stapled("Cert Status: good").await;
        // It is judged: of another certificate, too old, not an answer.
        let check = format!("check {}", house.place.path().join("portcullis.yaml").display());
        let portcullis = env!("CARGO_BIN_EXE_portcullis");
        let (good, said) = house.run(portcullis, &check, "").await;
        assert!(good && !said.contains("site.ocsp"), "{said}");
        house.age();
        let (good, said) = house.run(portcullis, &check, "").await;
        assert!(good && said.contains("site.ocsp: the responder's answer is too old"), "{said}");
        house.respond("robot").await;
        let (good, said) = house.run(portcullis, &check, "").await;
        assert!(!good && said.contains("it is of another certificate"), "{said}");
        house.place.write("site.ocsp", "no answer").unwrap();
        let (good, said) = house.run(portcullis, &check, "").await;
        assert!(
            !good && said.contains("site.ocsp: it has no answer of an OCSP responder"),
            "{said}"
        );
    });
}

#[test]
fn what_is_too_old_is_not_handed_on_until_there_is_the_next() {
    run(async {
        let mut house = House::open(" }]").await;
        house.staple().await;
        house.age();
        house.place.write("portcullis.yaml", &config(", ocsp: site.ocsp }]")).unwrap();
        house.gateway.signal("HUP").await.unwrap();
        let url = format!("-sS http://{}/metrics", house.gateway.admin().unwrap());
        let reloaded = async || {
            let metrics = house.run("curl", &url, "").await.1;
            let found = metrics.lines().find(|it| it.starts_with("portcullis_ocsp_expiry_"));
            let is_old = found.is_some_and(|it| it.contains("certificate=\"site.pem\"} 1"));
            anyhow::ensure!(is_old, "{found:?}");
            Ok(())
        };
        eventually(BOUND, reloaded).await.unwrap();
        house.stapled("OCSP response: no response sent").await;
        let told = |line: &String| line.contains("too old and not shown");
        let found = |lines: &[String]| lines.iter().any(told).then_some(());
        house.gateway.stderr.wait_for(BOUND, "a warning", 0, found).await.unwrap();
        house.respond("site").await;
        house.stapled("Cert Status: good").await;
    });
}
