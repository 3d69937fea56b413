//! Keys and values of the links subsystem: one variant for each kind of link, and which of them
//! follow from which host object. Pure; depends on the kinds, which do not know this file.

use super::address::AddressValue;
use super::bridge::{self, BridgeValue};
use super::floating_ip::{self, FloatingIpSpec};
use super::metadata_route::Part;
use super::port::PortValue;
use super::sysctl::{self, SysctlValue};
use super::uplink::{self, UplinkSpec};
use super::vlan::VlanValue;
use crate::settings::Settings;
use ipnet::Ipv4Net;
use novanet_model::object::{Bridge, HostObject};
use novanet_model::{IfName, ObjectKey};
use novanet_reconcile::Desired;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

/// Names one item. The order is the order of applying.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkKey {
    /// A kernel setting of the host, by its path below `/proc/sys`.
    Sysctl(&'static str),
    /// A VLAN device.
    Vlan(IfName),
    /// A bridge.
    Bridge(IfName),
    /// An interface enslaved to a bridge.
    Uplink(IfName),
    /// An address on a device.
    Address(IfName, Ipv4Addr),
    /// The route to the metadata service's address.
    MetadataRoute,
    /// The rule that leads a bridge's packets for the metadata service to the route.
    MetadataRule(IfName),
    /// A kernel setting of an interface (`net.ipv4.conf.<interface>.<setting>`). The public
    /// interface has `forwarding`, a bridge of novanet's has more.
    Conf(IfName, &'static str),
    /// The host end of an instance's veth pair.
    Port(IfName),
    /// A floating IP, answered on the public interface.
    FloatingIp(Ipv4Addr),
}

impl fmt::Display for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl(path) => write!(f, "sysctl {}", path.replace('/', ".")),
            Self::Vlan(name) => write!(f, "VLAN device {name}"),
            Self::Bridge(name) => write!(f, "bridge {name}"),
            Self::Uplink(name) => write!(f, "uplink {name}"),
            Self::Address(device, address) => write!(f, "address {address} on {device}"),
            Self::MetadataRoute => Part::Route.fmt(f),
            Self::MetadataRule(bridge) => Part::Rule(bridge.clone()).fmt(f),
            Self::Conf(name, setting) => write!(f, "sysctl net.ipv4.conf.{name}.{setting}"),
            Self::Port(name) => write!(f, "port {name}"),
            Self::FloatingIp(address) => f.write_str(&floating_ip::label(*address)),
        }
    }
}

impl From<Part> for LinkKey {
    fn from(part: Part) -> Self {
        match part {
            Part::Route => Self::MetadataRoute,
            Part::Rule(bridge) => Self::MetadataRule(bridge),
        }
    }
}

/// Keys of everything that a device of this name can be.
pub(super) fn device_keys(name: &IfName) -> [LinkKey; 4] {
    [
        LinkKey::Vlan(name.clone()),
        LinkKey::Bridge(name.clone()),
        LinkKey::Uplink(name.clone()),
        LinkKey::Port(name.clone()),
    ]
}

/// What an item is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkValue {
    /// A kernel setting, of the host or of an interface.
    Sysctl(SysctlValue),
    /// A VLAN device.
    Vlan(VlanValue),
    /// A bridge.
    Bridge(BridgeValue),
    /// An enslaved interface.
    Uplink(UplinkSpec),
    /// An address.
    Address(AddressValue),
    /// The route or a rule to the metadata service: it exists.
    Metadata,
    /// A port.
    Port(PortValue),
    /// A floating IP.
    FloatingIp(FloatingIpSpec),
}

impl fmt::Display for LinkValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl(value) => value.fmt(f),
            Self::Vlan(value) => value.fmt(f),
            Self::Bridge(value) => value.fmt(f),
            Self::Uplink(spec) => spec.fmt(f),
            Self::Address(value) => value.fmt(f),
            Self::Metadata => f.write_str("leads to the metadata service"),
            Self::Port(value) => value.fmt(f),
            Self::FloatingIp(spec) => spec.fmt(f),
        }
    }
}

impl LinkValue {
    /// Whether novanet leaves the device as it is, because its network is unavailable on this host.
    pub(super) fn is_unmanaged(&self) -> bool {
        match self {
            Self::Bridge(value) => *value == BridgeValue::Unmanaged,
            Self::Port(value) => *value == PortValue::Unmanaged,
            Self::Sysctl(_)
            | Self::Vlan(_)
            | Self::Uplink(_)
            | Self::Address(_)
            | Self::Metadata
            | Self::FloatingIp(_) => false,
        }
    }
}

