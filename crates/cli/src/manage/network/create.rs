//! `network create`: every spelling that nova's releases and the manual have.

use super::{Command, refused};
use crate::args::{Bound, Param, Takes, param};
use crate::failure::Failure;
use novanet_model::carve::{CarveError, Defaults, Request, carve, parse_range};
use novanet_model::flags::Flags;
use novanet_model::{DhcpOption, IfName, NetworkKind, ProjectId};

pub(super) const PARAMS: &[Param] = &[
    param("label", Takes::Optional, "name for people (private)"),
    param(
        "fixed_range_v4",
        // Needed, but `parse` knows better what to say without it.
        Takes::Optional,
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
        "gateway of one network (its first address); of a flatdhcp network: another machine",
    ),
    param(
        "dhcp_server",
        Takes::Named,
        "the host's own address in a flatdhcp network with a --gateway (the first free one)",
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
    param(
        "domain",
        Takes::Named,
        "DNS domain of the instances (flag dhcp_domain)",
    ),
    param(
        "dhcp_option",
        Takes::Named,
        "DHCP option for the instances, like ntp-server,10.0.0.9; may be given several times",
    ),
    param(
        "snat",
        Takes::Named,
        "T or F: F: the host translates nothing, and instances leave with their own addresses",
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

/// 2011.2 and the manual: the range first, and VLAN and VPN after the size.
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

/// 2011.1, which had no IPv6 gateway.
const NO_GATEWAY_V6: &[&str] = &[
    "fixed_range_v4",
    "num_networks",
    "network_size",
    "vlan",
    "vpn",
    "fixed_range_v6",
    "label",
];

/// The orders by place, for people.
pub(super) const ORDERS: &[&str] = &[
    "FIXED_RANGE_V4 [NUM_NETWORKS] [NETWORK_SIZE] [VLAN] [VPN] [FIXED_RANGE_V6] [GATEWAY_V6] [LABEL]",
    "LABEL FIXED_RANGE_V4 [NUM_NETWORKS] [NETWORK_SIZE] [MULTI_HOST] [VLAN] [VPN] [FIXED_RANGE_V6] \
     [GATEWAY_V6] [BRIDGE] [BRIDGE_INTERFACE] [DNS1] [DNS2] [PROJECT_ID] [PRIORITY] [UUID]",
];

pub(super) fn places(words: &[String]) -> &'static [&'static str] {
    let word = |at: usize| words.get(at).map(String::as_str);
    let starts_with_range = match (word(0).map(likeness), word(1).map(likeness)) {
        (Some(Likeness::Range), second) => second != Some(Likeness::Range),
        (Some(Likeness::Address), second) => {
            !matches!(second, Some(Likeness::Range | Likeness::Address))
        }
        // `nonsense 1 256`: a label with the range "1" is not what was meant.
        (_, second) => second == Some(Likeness::Number),
    };
    match word(6) {
        _ if !starts_with_range => LABEL_FIRST,
        Some(seventh) if words.len() == 7 && !is_v6_or_none(seventh) => NO_GATEWAY_V6,
        _ => RANGE_FIRST,
    }
}

/// What a word was probably meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Likeness {
    Range,
    Address,
    Number,
    Other,
}

fn likeness(word: &str) -> Likeness {
    let all = |good: fn(char) -> bool| !word.is_empty() && word.chars().all(good);
    if word.contains('/') {
        Likeness::Range
    } else if all(|c| c.is_ascii_digit()) {
        Likeness::Number
    } else if all(|c| c.is_ascii_digit() || c == '.') {
        Likeness::Address
    } else {
        Likeness::Other
    }
}

fn is_v6_or_none(word: &str) -> bool {
    word.is_empty() || word == "None" || word.contains(':')
}

/// `network create`, before the flags fill in the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Create {
    kind: Option<NetworkKind>,
    num_networks: Option<u32>,
    request: Request,
}

pub(super) fn parse(bound: &Bound) -> Result<crate::manage::Command, Failure> {
    for name in ["fixed_range_v6", "gateway_v6"] {
        if let Some(given) = bound.text(name) {
            return Err(Failure::usage(format!(
                "{name} {given:?}: IPv6 is not built yet: leave it out"
            )));
        }
    }
    let range = parse_range(range_of(bound)?).map_err(|e| refused(&e))?;
    let dns = [bound.address("dns1")?, bound.address("dns2")?];
    let narrow = |number: Option<u64>| number.and_then(|n| u16::try_from(n).ok());
    let wide = |number: Option<u64>| number.and_then(|n| u32::try_from(n).ok());
    let request = Request {
        network_size: bound.number("network_size", 1, 1 << 32)?,
        gateway: bound.address("gateway")?,
        dhcp_server: bound.address("dhcp_server")?,
        dhcp_start: bound.address("dhcp_start")?,
        bridge: bound.parse::<IfName>("bridge")?,
        bridge_interface: bound.parse::<IfName>("bridge_interface")?,
        vlan: narrow(bound.number("vlan", 1, 4094)?),
        vpn_port: narrow(bound.number("vpn", 1, 65_535)?),
        vpn_address: bound.address("vpn_ip")?,
        dns: dns.into_iter().flatten().collect(),
        domain: bound.text("domain").map(str::to_owned),
        dhcp_options: bound
            .all("dhcp_option")
            .into_iter()
            .map(|text| text.parse::<DhcpOption>().map_err(|e| refused(&e)))
            .collect::<Result<_, _>>()?,
        no_snat: bound.truth("snat")? == Some(false),
        multi_host: bound.truth("multi_host")?,
        mtu: wide(bound.number("mtu", 576, 65_535)?),
        project: bound.parse::<ProjectId>("project_id")?,
        ..Request::new(
            NetworkKind::Vlan,
            bound.text("label").unwrap_or("private"),
            range,
        )
    };
    Ok(crate::manage::Command::Network(Command::Create(Box::new(
        Create {
            kind: bound.parse("kind")?,
            num_networks: wide(bound.number("num_networks", 1, 65_536)?),
            request,
        },
    ))))
}

fn range_of(bound: &Bound) -> Result<&str, Failure> {
    bound.text("fixed_range_v4").ok_or_else(|| {
        let taken = bound.text("label").map(|label| {
            format!(" ({label:?} does not look like one and was taken for the label)")
        });
        Failure::usage(format!(
            "fixed_range_v4 is missing: range to carve from, like 10.0.0.0/24{}",
            taken.unwrap_or_default()
        ))
    })
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
