//! `demo`: the shop in one process on loopback: a token issuer, three services, and the gateway
//! with examples/shop. It has no policy code of its own: the gateway goes the same way as in `run`.

mod guide;
mod shop;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use portcullis_engine::Source;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use crate::console::tell;

const CONFIGURATION: &str = include_str!("../../../../examples/shop/portcullis.yaml");
const ORDER_SCHEMA: &str = include_str!("../../../../examples/shop/schemas/order.json");

/// Ports of the parts, counted from the gateway's.
pub struct Ports {
    pub gateway: u16,
    pub admin: u16,
    pub issuer: u16,
    pub users: u16,
    pub orders: u16,
    pub second_orders: u16,
    pub inventory: u16,
}

impl Ports {
    fn from(gateway: u16) -> Option<Self> {
        let port = |distance: u16| gateway.checked_add(distance);
        Some(Self {
            gateway,
            admin: port(1821)?,
            issuer: port(20)?,
            users: port(21)?,
            orders: port(22)?,
            second_orders: port(32)?,
            inventory: port(23)?,
        })
    }

    /// What the example's variables say.
    fn variables(&self) -> HashMap<String, String> {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        // Only a store that somebody names is used: another one's counters are not the shop's. Nobody
        // listens at the discard port, so without one the gateway counts by itself.
        let store = std::env::var("REDIS_URL").unwrap_or("redis://127.0.0.1:9".to_owned());
        [
            ("SHOP_PORT", self.gateway.to_string()),
            ("SHOP_ADMIN_PORT", self.admin.to_string()),
            ("SHOP_ISSUER", url(self.issuer)),
            ("SHOP_USERS", url(self.users)),
            ("SHOP_ORDERS", url(self.orders)),
            ("SHOP_ORDERS_2", url(self.second_orders)),
            ("SHOP_INVENTORY", url(self.inventory)),
            ("SHOP_RESET_AFTER", "5s".to_owned()),
            ("SHOP_TIMEOUT", "1s".to_owned()),
            ("REDIS_URL", store),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

pub fn demo(port: u16) -> ExitCode {
    match prepare(port) {
        Ok((ports, source)) => crate::run::run_with(&source, move || tell(&guide::guide(&ports))),
        Err(why) => {
            tell(&format!("error: {why}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes the example where it can be edited, and starts the services on a thread of their own.
fn prepare(port: u16) -> Result<(Ports, Source), String> {
    let ports =
        Ports::from(port).ok_or("--port leaves no room for the admin port, 1821 above it")?;
    let file = write_example().map_err(|error| format!("cannot write the example: {error}"))?;
    tell(&format!("configuration: {} (edit it: it reloads)", file.display()));
    start_services(&ports)?;
    let variables = ports.variables();
    Ok((ports, Source { paths: vec![file], environment: Arc::new(variables) }))
}

fn write_example() -> std::io::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("portcullis-demo-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("schemas"))?;
    std::fs::write(folder.join(Path::new("schemas/order.json")), ORDER_SCHEMA)?;
    let file = folder.join("portcullis.yaml");
    std::fs::write(&file, CONFIGURATION)?;
    Ok(file)
}

fn start_services(ports: &Ports) -> Result<(), String> {
    let shop = shop::Shop::new(format!("http://127.0.0.1:{}", ports.issuer))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let parts = [
        (ports.issuer, shop::Part::Issuer),
        (ports.users, shop::Part::Users),
        (ports.orders, shop::Part::Orders),
        (ports.second_orders, shop::Part::Orders),
        (ports.inventory, shop::Part::Inventory),
    ];
    let bind = |(port, part): (u16, shop::Part)| {
        let bound = runtime.block_on(TcpListener::bind(("127.0.0.1", port)));
        let hint = "the demo needs seven ports: move them with --port";
        Ok((bound.map_err(|error| format!("cannot listen on port {port}: {error}; {hint}"))?, part))
    };
    let listeners = parts.into_iter().map(bind).collect::<Result<Vec<_>, String>>()?;
    let serve = move || {
        let (shop, local) = (Arc::new(shop), LocalSet::new());
        for (listener, part) in listeners {
            local.spawn_local(shop::serve(listener, part, Arc::clone(&shop)));
        }
        runtime.block_on(local);
    };
    let thread = std::thread::Builder::new().name("shop".to_owned()).spawn(serve);
    thread.map(drop).map_err(|error| format!("cannot start the services: {error}"))
}
