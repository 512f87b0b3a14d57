//! A scripted upstream on a port of its own: answers by rules, remembers what it saw, and can be
//! away for a while without losing its port.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::pause::{pass, within};
use super::script::{Answer, Rule, Seen};
use super::wire::{Body, Wire};

/// Ends with its value: the socket closes and its connections break.
pub struct Upstream {
    pub name: String,
    pub address: SocketAddr,
    state: Rc<State>,
    presence: RefCell<Presence>,
}

struct State {
    name: String,
    rules: RefCell<Vec<Rule>>,
    seen: RefCell<Vec<Seen>>,
    connections: Cell<usize>,
    released: watch::Sender<bool>,
    news: Notify,
}

enum Presence {
    Up(AbortHandle),
    /// Bound but not listening: connections are refused, and nobody else gets the port.
    Away(TcpSocket),
    Changing,
}

impl Upstream {
    pub fn start(name: &str, rules: Vec<Rule>) -> Result<Self> {
        let socket = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = socket.local_addr()?;
        let state = Rc::new(State {
            name: name.to_owned(),
            rules: RefCell::new(rules),
            seen: RefCell::default(),
            connections: Cell::default(),
            released: watch::Sender::new(false),
            news: Notify::new(),
        });
        let presence = RefCell::new(Presence::Away(socket));
        let upstream = Self { name: name.to_owned(), address, state, presence };
        upstream.up()?;
        Ok(upstream)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers by other rules from the next request on.
    pub fn set_rules(&self, rules: Vec<Rule>) {
        self.state.rules.replace(rules);
    }

    /// Listens again.
    pub fn up(&self) -> Result<()> {
        let presence = self.presence.replace(Presence::Changing);
        let Presence::Away(socket) = presence else {
            self.presence.replace(presence);
            return Ok(());
        };
        let listener = socket.listen(1024).context("listening again")?;
        let task = tokio::task::spawn_local(accept(listener, Rc::clone(&self.state)));
        self.presence.replace(Presence::Up(task.abort_handle()));
        Ok(())
    }

    /// Stops listening and breaks every connection. Returns when connections are refused.
    pub async fn down(&self) -> Result<()> {
        // Taken before the other is let go: in between a client's own socket could get the port.
        let place = bound(self.address)?;
        if let Presence::Up(task) = self.presence.replace(Presence::Changing) {
            task.abort();
            while !task.is_finished() {
                tokio::task::yield_now().await;
            }
        }
        self.presence.replace(Presence::Away(place));
        Ok(())
    }

    /// Lets everything go on that waits because its answer says `hold`, now and later.
    pub fn release(&self) {
        self.state.released.send_replace(true);
    }

    /// How many requests have come so far: a mark for [`Self::seen_since`].
    pub fn count(&self) -> usize {
        self.state.seen.borrow().len()
    }

    pub fn seen_since(&self, mark: usize) -> Vec<Seen> {
        self.state.seen.borrow().iter().skip(mark).cloned().collect()
    }

    /// Waits until this many requests have come in all.
    pub async fn wait_for(&self, count: usize, bound: Duration) -> Result<()> {
        let what = format!("request number {count} at upstream {}", self.name);
        within(bound, &what, async {
            while self.count() < count {
                self.state.news.notified().await;
            }
        })
        .await
    }

    /// How many connections have come so far.
    pub fn connections(&self) -> usize {
        self.state.connections.get()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Presence::Up(task) = self.presence.get_mut() {
            task.abort();
        }
    }
}

fn bound(address: SocketAddr) -> Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address).with_context(|| format!("binding {address}"))?;
    Ok(socket)
}

async fn accept(listener: TcpListener, state: Rc<State>) {
    let mut connections = JoinSet::new(); // dropped with this task, and every connection with it
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    state.connections.set(state.connections.get() + 1);
                    connections.spawn_local(serve(stream, Rc::clone(&state)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, state: Rc<State>) {
    let mut wire = Wire::new(stream);
    // A broken connection is for the gateway to notice: the upstream just ends it.
    while let Ok(Some(close)) = exchange(&mut wire, &state).await {
        match close {
            After::KeepOpen => {}
            After::Close => return,
            After::Reset => {
                let _ = wire.reset();
                return;
            }
        }
    }
}

enum After {
    KeepOpen,
    Close,
    Reset,
}

async fn exchange(wire: &mut Wire, state: &State) -> Result<Option<After>> {
    let Some(head) = wire.request().await? else { return Ok(None) };
    let answer = choose(state, &head);
    let number = {
        let mut seen = state.seen.borrow_mut();
        seen.push(Seen { head: head.clone(), body: Body::default(), complete: false });
        seen.len() - 1
    };
    state.news.notify_waiters();
    if !answer.early {
        let body = wire.request_body(&head).await?;
        if let Some(seen) = state.seen.borrow_mut().get_mut(number) {
            seen.body = body;
            seen.complete = true;
        }
        state.news.notify_waiters();
    }
    if answer.hold {
        state.released.subscribe().wait_for(|released| *released).await?;
    }
    if !answer.delay.is_zero() {
        pass(answer.delay).await;
    }
    if answer.reset {
        return Ok(Some(After::Reset));
    }
    let echo = state.seen.borrow().get(number).map(|seen| seen.to_json(&state.name));
    let pieces = answer.pieces(&echo.unwrap_or_default(), head.method == "HEAD");
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 && !answer.pace.is_zero() {
            pass(answer.pace).await;
        }
        wire.write(piece).await?;
    }
    let asked = head.fields.joined("connection").is_some_and(|value| value.contains("close"));
    let close = answer.close || answer.early || asked || head.minor == 0;
    Ok(Some(if close { After::Close } else { After::KeepOpen }))
}

fn choose(state: &State, head: &super::wire::Head) -> Answer {
    let rules = state.rules.borrow();
    rules.iter().find(|rule| rule.fits(head)).map_or_else(Answer::default, |rule| {
        rule.spend();
        rule.answer.clone()
    })
}
