//! `nova-manage fixed`: the instances' own addresses.

use super::context::Context;
use super::{Action, Category, action};
use crate::args::{Bound, Param, Takes, param};
use crate::failure::Failure;
use crate::table::{Row, none, render};
use novanet_control::ControlError;
use novanet_control::fixed_ips::FixedIp;
use novanet_model::{MacAddr, NetworkKind};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

pub(crate) const CATEGORY: Category = Category {
    name: "fixed",
    aliases: &["fixed_ip"],
    about: "the instances' own addresses",
    actions: ACTIONS,
};

const ACTIONS: &[Action] = &[
    action(
        "list",
        "addresses that were ever handed out, or a host's",
        HOST,
        |b| {
            let host = b.text("host").map(str::to_owned);
            Ok(super::Command::Fixed(Command::List { host }))
        },
    ),
    action(
        "reserve",
        "keep addresses from instances; --mac: for a machine that is none, by DHCP",
        RESERVE,
        |b| {
            let addresses = addresses(b)?;
            let mac: Option<MacAddr> = b.parse("mac")?;
            Ok(super::Command::Fixed(match (mac, addresses.as_slice()) {
                (None, _) => Command::Reserve { addresses },
                (Some(mac), [address]) => Command::ReserveFor {
                    address: *address,
                    mac,
                },
                (Some(_), all) => {
                    return Err(Failure::usage(format!(
                        "mac: is for one address, and {} were given",
                        all.len()
                    )));
                }
            }))
        },
    ),
    action(
        "unreserve",
        "let instances have reserved addresses again",
        ADDRESS,
        |b| {
            Ok(super::Command::Fixed(Command::Unreserve {
                addresses: addresses(b)?,
            }))
        },
    ),
];

const HOST: &[Param] = &[param(
    "host",
    Takes::Optional,
    "only instances on this host",
)];

const ADDRESS: &[Param] = &[param("address", Takes::Many, "an address like 10.0.0.7")];

const RESERVE: &[Param] = &[
    ADDRESS[0],
    param(
        "mac",
        Takes::Named,
        "the machine's MAC, like 52:54:00:12:34:56",
    ),
];

/// The actions of `fixed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// List them.
    List {
        /// Only those on this host.
        host: Option<String>,
    },
    /// Keep them from instances.
    Reserve { addresses: Vec<Ipv4Addr> },
    /// Keep one for a machine that is no instance.
    ReserveFor {
        /// The address.
        address: Ipv4Addr,
        /// The machine.
        mac: MacAddr,
    },
    /// Let instances have them again.
    Unreserve { addresses: Vec<Ipv4Addr> },
}

fn addresses(bound: &Bound) -> Result<Vec<Ipv4Addr>, Failure> {
    bound
        .all("address")
        .into_iter()
        .map(|text| {
            text.parse().map_err(|_| {
                Failure::usage(format!(
                    "address {text:?}: must be an IPv4 address like 10.0.0.7"
                ))
            })
        })
        .collect()
}

/// Does it.
pub(crate) async fn run(command: Command, cx: &Context) -> Result<String, Failure> {
    match command {
        Command::List { host } => list(host.as_deref(), cx).await,
        Command::Reserve { addresses } => {
            let done = cx.cloud.reserve_fixed_ips(&addresses).await;
            done.map(|()| String::new()).map_err(refused)
        }
        Command::ReserveFor { address, mac } => {
            let done = cx.cloud.reserve_for_mac(address, mac).await;
            done.map(|_| String::new()).map_err(refused)
        }
        Command::Unreserve { addresses } => {
            let done = cx.cloud.unreserve_fixed_ips(&addresses).await;
            done.map(|()| String::new()).map_err(refused)
        }
    }
}

/// The words are good: it is the networks that have no such address to give, so the command line is
/// not wrong.
fn refused(error: ControlError) -> Failure {
    Failure {
        code: 1,
        ..Failure::from(error)
    }
}

async fn list(host: Option<&str>, cx: &Context) -> Result<String, Failure> {
    let networks: BTreeMap<_, _> = cx
        .cloud
        .networks()
        .await?
        .into_iter()
        .map(|n| (n.id, (n.cidr, n.kind)))
        .collect();
    let rows: Vec<FixedRow> = cx
        .cloud
        .fixed_ips(host)
        .await?
        .into_iter()
        .map(|fixed| FixedRow {
            network: none(networks.get(&fixed.network).map(|(cidr, _)| cidr)),
            state: state(&fixed, networks.get(&fixed.network).map(|(_, kind)| *kind)),
            instance: fixed.instance.map(|i| i.to_string()),
            address: fixed.address,
            mac: fixed.mac,
            hostname: fixed.hostname,
            host: fixed.host,
            reserved: fixed.reserved,
            leased: fixed.leased,
        })
        .collect();
    Ok(render(&rows, cx.format))
}

/// The state of an address, in a word.
fn state(fixed: &FixedIp, kind: Option<NetworkKind>) -> &'static str {
    match fixed.instance {
        None if fixed.reserved && fixed.leased => "leased",
        None if fixed.reserved => "reserved",
        None => "free",
        Some(_) if fixed.leased => "leased",
        // Its instance has it by injection.
        Some(_) if kind == Some(NetworkKind::Flat) => "used",
        Some(_) => "no lease",
    }
}

/// A line of `fixed list`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FixedRow {
    pub(crate) network: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: Option<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) instance: Option<String>,
    /// `free`, `reserved`, `used`, `no lease` or `leased`.
    pub(crate) state: &'static str,
    pub(crate) reserved: bool,
    pub(crate) leased: bool,
}

impl Row for FixedRow {
    const FORMAT: &'static str = "%-18s\t%-15s\t%-17s\t%-15s\t%s";
    const TITLES: &'static [&'static str] = &[
        "network",
        "IP address",
        "MAC address",
        "hostname",
        "host",
        "state",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.network.clone(),
            self.address.to_string(),
            none(self.mac.as_ref()),
            none(self.hostname.as_ref()),
            none(self.host.as_ref()),
            self.state.to_owned(),
        ]
    }
}
