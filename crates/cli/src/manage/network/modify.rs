//! `network modify`: which settings of a network are to be changed. Pure.

use super::{Which, refused, which};
use crate::args::{Bound, Param, Takes, param};
use crate::failure::Failure;
use crate::manage::preview;
use novanet_control::Modify;
use novanet_model::carve::Change;
use novanet_model::{IfName, Ipv4Net, ModelError, ProjectId};
use std::net::Ipv4Addr;

/// The most addresses that one command reserves.
const MAX_ADDRESSES: u32 = 4096;

/// The word that takes an optional setting away.
const NONE: &str = "none";

pub(super) const PARAMS: &[Param] = &[
    super::ONE[0],
    param("label", Takes::Named, "name for people"),
    param(
        "bridge",
        Takes::Named,
        "bridge; hosts move the instances' ports to it",
    ),
    param(
        "bridge_interface",
        Takes::Named,
        "interface under the bridge; none: each host's own flag",
    )
    .or(&["interface"]),
    param(
        "vlan",
        Takes::Named,
        "VLAN id, 1 to 4094; the bridge br<id> follows it",
    ),
    param(
        "gateway",
        Takes::Named,
        "gateway; instances learn it with their next lease",
    ),
    param("dhcp_start", Takes::Named, "first address for instances"),
    param(
        "dns",
        Takes::Named,
        "one or two DNS servers: A,B; none: the host's own resolver",
    ),
    param(
        "snat",
        Takes::Named,
        "T or F: F: the host translates nothing, and instances leave with their own addresses",
    ),
    param(
        "reserve",
        Takes::Named,
        "addresses that no instance gets: A, A-B or A/29, and several with commas",
    ),
    param(
        "unreserve",
        Takes::Named,
        "addresses that instances may get again, written in the same way",
    ),
    param("host", Takes::Named, "the host that is to be its gateway"),
    param("project_id", Takes::Named, "the project that gets it").or(&["project"]),
    param(
        "disassociate_project",
        Takes::Switch,
        "it leaves its project",
    ),
    param(
        "disassociate_host",
        Takes::Switch,
        "not here: --host=NAME gives the network to another host",
    ),
    preview::DRY_RUN,
];

pub(super) fn parse(bound: &Bound) -> Result<crate::manage::Command, Failure> {
    let project = bound.parse::<ProjectId>("project_id")?;
    let leaves = bound.truth("disassociate_project")?.unwrap_or(false);
    if leaves && project.is_some() {
        return Err(Failure::usage(
            "project_id and disassociate_project contradict each other: leave one out",
        ));
    }
    if bound.truth("disassociate_host")?.unwrap_or(false) {
        return Err(Failure::usage(
            "disassociate_host: not here, as a network always has a gateway: --host=NAME gives it to \
             another host",
        ));
    }
    let vlan = bound.number("vlan", 1, 4094)?;
    let modify = Modify {
        settings: Change {
            label: bound.text("label").map(str::to_owned),
            bridge: bound.parse::<IfName>("bridge")?,
            bridge_interface: match bound.text("bridge_interface") {
                Some(NONE) => Some(None),
                _ => bound.parse::<IfName>("bridge_interface")?.map(Some),
            },
            vlan: vlan.and_then(|vlan| u16::try_from(vlan).ok()),
            gateway: bound.address("gateway")?,
            dhcp_start: bound.address("dhcp_start")?,
            dns: bound.text("dns").map(servers).transpose()?,
            snat: bound.truth("snat")?,
        },
        host: bound.text("host").map(str::to_owned),
        project: project.map(Some).or(leaves.then_some(None)),
        reserve: addresses(bound, "reserve")?,
        unreserve: addresses(bound, "unreserve")?,
    };
    if modify == Modify::default() {
        return Err(Failure::usage(
            "say what is to be changed, such as --vlan=ID or --host=NAME (nova-manage network modify \
             --help lists all; nova-manage project scrub PROJECT takes a project's networks from it)",
        ));
    }
    let dry_run = bound.truth("dry_run")?.unwrap_or(false);
    let which: Which = which(bound)?;
    Ok(crate::manage::Command::Network(super::Command::Modify(
        which,
        Box::new(modify),
        dry_run,
    )))
}

fn servers(text: &str) -> Result<Vec<Ipv4Addr>, Failure> {
    if text == NONE {
        return Ok(Vec::new());
    }
    let server = |word: &str| {
        let word = word.trim();
        word.parse().map_err(|_| {
            let why = "must be an IPv4 address, or several with commas, or none";
            refused(&ModelError::new("dns", word, why))
        })
    };
    text.split(',').map(server).collect()
}

fn addresses(bound: &Bound, name: &'static str) -> Result<Vec<Ipv4Addr>, Failure> {
    let mut all = Vec::new();
    for word in bound.text(name).into_iter().flat_map(|t| t.split(',')) {
        let bad = |why: &str| Failure::usage(format!("{name} {word:?}: {why}"));
        let (first, last) = range(word.trim()).ok_or_else(|| {
            bad("must be an address, a range like 10.0.0.9-10.0.0.12, or a subnet like 10.0.0.8/29")
        })?;
        if first > last {
            return Err(bad("ends before it begins"));
        }
        let count = last - first;
        if count >= MAX_ADDRESSES || all.len() + count as usize >= MAX_ADDRESSES as usize {
            return Err(bad(&format!("at most {MAX_ADDRESSES} addresses at once")));
        }
        all.extend((first..=last).map(Ipv4Addr::from));
    }
    Ok(all)
}

fn range(word: &str) -> Option<(u32, u32)> {
    if let Ok(net) = word.parse::<Ipv4Net>() {
        return Some((net.network().into(), net.broadcast().into()));
    }
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let number = |text: &str| text.trim().parse::<Ipv4Addr>().ok().map(u32::from);
    Some((number(first)?, number(last)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_singly_as_ranges_and_as_subnets() {
        let numbers = |word| range(word).map(|(a, b)| b - a);
        assert_eq!(numbers("10.0.0.7"), Some(0));
        assert_eq!(numbers("10.0.0.7-10.0.0.9"), Some(2));
        assert_eq!(numbers("10.0.0.8/29"), Some(7));
        assert_eq!(numbers("10.0.0.8-9"), None);
        assert_eq!(numbers("10.0.0"), None);
    }
}
