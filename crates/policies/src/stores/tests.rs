//! The script against a real server: it says what the same arithmetic says here, for the same times.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use portcullis_core::metrics::Counter;

use super::connection::{Connection, Servers};
use super::scripts::{self, Ask, Told};
use crate::rate_limit::testing::{Asked, Memory, decide, is_admitted};
use crate::rate_limit::window::Line;

/// A redis-server of this test's own.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("redis-server: {error}; see `cargo xtask test`"));
        Self { child, url: format!("redis://127.0.0.1:{port}") }
    }

    async fn connect(&self) -> Connection {
        let servers = Servers::One(self.url.clone());
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        let up = async {
            loop {
                ticks.tick().await;
                if let Ok(connection) = servers.connect(Duration::from_secs(2)).await {
                    return connection;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), up).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Numbers that look random, the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

async fn script(connection: &mut Connection, asks: &[Ask<'_>], now: u64) -> Vec<Told> {
    let call = scripts::decide(asks, Some(b"epoch"), now);
    let value = call.invoke_async(connection).await.unwrap();
    scripts::told(&value, asks.len()).unwrap().1
}

#[test]
fn the_script_decides_as_the_memory_does() {
    run(async |connection| {
        let mut chance = Chance(1);
        for round in 0..40 {
            let line = |chance: &mut Chance| Line {
                requests: 1 + chance.below(150),
                per: 100_000 + chance.below(2_000_000),
            };
            let lines: Vec<Vec<Line>> = (0..1 + chance.below(2))
                .map(|_| (0..1 + chance.below(2)).map(|_| line(&mut chance)).collect())
                .collect();
            let start = portcullis_core::Clock::system().now();
            let memories: Vec<Memory> =
                lines.iter().map(|_| Memory::new(start, 1000, Counter::default())).collect();
            let keys: Vec<Vec<u8>> =
                (0..lines.len()).map(|at| format!("{round}-{at}").into_bytes()).collect();
            let mut time = 0;
            for _ in 0..250 {
                time += chance.below(60_000);
                let cost = 1 + chance.below(3);
                let asks: Vec<Ask<'_>> = (keys.iter().zip(&lines))
                    .map(|(key, lines)| Ask {
                        key,
                        lines,
                        cost,
                        enforced: true,
                        wanted: 0,
                        ahead: 0,
                    })
                    .collect();
                let told = script(connection, &asks, 1_000_000_000_000_000 + time).await;
                let limits: Vec<_> = memories
                    .iter()
                    .zip(&asks)
                    .map(|(memory, ask)| {
                        (
                            memory,
                            Asked {
                                key: ask.key,
                                lines: ask.lines,
                                cost,
                                enforced: true,
                                share: None,
                            },
                        )
                    })
                    .collect();
                let here = decide(&limits, start + Duration::from_micros(time));
                for (told, here) in told.iter().zip(&here) {
                    let said = (told.fits, told.remaining, told.wait, told.reset);
                    assert_eq!(
                        said,
                        (here.fits, here.remaining, here.wait, here.reset),
                        "{lines:?} at {time}"
                    );
                }
                let asked: Vec<_> = limits.iter().map(|(_, asked)| *asked).collect();
                let granted = is_admitted(&asked, &here);
                assert!(told.iter().all(|told| (told.granted == cost) == granted));
            }
        }
    });
}

#[test]
fn a_lease_is_charged_ahead_and_a_refund_takes_one_charge_back() {
    run(async |connection| {
        let lines = [Line { requests: 100, per: 64_000_000 }];
        let ask = |wanted| Ask {
            key: b"k",
            lines: &lines,
            cost: 3,
            enforced: true,
            wanted,
            ahead: 1_000_000,
        };
        let now = 5_000_000;
        let told = script(connection, &[ask(60)], now).await;
        assert_eq!((told[0].granted, told[0].remaining, told[0].began), (60, 40, now + 1_000_000));
        let told = script(connection, &[ask(60)], now).await;
        assert_eq!((told[0].granted, told[0].remaining), (39, 1), "whole requests only");
        let told = script(connection, &[ask(0)], now).await;
        assert_eq!(
            (told[0].fits, told[0].wait),
            (false, Some(65_000_000)),
            "until the lease's end is past"
        );
        let refund = scripts::refund(b"k", 39, 1, now + 1_000_000);
        refund.invoke_async::<u64>(connection).await.unwrap();
        let other_run = scripts::refund(b"k", 10, 1, now);
        other_run.invoke_async::<u64>(connection).await.unwrap();
        let told = script(connection, &[ask(0)], now).await;
        assert_eq!((told[0].fits, told[0].remaining), (true, 37));
    });
}

#[test]
fn a_clock_that_steps_back_and_a_lost_script_change_nothing() {
    run(async |connection| {
        let lines = [Line { requests: 2, per: 1_000_000 }];
        let ask = Ask { key: b"k", lines: &lines, cost: 1, enforced: true, wanted: 0, ahead: 0 };
        assert!(script(connection, &[ask], 9_000_000).await[0].fits);
        assert!(script(connection, &[ask], 1).await[0].fits);
        redis::cmd("SCRIPT").arg("FLUSH").query_async::<()>(connection).await.unwrap();
        let told = script(connection, &[ask], 1).await;
        assert_eq!((told[0].fits, told[0].wait), (false, Some(9_999_999)));
    });
}

fn run(test: impl AsyncFnOnce(&mut Connection)) {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { test(&mut server.connect().await).await });
}