/// One accessor for each kind; `None`: the value is another kind's.
macro_rules! accessors {
    ($($name:ident: $kind:ident($value:ty);)*) => {
        impl LinkValue {
            $(pub(super) fn $name(&self) -> Option<&$value> {
                match self {
                    Self::$kind(value) => Some(value),
                    _ => None,
                }
            })*
        }
    };
}

accessors! {
    sysctl: Sysctl(SysctlValue);
    vlan: Vlan(VlanValue);
    bridge: Bridge(BridgeValue);
    uplink: Uplink(UplinkSpec);
    address: Address(AddressValue);
    port: Port(PortValue);
    floating_ip: FloatingIp(FloatingIpSpec);
}

/// The wanted items, by kind.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    pub(super) sysctls: BTreeMap<&'static str, &'a SysctlValue>,
    pub(super) vlans: BTreeMap<&'a IfName, &'a VlanValue>,
    pub(super) bridges: BTreeMap<&'a IfName, &'a BridgeValue>,
    pub(super) uplinks: BTreeMap<&'a IfName, &'a UplinkSpec>,
    pub(super) addresses: BTreeSet<(&'a IfName, Ipv4Addr)>,
    pub(super) confs: BTreeMap<(&'a IfName, &'static str), &'a SysctlValue>,
    pub(super) ports: BTreeMap<&'a IfName, &'a PortValue>,
    pub(super) floating_ips: BTreeMap<Ipv4Addr, &'a FloatingIpSpec>,
    pub(super) metadata: BTreeSet<&'a LinkKey>,
}

impl<'a> Wanted<'a> {
    pub(super) fn of(desired: &'a Desired<LinkKey, LinkValue>) -> Self {
        let mut wanted = Self::default();
        for (key, value) in desired.iter() {
            match (key, value) {
                (LinkKey::Sysctl(path), LinkValue::Sysctl(value)) => {
                    wanted.sysctls.insert(path, value);
                }
                (LinkKey::Vlan(name), LinkValue::Vlan(value)) => {
                    wanted.vlans.insert(name, value);
                }
                (LinkKey::Bridge(name), LinkValue::Bridge(value)) => {
                    wanted.bridges.insert(name, value);
                }
                (LinkKey::Uplink(name), LinkValue::Uplink(spec)) => {
                    wanted.uplinks.insert(name, spec);
                }
                (LinkKey::Address(device, address), LinkValue::Address(_)) => {
                    wanted.addresses.insert((device, *address));
                }
                (LinkKey::MetadataRoute | LinkKey::MetadataRule(_), LinkValue::Metadata) => {
                    wanted.metadata.insert(key);
                }
                (LinkKey::Conf(name, setting), LinkValue::Sysctl(value)) => {
                    wanted.confs.insert((name, setting), value);
                }
                (LinkKey::Port(name), LinkValue::Port(value)) => {
                    wanted.ports.insert(name, value);
                }
                (LinkKey::FloatingIp(address), LinkValue::FloatingIp(spec)) => {
                    wanted.floating_ips.insert(*address, spec);
                }
                (
                    LinkKey::Sysctl(_)
                    | LinkKey::Vlan(_)
                    | LinkKey::Bridge(_)
                    | LinkKey::Uplink(_)
                    | LinkKey::Address(..)
                    | LinkKey::MetadataRoute
                    | LinkKey::MetadataRule(_)
                    | LinkKey::Conf(..)
                    | LinkKey::Port(_)
                    | LinkKey::FloatingIp(_),
                    _,
                ) => {} // `items` makes no such pair
            }
        }
        wanted
    }
}

/// Items of every host.
pub(super) fn base_items(settings: &Settings) -> Vec<(LinkKey, LinkValue)> {
    let on = || LinkValue::Sysctl(SysctlValue::new(sysctl::ON));
    let everywhere = sysctl::ALL.iter().map(|path| (LinkKey::Sysctl(path), on()));
    everywhere
        .chain([conf(&settings.public_interface, sysctl::FORWARDING)])
        .collect()
}

