//! Addresses that novanet puts on devices: gateways of networks. Depends on rtnetlink and on the
//! ownership tags of bridges and addresses.

use super::kernel_state::{self, Link, Snapshot};
use super::message;
use super::ownership::is_our_bridge;
use super::{procfs, sysctl};
use crate::netlink::rtnetlink::Socket;
use ipnet::Ipv4Net;
use novanet_model::IfName;
use novanet_reconcile::SubsystemError;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

/// An address on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressValue {
    /// Its prefix length.
    Prefix(u8),
    /// The kernel answers no ARP for it, because `net.ipv4.conf.all.arp_ignore` is 8. Observed
    /// only.
    Unanswered,
}

impl fmt::Display for AddressValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) => write!(f, "/{prefix}"),
            Self::Unanswered => f.write_str("there, but nobody gets an answer to ARP for it"),
        }
    }
}

/// Wanted addresses, also foreign ones, and novanet's that are no floating IPs.
pub(super) fn observe(
    snapshot: &Snapshot,
    wanted: &BTreeSet<(&IfName, Ipv4Addr)>,
) -> BTreeMap<(IfName, Ipv4Addr), AddressValue> {
    let mut found = BTreeMap::new();
    for address in &snapshot.addresses {
        let Some(name) = snapshot.interface(address.device) else {
            continue;
        };
        let is_wanted = wanted.contains(&(&name, address.ip));
        let is_ours = address.ours && !is_host_address(address.prefix, &name);
        if !is_wanted && !is_ours {
            continue;
        }
        let key = (name, address.ip);
        if address.ours || !found.contains_key(&key) {
            found.insert(key, AddressValue::Prefix(address.prefix));
        }
    }
    if procfs::answers_no_arp() {
        for ((device, _), value) in &mut found {
            if !is_loopback(device) {
                *value = AddressValue::Unanswered;
            }
        }
    }
    found
}

/// Whether an address of novanet's is a floating IP in address mode, unless it is wanted as an
/// address: a /32 on a device other than the loopback.
pub(super) fn is_host_address(prefix: u8, device: &IfName) -> bool {
    prefix == 32 && !is_loopback(device)
}

fn is_loopback(device: &IfName) -> bool {
    device.as_str() == "lo"
}

/// Puts an address on a device; `None`: removes novanet's.
pub(super) fn apply(
    socket: &mut Socket,
    device: &IfName,
    address: Ipv4Addr,
    to: Option<&AddressValue>,
) -> Result<(), SubsystemError> {
    match to {
        Some(AddressValue::Prefix(prefix)) => ensure(socket, device, net(address, *prefix)?),
        Some(AddressValue::Unanswered) => Err(SubsystemError::Refused(format!(
            "address {address} on {device} cannot be made unanswered"
        ))),
        None => remove(socket, device, address),
    }
}

fn ensure(socket: &mut Socket, device: &IfName, net: Ipv4Net) -> Result<(), SubsystemError> {
    let link = kernel_state::link(socket, device)?
        .ok_or_else(|| SubsystemError::Refused(format!("address {net}: {device} is not there")))?;
    if !is_loopback(device) && !is_our_bridge(&link, device) {
        return Err(SubsystemError::Refused(format!(
            "address {net}: {device} is {}",
            link.describe()
        )));
    }
    match socket.request(&message::add_address(link.index, net)) {
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other.map_err(|e| SubsystemError::kernel(format!("add {net} to {device}"), e)),
    }?;
    remove_others(
        socket,
        device,
        link.index,
        net.addr(),
        Some(net.prefix_len()),
    )?;
    if !is_loopback(device) && procfs::answers_no_arp() {
        return Err(SubsystemError::Refused(format!(
            "address {net}: no instance gets an answer to ARP for it, because sysctl \
             net.ipv4.conf.all.arp_ignore is 8: set it to 0, 1 or 2"
        )));
    }
    Ok(())
}

fn remove(socket: &mut Socket, device: &IfName, address: Ipv4Addr) -> Result<(), SubsystemError> {
    match kernel_state::link(socket, device)? {
        Some(link) => {
            promote_secondaries(&link, device)?;
            remove_others(socket, device, link.index, address, None)
        }
        None => Ok(()),
    }
}

/// Without this the kernel removes foreign addresses of the same network together with novanet's.
fn promote_secondaries(link: &Link, device: &IfName) -> Result<(), SubsystemError> {
    if is_our_bridge(link, device) {
        procfs::write(&procfs::conf(device, "promote_secondaries"), sysctl::ON)?;
    }
    Ok(())
}

/// Removes novanet's of an address, except the one with prefix length `except`.
fn remove_others(
    socket: &mut Socket,
    device: &IfName,
    index: u32,
    address: Ipv4Addr,
    except: Option<u8>,
) -> Result<(), SubsystemError> {
    for found in kernel_state::addresses_of(socket, index)? {
        if found.ours && found.ip == address && except != Some(found.prefix) {
            let net = net(address, found.prefix)?;
            socket
                .request(&message::remove_address(index, net))
                .map_err(|e| SubsystemError::kernel(format!("remove {net} from {device}"), e))?;
        }
    }
    Ok(())
}

fn net(address: Ipv4Addr, prefix: u8) -> Result<Ipv4Net, SubsystemError> {
    Ipv4Net::new(address, prefix)
        .map_err(|e| SubsystemError::Refused(format!("{address}/{prefix}: {e}")))
}
