//! Connections to a store: one for each worker, multiplexed, opened beside the requests.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, IntoConnectionInfo as _, Pipeline,
    RedisError, RedisFuture, RedisResult, TlsCertificates, Value,
};
use tokio::sync::Notify;

/// How long opening a connection may take.
const CONNECT: Duration = Duration::from_secs(1);

/// Where a store's servers are.
#[derive(Clone, Hash)]
pub enum Servers {
    One(String),
    Cluster(Vec<String>),
    Sentinel {
        master: String,
        nodes: Vec<String>,
        login: Option<String>,
    },
    /// Any of these, whose certificates these certificates sign.
    Signed(Box<Servers>, String),
}

impl Servers {
    pub fn with_ca(self, ca: Option<String>) -> Self {
        match ca {
            Some(ca) => Self::Signed(Box::new(self), ca),
            None => self,
        }
    }

    pub fn is_sharded(&self) -> bool {
        match self {
            Self::Cluster(_) => true,
            Self::Signed(servers, _) => servers.is_sharded(),
            Self::One(_) | Self::Sentinel { .. } => false,
        }
    }

    /// Opens a connection. An answer's time is bounded by who asks.
    pub async fn connect(&self, answer: Duration) -> RedisResult<Connection> {
        let (servers, ca) = match self {
            Self::Signed(servers, ca) => (&**servers, Some(ca.as_bytes().to_vec())),
            servers => (servers, None),
        };
        let certificates = ca.map(|ca| TlsCertificates { client_tls: None, root_cert: Some(ca) });
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(answer));
        match servers {
            Self::One(url) => {
                let info = without_delay(url.as_str().into_connection_info()?);
                let client = match certificates {
                    Some(certificates) => Client::build_with_tls(info, certificates)?,
                    None => Client::open(info)?,
                };
                let opened = client.get_multiplexed_async_connection_with_config(&config).await?;
                Ok(Connection::One(opened))
            }
            Self::Cluster(urls) => {
                let mut builder = ClusterClientBuilder::new(urls.iter().map(String::as_str))
                    .connection_timeout(CONNECT)
                    .response_timeout(answer)
                    .retries(1)
                    .tcp_settings(TcpSettings::default().set_nodelay(true));
                if let Some(certificates) = certificates {
                    builder = builder.certs(certificates);
                }
                Ok(Connection::Cluster(builder.build()?.get_async_connection().await?))
            }
            Self::Sentinel { master, nodes, login } => {
                let nodes = nodes.iter().map(String::as_str).collect();
                let info = SentinelNodeConnectionInfo::default()
                    .set_tcp_settings(TcpSettings::default().set_nodelay(true));
                let info = match login {
                    Some(url) => info.set_redis_connection_info(
                        url.as_str().into_connection_info()?.redis_settings().clone(),
                    ),
                    None => info,
                };
                let mut client = SentinelClient::build(
                    nodes,
                    master.clone(),
                    Some(info),
                    SentinelServerType::Master,
                )?;
                Ok(Connection::One(client.get_async_connection_with_config(&config).await?))
            }
            Self::Signed(..) => Err(RedisError::from((
                redis::ErrorKind::InvalidClientConfig,
                "certificates are given twice",
            ))),
        }
    }
}

fn without_delay(info: ConnectionInfo) -> ConnectionInfo {
    let settings = info.tcp_settings().clone().set_nodelay(true);
    info.set_tcp_settings(settings)
}

/// A connection that many requests use at once.
#[derive(Clone)]
pub enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// A worker's own connection to a store.
#[derive(Default)]
pub struct Own {
    state: RefCell<State>,
    changed: Notify,
    /// It was opened, or could not be, at least once.
    tried: Cell<bool>,
}

#[derive(Default)]
enum State {
    #[default]
    Closed,
    Opening,
    Open(Connection),
}

impl Own {
    /// The connection, opened if there is none. Whoever comes meanwhile waits for the same.
    pub async fn get(
        self: &Rc<Self>,
        servers: &Servers,
        answer: Duration,
    ) -> RedisResult<Connection> {
        loop {
            let changed = self.changed.notified();
            match &*self.state.borrow() {
                State::Open(connection) => return Ok(connection.clone()),
                State::Opening => {}
                State::Closed => break,
            }
            changed.await;
            if let State::Closed = &*self.state.borrow() {
                return Err(RedisError::from((redis::ErrorKind::Io, "no connection")));
            }
        }
        *self.state.borrow_mut() = State::Opening;
        let (own, servers) = (Rc::clone(self), servers.clone());
        // In a task of its own: a request that gives up does not end it.
        let opening = tokio::task::spawn_local(async move {
            let opened = match tokio::time::timeout(CONNECT, servers.connect(answer)).await {
                Ok(opened) => opened,
                Err(_) => Err(RedisError::from((redis::ErrorKind::Io, "no connection in time"))),
            };
            *own.state.borrow_mut() = match &opened {
                Ok(connection) => State::Open(connection.clone()),
                Err(_) => State::Closed,
            };
            own.tried.set(true);
            own.changed.notify_waiters();
            opened
        });
        match opening.await {
            Ok(opened) => opened,
            Err(_) => {
                *self.state.borrow_mut() = State::Closed;
                Err(RedisError::from((redis::ErrorKind::Io, "opening the connection failed")))
            }
        }
    }

    /// How long a request waits for it: the first time as long as opening may take, because nothing
    /// is known of the server yet; then no longer than for an answer.
    pub fn patience(&self, answer: Duration) -> Duration {
        if self.tried.get() { answer } else { CONNECT }
    }

    /// What failed is opened again by whoever asks next.
    pub fn close(&self) {
        let is_open = matches!(&*self.state.borrow(), State::Open(_));
        if is_open {
            *self.state.borrow_mut() = State::Closed;
        }
    }
}
