//! Which subnets: the range checked, the size decided, the free slots found.
//!
//! Cost does not depend on how large the range is: slots in use are jumped over by the networks
//! that use them, so a /8 with one network costs what a /24 costs.

use super::{CarveError, Request};
use crate::ModelError;
use crate::parse_cidr;
use crate::rows::Network;
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

const RANGE: &str = "fixed_range_v4";

/// Far more than a cloud has; a slip like `10.0.0.0/8 1000000 4` must not make a million rows.
const MAX_NETWORKS: u32 = 65_536;

/// Reads a range like `10.0.0.0/24`: no host bits, room for a network, addresses that hosts can
/// have.
pub fn parse_range(text: &str) -> Result<Ipv4Net, ModelError> {
    let wrong = |reason: String| Err(ModelError::new(RANGE, text, reason));
    let Some(net) = parse_cidr(text.trim()) else {
        return wrong("must look like 10.0.0.0/24".to_owned());
    };
    if net.addr() != net.network() {
        return wrong(format!("has host bits set: did you mean {}?", net.trunc()));
    }
    check_range(net)?;
    Ok(net)
}

/// The checks of [`parse_range`] for a range that came from elsewhere.
pub(super) fn check_range(net: Ipv4Net) -> Result<(), ModelError> {
    let wrong = |reason: String| Err(ModelError::new(RANGE, net, reason));
    if net.addr() != net.network() {
        return wrong(format!("has host bits set: did you mean {}?", net.trunc()));
    }
    if net.prefix_len() > 30 {
        return wrong(format!(
            "is too small: a network needs 4 addresses (/30) or more, this has {}",
            size_of(net)
        ));
    }
    let unusable = [
        ("0.0.0.0/8", "\"this network\""),
        ("127.0.0.0/8", "loopback"),
        (
            "169.254.0.0/16",
            "link-local, where the metadata service is",
        ),
        ("224.0.0.0/3", "multicast and reserved"),
    ];
    for (block, what) in unusable {
        let block: Ipv4Net = block.parse().unwrap_or(net);
        if block.contains(&net) || net.contains(&block) {
            return wrong(format!(
                "overlaps {block} ({what}): use private addresses, e.g. from 10.0.0.0/8"
            ));
        }
    }
    Ok(())
}

/// Number of addresses of a subnet.
pub(super) fn size_of(net: Ipv4Net) -> u64 {
    1 << (32 - net.prefix_len())
}

/// The size of each network: as given, or as nova-manage defaulted it.
pub(super) fn size_of_each(
    request: &Request,
    flag: u64,
    vpn_clients: u32,
    notes: &mut Vec<String>,
) -> Result<u64, ModelError> {
    check_range(request.range)?;
    let num = request.num_networks;
    if num == 0 || num > MAX_NETWORKS {
        return Err(ModelError::new(
            "num_networks",
            num,
            format!("must be 1 to {MAX_NETWORKS}"),
        ));
    }
    let size = match request.network_size {
        Some(size) => size,
        None => default_size(request.range, num, flag, notes),
    };
    check_size(size, request.range, num)?;
    let needed = if request.kind == crate::NetworkKind::Vlan {
        5 + u64::from(vpn_clients)
    } else {
        4
    };
    if size < needed {
        return Err(ModelError::new(
            "network_size",
            size,
            format!(
                "is too small: a {} network keeps {} addresses for itself, so {} is the least",
                request.kind,
                needed - 1,
                needed.next_power_of_two()
            ),
        ));
    }
    Ok(size)
}

fn default_size(range: Ipv4Net, num: u32, flag: u64, notes: &mut Vec<String>) -> u64 {
    let share = size_of(range) / u64::from(num);
    let even = if share == 0 { 1 } else { 1 << share.ilog2() };
    if even <= flag {
        return even;
    }
    notes.push(format!(
        "Subnet(s) too large, defaulting to /{}.  To override, specify network_size flag.",
        32 - flag.max(1).ilog2()
    ));
    flag
}

