//! Sets of networks: is an address in one of them? For `trusted_proxies` and `ip_access`.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Networks, sorted and none inside another: a look-up is one binary search, however many there are.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
}

impl Networks {
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => {
                let after = self.v4.partition_point(|net| net.network() <= address);
                let before = after.checked_sub(1).and_then(|at| self.v4.get(at));
                before.is_some_and(|net| net.contains(&address))
            }
            IpAddr::V6(address) => {
                let after = self.v6.partition_point(|net| net.network() <= address);
                let before = after.checked_sub(1).and_then(|at| self.v6.get(at));
                before.is_some_and(|net| net.contains(&address))
            }
        }
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(all: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in all {
            match network {
                IpNet::V4(network) => v4.push(network),
                IpNet::V6(network) => v6.push(network),
            }
        }
        let (mut v4, mut v6) = (Ipv4Net::aggregate(&v4), Ipv6Net::aggregate(&v6));
        v4.sort_unstable();
        v6.sort_unstable();
        Self { v4, v6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(all: &[&str]) -> Networks {
        all.iter().map(|one| one.parse::<IpNet>().unwrap()).collect()
    }

    #[test]
    fn an_address_is_in_a_network_to_its_last_bit() {
        let set = networks(&["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]);
        for (address, inside) in [
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("9.255.255.255", false),
            ("11.0.0.0", false),
            ("192.0.2.7", true),
            ("192.0.2.6", false),
            ("192.0.2.8", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("::ffff:10.0.0.1", false), // whoever asks has made it an IPv4 address
        ] {
            assert_eq!(set.contains(address.parse().unwrap()), inside, "{address}");
        }
        assert!(!Networks::default().contains("0.0.0.0".parse().unwrap()));
    }

    #[test]
    fn networks_inside_and_beside_each_other_hide_nothing() {
        let set =
            networks(&["10.1.0.0/16", "10.0.0.0/8", "10.0.0.1/32", "11.0.0.0/8", "0.0.0.0/1"]);
        for address in ["10.0.0.1", "10.0.0.2", "10.1.0.1", "10.200.0.1", "11.1.1.1", "127.0.0.1"] {
            assert!(set.contains(address.parse().unwrap()), "{address}");
        }
        assert!(!set.contains("128.0.0.1".parse().unwrap()));
        assert!(networks(&["0.0.0.0/0"]).contains("255.255.255.255".parse().unwrap()));
        assert!(!networks(&["0.0.0.0/0"]).contains("::1".parse().unwrap()));
    }
}
