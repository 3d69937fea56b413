//! Values of the firewall as text for plans. Depends on the firewall's values only.

use crate::firewall;
use novanet_model::rule::{Source, Traffic};

/// A value of the firewall, in the words of a rule.
pub(super) fn firewall(value: &firewall::Value) -> String {
    use firewall::Value;
    match value {
        Value::Present => "there".to_owned(),
        Value::Damaged => "changed by somebody else".to_owned(),
        Value::Skeleton(digest) => format!("text {}", digest.get(..12).unwrap_or(digest)),
        Value::Project(project) => format!("project {project}"),
        Value::Name(name) => name.clone(),
        Value::Rule(traffic, source) => format!("{} from {}", what(*traffic), whence(source)),
        Value::Groups(groups) => {
            let names: Vec<_> = groups.iter().map(ToString::to_string).collect();
            names.join(", ")
        }
        Value::Address(address) => address.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Goto(chain) => format!("goto {chain}"),
        Value::Foreign(bytes) => format!("none of ours: {bytes:02x?}"),
    }
}

fn what(traffic: Traffic) -> String {
    let or_any = |number: &Option<u8>| number.map_or("any".to_owned(), |n| n.to_string());
    match traffic {
        Traffic::Any => "anything".to_owned(),
        Traffic::Tcp(ports) => format!("tcp {ports}"),
        Traffic::Udp(ports) => format!("udp {ports}"),
        Traffic::Icmp { icmp_type, code } => {
            format!("icmp type {} code {}", or_any(&icmp_type), or_any(&code))
        }
    }
}

fn whence(source: &Source) -> String {
    match source {
        Source::Cidr(cidr) => cidr.to_string(),
        Source::Group(group) => group.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dhcp::{DhcpValue, HostSpec};
    use crate::link::{BridgeSpec, BridgeValue, LinkValue, Mtu};
    use novanet_model::rule::Ports;
    use novanet_model::{MacAddr, NetworkId};

    #[test]
    fn a_plan_is_in_the_words_of_an_administrator() {
        let mac = MacAddr([2, 22, 62, 0, 0, 1]);
        let bridge = LinkValue::Bridge(BridgeValue::Ours(BridgeSpec {
            mac,
            mtu: Mtu::Fixed(1400),
            up: true,
            changed: Vec::new(),
            tagged: true,
        }));
        assert_eq!(bridge.to_string(), "mac 02:16:3e:00:00:01 mtu 1400 up");
        let host = DhcpValue::Host(HostSpec {
            mac,
            hostname: "web".to_owned(),
            network: NetworkId(1),
        });
        assert_eq!(host.to_string(), "02:16:3e:00:00:01 web");
        let ports = Ports { from: 80, to: 80 };
        let source = Source::Cidr("0.0.0.0/0".parse().unwrap());
        let rule = firewall::Value::Rule(Traffic::Tcp(ports), source);
        assert_eq!(firewall(&rule), "tcp 80 from 0.0.0.0/0");
    }
}
