//! Networks and addresses: `10.0.0.0/8`, `2001:db8::/32`, and `10.0.0.7` for that address alone.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use serde_json::json;

use crate::decode::Decode;
use crate::diagnostic::Diagnostics;
use crate::node::Node;
use crate::schema::Definitions;

/// How many bits stand in front of an IPv4 address that is written as an IPv6 one (RFC 4291 section
/// 2.5.5.2).
const MAPPED: u8 = 96;

/// An IPv4 network that is written as an IPv6 one becomes what it is. Bits behind the prefix are an
/// error: whoever wrote them meant another network, or one address.
impl Decode for IpNet {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let text = node.scalar_text();
        let network = text.and_then(|text| {
            let network = text.parse::<IpNet>().ok();
            network.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
        });
        let Some(network) = network.map(unmapped) else {
            node.expected_hint(
                "an address such as 10.0.0.7 or a network such as 10.0.0.0/8",
                None,
                out,
            );
            return None;
        };
        if network != network.trunc() {
            let shown = node.shown();
            out.error(node.span, format!("`{shown}` has bits behind its prefix"))
                .hint(hint(node, network));
            return None;
        }
        Some(network)
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        definitions.or_variable(json!({
            "type": "string", "pattern": "^[0-9A-Fa-f:.]+(/[0-9]+)?$",
            "description": "A network or an address: 10.0.0.0/8, 10.0.0.7."
        }))
    }
}

/// What it was meant to be; not told of what came from the environment.
fn hint(node: &Node, network: IpNet) -> String {
    match node.is_from_environment() {
        true => "a network's address ends in zeros".to_owned(),
        false => {
            format!("write {} for the network, {} for the address", network.trunc(), network.addr())
        }
    }
}

fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let address = v6.addr().to_ipv4_mapped();
    let bits = v6.prefix_len().checked_sub(MAPPED);
    let v4 = address.zip(bits).and_then(|(address, bits)| Ipv4Net::new(address, bits).ok());
    v4.map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Value;
    use crate::source::Span;

    fn read(text: &str) -> Result<String, (String, Option<String>)> {
        let node = Node::new(Value::Text(text.to_owned()), Span::default());
        let mut out = Diagnostics::new();
        match IpNet::decode(&node, &mut out) {
            Some(network) => Ok(network.to_string()),
            None => {
                let said = out.iter().next().unwrap();
                Err((said.message.clone(), said.hint.clone()))
            }
        }
    }

    #[test]
    fn addresses_are_networks_of_one_and_mapped_ones_are_what_they_are() {
        for (text, network) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.7", "10.0.0.7/32"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::ffff:10.0.0.7", "10.0.0.7/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(read(text).unwrap(), network, "{text}");
        }
    }

    #[test]
    fn what_could_be_meant_otherwise_is_refused() {
        for text in ["", "ten", "10.0.0", "10.0.0.0/33", "010.0.0.1", "10.0.0.1:80", "10.0.0.0/-1"]
        {
            assert!(read(text).unwrap_err().0.contains("expected an address"), "{text}");
        }
        let (message, hint) = read("10.0.0.7/8").unwrap_err();
        assert_eq!(message, "`10.0.0.7/8` has bits behind its prefix");
        assert_eq!(hint.unwrap(), "write 10.0.0.0/8 for the network, 10.0.0.7 for the address");
        assert!(read("::ffff:10.0.0.7/104").is_err());
    }
}
