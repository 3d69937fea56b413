//! What a host's links are made of: the keys and values of the links subsystem, and which of them
//! follow from which host object. Pure.

use super::mtu::Mtu;
use super::sysctl;
use crate::settings::{FloatingAddressMode, Settings};
use ipnet::Ipv4Net;
use novanet_model::object::{Bridge, Gateway, HostObject, Port};
use novanet_model::{IfName, MacAddr, ObjectKey};
use std::fmt;
use std::net::Ipv4Addr;

/// Where metadata is asked for, whatever the network.
pub const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Names one thing; the order is the order of making.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkKey {
    /// A kernel setting, by its path below `/proc/sys`.
    Sysctl(&'static str),
    /// A bridge.
    Bridge(IfName),
    /// An interface enslaved to a bridge.
    Uplink(IfName),
    /// An address that we put on a device.
    Address(IfName, Ipv4Addr),
    /// The route to the metadata service's address.
    MetadataRoute,
    /// The rule that leads a bridge's packets for that address to the route.
    MetadataRule(IfName),
    /// A kernel setting of an interface (`net.ipv4.conf.<interface>.<setting>`): the public interface
    /// forwards, and so does each bridge of ours, of which more is set.
    Conf(IfName, &'static str),
    /// The host end of an instance's cable.
    Port(IfName),
    /// A floating IP, answered on the public interface.
    FloatingIp(Ipv4Addr),
}

impl fmt::Display for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl(path) => write!(f, "sysctl {}", path.replace('/', ".")),
            Self::Bridge(name) => write!(f, "bridge {name}"),
            Self::Uplink(name) => write!(f, "uplink {name}"),
            Self::Address(device, address) => write!(f, "address {address} on {device}"),
            Self::MetadataRoute => write!(f, "route to {METADATA_ADDRESS}"),
            Self::MetadataRule(bridge) => write!(f, "rule for {METADATA_ADDRESS} from {bridge}"),
            Self::Conf(name, setting) => write!(f, "sysctl net.ipv4.conf.{name}.{setting}"),
            Self::Port(name) => write!(f, "port {name}"),
            Self::FloatingIp(address) => write!(f, "floating address {address}"),
        }
    }
}

/// What a thing is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkValue {
    /// A setting's value.
    Setting(String),
    /// A setting that we changed and that goes back to what it was. Only ever observed.
    GoesBack {
        /// What it is.
        is: String,
        /// What it was before us.
        was: String,
    },
    /// A bridge of ours.
    Bridge(BridgeSpec),
    /// A bridge that the administrator makes: it is there.
    AdministratorsBridge,
    /// Something without our mark stands where ours should be. Only ever observed.
    Foreign(String),
    /// A bridge of ours that is not removed, because something on it is not ours; the text says
    /// what, and what to do. Only ever observed.
    RemovalBlocked(String),
    /// Of a network that this host cannot have: whatever is there stays as it is.
    Left,
    /// An enslaved interface.
    Uplink(UplinkSpec),
    /// An address, by its prefix length.
    Address(u8),
    /// The rule or route is there.
    Metadata,
    /// A plugged port.
    Port(PortSpec),
    /// A floating IP.
    FloatingIp(FloatingIpSpec),
}

impl fmt::Display for LinkValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none =
            |name: &Option<IfName>| name.as_ref().map_or("none".to_owned(), IfName::to_string);
        let up = |up| if up { "up" } else { "down" };
        match self {
            Self::Setting(value) => f.write_str(value),
            Self::GoesBack { is, was } => write!(f, "{is}, goes back to {was}"),
            Self::Bridge(spec) => {
                let mark = if spec.tagged {
                    ""
                } else {
                    " without novanet's mark"
                };
                let (mac, mtu) = (spec.mac, spec.mtu);
                write!(f, "mac {mac}{mtu} {}{mark}", up(spec.up))?;
                changed(f, &spec.changed)
            }
            Self::AdministratorsBridge => f.write_str("made by the administrator"),
            Self::Foreign(what) => f.write_str(what),
            Self::RemovalBlocked(why) => write!(f, "is kept, {why}"),
            Self::Left => f.write_str("left as it is"),
            Self::Uplink(spec) => {
                let addressed = if spec.addressed {
                    " with addresses"
                } else {
                    ""
                };
                write!(
                    f,
                    "in bridge {} {}{addressed}",
                    or_none(&spec.bridge),
                    up(spec.up)
                )?;
                changed(f, &spec.changed)
            }
            Self::Metadata => f.write_str("leads to the metadata service"),
            Self::Address(prefix) => write!(f, "/{prefix}"),
            Self::Port(spec) => {
                let bridge = or_none(&spec.bridge);
                let guarded = if spec.guarded {
                    ""
                } else {
                    " out of its group"
                };
                let (up, mtu) = (up(spec.up), spec.mtu);
                let mark = if spec.alias.is_empty() {
                    " without novanet's mark"
                } else {
                    ""
                };
                write!(f, "in bridge {bridge} {up}{guarded}{mark}{mtu}")?;
                changed(f, &spec.changed)
            }
            Self::FloatingIp(spec) => match spec.mode {
                FloatingAddressMode::Route => {
                    write!(f, "answered on {} by a route", spec.interface)
                }
                FloatingAddressMode::Address => write!(f, "an address on {}", spec.interface),
            },
        }
    }
}

