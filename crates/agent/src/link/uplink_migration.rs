//! Turns the addresses and routes of an uplink into those of its bridge, and back. The record on
//! disk of what moved is written before the kernel's state changes. Depends on rtnetlink.

use super::message;
use super::state_dir;
use crate::boot::boot_id;
use crate::netlink::address;
use crate::netlink::rtnetlink::{Request, Socket, decode, encode};
use novanet_model::IfName;
use novanet_reconcile::SubsystemError;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use rtnetlink::packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Addresses and routes that move with a device's place in the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct InterfaceConfig {
    pub(crate) addresses: Vec<AddressMessage>,
    pub(crate) routes: Vec<RouteMessage>,
}

impl InterfaceConfig {
    /// The foreign addresses and routes of a device, without those that the kernel makes by itself.
    pub(crate) fn of(socket: &mut Socket, device: u32) -> Result<Self, SubsystemError> {
        let mut found = Self::default();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            for message in dump(socket, &address::list(family, device))? {
                if let Message::NewAddress(address) = message
                    && address.header.index == device
                    && is_movable(&address)
                {
                    found.addresses.push(address);
                }
            }
            for message in dump(socket, &message::list_routes(family, 0))? {
                if let Message::NewRoute(route) = message
                    && leaves_by(&route, device)
                    && is_configured(&route, &found.addresses)
                {
                    found.routes.push(route);
                }
            }
        }
        Ok(found)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.routes.is_empty()
    }

    /// An IPv4 address that a DHCP client renews. On another device it would not be renewed, and
    /// the host would lose it at the end of its lease.
    pub(crate) fn leased(&self) -> Option<IpAddr> {
        let mut leased = self.addresses.iter().filter(|address| {
            address.header.family == AddressFamily::Inet
                && !flags(address).contains(AddressFlags::Permanent)
        });
        leased.next()?.attributes.iter().find_map(|a| match a {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        })
    }

    /// Adds the addresses and routes that this one does not have.
    pub(crate) fn add(&mut self, other: Self) {
        for address in other.addresses {
            if !self.addresses.iter().any(|a| same_address(a, &address)) {
                self.addresses.push(address);
            }
        }
        for route in other.routes {
            if !self.routes.contains(&route) {
                self.routes.push(route);
            }
        }
    }

    /// Requests that add the addresses to a device. `name`: for their labels.
    pub(crate) fn addresses_to(&self, device: u32, name: &str) -> Vec<Request> {
        self.addresses
            .iter()
            .map(|address| {
                let message = Message::NewAddress(address_for(address, device, Some(name)));
                Request::new(message, NLM_F_CREATE | NLM_F_REPLACE)
            })
            .collect()
    }

    /// Requests that remove the addresses from a device.
    pub(crate) fn addresses_off(&self, device: u32) -> Vec<Request> {
        self.addresses
            .iter()
            .map(|address| Request::new(Message::DelAddress(address_for(address, device, None)), 0))
            .collect()
    }

    /// Requests that move the routes from one device to another.
    pub(crate) fn routes_to(&self, from: u32, to: u32) -> Vec<Request> {
        self.routes
            .iter()
            .map(|route| {
                let message = Message::NewRoute(route_for(route, from, to));
                Request::new(message, NLM_F_CREATE | NLM_F_REPLACE)
            })
            .collect()
    }
}

