//! A row of `network list`: nova's columns first, then novanet's. Depends on
//! [`crate::table`].

use crate::table::{Row, none};
use novanet_control::fixed_ips::Usage;
use novanet_model::rows::Network;
use novanet_model::{DhcpOption, Ipv4Net, NetworkKind, SubnetId};
use serde::Serialize;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// A line of `network list`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NetworkRow {
    pub(crate) id: i64,
    pub(crate) label: String,
    pub(crate) kind: NetworkKind,
    pub(crate) cidr: Ipv4Net,
    pub(crate) gateway: Ipv4Addr,
    /// The host's own address, if the gateway is another machine.
    pub(crate) dhcp_server: Option<Ipv4Addr>,
    pub(crate) dhcp_start: Ipv4Addr,
    pub(crate) dns: Vec<Ipv4Addr>,
    pub(crate) domain: Option<String>,
    pub(crate) dhcp_options: Vec<DhcpOption>,
    pub(crate) snat: bool,
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
    /// EC2's id.
    pub(crate) subnet: String,
    /// Addresses that instances have.
    pub(crate) used: i64,
    /// Addresses that instances can get.
    pub(crate) free: i64,
}

impl NetworkRow {
    /// A network, and what became of its addresses.
    pub(super) fn new(network: Network, usage: Usage) -> Self {
        let Network {
            id,
            spec,
            host,
            uuid,
        } = network;
        let size = 1_i64 << (32 - spec.cidr.prefix_len());
        Self {
            used: usage.used,
            free: size - usage.used - usage.kept,
            id: id.0,
            label: spec.label,
            kind: spec.kind,
            cidr: spec.cidr,
            gateway: spec.gateway,
            dhcp_server: spec.dhcp_server,
            dhcp_start: spec.dhcp_start,
            dns: spec.dns,
            domain: spec.domain,
            dhcp_options: spec.dhcp_options,
            snat: !spec.no_snat,
            bridge: spec.bridge.to_string(),
            bridge_interface: spec.bridge_interface.map(|i| i.to_string()),
            vlan: spec.vlan,
            vpn_public_address: spec.vpn_public_address,
            vpn_public_port: spec.vpn_public_port,
            vpn_private_address: spec.vpn_private_address,
            project: spec.project.map(|p| p.to_string()),
            host,
            multi_host: spec.multi_host,
            injected: spec.injected,
            mtu: spec.mtu,
            uuid,
            subnet: SubnetId(id.0).to_string(),
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
        "used",
        "free",
    ];
    const BRIEF: &'static [usize] = &[0, 1, 3, 6, 7, 9, 10];

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
            self.used.to_string(),
            self.free.to_string(),
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
            let title = format!("{name}:");
            let _ = writeln!(out, "{title:<20} {text}");
        }
        out
    }
}