/// To be read behind the rest.
fn changed(f: &mut fmt::Formatter<'_>, what: &[&str]) -> fmt::Result {
    match what {
        [] => Ok(()),
        what => write!(f, ", changed: {}", what.join(", ")),
    }
}

/// A bridge of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeSpec {
    /// Its MAC (or that of an uplink whose addresses it carries).
    pub mac: MacAddr,
    /// Without a setting: what the kernel makes of its ports.
    pub mtu: Mtu,
    /// Administratively up.
    pub up: bool,
    /// What somebody changed of it, as `ip` and `bridge` call it. Only observed so.
    pub changed: Vec<&'static str>,
    /// It has our mark, as one of ours must.
    pub tagged: bool,
}

/// An enslaved interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UplinkSpec {
    /// Whose port it is; `None`: nobody's. Only observed so.
    pub bridge: Option<IfName>,
    /// Administratively up.
    pub up: bool,
    /// It still has addresses, which belong on the bridge. Only observed so.
    pub addressed: bool,
    /// What somebody changed of it, as `ip` and `bridge` call it. Only observed so.
    pub changed: Vec<&'static str>,
}

/// A plugged port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    /// The bridge it is in; `None`: none. Only observed so.
    pub bridge: Option<IfName>,
    /// Administratively up.
    pub up: bool,
    /// The instance's MAC: the bridge has it as an entry of this port that no frame moves.
    pub mac: MacAddr,
    /// The mark that says whose it is; its MTU is behind that.
    pub alias: String,
    /// What somebody changed of it, as `ip` and `bridge` call it. Only observed so.
    pub changed: Vec<&'static str>,
    /// In the group of devices by which the firewall knows ports.
    pub guarded: bool,
    /// The one that it was made with.
    pub mtu: Mtu,
}

/// How a floating IP is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FloatingIpSpec {
    /// Route or address.
    pub mode: FloatingAddressMode,
    /// The interface where it is announced (and, in address mode, where it is).
    pub interface: IfName,
}

/// Alias of a bridge of ours.
pub fn bridge_alias(name: &IfName) -> String {
    format!("novanet:bridge:{name}")
}

/// Alias of an instance's port.
pub fn port_alias(port: &Port) -> String {
    format!("novanet:port:{}.{}", port.instance, port.index)
}

/// What marks a port as ours, whosever it is.
pub(crate) const PORT_ALIAS_PREFIX: &str = "novanet:port:";

/// How names of ports begin ([`novanet_model::object::port_name`]).
pub(crate) const PORT_NAME_PREFIX: &str = "nv";

/// MAC of the host end of a port: by its name, and so high that no bridge takes it for its own (a
/// bridge whose MAC nobody set has the lowest one of its ports).
pub(crate) fn host_end_mac(name: &IfName) -> MacAddr {
    let [a, b, c, d] = Settings::hash(name).to_be_bytes();
    MacAddr([0xfe, 0xff, a, b, c, d])
}

/// What every host has.
pub(crate) fn base_items(settings: &Settings) -> Vec<(LinkKey, LinkValue)> {
    let everywhere = sysctl::ALL.iter().map(|path| (LinkKey::Sysctl(path), on()));
    everywhere
        .chain([conf(&settings.public_interface, sysctl::FORWARDING)])
        .collect()
}

