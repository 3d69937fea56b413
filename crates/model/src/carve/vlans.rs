//! Which bridge, VLAN id and VPN port each network gets: given, or the next free one.

use super::{CarveError, Defaults, Request};
use crate::rows::Network;
use crate::{IfName, ModelError, NetworkKind};
use std::collections::BTreeSet;

/// What ties one network to the hosts' links.
pub(super) struct Link {
    pub(super) bridge: IfName,
    pub(super) vlan: Option<u16>,
    pub(super) vpn_port: Option<u16>,
}

/// The links of all networks of a request, in order.
pub(super) fn links(
    request: &Request,
    existing: &[Network],
    defaults: &Defaults,
    notes: &mut Vec<String>,
) -> Result<Vec<Link>, CarveError> {
    if request.kind != NetworkKind::Vlan {
        return flat_links(request, existing, defaults);
    }
    let vlans = vlan_ids(request, existing, defaults)?;
    let ports = vpn_ports(request, existing, defaults)?;
    let own_bridge = match &request.bridge {
        Some(bridge) if request.num_networks == 1 => Some(bridge.clone()),
        Some(bridge) => {
            notes.push(format!(
                "bridge {bridge} not used: each of several VLAN networks gets its own, br<vlan>"
            ));
            None
        }
        None => None,
    };
    vlans
        .into_iter()
        .zip(ports)
        .map(|(vlan, port)| {
            let bridge = own_bridge
                .clone()
                .unwrap_or_else(|| IfName::vlan_bridge(vlan));
            check_bridge(&bridge, request, existing, defaults)?;
            Ok(Link {
                bridge,
                vlan: Some(vlan),
                vpn_port: Some(port),
            })
        })
        .collect()
}

/// Refuses a bridge that a network like `request` cannot have beside `existing` ones: a VLAN
/// network has its own, flat ones share theirs.
pub(super) fn check_bridge(
    bridge: &IfName,
    request: &Request,
    existing: &[Network],
    defaults: &Defaults,
) -> Result<(), CarveError> {
    check_name(bridge, request, defaults)?;
    let own = request.kind == NetworkKind::Vlan;
    let taken = |n: &&Network| n.bridge == *bridge && (own || n.kind == NetworkKind::Vlan);
    let Some(other) = existing.iter().find(taken) else {
        return match request.kind {
            NetworkKind::Vlan => Ok(()),
            NetworkKind::Flat | NetworkKind::FlatDhcp => check_shared(bridge, request, existing),
        };
    };
    let (id, label) = (other.id, &other.label);
    let reason = if own {
        format!("is the bridge of network {id} ({label}): a VLAN network needs its own")
    } else {
        format!("is the bridge of VLAN network {id} ({label}): choose another with --bridge")
    };
    Err(CarveError::conflict("bridge", bridge, reason))
}

/// Refuses a VLAN id that another network has: an id is one network of the cloud, whatever the
/// interface; and one whose device a host has without novanet.
pub(super) fn check_free(
    vlan: u16,
    existing: &[Network],
    defaults: &Defaults,
) -> Result<(), CarveError> {
    if let Some(host) = defaults.host_vlans.get(&vlan) {
        let device = IfName::vlan_device(vlan);
        let reason = format!(
            "host {host} has a device {device} that novanet did not make: choose another id, or, on \
             {host}, remove it (vconfig rem {device}) or: nova-manage host adopt {device}"
        );
        return Err(CarveError::conflict("vlan", vlan, reason));
    }
    match existing.iter().find(|n| n.vlan == Some(vlan)) {
        None => Ok(()),
        Some(other) => Err(CarveError::conflict(
            "vlan",
            vlan,
            format!(
                "is already in use by network {} ({}): choose another, or leave it out for the next free one",
                other.id, other.label
            ),
        )),
    }
}

/// Refuses a name that a bridge of ours cannot have on any host. A flat network's bridge is the
/// administrator's, and may carry the public address.
fn check_name(bridge: &IfName, request: &Request, defaults: &Defaults) -> Result<(), ModelError> {
    let refused = |reason: String| Err(ModelError::new("bridge", bridge, reason));
    if bridge.as_str() == "lo" || bridge.as_str().starts_with("nv") {
        let whose = match bridge.as_str() {
            "lo" => "is the loopback",
            _ => "begins as the instances' cables do (nv)",
        };
        return refused(format!("{whose}: choose another name, such as br100"));
    }
    if request.kind == NetworkKind::Flat {
        return Ok(());
    }
    let named = defaults.interfaces.iter().find(|(_, name)| name == bridge);
    if let Some((flag, _)) = named {
        return refused(format!(
            "is the interface of the flag {flag}, and the bridge is made by the hosts: \
             choose another name, such as br100"
        ));
    }
    if request.bridge_interface.as_ref() == Some(bridge) {
        return refused("is the interface to put into it: choose another name".to_owned());
    }
    Ok(())
}

