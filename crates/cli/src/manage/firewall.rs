//! `nova-manage firewall`: a host's rules as they are in the kernel, and the provider rules.

use super::context::Context;
use super::{Category, action};
use crate::args::{Bound, Format, Param, Takes, param};
use crate::failure::Failure;
use crate::table::{Row, none, render};
use novanet_model::rows::Block;
use novanet_model::rule::{Ports, Traffic};
use novanet_model::wire::{Explanation, Packet, PacketEnd, RulesForm, RulesView};
use novanet_model::{InstanceId, Ipv4Net, parse_cidr};
use serde::Serialize;

pub(crate) const CATEGORY: Category = Category {
    name: "firewall",
    aliases: &[],
    about: "a host's rules as they are in the kernel, and provider rules for all hosts",
    actions: &[
        action(
            "block",
            "let no instance hear this traffic, whatever its groups accept",
            BLOCK,
            |b| {
                let (traffic, source) = block(b)?;
                Ok(super::Command::Firewall(Command::Block { traffic, source }))
            },
        ),
        action("unblock", "take such a provider rule away", BLOCK, |b| {
            let (traffic, source) = block(b)?;
            Ok(super::Command::Firewall(Command::Unblock {
                traffic,
                source,
            }))
        }),
        action("list", "the provider rules", &[], |_| {
            Ok(super::Command::Firewall(Command::List))
        }),
        action(
            "explain",
            "say whether a packet passes, and which rule decides or is missing",
            EXPLAIN,
            |b| {
                let host = b.text("host").map(str::to_owned);
                let packet = packet(b)?;
                Ok(super::Command::Firewall(Command::Explain { host, packet }))
            },
        ),
        action(
            "show",
            "print the rules, or those of one instance or address, in the words of either tool",
            &[
                param("host", Takes::Optional, "the host (this one)"),
                param(
                    "as",
                    Takes::Named,
                    "iptables-save, nft or json (as the host's driver has them)",
                ),
                param(
                    "instance",
                    Takes::Named,
                    "only what concerns this instance, like i-00000001",
                ),
                param(
                    "address",
                    Takes::Named,
                    "only what concerns this fixed or floating address",
                ),
            ],
            |b| {
                let host = b.text("host").map(str::to_owned);
                let view = view(b)?;
                Ok(super::Command::Firewall(Command::Show { host, view }))
            },
        ),
    ],
};

const EXPLAIN: &[Param] = &[
    param(
        "from",
        Takes::Named,
        "the sender: an address, or an instance of the host",
    ),
    param(
        "to",
        Takes::Named,
        "the receiver: an address, a floating one too, or an instance",
    ),
    param(
        "proto",
        Takes::Named,
        "tcp, udp or icmp (tcp with a port, else icmp: a ping)",
    ),
    param("port", Takes::Named, "the receiver's port"),
    param("host", Takes::Named, "the host of the receiver (this one)"),
];

fn packet(bound: &Bound) -> Result<Packet, Failure> {
    let end = |name: &'static str| {
        let text = bound.required(name)?;
        if let Ok(address) = text.parse() {
            return Ok(PacketEnd::Address(address));
        }
        let instance = text.parse().map_err(|_| {
            Failure::usage(format!(
                "{name} {text:?}: must be an address like 10.0.0.3 or an instance like i-00000001"
            ))
        });
        instance.map(PacketEnd::Instance)
    };
    let port = bound.number("port", 0, 65_535)?;
    let port = port.and_then(|port| u16::try_from(port).ok());
    let protocol = bound.text("proto").unwrap_or(match port {
        Some(_) => "tcp",
        None => "icmp",
    });
    let ports = |port: Option<u16>| {
        let port = port.ok_or_else(|| Failure::usage(format!("port is missing for {protocol}")))?;
        Ok::<_, Failure>(Ports {
            from: port,
            to: port,
        })
    };
    let traffic = match protocol {
        "tcp" => Traffic::Tcp(ports(port)?),
        "udp" => Traffic::Udp(ports(port)?),
        "icmp" if port.is_none() => Traffic::Icmp {
            icmp_type: Some(8),
            code: Some(0),
        },
        "icmp" => {
            return Err(Failure::usage(
                "port: icmp has no ports: leave it out".to_owned(),
            ));
        }
        other => {
            return Err(Failure::usage(format!(
                "proto {other:?}: must be tcp, udp or icmp"
            )));
        }
    };
    Ok(Packet {
        from: end("from")?,
        to: end("to")?,
        traffic,
    })
}

/// The host's explanation for people or programs.
pub(crate) fn explained(text: &str, format: Format) -> Result<String, Failure> {
    let explanation: Explanation = serde_json::from_str(text.trim())
        .map_err(|e| Failure::failed(format!("the host's answer is not understood: {e}")))?;
    if format == Format::Json {
        return Ok(crate::table::json(&explanation));
    }
    let verdict = match (explanation.allowed, &explanation.code) {
        (true, _) => "allowed".to_owned(),
        (false, Some(code)) => format!("denied ({code})"),
        (false, None) => "denied".to_owned(),
    };
    Ok(format!("{verdict}: {}\n", explanation.why))
}

