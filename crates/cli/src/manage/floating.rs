//! `nova-manage floating`: the pool of public addresses.

use super::context::Context;
use super::{Action, Category, action};
use crate::args::{Bound, Param, Takes, param};
use crate::failure::Failure;
use crate::table::{Row, none, render};
use novanet_model::rows::FloatingIp;
use novanet_model::{IfName, Ipv4Net, parse_cidr};
use serde::Serialize;
use std::net::Ipv4Addr;

pub(crate) const CATEGORY: Category = Category {
    name: "floating",
    aliases: &["floating_ip"],
    about: "the pool of public addresses",
    actions: ACTIONS,
};

const ACTIONS: &[Action] = &[
    action(
        "create",
        "put the hosts' addresses of a range into a pool",
        RANGE,
        |b| {
            let (host, range) = range(b)?;
            Ok(super::Command::Floating(Command::Create {
                range,
                host,
                pool: b.text("pool").map(str::to_owned),
                interface: b.parse("interface")?,
            }))
        },
    )
    .places(places, ORDERS),
    action(
        "delete",
        "take addresses that nobody has out of the pool",
        RANGE,
        |b| {
            let (_, range) = range(b)?;
            Ok(super::Command::Floating(Command::Delete { range }))
        },
    )
    // The manual's word, which nova never had.
    .or(&["destroy"])
    .places(places, ORDERS),
    action(
        "disassociate",
        "end the association of an address, whatever project it is of",
        ADDRESS,
        |b| {
            let text = b.required("address")?;
            let address = text.parse().map_err(|_| {
                Failure::usage(format!("address {text:?}: must look like 68.99.26.170"))
            })?;
            Ok(super::Command::Floating(Command::Disassociate { address }))
        },
    ),
    action("list", "all addresses, or a host's", HOST, |b| {
        let host = b.text("host").map(str::to_owned);
        Ok(super::Command::Floating(Command::List { host }))
    }),
];

const ADDRESS: &[Param] = &[param(
    "address",
    Takes::Required,
    "the floating address, like 68.99.26.170",
)];

const HOST: &[Param] = &[param(
    "host",
    Takes::Optional,
    "only those in force on this host",
)];

const RANGE: &[Param] = &[
    param(
        "ip_range",
        Takes::Required,
        "addresses, like 68.99.26.0/28 (its network and broadcast addresses are left out), \
         68.99.26.170/31 (both) or 68.99.26.170",
    )
    .or(&["range", "cidr"]),
    param(
        "host_name",
        Takes::Optional,
        "taken before the range, as in the manual; the network's host has the address",
    )
    .or(&["hostname"]),
    param("pool", Takes::Named, "pool (flag default_floating_pool)"),
    param(
        "interface",
        Takes::Named,
        "interface (each host's public_interface)",
    ),
];

const ORDERS: &[&str] = &["IP_RANGE", "HOST_NAME IP_RANGE"];

/// The manual: `floating create HOST RANGE`; 2011.3: `floating create RANGE`.
fn places(words: &[String]) -> &'static [&'static str] {
    if words.len() == 2 {
        &["host_name", "ip_range"]
    } else {
        &["ip_range"]
    }
}

/// The actions of `floating`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Put addresses into a pool.
    Create {
        /// Its host addresses.
        range: Ipv4Net,
        /// The host that the manual's form names.
        host: Option<String>,
        /// Pool.
        pool: Option<String>,
        /// Interface.
        interface: Option<IfName>,
    },
    /// Take them out.
    Delete {
        /// All addresses of it.
        range: Ipv4Net,
    },
    /// End an association.
    Disassociate {
        /// The floating address.
        address: Ipv4Addr,
    },
    /// List them.
    List {
        /// Only those on this host.
        host: Option<String>,
    },
}

/// As many as a /16 has: a million addresses is a slip.
pub(crate) const SHORTEST_PREFIX: u8 = 16;