/// A bridge that hosts make is one device, whichever of its networks asked for it first; and none
/// that the administrator makes.
fn check_shared(
    bridge: &IfName,
    request: &Request,
    existing: &[Network],
) -> Result<(), CarveError> {
    let mixed = existing
        .iter()
        .find(|n| n.bridge == *bridge && n.kind != NetworkKind::Vlan && n.kind != request.kind);
    if let Some(other) = mixed {
        let (id, label, kind) = (other.id, &other.label, other.kind);
        return Err(CarveError::conflict(
            "bridge",
            bridge,
            format!(
                "is the bridge of {kind} network {id} ({label}); the administrator makes that of a flat \
                 network, the hosts that of a flatdhcp one: choose another bridge with --bridge"
            ),
        ));
    }
    let made = |kind| kind == NetworkKind::FlatDhcp;
    let other = existing
        .iter()
        .find(|n| made(n.kind) && n.bridge == *bridge && n.mtu != request.mtu);
    let Some(other) = other.filter(|_| made(request.kind)) else {
        return Ok(());
    };
    let text = |mtu: Option<u32>| mtu.map_or("the hosts' own".to_owned(), |mtu| mtu.to_string());
    let (id, label) = (other.id, &other.label);
    Err(CarveError::conflict(
        "mtu",
        text(request.mtu),
        format!(
            "network {id} ({label}) has {} on bridge {bridge}, which is one device: give the same mtu, \
             or choose another bridge with --bridge",
            text(other.mtu)
        ),
    ))
}

/// Flat networks share a bridge, but never with a VLAN network.
fn flat_links(
    request: &Request,
    existing: &[Network],
    defaults: &Defaults,
) -> Result<Vec<Link>, CarveError> {
    let without = |what: &str| {
        let kind = request.kind;
        format!("a {kind} network has no {what}: leave it out or choose VlanManager")
    };
    if let Some(vlan) = request.vlan {
        return Err(ModelError::new("vlan", vlan, without("VLAN")).into());
    }
    if let Some(port) = request.vpn_port {
        return Err(ModelError::new("vpn", port, without("VPN")).into());
    }
    if let Some(address) = request.vpn_address {
        return Err(ModelError::new("vpn_ip", address, without("VPN")).into());
    }
    let bridge = request
        .bridge
        .as_ref()
        .unwrap_or(&defaults.flat_network_bridge);
    check_bridge(bridge, request, existing, defaults)?;
    let link = || Link {
        bridge: bridge.clone(),
        vlan: None,
        vpn_port: None,
    };
    Ok((0..request.num_networks).map(|_| link()).collect())
}

fn vlan_ids(
    request: &Request,
    existing: &[Network],
    defaults: &Defaults,
) -> Result<Vec<u16>, CarveError> {
    let num = request.num_networks as usize;
    let first = request.vlan.unwrap_or(defaults.vlan_start);
    if first == 0 || first > 4094 {
        let what = if request.vlan.is_some() {
            "vlan"
        } else {
            "vlan_start"
        };
        return Err(ModelError::new(what, first, "must be 1 to 4094").into());
    }
    if request.vlan.is_none() {
        // A number is free when neither it nor the bridge that would be named after it is taken.
        let of_hosts = defaults.host_vlans.keys().copied();
        let used: BTreeSet<u16> = existing
            .iter()
            .flat_map(|n| {
                let by_name = n
                    .bridge
                    .as_str()
                    .strip_prefix("br")
                    .and_then(|v| v.parse().ok());
                [n.vlan, by_name]
            })
            .flatten()
            .chain(of_hosts)
            .collect();
        let free: Vec<u16> = (first..=4094)
            .filter(|v| !used.contains(v))
            .take(num)
            .collect();
        if free.len() < num {
            return Err(CarveError::conflict(
                "num_networks",
                num,
                format!(
                    "only {} VLAN ids from {first} to 4094 are free: delete networks or lower vlan_start",
                    free.len()
                ),
            ));
        }
        return Ok(free);
    }
    if usize::from(first) + num - 1 > 4094 {
        return Err(ModelError::new(
            "vlan",
            first,
            format!("{num} networks from here would pass VLAN id 4094, the last"),
        )
        .into());
    }
    (first..=4094)
        .take(num)
        .map(|vlan| check_free(vlan, existing, defaults).map(|()| vlan))
        .collect()
}

fn vpn_ports(
    request: &Request,
    existing: &[Network],
    defaults: &Defaults,
) -> Result<Vec<u16>, CarveError> {
    let num = request.num_networks as usize;
    let first = request.vpn_port.unwrap_or(defaults.vpn_start);
    if first == 0 {
        return Err(ModelError::new("vpn", first, "must be 1 to 65535").into());
    }
    // Networks without an address share the `vpn_ip` flag's, which may be any of the others too.
    let of_networks = existing.iter().filter_map(|n| n.vpn_public_port);
    let used: BTreeSet<u16> = of_networks
        .chain(defaults.vpn_ports.iter().copied())
        .collect();
    let wanted: Vec<u16> = if request.vpn_port.is_some() {
        (first..=u16::MAX).take(num).collect()
    } else {
        (first..=u16::MAX)
            .filter(|p| !used.contains(p))
            .take(num)
            .collect()
    };
    if wanted.len() < num {
        return Err(ModelError::new(
            "vpn",
            first,
            format!("{num} ports from here would pass 65535: start lower"),
        )
        .into());
    }
    if let Some(port) = wanted.iter().find(|p| used.contains(p)) {
        return Err(CarveError::conflict(
            "vpn",
            port,
            "is the port of another VPN: choose another, or leave it out for the next free one",
        ));
    }
    Ok(wanted)
}
