//! The kernel's links, addresses and routes, reduced to what this subsystem needs. Depends on
//! rtnetlink.

use super::fdb::Entries;
use super::message;
use super::options::{self, PortKind, Wrong};
use crate::netlink::address::{self, Address};
use crate::netlink::ownership::PROTOCOL;
use crate::netlink::rtnetlink::Socket;
use novanet_model::{IfName, MacAddr};
use novanet_reconcile::SubsystemError;
use rtnetlink::packet_route::RouteNetlinkMessage as Message;
use rtnetlink::packet_route::link::{
    InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoVlan, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

/// A network device.
#[allow(clippy::struct_excessive_bools)] // the kernel's own switches
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// `bridge`, `veth` …; empty for a physical device.
    pub(crate) kind: String,
    pub(crate) up: bool,
    pub(crate) mtu: u32,
    pub(crate) mac: Option<MacAddr>,
    /// Index of the bridge or bond that it is a port of.
    pub(crate) master: Option<u32>,
    /// Index of the device below a VLAN or macvlan, which the kernel removes with that device.
    pub(crate) lower: Option<u32>,
    /// For a VLAN device: its tag.
    pub(crate) vlan_id: Option<u16>,
    pub(crate) alias: String,
    pub(crate) group: u32,
    /// Answers ARP (no `NOARP` flag).
    pub(crate) arp: bool,
    /// Up with a carrier: for a veth, the other end is up too.
    pub(crate) running: bool,
    /// For a bridge: the options that differ from those of novanet's bridges.
    pub(crate) wrong_in_bridge: Vec<Wrong<InfoBridge>>,
    /// For a bridge's port: its options.
    pub(crate) port_options: Vec<InfoBridgePort>,
    /// For a veth: the id, in this namespace, of the other end's network namespace.
    pub(crate) peer_namespace: Option<i32>,
}

impl Link {
    pub(crate) fn is_bridge(&self) -> bool {
        self.kind == "bridge"
    }

    /// The options that differ from those of such a port.
    pub(crate) fn wrong_as(&self, kind: PortKind) -> Vec<Wrong<InfoBridgePort>> {
        options::wrong_of_port(&self.port_options, kind)
    }

    /// Whether a port passes no frames, although it and the bridge are up and spanning tree is off.
    pub(crate) fn is_blocked_in(&self, bridge: &Link) -> bool {
        let tree = bridge.wrong_in_bridge.iter();
        let tree = tree.map(|wrong| wrong.name).any(|name| name == "stp_state");
        options::is_blocked(&self.port_options) && self.up && self.running && bridge.up && !tree
    }

    /// A foreign link in words for an error.
    pub(crate) fn describe(&self) -> String {
        let kind = match self.kind.as_str() {
            "" => "an interface".to_owned(),
            kind => format!("a {kind}"),
        };
        if self.alias.is_empty() {
            format!("{kind} that novanet did not make")
        } else {
            format!("{kind} that novanet did not make (alias {:?})", self.alias)
        }
    }
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            arp: !message.header.flags.contains(LinkFlags::Noarp),
            running: message.header.flags.contains(LinkFlags::Running),
            ..Self::default()
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Controller(index) => link.master = Some(index).filter(|i| *i != 0),
                LinkAttribute::Link(index) => link.lower = Some(index),
                LinkAttribute::IfAlias(alias) => link.alias = alias,
                LinkAttribute::Group(group) => link.group = group,
                LinkAttribute::LinkNetNsId(id) => link.peer_namespace = Some(id),
                LinkAttribute::Address(mac) => link.mac = mac.try_into().ok().map(MacAddr),
                LinkAttribute::LinkInfo(infos) => link.take_info(infos),
                _ => {}
            }
        }
        // For a veth this is the index of the other end, maybe in another namespace.
        let stacked = ["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"];
        if !stacked.contains(&link.kind.as_str()) {
            link.lower = None;
        }
        link
    }
}

impl Link {
    fn take_info(&mut self, infos: Vec<LinkInfo>) {
        for info in infos {
            match info {
                LinkInfo::Kind(InfoKind::Bridge) => "bridge".clone_into(&mut self.kind),
                LinkInfo::Kind(kind) => self.kind = kind.to_string(),
                LinkInfo::Data(InfoData::Bridge(options)) => {
                    self.wrong_in_bridge = options::wrong_of_bridge(&options);
                }
                LinkInfo::Data(InfoData::Vlan(data)) => {
                    self.vlan_id = data.iter().find_map(|info| match info {
                        InfoVlan::Id(id) => Some(*id),
                        _ => None,
                    });
                }
                LinkInfo::PortData(InfoPortData::BridgePort(options)) => {
                    self.port_options = options;
                }
                _ => {}
            }
        }
    }
}

