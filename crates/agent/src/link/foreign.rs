//! Devices, addresses and routes of the host that are not novanet's. The cloud's ranges must not
//! conflict with them (`novanet_model::host_addresses`); depends on the kernel's state and
//! rtnetlink.

use super::context::Context;
use super::kernel_state::{Link, Snapshot};
use super::message::{self, TABLE_MAIN};
use super::ownership::{self, TaggedBridges};
use super::uplink_migration::{MigrationRecord, local};
use super::vlan;
use crate::netlink::rtnetlink::Socket;
use crate::netlink::{address, ownership::PROTOCOL};
use crate::settings::Settings;
use ipnet::Ipv4Net;
use novanet_model::IfName;
use novanet_model::host_addresses::{HostAddress, HostAddresses, HostRoute};
use novanet_reconcile::{ForeignDevice, SubsystemError};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteNextHop, RouteProtocol, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;

/// The host's own IPv4 addresses and routes now, in the network namespace of this thread.
pub fn host_addresses(settings: &Settings) -> Result<HostAddresses, SubsystemError> {
    let mut socket = Socket::open().map_err(|e| SubsystemError::kernel("open rtnetlink", e))?;
    let snapshot = Snapshot::take(&mut socket)?;
    let state_dir = settings.state_path.join("links");
    collect(&mut socket, &snapshot, &state_dir, settings)
}

/// The address that this host uses as a source; `None`: it has none yet. Quick while the kernel
/// still chooses `known`.
pub fn host_source(
    public_interface: &IfName,
    known: Ipv4Addr,
) -> Result<Option<Ipv4Addr>, SubsystemError> {
    if kernels_choice() == Some(known) {
        return Ok(Some(known));
    }
    let mut socket = Socket::open().map_err(|e| SubsystemError::kernel("open rtnetlink", e))?;
    Ok(source(&Snapshot::take(&mut socket)?, public_interface))
}

/// See [`host_source`]: the kernel's choice; without one the public interface's first address.
pub(super) fn source(snapshot: &Snapshot, public_interface: &IfName) -> Option<Ipv4Addr> {
    let of_cloud = |ip| snapshot.addresses.iter().any(|a| a.ours && a.ip == ip);
    let chosen = kernels_choice().filter(|ip| !of_cloud(*ip));
    chosen.or_else(|| addresses_of(snapshot, public_interface).next())
}

/// The kernel's source address towards the internet: connecting a UDP socket looks up a route and
/// sends nothing.
fn kernels_choice() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(8, 8, 8, 8), 80)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(ip) if !ip.is_loopback() && !ip.is_unspecified() => Some(ip),
        _ => None,
    }
}

/// The host's own addresses on an interface, or on the bridge that it is enslaved to.
fn addresses_of(snapshot: &Snapshot, interface: &IfName) -> impl Iterator<Item = Ipv4Addr> {
    let link = snapshot.link(interface);
    let devices = link.map(|link| [Some(link.index), link.master]);
    let addresses = snapshot.addresses.iter();
    addresses.filter_map(move |address| {
        let is_on = devices?.contains(&Some(address.device));
        (is_on && !address.ours && !address.ip.is_loopback()).then_some(address.ip)
    })
}

/// What instances need to reach anything outside and the host does not have yet, with the remedy;
/// `None`: nothing.
pub(super) fn waits(snapshot: &Snapshot, settings: &Settings) -> Option<String> {
    let name = &settings.public_interface;
    if snapshot.link(name).is_none() {
        return Some(format!(
            "interface {name} is not there: floating IPs and the instances' way out wait for it \
             (another one: flag public_interface)"
        ));
    }
    let none = addresses_of(snapshot, name).next().is_none();
    (settings.source_follows && none).then(|| {
        format!(
            "interface {name} has no address: instances without a floating IP wait for one to \
             leave with (a fixed one: flag routing_source_ip)"
        )
    })
}

/// See [`host_addresses`], of a snapshot.
pub(super) fn addresses(
    context: &mut Context,
    snapshot: &Snapshot,
) -> Result<HostAddresses, SubsystemError> {
    let Context {
        socket,
        state_dir,
        settings,
        ..
    } = context;
    collect(socket, snapshot, state_dir, settings)
}

/// Devices that are neither bridges nor ports of novanet's, by name.
pub(super) fn devices(
    snapshot: &Snapshot,
    uplinks: &BTreeSet<IfName>,
    tagged: &TaggedBridges,
) -> BTreeMap<IfName, ForeignDevice> {
    let devices = snapshot.named().filter_map(|(name, link)| {
        let own_mac = || ownership::own_mac(snapshot, link, name, uplinks);
        let ours = ownership::is_our_bridge(link, name)
            || tagged.has_lost_alias(link, name, own_mac())
            || ownership::is_our_port(link)
            || vlan::is_ours(link, name);
        if ours {
            return None;
        }
        let device = ForeignDevice {
            is_bridge: link.is_bridge(),
            what: tagged.describe(link, name),
        };
        Some((name.clone(), device))
    });
    devices.collect()
}

