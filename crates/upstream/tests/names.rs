//! Names whose addresses change: every address is an endpoint, for as long as an answer holds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may

mod kit;

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use kit::*;
use portcullis_upstream::NameServers;
use tokio::net::UdpSocket;

/// A DNS server (RFC 1035 section 4) that knows one set of addresses for every name; none: it fails.
struct Dns {
    address: SocketAddr,
    known: Rc<RefCell<Vec<Ipv4Addr>>>,
    asked: Rc<RefCell<usize>>,
}

impl Dns {
    async fn start(known: &[[u8; 4]], ttl: u32) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let dns = Self { address, known: Rc::default(), asked: Rc::default() };
        dns.set(known);
        let (known, asked) = (Rc::clone(&dns.known), Rc::clone(&dns.asked));
        tokio::task::spawn_local(async move {
            let mut buffer = [0; 1500];
            loop {
                let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                *asked.borrow_mut() += 1;
                let answer = answer(&buffer[..length], &known.borrow(), ttl);
                socket.send_to(&answer, peer).await.unwrap();
            }
        });
        dns
    }

    fn set(&self, known: &[[u8; 4]]) {
        *self.known.borrow_mut() = known.iter().map(|bytes| Ipv4Addr::from(*bytes)).collect();
    }

    fn servers(&self) -> NameServers {
        NameServers(vec![self.address])
    }
}

fn answer(question: &[u8], known: &[Ipv4Addr], ttl: u32) -> Vec<u8> {
    let name_end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let wants_a = question[name_end..name_end + 2] == [0, 1];
    let answers = if wants_a { known } else { &[] };
    let failure = if known.is_empty() { 2 } else { 0 }; // SERVFAIL
    let mut out = question[..2].to_vec();
    out.extend([0x81, 0x80 | failure, 0, 1, 0, answers.len() as u8, 0, 0, 0, 0]);
    out.extend(&question[12..name_end + 4]);
    for address in answers {
        out.extend([0xC0, 12, 0, 1, 0, 1]); // the name above, A, IN
        out.extend(ttl.to_be_bytes());
        out.extend([0, 4]);
        out.extend(address.octets());
    }
    out
}

async fn always_at(address: &str) -> Scripted {
    let forever = (0..100).flat_map(|_| [Read, Say(OK)]).collect();
    Scripted::start_at(address, vec![forever]).await
}

#[test]
fn every_address_of_a_name_is_an_endpoint_and_answers_hold_for_their_ttl() {
    run(async {
        let one = always_at("127.0.0.1:0").await;
        let port = one.address.port();
        let two = always_at(&format!("127.0.0.2:{port}")).await;
        let dns = Dns::start(&[[127, 0, 0, 1]], 7).await;
        let settings = format!("endpoints: [\"http://orders.test:{port}\"]\nbalance: round_robin");
        let world = World::with_names(&settings, dns.servers());
        for _ in 0..4 {
            assert_eq!(world.get().await.unwrap().status, 200);
        }
        assert_eq!((one.seen().len(), two.seen().len()), (4, 0));
        assert!(one.seen()[0].head.contains(&format!("host: orders.test:{port}\r\n")));

        dns.set(&[[127, 0, 0, 2], [127, 0, 0, 1]]);
        pass(Duration::from_secs(5)).await;
        world.get().await.unwrap();
        assert_eq!(two.seen().len(), 0, "the answer still holds");
        pass(Duration::from_secs(5)).await;
        for _ in 0..4 {
            world.get().await.unwrap();
        }
        assert_eq!((one.seen().len(), two.seen().len()), (7, 2));
        assert_eq!(one.connections(), 1, "its connection was kept");
        let status = world.upstream.status();
        assert_eq!(status["endpoints"][1]["endpoint"], format!("orders.test:{port} (127.0.0.2)"));

        dns.set(&[]);
        pass(Duration::from_secs(60)).await;
        assert_eq!(world.get().await.unwrap().status, 200, "the last good answer is kept");
        let asked = *dns.asked.borrow();
        assert!((20..80).contains(&asked), "{asked} questions");
    });
}

#[test]
fn an_address_that_goes_takes_its_connections_with_it() {
    run(async {
        let one = always_at("127.0.0.1:0").await;
        let port = one.address.port();
        let two = always_at(&format!("127.0.0.2:{port}")).await;
        let dns = Dns::start(&[[127, 0, 0, 1]], 1).await;
        let settings = format!("endpoints: [\"http://orders.test:{port}\"]");
        let world = World::with_names(&settings, dns.servers());
        world.get().await.unwrap();
        dns.set(&[[127, 0, 0, 2]]);
        pass(Duration::from_secs(3)).await;
        world.get().await.unwrap();
        one.ended(0).await;
        assert_eq!((one.seen().len(), two.seen().len()), (1, 1));
        let shown = |ip| world.metrics.render().matches(&format!("({ip})\"}}")).count();
        assert_eq!(shown("127.0.0.2"), 2);
        pass(Duration::from_secs(3)).await;
        assert_eq!((shown("127.0.0.1"), shown("127.0.0.2")), (0, 2), "and its metrics");
    });
}
