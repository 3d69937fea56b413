//! The options of novanet's bridges and of their ports: what each must be, and which ones differ.
//! One table for making, observing and repairing. Pure.
//!
//! The kernel reports no option that it does not have, and ignores attributes that it does not know
//! (`locked` came with 5.18); so a missing option never differs.
//!
//! On an instance's port the bridge learns nothing from frames (novanet makes the fdb entry of the
//! instance's MAC), sends no frames for MACs that it does not know, and drops frames with another
//! source MAC. Broadcasts reach the instance: ARP needs them. A Cloudpipe's port is an exception:
//! the firewall checks the frames of its VPN clients, and the bridge learns their MACs.

use rtnetlink::packet_route::link::{
    BridgeBooleanOptionFlags, BridgeBooleanOptions, BridgePortState, BridgeStpState, InfoBridge,
    InfoBridgePort, VlanProtocol,
};

/// The kernel's default, in hundredths of a second.
const AGEING_TIME: u32 = 300 * 100;

/// An option that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong<O> {
    /// Name in `ip` and `bridge`.
    pub(crate) name: &'static str,
    /// The value to set.
    pub(crate) right: O,
}

/// Options of a new bridge, besides the kernel's defaults.
pub(crate) fn of_new_bridge() -> Vec<InfoBridge> {
    vec![
        InfoBridge::StpState(BridgeStpState::Disabled),
        InfoBridge::ForwardDelay(0),
        no_linklocal_learn(),
    ]
}

/// Options of a new port of an instance, besides the kernel's defaults.
pub(crate) fn of_new_port(kind: PortKind) -> Vec<InfoBridgePort> {
    let instance = kind == PortKind::Instance;
    vec![
        InfoBridgePort::HairpinMode(instance),
        InfoBridgePort::Isolated(false),
        InfoBridgePort::Learning(!instance),
        InfoBridgePort::UnicastFlood(!instance),
        InfoBridgePort::MulticastFlood(false),
        InfoBridgePort::Locked(instance),
    ]
}

/// The options of a bridge that differ, in the order in which the kernel accepts them: with
/// spanning tree on it refuses a forward delay of 0.
pub(crate) fn wrong_of_bridge(options: &[InfoBridge]) -> Vec<Wrong<InfoBridge>> {
    let mut wrong: Vec<_> = options.iter().filter_map(wrong_in_bridge).collect();
    wrong.sort_by_key(|wrong| !matches!(wrong.right, InfoBridge::StpState(_)));
    wrong
}

fn wrong_in_bridge(option: &InfoBridge) -> Option<Wrong<InfoBridge>> {
    let (name, right) = match option {
        InfoBridge::StpState(_) => ("stp_state", InfoBridge::StpState(BridgeStpState::Disabled)),
        InfoBridge::ForwardDelay(_) => ("forward_delay", InfoBridge::ForwardDelay(0)),
        InfoBridge::AgeingTime(_) => ("ageing_time", InfoBridge::AgeingTime(AGEING_TIME)),
        InfoBridge::VlanFiltering(_) => ("vlan_filtering", InfoBridge::VlanFiltering(false)),
        InfoBridge::VlanProtocol(_) => {
            let right = InfoBridge::VlanProtocol(VlanProtocol::Ieee8021Q);
            ("vlan_protocol", right)
        }
        InfoBridge::GroupFwdMask(_) => ("group_fwd_mask", InfoBridge::GroupFwdMask(0)),
        InfoBridge::MultiBoolOpt(is) => {
            let flag = BridgeBooleanOptionFlags::NoLinkLocalLearn;
            let learns = is.mask.contains(flag) && !is.value.contains(flag);
            return learns.then(|| Wrong {
                name: "no_linklocal_learn",
                right: no_linklocal_learn(),
            });
        }
        _ => return None,
    };
    (right != *option).then_some(Wrong { name, right })
}

fn no_linklocal_learn() -> InfoBridge {
    let flag = BridgeBooleanOptionFlags::NoLinkLocalLearn;
    InfoBridge::MultiBoolOpt(BridgeBooleanOptions {
        value: flag,
        mask: flag,
    })
}

/// The kind of a bridge's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortKind {
    /// An instance.
    Instance,
    /// A Cloudpipe: the bridge learns the MACs of the VPN clients from frames, and sends their own
    /// broadcasts not back to them.
    Cloudpipe,
    /// The network outside: the bridge learns its MACs from frames.
    Uplink,
}

impl PortKind {
    /// The kind of an instance's port: whether VPN clients are behind it.
    pub(crate) fn of(vpn: bool) -> Self {
        if vpn { Self::Cloudpipe } else { Self::Instance }
    }
}

