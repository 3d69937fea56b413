//! `nova-manage network`: subnets for instances.

use super::context::Context;
use super::{Action, Category, action};
use crate::args::Format;
use crate::args::{Bound, Param, Takes, param};
use crate::failure::Failure;
use crate::table::{Row, json, none, render};
use novanet_model::Ipv4Net;
use novanet_model::carve::{CarveError, Defaults, Request, carve, parse_range};
use novanet_model::flags::Flags;
use novanet_model::rows::Network;
use novanet_model::{IfName, ModelError, NetworkKind, ProjectId};
use serde::Serialize;
use std::net::Ipv4Addr;

pub(crate) const CATEGORY: Category = Category {
    name: "network",
    aliases: &[],
    about: "subnets for instances",
    actions: ACTIONS,
};

const ACTIONS: &[Action] = &[
    action(
        "create",
        "make networks: carve NUM_NETWORKS subnets of NETWORK_SIZE addresses from a range",
        CREATE,
        create,
    )
    .places(places_of_create),
    action("list", "all networks", &[], |_| {
        Ok(super::Command::Network(Command::List))
    }),
    action("show", "everything about one network", ONE, |bound| {
        Ok(super::Command::Network(Command::Show(which(bound)?)))
    }),
    action(
        "delete",
        "remove a network that no instance uses",
        ONE,
        |bound| Ok(super::Command::Network(Command::Delete(which(bound)?))),
    )
    .or(&["remove"]),
];

const ONE: &[Param] = &[param(
    "network",
    Takes::Required,
    "the network: its subnet, id, uuid or label",
)
.or(&["fixed_range", "cidr", "id", "uuid"])];

const CREATE: &[Param] = &[
    param("label", Takes::Optional, "name for people (private)"),
    param(
        "fixed_range_v4",
        Takes::Required,
        "range to carve from, like 10.0.0.0/24",
    )
    .or(&["fixed_range", "cidr", "range"]),
    param(
        "num_networks",
        Takes::Optional,
        "how many (flag num_networks)",
    )
    .or(&["num"]),
    param(
        "network_size",
        Takes::Optional,
        "addresses in each, a power of two",
    )
    .or(&["size"]),
    param("multi_host", Takes::Truth, "T: a gateway on every host"),
    param(
        "vlan",
        Takes::Optional,
        "first VLAN id, 1 to 4094 (the next free ones)",
    )
    .or(&["vlan_start"]),
    param(
        "vpn",
        Takes::Optional,
        "first public UDP port of the VPNs (the next free ones)",
    )
    .or(&["vpn_start"]),
    param(
        "fixed_range_v6",
        Takes::Optional,
        "IPv6 range; not built yet",
    ),
    param("gateway_v6", Takes::Optional, "IPv6 gateway; not built yet"),
    param(
        "bridge",
        Takes::Optional,
        "bridge (br100; VLAN networks: br<vlan>)",
    ),
    param(
        "bridge_interface",
        Takes::Optional,
        "interface under the bridge (each host's own flag)",
    ),
    param("dns1", Takes::Optional, "first DNS server"),
    param("dns2", Takes::Optional, "second DNS server"),
    param("project_id", Takes::Optional, "project that gets it").or(&["project"]),
    param(
        "priority",
        Takes::Optional,
        "taken and not used, as in nova",
    ),
    param("uuid", Takes::Optional, "taken and not used, as in nova"),
    param(
        "kind",
        Takes::Named,
        "flat, flatdhcp or vlan (flag network_manager)",
    ),
    param(
        "gateway",
        Takes::Named,
        "gateway of one network (its first address)",
    ),
    param(
        "dhcp_start",
        Takes::Named,
        "first address for instances of one network",
    ),
    param(
        "vpn_ip",
        Takes::Named,
        "public address of the VPN (flag vpn_ip)",
    ),
    param("mtu", Takes::Named, "MTU (each host's own flag)"),
];

/// 2011.3: a label first.
const LABEL_FIRST: &[&str] = &[
    "label",
    "fixed_range_v4",
    "num_networks",
    "network_size",
    "multi_host",
    "vlan",
    "vpn",
    "fixed_range_v6",
    "gateway_v6",
    "bridge",
    "bridge_interface",
    "dns1",
    "dns2",
    "project_id",
    "priority",
    "uuid",
];

/// 2011.1, 2011.2 and the manual: the range first, and VLAN and VPN after the size.
const RANGE_FIRST: &[&str] = &[
    "fixed_range_v4",
    "num_networks",
    "network_size",
    "vlan",
    "vpn",
    "fixed_range_v6",
    "gateway_v6",
    "label",
];

