//! Tests how a plan shows values of the subsystems. Depends on their items.
#![allow(clippy::unwrap_used)]

use crate::dhcp::{DhcpValue, HostSpec};
use crate::link::{BridgeSpec, BridgeValue, LinkValue, Mtu};
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
}