/// The address itself, not its peer's.
pub(crate) fn local(message: &AddressMessage) -> Option<IpAddr> {
    let mut all = message.attributes.iter();
    let local = all.clone().find_map(|a| match a {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        all.find_map(|a| match a {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

fn same_address(one: &AddressMessage, other: &AddressMessage) -> bool {
    let local = |message: &AddressMessage| {
        message
            .attributes
            .iter()
            .find(|a| matches!(a, AddressAttribute::Local(_) | AddressAttribute::Address(_)))
            .cloned()
    };
    one.header.prefix_len == other.header.prefix_len && local(one) == local(other)
}

fn dump(socket: &mut Socket, message: &Message) -> Result<Vec<Message>, SubsystemError> {
    socket
        .dump(message)
        .map_err(|e| SubsystemError::kernel("list addresses and routes", e))
}

/// Whether an address moves. Link-local and automatic IPv6 addresses stay: the bridge gets its own.
fn is_movable(address: &AddressMessage) -> bool {
    if address::is_ours(address) || address.header.scope == AddressScope::Host {
        return false;
    }
    match address.header.family {
        AddressFamily::Inet6 => {
            address.header.scope == AddressScope::Universe
                && flags(address).contains(AddressFlags::Permanent)
        }
        _ => true,
    }
}

fn flags(address: &AddressMessage) -> AddressFlags {
    address
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Flags(flags) => Some(*flags),
            _ => None,
        })
        .unwrap_or(AddressFlags::empty())
}

fn leaves_by(route: &RouteMessage, device: u32) -> bool {
    route.header.kind == RouteType::Unicast
        && route.attributes.iter().any(|attribute| match attribute {
            RouteAttribute::Oif(index) => *index == device,
            RouteAttribute::MultiPath(hops) => hops.iter().any(|h| h.interface_index == device),
            _ => false,
        })
}

/// Whether an administrator or a program added a route: it was not learnt from a router, and the
/// kernel did not make it with an address (it makes those again), unless the addresses were added
/// with `noprefixroute`.
fn is_configured(route: &RouteMessage, addresses: &[AddressMessage]) -> bool {
    match route.header.protocol {
        RouteProtocol::Ra | RouteProtocol::IcmpRedirect => false,
        RouteProtocol::Kernel => {
            route.header.address_family == AddressFamily::Inet
                && addresses
                    .iter()
                    .any(|a| flags(a).contains(AddressFlags::Noprefixroute))
        }
        _ => true,
    }
}

fn address_for(address: &AddressMessage, device: u32, name: Option<&str>) -> AddressMessage {
    let mut new = address.clone();
    new.header.index = device;
    new.header.flags = AddressHeaderFlags::empty();
    new.attributes.retain_mut(|attribute| match attribute {
        AddressAttribute::Label(label) => {
            // `eth0:1` becomes `br100:1`; a delete must not name a label.
            let suffix = label.split_once(':').map_or("", |(_, alias)| alias);
            match name {
                Some(name) if suffix.is_empty() => name.clone_into(label),
                Some(name) => *label = format!("{name}:{suffix}"),
                None => return false,
            }
            label.len() < 16
        }
        AddressAttribute::Flags(flags) => {
            *flags &= AddressFlags::Noprefixroute;
            if address.header.family == AddressFamily::Inet6 {
                // It is in use: duplicate detection would only make it unusable for a while.
                *flags |= AddressFlags::Nodad;
            }
            !flags.is_empty()
        }
        AddressAttribute::Address(_)
        | AddressAttribute::Local(_)
        | AddressAttribute::Broadcast(_)
        | AddressAttribute::CacheInfo(_)
        | AddressAttribute::RoutePriority(_)
        | AddressAttribute::Protocol(_) => true,
        _ => false,
    });
    new
}

fn route_for(route: &RouteMessage, from: u32, to: u32) -> RouteMessage {
    let mut new = route.clone();
    new.header.flags &= RouteFlags::Onlink;
    new.attributes.retain_mut(|attribute| {
        match attribute {
            RouteAttribute::Oif(index) if *index == from => *index = to,
            RouteAttribute::MultiPath(hops) => {
                for hop in hops {
                    if hop.interface_index == from {
                        hop.interface_index = to;
                    }
                }
            }
            // Statistics of the kernel, and the id of a next-hop object of the old device.
            RouteAttribute::CacheInfo(_) | RouteAttribute::NhId(_) => return false,
            _ => {}
        }
        true
    });
    new
}

/// What moved from an uplink, for an uplink whose bridge was removed with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MigrationRecord {
    /// The bridge that has it.
    pub(crate) bridge: IfName,
    /// The index that the uplink had, which its routes have.
    pub(crate) device: u32,
    pub(crate) config: InterfaceConfig,
}

/// The record on disk: netlink messages in hex, so that no attribute of a route is lost.
#[derive(Serialize, Deserialize)]
struct OnDisk {
    bridge: IfName,
    boot: String,
    device: u32,
    addresses: Vec<String>,
    routes: Vec<String>,
}

impl MigrationRecord {
    /// Writes the record atomically and durably.
    pub(crate) fn save(&self, state_dir: &Path, uplink: &IfName) -> Result<(), SubsystemError> {
        let addresses = self.config.addresses.iter().cloned();
        let routes = self.config.routes.iter().cloned();
        let disk = OnDisk {
            bridge: self.bridge.clone(),
            boot: boot_id(),
            device: self.device,
            addresses: addresses.map(|a| to_hex(Message::NewAddress(a))).collect(),
            routes: routes.map(|r| to_hex(Message::NewRoute(r))).collect(),
        };
        let path = file(state_dir, uplink);
        serde_json::to_vec(&disk)
            .map_err(io::Error::from)
            .and_then(|bytes| state_dir::write_durable(&path, &bytes))
            .map_err(|e| SubsystemError::kernel(format!("write {}", path.display()), e))
    }

    /// Reads the record; `None`: there is none, or it is unreadable. A record of an earlier boot
    /// has no addresses and routes: the administrator's configuration has set them since.
    pub(crate) fn load(state_dir: &Path, uplink: &IfName) -> Option<Self> {
        let text = std::fs::read_to_string(file(state_dir, uplink)).ok()?;
        let disk: OnDisk = serde_json::from_str(&text).ok()?;
        let mut config = InterfaceConfig::default();
        if disk.boot == boot_id() {
            for message in disk
                .addresses
                .iter()
                .chain(&disk.routes)
                .filter_map(|h| from_hex(h))
            {
                match message {
                    Message::NewAddress(address) => config.addresses.push(address),
                    Message::NewRoute(route) => config.routes.push(route),
                    _ => {}
                }
            }
        }
        Some(Self {
            bridge: disk.bridge,
            device: disk.device,
            config,
        })
    }

    /// The configuration, for the device that has this index now.
    pub(crate) fn config_on(&self, device: u32) -> InterfaceConfig {
        let routes = &self.config.routes;
        InterfaceConfig {
            addresses: self.config.addresses.clone(),
            routes: routes
                .iter()
                .map(|r| route_for(r, self.device, device))
                .collect(),
        }
    }

    /// Removes the record's file.
    pub(crate) fn remove(state_dir: &Path, uplink: &IfName) -> Result<(), SubsystemError> {
        let path = file(state_dir, uplink);
        state_dir::remove(&path)
            .map_err(|e| SubsystemError::kernel(format!("remove {}", path.display()), e))
    }

    /// The uplinks that have a record.
    pub(crate) fn all(state_dir: &Path) -> Vec<IfName> {
        state_dir::interfaces(state_dir, PREFIX, SUFFIX)
    }
}

const PREFIX: &str = "uplink-";
const SUFFIX: &str = ".json";

fn file(state_dir: &Path, uplink: &IfName) -> PathBuf {
    state_dir.join(format!("{PREFIX}{uplink}{SUFFIX}"))
}

fn to_hex(message: Message) -> String {
    hex::encode(encode(message))
}

fn from_hex(text: &str) -> Option<Message> {
    decode(&hex::decode(text).ok()?)
}