fn range(bound: &Bound) -> Result<(Option<String>, Ipv4Net), Failure> {
    let text = bound.required("ip_range")?;
    let wrong = |why: String| Failure::usage(format!("ip_range {text:?}: {why}"));
    let range = match text.parse::<Ipv4Addr>() {
        Ok(address) => Ipv4Net::from(address),
        Err(_) => parse_cidr(text)
            .ok_or_else(|| wrong("must look like 68.99.26.170/31 or 68.99.26.170".to_owned()))?,
    };
    if range.addr() != range.network() {
        return Err(wrong(format!(
            "has host bits set: did you mean {}?",
            range.trunc()
        )));
    }
    if range.prefix_len() < SHORTEST_PREFIX {
        return Err(wrong(format!(
            "is too large: at most a /{SHORTEST_PREFIX} at once"
        )));
    }
    let first = range.network();
    if first.is_unspecified()
        || first.is_loopback()
        || first.is_multicast()
        || first.is_link_local()
    {
        return Err(wrong("must be addresses that hosts can have".to_owned()));
    }
    Ok((bound.text("host_name").map(str::to_owned), range))
}

/// Does it.
pub(crate) async fn run(command: Command, cx: &Context) -> Result<String, Failure> {
    match command {
        Command::Create {
            range,
            host,
            pool,
            interface,
        } => {
            if let Some(host) = host {
                cx.note(&format!(
                    "host {host} not used: a floating address is on the host of its instance's network"
                ));
            }
            let pool = pool.as_deref();
            let new = cx
                .cloud
                .create_floating_ips(range, pool, interface.as_ref())
                .await?;
            if new == 0 {
                cx.note(&format!("all addresses of {range} were there already"));
            }
            Ok(String::new())
        }
        Command::Delete { range } => {
            cx.cloud.delete_floating_ips(range).await?;
            Ok(String::new())
        }
        Command::Disassociate { address } => {
            if !cx.cloud.end_association(address).await? {
                cx.note(&format!("{address} leads to no instance"));
            }
            Ok(String::new())
        }
        Command::List { host } => {
            let rows: Vec<FloatingRow> = cx
                .cloud
                .floating_ips()
                .await?
                .into_iter()
                .map(FloatingRow::from)
                .filter(|row| host.is_none() || row.host == host)
                .collect();
            Ok(render(&rows, cx.format))
        }
    }
}

impl From<FloatingIp> for FloatingRow {
    fn from(float: FloatingIp) -> Self {
        Self {
            host: float.fixed.as_ref().and_then(|f| f.host.clone()),
            address: float.address,
            instance: float.fixed.as_ref().map(|f| f.instance.to_string()),
            fixed: float.fixed.map(|f| f.address),
            project: float.project.map(|p| p.to_string()),
            pool: float.pool,
            conflict: float.conflict,
            interface: float
                .interface
                .map(|i| i.to_string())
                .or(float.bad_interface),
        }
    }
}

/// A line of `floating list`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FloatingRow {
    pub(crate) host: Option<String>,
    pub(crate) address: Ipv4Addr,
    pub(crate) instance: Option<String>,
    pub(crate) fixed: Option<Ipv4Addr>,
    pub(crate) project: Option<String>,
    pub(crate) pool: String,
    /// Why no instance can have it.
    pub(crate) conflict: Option<String>,
    pub(crate) interface: Option<String>,
}

impl Row for FloatingRow {
    const FORMAT: &'static str = "%s\t%s\t%s";
    const TITLES: &'static [&'static str] = &["host", "address", "instance", "project", "fixed"];
    const HEADED: bool = false;

    fn cells(&self) -> Vec<String> {
        vec![
            none(self.host.as_ref()),
            self.address.to_string(),
            none(self.instance.as_ref()),
            none(self.project.as_ref()),
            none(self.fixed.as_ref()),
        ]
    }
}
