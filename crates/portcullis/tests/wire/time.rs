//! What must not be held: a connection whose client takes nothing, and more files than there may be.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::kit::BOUND;
use crate::kit::client::{Ask, Connection, ask};
use crate::kit::gateway::Gateway;
use crate::kit::pause::{eventually, within};
use crate::kit::place::Place;
use crate::kit::script::{Answer, Content, Rule};
use crate::kit::wire::Wire;
use crate::run::{House, ROUTES, metric};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("time: a client that takes nothing of its answer is let go", takes_nothing),
        trial("time: a head that begins before an answer has its time, too", begins_early),
        trial(
            "files: when there are too many, who is there is served, and others come later",
            files,
        ),
    ]
}

/// More than all buffers on the way can hold.
const LARGE: usize = 64 << 20;

async fn takes_nothing() -> Result<()> {
    let house = House::open(ROUTES, "bounds: { write_stall: 400ms }").await?;
    let large = Answer { content: Content::Filler(LARGE), ..Answer::default() };
    house.upstream.set_rules(vec![Rule::always(large)]);
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let mut stream = socket.connect(house.address).await?;
    stream.writable().await?;
    ensure!(stream.try_write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")? > 0);
    let gone = async || {
        let open = house.metric("portcullis_connections{", "127.0.0.1").await?;
        ensure!(open == 0.0, "{open} connections are open");
        Ok(())
    };
    eventually(BOUND, gone).await?;
    let mut came = Vec::new();
    let _ = within(BOUND, "the connection's end", stream.read_to_end(&mut came)).await?;
    ensure!(came.len() < LARGE, "all of it came");
    Ok(())
}

async fn begins_early() -> Result<()> {
    let house = House::open(ROUTES, "bounds: { header_read: 300ms, idle: 10m }").await?;
    let mut wire = Wire::new(TcpStream::connect(house.address).await?);
    wire.write(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nX: ").await?;
    for status in [200, 408] {
        let head = within(BOUND, "an answer", wire.response()).await??.context("closed")?;
        wire.response_body(&head, false).await?;
        ensure!(head.status == status, "{} in place of {status}", head.status);
    }
    within(BOUND, "the connection's end", wire.closed()).await??;
    ensure!(house.upstream.count() == 1);
    Ok(())
}

/// So few that a handful of connections is too many.
const FILES: usize = 48;

async fn files() -> Result<()> {
    let config = "listeners: [{ address: 127.0.0.1:0 }]\nadmin: { address: 127.0.0.1:0 }\nworkers: 1\n\
                  routes: [{ name: all, match: { path: /a }, respond: { text: ok } }]\n";
    let place = Place::new()?;
    let file = place.write("portcullis.yaml", config)?;
    let gateway = Gateway::start_with_few_files(place.path(), &file, FILES).await?;
    let address = gateway.listener(0)?;
    let get = Ask { method: "GET".into(), path: "/a".into(), ..Ask::default() };
    let mut kept = Connection::open(address, false, None).await?;
    ensure!(kept.send(&get, BOUND).await?.status == 200);
    let mut crowd = Vec::new();
    for _ in 0..FILES {
        crowd.push(TcpStream::connect(address).await?);
    }
    // They wait in the kernel's queue; whoever is in goes on.
    let wait = async || {
        let said = gateway.stderr.since(0).join("\n");
        ensure!(said.contains("cannot accept a connection"), "{said}");
        Ok(())
    };
    eventually(BOUND, wait).await?;
    ensure!(kept.send(&get, BOUND).await?.status == 200, "who was there is not served");
    let last = crowd.pop().context("nobody")?;
    drop(crowd);
    let mut last = Wire::new(last);
    last.write(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    let answer = within(BOUND, "an answer to who waited", last.response()).await??;
    ensure!(answer.is_some_and(|head| head.status == 200), "who waited is not served");
    ensure!(ask(address, &get, BOUND).await?.status == 200);
    let errors = metric(&gateway, "portcullis_accept_errors_total", "").await?;
    ensure!(errors >= 1.0, "{errors} failures were counted");
    Ok(())
}