fn conf(interface: &IfName, (setting, value): (&'static str, &str)) -> (LinkKey, LinkValue) {
    let key = LinkKey::Conf(interface.clone(), setting);
    (key, LinkValue::Setting(value.to_owned()))
}

fn on() -> LinkValue {
    LinkValue::Setting(sysctl::ON.to_owned())
}

/// What follows from one object.
pub(crate) fn items(settings: &Settings, object: &HostObject) -> Vec<(LinkKey, LinkValue)> {
    match object {
        HostObject::Bridge(bridge) => of_bridge(settings, bridge),
        HostObject::Gateway(gateway) => of_gateway(gateway),
        HostObject::Port(port) => vec![(
            LinkKey::Port(port.name.clone()),
            LinkValue::Port(PortSpec {
                bridge: Some(port.bridge.clone()),
                up: true,
                mac: port.mac,
                alias: port_alias(port),
                changed: Vec::new(),
                guarded: true,
                mtu: Mtu::AsMade,
            }),
        )],
        HostObject::FloatingIp(floating_ip) => vec![(
            LinkKey::FloatingIp(floating_ip.address),
            LinkValue::FloatingIp(FloatingIpSpec {
                mode: settings.floating_address_mode,
                interface: floating_ip
                    .interface
                    .clone()
                    .unwrap_or_else(|| settings.public_interface.clone()),
            }),
        )],
        HostObject::Dhcp(_)
        | HostObject::Binding(_)
        | HostObject::Group(_)
        | HostObject::Rule(_)
        | HostObject::Member(_)
        | HostObject::ProjectAddress(_)
        | HostObject::Instance(_) => Vec::new(),
    }
}

/// What stays of an object whose network this host cannot have. The bridge's name is watched, and
/// an instance's cable lives as long as its instance.
pub(crate) fn items_when_unavailable(object: &HostObject) -> Vec<(LinkKey, LinkValue)> {
    match object {
        HostObject::Bridge(bridge) if bridge.vlan.is_none() => {
            vec![(LinkKey::Bridge(bridge.bridge.clone()), LinkValue::Left)]
        }
        HostObject::Port(port) => vec![(LinkKey::Port(port.name.clone()), LinkValue::Left)],
        _ => Vec::new(),
    }
}

fn of_bridge(settings: &Settings, bridge: &Bridge) -> Vec<(LinkKey, LinkValue)> {
    let key = LinkKey::Bridge(bridge.bridge.clone());
    if bridge.foreign {
        return vec![(key, LinkValue::AdministratorsBridge)];
    }
    let mtu = bridge.mtu.or(settings.network_device_mtu);
    let mut items = vec![(
        key,
        LinkValue::Bridge(BridgeSpec {
            mac: Settings::bridge_mac(&bridge.bridge),
            mtu: mtu.map_or(Mtu::AsMade, Mtu::Fixed),
            up: true,
            changed: Vec::new(),
            tagged: true,
        }),
    )];
    let settings_of_bridge = sysctl::OF_OUR_BRIDGES.into_iter();
    items.extend(settings_of_bridge.map(|setting| conf(&bridge.bridge, setting)));
    let uplink = bridge
        .interface
        .as_ref()
        .or(settings.flat_interface.as_ref());
    if let Some(uplink) = uplink {
        items.push((
            LinkKey::Uplink(uplink.clone()),
            LinkValue::Uplink(UplinkSpec {
                bridge: Some(bridge.bridge.clone()),
                up: true,
                addressed: false,
                changed: Vec::new(),
            }),
        ));
    }
    items
}

/// What to tell a network that does not get its uplink, or its bridge as it wants it.
pub(crate) fn detect_conflict(
    key: &LinkKey,
    (first, had): (&ObjectKey, &LinkValue),
    (late, wish): (&ObjectKey, &LinkValue),
) -> Option<String> {
    let network = |object: &'_ ObjectKey| object.0.split('/').nth(1).unwrap_or_default().to_owned();
    let (first, late) = (network(first), network(late));
    match (key, had, wish) {
        (LinkKey::Uplink(uplink), LinkValue::Uplink(had), LinkValue::Uplink(wish)) => {
            let name = |spec: &UplinkSpec| spec.bridge.as_ref().map(ToString::to_string);
            let [bridge, late_bridge] = [had, wish].map(|spec| name(spec).unwrap_or_default());
            Some(format!(
                "interface {uplink} is the uplink of bridge {bridge} (network {first}) and cannot be that \
                 of bridge {late_bridge} (network {late}) too: create one of the two networks with another \
                 bridge_interface, or both with the same bridge"
            ))
        }
        (LinkKey::Bridge(bridge), LinkValue::Bridge(had), LinkValue::Bridge(wish)) => {
            let mtu = |spec: &BridgeSpec| match spec.mtu {
                Mtu::Fixed(mtu) => format!("MTU {mtu}"),
                _ => "the kernel's MTU".to_owned(),
            };
            Some(format!(
                "bridge {bridge} has {} (network {first}) and cannot have {} (network {late}) too: \
                 give both networks the same mtu, or one of them another bridge",
                mtu(had),
                mtu(wish)
            ))
        }
        (LinkKey::Bridge(bridge), had, _) => {
            let (theirs, ours) = match had {
                LinkValue::AdministratorsBridge => (first, late),
                _ => (late, first),
            };
            Some(format!(
                "bridge {bridge} cannot be made by the administrator (flat network {theirs}) and by novanet \
                 (network {ours}): create one of the two networks with another bridge"
            ))
        }
        _ => None,
    }
}

/// The gateway address, and the way to the metadata service for those behind it.
fn of_gateway(gateway: &Gateway) -> Vec<(LinkKey, LinkValue)> {
    vec![
        address(gateway.bridge.clone(), gateway.address),
        (LinkKey::MetadataRoute, LinkValue::Metadata),
        (
            LinkKey::MetadataRule(gateway.bridge.clone()),
            LinkValue::Metadata,
        ),
    ]
}

fn address(device: IfName, address: Ipv4Net) -> (LinkKey, LinkValue) {
    (
        LinkKey::Address(device, address.addr()),
        LinkValue::Address(address.prefix_len()),
    )
}