fn conf(interface: &IfName, (setting, value): (&'static str, &str)) -> (LinkKey, LinkValue) {
    let key = LinkKey::Conf(interface.clone(), setting);
    (key, LinkValue::Sysctl(SysctlValue::new(value)))
}

/// Items that follow from one object.
pub(super) fn items(settings: &Settings, object: &HostObject) -> Vec<(LinkKey, LinkValue)> {
    match object {
        HostObject::Bridge(bridge) => of_bridge(settings, bridge),
        HostObject::Gateway(gateway) => of_server(&gateway.bridge, gateway.address),
        HostObject::Dhcp(dhcp) if dhcp.router.is_some() => {
            let address = Ipv4Net::new(dhcp.server, dhcp.cidr.prefix_len()).unwrap_or(dhcp.cidr);
            of_server(&dhcp.bridge, address)
        }
        HostObject::Port(port) => vec![(
            LinkKey::Port(port.name.clone()),
            LinkValue::Port(PortValue::wanted(port)),
        )],
        HostObject::FloatingIp(floating_ip) => vec![(
            LinkKey::FloatingIp(floating_ip.address),
            LinkValue::FloatingIp(FloatingIpSpec::wanted(settings, floating_ip)),
        )],
        HostObject::Dhcp(_)
        | HostObject::Binding(_)
        | HostObject::Group(_)
        | HostObject::Rule(_)
        | HostObject::Block(_)
        | HostObject::Member(_)
        | HostObject::ProjectAddress(_)
        | HostObject::VpnForward(_)
        | HostObject::Instance(_) => Vec::new(),
    }
}

/// Items of an object whose network this host cannot have: novanet watches the bridge's name, and
/// leaves a port as long as its instance lives.
pub(super) fn items_when_unavailable(
    settings: &Settings,
    object: &HostObject,
) -> Vec<(LinkKey, LinkValue)> {
    let unmanaged = |(key, _)| {
        let value = match &key {
            LinkKey::Bridge(_) => LinkValue::Bridge(BridgeValue::Unmanaged),
            LinkKey::Port(_) => LinkValue::Port(PortValue::Unmanaged),
            LinkKey::Sysctl(_)
            | LinkKey::Vlan(_)
            | LinkKey::Uplink(_)
            | LinkKey::Address(..)
            | LinkKey::MetadataRoute
            | LinkKey::MetadataRule(_)
            | LinkKey::Conf(..)
            | LinkKey::FloatingIp(_) => return None,
        };
        Some((key, value))
    };
    let items = items(settings, object).into_iter();
    items.filter_map(unmanaged).collect()
}

fn of_bridge(settings: &Settings, bridge: &Bridge) -> Vec<(LinkKey, LinkValue)> {
    let mut items = vec![(
        LinkKey::Bridge(bridge.bridge.clone()),
        LinkValue::Bridge(BridgeValue::wanted(settings, bridge)),
    )];
    if bridge.foreign {
        return items;
    }
    let settings_of_bridge = sysctl::OF_OUR_BRIDGES.into_iter();
    items.extend(settings_of_bridge.map(|setting| conf(&bridge.bridge, setting)));
    let own = bridge.interface.as_ref();
    let uplink = match bridge.vlan {
        Some(id) => {
            let device = IfName::vlan_device(id);
            let parent = own.unwrap_or(&settings.vlan_interface);
            items.push((
                LinkKey::Vlan(device.clone()),
                LinkValue::Vlan(VlanValue::wanted(parent, id, bridge.mtu)),
            ));
            Some(device)
        }
        None => own.or(settings.flat_interface.as_ref()).cloned(),
    };
    if let Some(uplink) = uplink {
        items.push((
            LinkKey::Uplink(uplink.clone()),
            LinkValue::Uplink(UplinkSpec::wanted(&bridge.bridge)),
        ));
    }
    items
}

/// The host's address in a network, and the way to the metadata service for the instances in it.
fn of_server(bridge: &IfName, address: Ipv4Net) -> Vec<(LinkKey, LinkValue)> {
    vec![
        (
            LinkKey::Address(bridge.clone(), address.addr()),
            LinkValue::Address(AddressValue::Prefix(address.prefix_len())),
        ),
        (LinkKey::MetadataRoute, LinkValue::Metadata),
        (LinkKey::MetadataRule(bridge.clone()), LinkValue::Metadata),
    ]
}

/// Why a network does not get its uplink, or its bridge as it wants it. `None`: the objects agree.
pub(super) fn detect_conflict(
    key: &LinkKey,
    (first, had): (&ObjectKey, &LinkValue),
    (late, wish): (&ObjectKey, &LinkValue),
) -> Option<String> {
    let network = |object: &'_ ObjectKey| object.0.split('/').nth(1).unwrap_or_default().to_owned();
    let (first, late) = (network(first), network(late));
    match (key, had, wish) {
        (LinkKey::Uplink(name), LinkValue::Uplink(had), LinkValue::Uplink(wish)) => {
            Some(uplink::conflict(name, (&first, had), (&late, wish)))
        }
        (LinkKey::Bridge(name), LinkValue::Bridge(had), LinkValue::Bridge(wish)) => {
            Some(bridge::conflict(name, (&first, had), (&late, wish)))
        }
        _ => None,
    }
}