fn collect(
    socket: &mut Socket,
    snapshot: &Snapshot,
    state_dir: &Path,
    settings: &Settings,
) -> Result<HostAddresses, SubsystemError> {
    let moved = MovedAddresses::load(state_dir);
    let addresses = snapshot.addresses.iter().filter_map(|address| {
        let net = Ipv4Net::new(address.ip, address.prefix).ok()?;
        let device = snapshot.name(address.device)?;
        (!address.ours && !address.ip.is_loopback()).then(|| HostAddress {
            address: net,
            interface: moved.interface_of(device, address.ip).to_owned(),
        })
    });
    let addresses: BTreeSet<_> = addresses.collect();
    let dumped = socket.dump(&message::list_routes(AddressFamily::Inet, TABLE_MAIN));
    let dumped = match dumped {
        // The kernel makes the table with the first route of the host.
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Vec::new(),
        other => other.map_err(|e| SubsystemError::kernel("list routes", e))?,
    };
    let routes = dumped.iter().filter_map(|message| match message {
        Message::NewRoute(route) => Some(hops(route)),
        _ => None,
    });
    let routes = routes.flatten().filter_map(|(destination, via, device)| {
        let device = snapshot.name(device)?;
        Some(HostRoute {
            destination,
            via,
            interface: moved.interface_via(device, via).to_owned(),
        })
    });
    Ok(HostAddresses {
        routes: routes.collect(),
        addresses,
        flat_interface: settings.flat_interface.clone(),
        vlans: snapshot.links().filter_map(foreign_vlan).collect(),
    })
}

/// The id of a device `vlan<id>` that is not novanet's.
fn foreign_vlan(link: &Link) -> Option<u16> {
    let id: u16 = link.name.strip_prefix("vlan")?.parse().ok()?;
    let name = IfName::vlan_device(id);
    let is_foreign = link.name == name.as_str() && !vlan::is_ours(link, &name);
    (is_foreign && (1..=4094).contains(&id)).then_some(id)
}

/// Destination, next hop and device index of a foreign route; several for a multipath route, none
/// for a route that the kernel made with an address.
fn hops(route: &RouteMessage) -> Vec<(Ipv4Net, Option<Ipv4Addr>, u32)> {
    let protocol = route.header.protocol;
    let made_of_an_address = protocol == RouteProtocol::Kernel;
    if made_of_an_address
        || u8::from(protocol) == PROTOCOL
        || route.header.kind != RouteType::Unicast
        || route.header.address_family != AddressFamily::Inet
    {
        return Vec::new();
    }
    let to = message::destination(route).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let Ok(to) = Ipv4Net::new(to, route.header.destination_prefix_length) else {
        return Vec::new();
    };
    let device = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        });
    let several = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::MultiPath(hops) => Some(hops),
            _ => None,
        });
    let one = device.map(|device| (to, via(&route.attributes), device));
    let hop = |hop: &RouteNextHop| (to, via(&hop.attributes), hop.interface_index);
    one.into_iter()
        .chain(several.into_iter().flatten().map(hop))
        .collect()
}

fn via(attributes: &[RouteAttribute]) -> Option<Ipv4Addr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(via)) => Some(*via),
        _ => None,
    })
}

/// The host's addresses that novanet moved from interfaces to bridges, by bridge: reported with
/// their interface.
struct MovedAddresses(BTreeMap<String, Vec<(Ipv4Net, String)>>);

impl MovedAddresses {
    fn load(state_dir: &Path) -> Self {
        let mut all: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for uplink in MigrationRecord::all(state_dir) {
            let Some(record) = MigrationRecord::load(state_dir, &uplink) else {
                continue;
            };
            let addresses = record.config.addresses.iter().filter_map(|message| {
                let IpAddr::V4(address) = local(message)? else {
                    return None;
                };
                let net = Ipv4Net::new(address, message.header.prefix_len).ok()?;
                Some((net, uplink.to_string()))
            });
            let of_bridge = all.entry(record.bridge.to_string()).or_default();
            of_bridge.extend(addresses);
        }
        Self(all)
    }

    fn interface_of<'a>(&'a self, device: &'a str, address: Ipv4Addr) -> &'a str {
        self.find(device, |net| net.addr() == address)
    }

    fn interface_via<'a>(&'a self, device: &'a str, via: Option<Ipv4Addr>) -> &'a str {
        self.find(device, |net| via.is_some_and(|via| net.contains(&via)))
    }

    fn find<'a>(&'a self, device: &'a str, is: impl Fn(&Ipv4Net) -> bool) -> &'a str {
        let moved = self.0.get(device).into_iter().flatten();
        let mut moved = moved.filter(|(net, _)| is(net));
        moved.next().map_or(device, |(_, uplink)| uplink.as_str())
    }
}

/// Whether an event adds or removes an address of the host itself.
pub(super) fn is_about_the_host(message: &Message) -> bool {
    match message {
        Message::NewAddress(address) | Message::DelAddress(address) => {
            address.header.family == AddressFamily::Inet && !address::is_ours(address)
        }
        _ => false,
    }
}