/// Links and IPv4 addresses of the host, and novanet's routes of floating IPs.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// With their names, parsed once; `None`: a name that novanet does not accept.
    links: Vec<(Option<IfName>, Link)>,
    /// Places in `links`.
    by_name: HashMap<IfName, usize>,
    /// Places in `links`.
    by_index: HashMap<u32, usize>,
    /// All IPv4 addresses.
    pub(crate) addresses: Vec<Address>,
    /// Floating IPs with a route of novanet's.
    pub(crate) floating_ips: BTreeSet<Ipv4Addr>,
    /// The fdb entries that the caller added.
    pub(crate) entries: Entries,
}

impl Snapshot {
    /// Lists everything but fdb entries.
    pub(crate) fn take(socket: &mut Socket) -> Result<Self, SubsystemError> {
        let mut snapshot = Self::default();
        for (place, link) in links(socket)?.into_iter().enumerate() {
            let name = IfName::new(link.name.as_str()).ok();
            snapshot.by_index.insert(link.index, place);
            if let Some(name) = &name {
                snapshot.by_name.insert(name.clone(), place);
            }
            snapshot.links.push((name, link));
        }
        snapshot.addresses = addresses_of(socket, 0)?;
        let routes = match socket.dump(&message::list_floating_ip_routes()) {
            // The kernel makes the table with the first address of the host.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Vec::new(),
            other => other.map_err(|e| SubsystemError::kernel("list routes", e))?,
        };
        snapshot.floating_ips = routes.iter().filter_map(floating_ip_of).collect();
        Ok(snapshot)
    }

    pub(crate) fn link(&self, name: &IfName) -> Option<&Link> {
        let (_, link) = self.links.get(*self.by_name.get(name)?)?;
        Some(link)
    }

    pub(crate) fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().map(|(_, link)| link)
    }

    /// The links whose names novanet accepts, with these names.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&IfName, &Link)> {
        let links = self.links.iter();
        links.filter_map(|(name, link)| Some((name.as_ref()?, link)))
    }

    fn with_index(&self, index: u32) -> Option<&(Option<IfName>, Link)> {
        self.links.get(*self.by_index.get(&index)?)
    }

    /// A link by its index.
    pub(crate) fn numbered(&self, index: u32) -> Option<&Link> {
        self.with_index(index).map(|(_, link)| link)
    }

    /// A link's name by its index.
    pub(crate) fn name(&self, index: u32) -> Option<&str> {
        self.numbered(index).map(|link| link.name.as_str())
    }

    /// A link's name by its index; `None` also for a name that novanet does not accept.
    pub(crate) fn interface(&self, index: u32) -> Option<IfName> {
        self.with_index(index)?.0.clone()
    }

    /// The bridge that a link is a port of.
    pub(crate) fn bridge_of(&self, link: &Link) -> Option<IfName> {
        self.interface(link.master?)
    }
}

/// All links of the host.
pub(crate) fn links(socket: &mut Socket) -> Result<Vec<Link>, SubsystemError> {
    let messages = socket
        .dump(&message::list_links())
        .map_err(|e| SubsystemError::kernel("list links", e))?;
    let read = |message| match message {
        Message::NewLink(message) => Some(Link::from(message)),
        _ => None,
    };
    Ok(messages.into_iter().filter_map(read).collect())
}

/// The floating IP of a route of novanet's.
pub(crate) fn floating_ip_of(message: &Message) -> Option<Ipv4Addr> {
    let (Message::NewRoute(route) | Message::DelRoute(route)) = message else {
        return None;
    };
    if u8::from(route.header.protocol) != PROTOCOL || route.header.destination_prefix_length != 32 {
        return None;
    }
    message::destination(route)
}

/// The IPv4 addresses of a device (0: of all).
pub(crate) fn addresses_of(
    socket: &mut Socket,
    device: u32,
) -> Result<Vec<Address>, SubsystemError> {
    address::addresses_of(socket, device).map_err(|e| SubsystemError::kernel("list addresses", e))
}

/// One link by name; `None`: it does not exist.
pub(crate) fn link(socket: &mut Socket, name: &IfName) -> Result<Option<Link>, SubsystemError> {
    match socket.get(message::get_link(name)) {
        Ok(Some(Message::NewLink(message))) => Ok(Some(Link::from(message))),
        Ok(_) => Ok(None),
        Err(error) => Err(SubsystemError::kernel(format!("look up {name}"), error)),
    }
}