fn places_of_create(words: &[String]) -> &'static [&'static str] {
    let is_range = |word: Option<&String>| word.is_some_and(|w| w.contains('/'));
    if is_range(words.first()) && !is_range(words.get(1)) {
        RANGE_FIRST
    } else {
        LABEL_FIRST
    }
}

/// What `network` can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Make networks.
    Create(Box<Create>),
    /// List them.
    List,
    /// Show one.
    Show(Which),
    /// Delete one.
    Delete(Which),
}

/// `network create`, before the flags fill in the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Create {
    kind: Option<NetworkKind>,
    num_networks: Option<u32>,
    request: Request,
}

/// How a user names a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Which {
    /// By subnet.
    Cidr(Ipv4Net),
    /// By id.
    Id(i64),
    /// By uuid or label.
    Name(String),
}

fn which(bound: &Bound) -> Result<Which, Failure> {
    let text = bound.required("network")?;
    if text.contains('/') {
        return parse_range(text).map(Which::Cidr).map_err(|e| refused(&e));
    }
    Ok(text
        .parse()
        .map_or_else(|_| Which::Name(text.to_owned()), Which::Id))
}

fn refused(error: &ModelError) -> Failure {
    Failure::usage(error.to_string())
}

fn create(bound: &Bound) -> Result<super::Command, Failure> {
    for name in ["fixed_range_v6", "gateway_v6"] {
        if let Some(given) = bound.text(name) {
            return Err(Failure::usage(format!(
                "{name} {given:?}: IPv6 is not built yet: leave it out"
            )));
        }
    }
    let range = parse_range(bound.required("fixed_range_v4")?).map_err(|e| refused(&e))?;
    let dns = [bound.address("dns1")?, bound.address("dns2")?];
    let narrow = |number: Option<u64>| number.and_then(|n| u16::try_from(n).ok());
    let wide = |number: Option<u64>| number.and_then(|n| u32::try_from(n).ok());
    let request = Request {
        network_size: bound.number("network_size", 1, 1 << 32)?,
        gateway: bound.address("gateway")?,
        dhcp_start: bound.address("dhcp_start")?,
        bridge: bound.parse::<IfName>("bridge")?,
        bridge_interface: bound.parse::<IfName>("bridge_interface")?,
        vlan: narrow(bound.number("vlan", 1, 4094)?),
        vpn_port: narrow(bound.number("vpn", 1, 65_535)?),
        vpn_address: bound.address("vpn_ip")?,
        dns: dns.into_iter().flatten().collect(),
        multi_host: bound.truth("multi_host")?,
        mtu: wide(bound.number("mtu", 576, 65_535)?),
        project: bound.parse::<ProjectId>("project_id")?,
        ..Request::new(
            NetworkKind::Vlan,
            bound.text("label").unwrap_or("private"),
            range,
        )
    };
    Ok(super::Command::Network(Command::Create(Box::new(Create {
        kind: bound.parse("kind")?,
        num_networks: wide(bound.number("num_networks", 1, 65_536)?),
        request,
    }))))
}

impl Create {
    /// The request with the flags' defaults. What could never be right is refused here, before the
    /// database is opened.
    pub(crate) fn request(&self, flags: &Flags) -> Result<(Request, Defaults), Failure> {
        let defaults = flags.network_defaults();
        let default_num = u32::try_from(flags.number("num_networks")).unwrap_or(1);
        let request = Request {
            kind: self.kind.unwrap_or_else(|| flags.network_kind()),
            num_networks: self.num_networks.unwrap_or(default_num),
            ..self.request.clone()
        };
        match carve(&request, &[], &defaults) {
            Err(CarveError::Invalid(e)) => Err(Failure::usage(format!("network create: {e}"))),
            Err(CarveError::Conflict(e)) => Err(Failure::failed(format!("network create: {e}"))),
            Ok(_) => Ok((request, defaults)),
        }
    }
}

/// Does it.
pub(crate) async fn run(command: Command, cx: &Context) -> Result<String, Failure> {
    match command {
        Command::Create(create) => {
            let (request, _) = create.request(&cx.flags)?;
            let created = cx.cloud.create_networks(&request).await?;
            for note in &created.notes {
                cx.note(note);
            }
            let rows: Vec<NetworkRow> = created.networks.into_iter().map(Into::into).collect();
            match cx.format {
                Format::Json => Ok(json(&rows)),
                // nova said nothing here.
                Format::Table => Ok(String::new()),
            }
        }
        Command::List => {
            let networks = cx.cloud.networks().await?;
            let rows: Vec<NetworkRow> = networks.into_iter().map(Into::into).collect();
            if rows.is_empty() && cx.format == Format::Table {
                cx.note("no networks found: nova-manage network create makes some");
            }
            Ok(render(&rows, cx.format))
        }
        Command::Show(which) => {
            let row = NetworkRow::from(find(&which, cx).await?);
            match cx.format {
                Format::Json => Ok(json(&row)),
                Format::Table => Ok(row.show()),
            }
        }
        Command::Delete(which) => {
            let network = find(&which, cx).await?;
            cx.cloud.delete_network(&network.id.to_string()).await?;
            Ok(String::new())
        }
    }
}