fn check_size(size: u64, range: Ipv4Net, num: u32) -> Result<(), ModelError> {
    let wrong = |reason| Err(ModelError::new("network_size", size, reason));
    if !size.is_power_of_two() {
        let below = 1_u64 << size.max(1).ilog2();
        return wrong(format!(
            "must be a power of two, e.g. {below} or {}",
            below.saturating_mul(2)
        ));
    }
    let total = size_of(range);
    if size.checked_mul(u64::from(num)).is_none_or(|n| n > total) {
        return Err(ModelError::new(
            RANGE,
            range,
            format!(
                "network range is not big enough to fit {num} networks. Network size is {size}: \
                 the range has {total} addresses, so at most {} of them",
                total / size
            ),
        ));
    }
    Ok(())
}

/// The first `num` free slots of `size` addresses in the range, as nova looks for them: a slot that
/// is in use, or that contains a smaller network, is passed over; one inside a larger network is
/// an error.
pub(super) fn free_subnets(
    range: Ipv4Net,
    num: u32,
    size: u64,
    existing: &[Network],
) -> Result<Vec<Ipv4Net>, CarveError> {
    let prefix = 32 - u8::try_from(size.ilog2()).unwrap_or(32);
    let used: BTreeMap<(u32, u8), &Network> = existing
        .iter()
        .map(|n| ((u32::from(n.cidr.network()), n.cidr.prefix_len()), n))
        .collect();
    let mut found = Vec::with_capacity(num as usize);
    let mut first_in_the_way = None;
    let mut at = u64::from(u32::from(range.network()));
    let end = at + size_of(range);
    while found.len() < num as usize {
        if at + size > end {
            return Err(too_few(range, num, found.len(), prefix, first_in_the_way));
        }
        let start = u32::try_from(at).unwrap_or(u32::MAX);
        let slot = Ipv4Net::new(Ipv4Addr::from(start), prefix)
            .unwrap_or_else(|_| unreachable!("a prefix made from a size of at most 2^32"));
        if let Some(outer) = supernet(slot, &used) {
            return Err(CarveError::conflict(
                RANGE,
                range,
                format!(
                    "requested cidr ({slot}) conflicts with existing supernet ({}), {}: \
                     choose a range outside it",
                    outer.cidr,
                    name(outer)
                ),
            ));
        }
        let last = u32::from(slot.broadcast());
        if let Some((_, inner)) = used.range((start, 0)..=(last, 32)).next_back() {
            first_in_the_way.get_or_insert((slot, *inner));
            let after = u64::from(u32::from(inner.cidr.broadcast())) + 1;
            at = after.div_ceil(size) * size;
        } else {
            found.push(slot);
            at += size;
        }
    }
    Ok(found)
}

/// A network that is larger than the slot and contains it. Looks up the slot's 30 possible parents.
fn supernet<'a>(slot: Ipv4Net, used: &BTreeMap<(u32, u8), &'a Network>) -> Option<&'a Network> {
    (0..slot.prefix_len()).find_map(|prefix| {
        let parent = Ipv4Net::new(slot.network(), prefix).ok()?.trunc();
        used.get(&(u32::from(parent.network()), prefix)).copied()
    })
}

fn too_few(
    range: Ipv4Net,
    num: u32,
    found: usize,
    prefix: u8,
    in_the_way: Option<(Ipv4Net, &Network)>,
) -> CarveError {
    let why = match in_the_way {
        Some((slot, n)) if slot == n.cidr => {
            format!("cidr already in use: {slot} is {}", name(n))
        }
        Some((slot, n)) => format!(
            "requested cidr ({slot}) conflicts with existing smaller cidr ({}), {}",
            n.cidr,
            name(n)
        ),
        None => "the range is full".to_owned(),
    };
    CarveError::conflict(
        RANGE,
        range,
        format!(
            "{why}; {found} of the {num} /{prefix} asked for are free here: choose another range"
        ),
    )
}

fn name(network: &Network) -> String {
    format!("network {} ({})", network.id, network.label)
}
