//! How many connections there are, in all and of each client, over all workers and listeners.
//!
//! The one lock of this room is taken when a connection comes and when it goes, never on a request's way.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    pub in_all: usize,
    /// `None` for a proxy, behind which there are many.
    pub per_client: Option<usize>,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    InAll,
    PerClient,
}

#[derive(Debug, Default)]
struct Counts {
    in_all: usize,
    /// Only clients that are there.
    by_client: HashMap<IpAddr, usize>,
}

/// The clients of a gateway.
#[derive(Debug, Default)]
pub struct Clients(Mutex<Counts>);

impl Clients {
    /// Lets a connection in, for as long as what comes back lives.
    pub fn admit(self: &Arc<Self>, address: IpAddr, most: Most) -> Result<Admitted, Full> {
        let client = client(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.in_all >= most.in_all {
            return Err(Full::InAll);
        }
        let own = counts.by_client.get(&client).copied().unwrap_or(0);
        if most.per_client.is_some_and(|most| own >= most) {
            return Err(Full::PerClient);
        }
        counts.in_all += 1;
        counts.by_client.insert(client, own + 1);
        Ok(Admitted { clients: Arc::clone(self), client })
    }

    fn leave(&self, client: IpAddr) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.in_all = counts.in_all.saturating_sub(1);
        if let Some(own) = counts.by_client.get_mut(&client) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                counts.by_client.remove(&client);
            }
        }
    }
}

/// Whoever has one IPv6 address has 64 bits of them.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        address => address,
    }
}

/// A connection that was let in.
#[derive(Debug)]
pub struct Admitted {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.clients.leave(self.client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_leaves_makes_room() {
        let clients = Arc::new(Clients::default());
        let most = Most { in_all: 3, per_client: Some(2) };
        let admit = |address| clients.admit(at(address), most);
        let one = admit("10.0.0.1").unwrap();
        let _two = admit("::ffff:10.0.0.1").unwrap();
        assert_eq!(admit("10.0.0.1").unwrap_err(), Full::PerClient);
        let _three = admit("10.0.0.2").unwrap();
        assert_eq!(admit("10.0.0.3").unwrap_err(), Full::InAll);
        drop(one);
        let _four = admit("10.0.0.1").unwrap();
        assert_eq!(admit("10.0.0.1").unwrap_err(), Full::InAll);
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_a_proxy_is_many() {
        let clients = Arc::new(Clients::default());
        let most = Most { in_all: 9, per_client: Some(1) };
        let _one = clients.admit(at("2001:db8::1"), most).unwrap();
        assert_eq!(clients.admit(at("2001:db8::2:1"), most).unwrap_err(), Full::PerClient);
        let _other = clients.admit(at("2001:db8:0:1::1"), most).unwrap();
        let _proxy = clients.admit(at("2001:db8::1"), Most { per_client: None, ..most }).unwrap();
    }

    #[test]
    fn nobody_is_remembered() {
        let clients = Arc::new(Clients::default());
        let most = Most { in_all: 9, per_client: Some(9) };
        drop((clients.admit(at("10.0.0.1"), most), clients.admit(at("10.0.0.2"), most)));
        let counts = clients.0.lock().unwrap();
        assert_eq!((counts.in_all, counts.by_client.len()), (0, 0));
    }
}