/// The network that is meant; a label has to be of one network only.
async fn find(which: &Which, cx: &Context) -> Result<Network, Failure> {
    let mut found: Vec<Network> = cx.cloud.networks().await?;
    found.retain(|n| match which {
        Which::Cidr(cidr) => n.cidr == *cidr,
        Which::Id(id) => n.id.0 == *id,
        Which::Name(name) => n.uuid == *name || n.label == *name,
    });
    let name = match which {
        Which::Cidr(cidr) => cidr.to_string(),
        Which::Id(id) => id.to_string(),
        Which::Name(name) => name.clone(),
    };
    if found.len() > 1 {
        let all: Vec<String> = found.iter().map(|n| n.cidr.to_string()).collect();
        return Err(Failure::failed(format!(
            "network {name}: there are {} of this label: say which by subnet: {}",
            all.len(),
            all.join(", ")
        )));
    }
    found.pop().ok_or_else(|| {
        Failure::failed(format!(
            "network {name} not found: nova-manage network list shows them"
        ))
    })
}

/// A line of `network list`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NetworkRow {
    pub(crate) id: i64,
    pub(crate) label: String,
    pub(crate) kind: NetworkKind,
    pub(crate) cidr: Ipv4Net,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) dhcp_start: Ipv4Addr,
    pub(crate) dns: Vec<Ipv4Addr>,
    pub(crate) bridge: String,
    pub(crate) bridge_interface: Option<String>,
    pub(crate) vlan: Option<u16>,
    pub(crate) vpn_public_address: Option<Ipv4Addr>,
    pub(crate) vpn_public_port: Option<u16>,
    pub(crate) vpn_private_address: Option<Ipv4Addr>,
    pub(crate) project: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) multi_host: bool,
    pub(crate) injected: bool,
    pub(crate) mtu: Option<u32>,
    pub(crate) uuid: String,
}

impl From<Network> for NetworkRow {
    fn from(n: Network) -> Self {
        Self {
            id: n.id.0,
            label: n.label,
            kind: n.kind,
            cidr: n.cidr,
            gateway: n.gateway,
            dhcp_start: n.dhcp_start,
            dns: n.dns,
            bridge: n.bridge.to_string(),
            bridge_interface: n.bridge_interface.map(|i| i.to_string()),
            vlan: n.vlan,
            vpn_public_address: n.vpn_public_address,
            vpn_public_port: n.vpn_public_port,
            vpn_private_address: n.vpn_private_address,
            project: n.project.map(|p| p.to_string()),
            host: n.host,
            multi_host: n.multi_host,
            injected: n.injected,
            mtu: n.mtu,
            uuid: n.uuid,
        }
    }
}

impl Row for NetworkRow {
    const FORMAT: &'static str = "%-5s\t%-18s\t%-15s\t%-15s\t%-15s\t%-15s\t%-15s\t%-15s\t%-15s";
    const TITLES: &'static [&'static str] = &[
        "id",
        "IPv4",
        "IPv6",
        "start address",
        "DNS1",
        "DNS2",
        "VlanID",
        "project",
        "uuid",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.cidr.to_string(),
            "None".to_owned(),
            self.dhcp_start.to_string(),
            none(self.dns.first()),
            none(self.dns.get(1)),
            none(self.vlan.as_ref()),
            none(self.project.as_ref()),
            self.uuid.clone(),
        ]
    }
}

impl NetworkRow {
    /// `network show`: one property a line.
    pub(crate) fn show(&self) -> String {
        let value =
            serde_json::to_value(self).unwrap_or_else(|e| unreachable!("rows are plain data: {e}"));
        let mut out = String::new();
        for (name, value) in value.as_object().into_iter().flatten() {
            let text = match value {
                serde_json::Value::Null => "None".to_owned(),
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Array(list) => {
                    let words: Vec<String> = list
                        .iter()
                        .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
                        .collect();
                    if words.is_empty() {
                        "None".to_owned()
                    } else {
                        words.join(", ")
                    }
                }
                other => other.to_string(),
            };
            out.push_str(
                &format!("{:<20} {text}", format!("{name}:"))
                    .trim_end()
                    .to_owned(),
            );
            out.push('\n');
        }
        out
    }
}