/// The options of a port that differ.
pub(crate) fn wrong_of_port(
    options: &[InfoBridgePort],
    kind: PortKind,
) -> Vec<Wrong<InfoBridgePort>> {
    let options = options.iter();
    options.filter_map(|o| wrong_in_port(o, kind)).collect()
}

fn wrong_in_port(option: &InfoBridgePort, kind: PortKind) -> Option<Wrong<InfoBridgePort>> {
    use InfoBridgePort as Port;
    let (instance, uplink) = (kind == PortKind::Instance, kind == PortKind::Uplink);
    let learns = kind != PortKind::Instance;
    let (name, right) = match option {
        Port::HairpinMode(_) => ("hairpin", Port::HairpinMode(instance)),
        Port::Guard(_) => ("guard", Port::Guard(false)),
        Port::Protect(_) => ("root_block", Port::Protect(false)),
        Port::Learning(_) => ("learning", Port::Learning(learns)),
        Port::UnicastFlood(_) => ("flood", Port::UnicastFlood(learns)),
        Port::MulticastFlood(_) => ("mcast_flood", Port::MulticastFlood(uplink)),
        Port::BroadcastFlood(_) => ("bcast_flood", Port::BroadcastFlood(true)),
        Port::MulticastToUnicast(_) => ("mcast_to_unicast", Port::MulticastToUnicast(false)),
        Port::ProxyARP(_) => ("proxy_arp", Port::ProxyARP(false)),
        Port::ProxyARPWifi(_) => ("proxy_arp_wifi", Port::ProxyARPWifi(false)),
        Port::NeighSupress(_) => ("neigh_suppress", Port::NeighSupress(false)),
        Port::NeighVlanSuppress(_) => {
            let right = Port::NeighVlanSuppress(false);
            ("neigh_vlan_suppress", right)
        }
        Port::VlanTunnel(_) => ("vlan_tunnel", Port::VlanTunnel(false)),
        Port::GroupFwdMask(_) => ("group_fwd_mask", Port::GroupFwdMask(0)),
        Port::Isolated(_) => ("isolated", Port::Isolated(false)),
        Port::Mab(_) => ("mab", Port::Mab(false)),
        Port::Locked(_) => ("locked", Port::Locked(instance)),
        _ => return None,
    };
    (right != *option).then_some(Wrong { name, right })
}

/// Whether a port is in a state that passes no frames.
pub(crate) fn is_blocked(options: &[InfoBridgePort]) -> bool {
    options.iter().any(|option| match option {
        InfoBridgePort::State(state) => *state != BridgePortState::Forwarding,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_not_wrong_and_spanning_tree_is_set_before_what_it_forbids() {
        assert!(wrong_of_bridge(&of_new_bridge()).is_empty());
        for kind in [PortKind::Instance, PortKind::Cloudpipe] {
            assert!(wrong_of_port(&of_new_port(kind), kind).is_empty());
        }
        let changed = [
            InfoBridge::ForwardDelay(1500),
            InfoBridge::GroupFwdMask(8),
            InfoBridge::StpState(BridgeStpState::KernelStp),
        ];
        let wrong = wrong_of_bridge(&changed);
        let names: Vec<_> = wrong.iter().map(|wrong| wrong.name).collect();
        assert_eq!(names, ["stp_state", "forward_delay", "group_fwd_mask"]);
    }

    #[test]
    fn an_uplink_learns_and_floods_and_an_instances_port_does_not() {
        let names = |kind| -> Vec<_> {
            let kernels_own = [
                InfoBridgePort::HairpinMode(false),
                InfoBridgePort::Learning(true),
                InfoBridgePort::UnicastFlood(true),
                InfoBridgePort::BroadcastFlood(true),
                InfoBridgePort::Isolated(false),
                InfoBridgePort::Locked(false),
            ];
            let wrong = wrong_of_port(&kernels_own, kind);
            wrong.into_iter().map(|wrong| wrong.name).collect()
        };
        assert!(names(PortKind::Uplink).is_empty());
        assert_eq!(
            names(PortKind::Instance),
            ["hairpin", "learning", "flood", "locked"]
        );
    }

    #[test]
    fn an_option_that_the_kernel_does_not_have_is_not_missed() {
        assert!(wrong_of_port(&[], PortKind::Instance).is_empty());
        let other_kernel = BridgeBooleanOptions {
            value: BridgeBooleanOptionFlags::empty(),
            mask: BridgeBooleanOptionFlags::empty(),
        };
        assert!(wrong_of_bridge(&[InfoBridge::MultiBoolOpt(other_kernel)]).is_empty());
    }
}