const BLOCK: &[Param] = &[
    param(
        "cidr",
        Takes::Required,
        "where it comes from, like 192.0.2.0/24 or 192.0.2.7",
    ),
    param("proto", Takes::Optional, "tcp, udp, icmp or all (all)").or(&["protocol"]),
    param("port", Takes::Optional, "port, or ports as 8000-8099 (all)"),
];

fn block(bound: &Bound) -> Result<(Traffic, Ipv4Net), Failure> {
    let text = bound.required("cidr")?;
    let source = parse_cidr(text)
        .or_else(|| {
            text.parse()
                .ok()
                .map(|address: std::net::Ipv4Addr| address.into())
        })
        .ok_or_else(|| {
            Failure::usage(format!(
                "cidr {text:?}: must look like 192.0.2.0/24, or be an address"
            ))
        })?;
    let protocol = bound.text("proto").unwrap_or("all");
    let (from, to) = match bound.text("port") {
        None => (None, None),
        Some(text) => {
            let (from, to) = text.split_once('-').unwrap_or((text, text));
            let number = |text: &str| {
                text.parse::<i64>().map_err(|_| {
                    Failure::usage(format!("port {text:?}: must be a number, or two as 80-90"))
                })
            };
            (Some(number(from)?), Some(number(to)?))
        }
    };
    if from.is_some() && !matches!(protocol, "tcp" | "udp" | "6" | "17") {
        return Err(Failure::usage(format!(
            "port: {protocol} has no ports: name tcp or udp, or leave it out"
        )));
    }
    let traffic = Traffic::parse(protocol, from, to).map_err(|e| Failure::usage(e.to_string()))?;
    Ok((traffic, source.trunc()))
}

/// `firewall block`, `unblock` and `list`.
pub(crate) async fn run(command: Command, cx: &Context) -> Result<String, Failure> {
    match command {
        Command::Block { traffic, source } => {
            cx.cloud.block(traffic, source).await?;
            Ok(String::new())
        }
        Command::Unblock { traffic, source } => {
            cx.cloud.unblock(traffic, source).await?;
            Ok(String::new())
        }
        Command::List => {
            let rows: Vec<BlockRow> = cx.cloud.blocks().await?.iter().map(BlockRow::of).collect();
            Ok(render(&rows, cx.format))
        }
        Command::Show { .. } | Command::Explain { .. } => unreachable!("the host answers that"),
    }
}

/// A line of `firewall list`.
#[derive(Debug, Serialize)]
struct BlockRow {
    id: i64,
    source: Ipv4Net,
    protocol: &'static str,
    from_port: Option<i64>,
    to_port: Option<i64>,
}

impl BlockRow {
    fn of(block: &Block) -> Self {
        let (protocol, from_port, to_port) = block.traffic.to_ec2();
        Self {
            id: block.id.0,
            source: block.source,
            protocol: if protocol == "-1" { "all" } else { protocol },
            from_port,
            to_port,
        }
    }
}

impl Row for BlockRow {
    const FORMAT: &'static str = "%-5s\t%-18s\t%-8s\t%-9s\t%s";
    const TITLES: &'static [&'static str] = &["id", "source", "protocol", "from port", "to port"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.source.to_string(),
            self.protocol.to_owned(),
            none(self.from_port.as_ref()),
            none(self.to_port.as_ref()),
        ]
    }
}

/// Which part in whose words; `None`: everything, as the driver has it.
fn view(bound: &Bound) -> Result<Option<RulesView>, Failure> {
    let form = match bound.text("as") {
        None => None,
        Some("iptables-save") => Some(RulesForm::IptablesSave),
        Some("nft") => Some(RulesForm::Nft),
        Some("json") => Some(RulesForm::Json),
        Some(other) => {
            return Err(Failure::usage(format!(
                "as {other:?}: must be iptables-save, nft or json"
            )));
        }
    };
    let instance = bound.parse::<InstanceId>("instance")?;
    let address = bound.address("address")?;
    if instance.is_some() && address.is_some() {
        return Err(Failure::usage(
            "instance and address: give one of them".to_owned(),
        ));
    }
    if form.is_none() && instance.is_none() && address.is_none() {
        return Ok(None);
    }
    Ok(Some(RulesView {
        form,
        instance,
        address,
    }))
}

/// The actions of `firewall`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Add a provider rule.
    Block {
        /// What is dropped.
        traffic: Traffic,
        /// Where it comes from.
        source: Ipv4Net,
    },
    /// Take one away.
    Unblock {
        /// What it drops.
        traffic: Traffic,
        /// Where that comes from.
        source: Ipv4Net,
    },
    /// List them.
    List,
    /// Say whether a packet passes.
    Explain {
        /// Which host; `None`: this one.
        host: Option<String>,
        /// The packet.
        packet: Packet,
    },
    /// Print the rules.
    Show {
        /// Which host; `None`: this one.
        host: Option<String>,
        /// Which part in whose words; `None`: everything, as the driver has it.
        view: Option<RulesView>,
    },
}
