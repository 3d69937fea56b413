//! Floating IPs on the public interface: the hot path. One change is one message and one
//! announcement; nothing is listed.

use super::announce::Announcer;
use super::item::{FloatingIpSpec, LinkKey, LinkValue};
use super::kernel_state;
use super::message;
use super::sysctl;
use crate::netlink::rtnetlink::{Request, Socket};
use crate::settings::FloatingAddressMode;
use crate::subsystem::{Change, SubsystemError};
use ipnet::Ipv4Net;
use novanet_model::IfName;
use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;

type LinkChange = Change<LinkKey, LinkValue>;

/// One message of a change.
struct Step<'a> {
    change: &'a LinkChange,
    address: Ipv4Addr,
    adds: Option<&'a FloatingIpSpec>,
}

/// Makes a run of changes true, together.
pub(crate) fn apply(
    socket: &mut Socket,
    announcer: &mut Announcer,
    changes: &[LinkChange],
) -> Vec<(LinkKey, SubsystemError)> {
    let mut failed = Vec::new();
    let mut devices = HashMap::new();
    let mut steps = Vec::new();
    let mut requests = Vec::new();
    for change in changes {
        match messages_of(socket, &mut devices, change) {
            Ok(new) => {
                for (step, request) in new {
                    steps.push(step);
                    requests.push(request);
                }
            }
            Err(error) => failed.push((change.key.clone(), error)),
        }
    }
    let results = match socket.send_all(&requests) {
        Ok(results) => results,
        Err(error) => {
            let lost = |step: &Step<'_>| {
                let error = io::Error::new(error.kind(), error.to_string());
                (
                    step.change.key.clone(),
                    SubsystemError::kernel(step.change.key.to_string(), error),
                )
            };
            failed.extend(steps.iter().map(lost));
            return failed;
        }
    };
    for (step, result) in steps.iter().zip(results) {
        if let Err(error) = finish(socket, announcer, step, result) {
            failed.push((step.change.key.clone(), error));
        }
    }
    failed
}

type Devices = HashMap<IfName, u32>;

fn messages_of<'a>(
    socket: &mut Socket,
    devices: &mut Devices,
    change: &'a LinkChange,
) -> Result<Vec<(Step<'a>, Request)>, SubsystemError> {
    let LinkKey::FloatingIp(address) = change.key else {
        return Ok(Vec::new());
    };
    let spec = |value: &'a Option<LinkValue>| match value {
        Some(LinkValue::FloatingIp(spec)) => Some(spec),
        _ => None,
    };
    let (from, to) = (spec(&change.from), spec(&change.to));
    let mut steps = Vec::new();
    // A route stays where it is when only the interface of the announcement changes.
    let stays = from.zip(to).is_some_and(|(from, to)| {
        from.mode == FloatingAddressMode::Route && to.mode == FloatingAddressMode::Route
    });
    if let Some(from) = from
        && !stays
    {
        let step = Step {
            change,
            address,
            adds: None,
        };
        // An address on a device that is gone is gone with it.
        match request(socket, devices, address, from, false) {
            Ok(request) => steps.push((step, request)),
            Err(_) if to.is_none() => {}
            Err(error) => return Err(error),
        }
    }
    if let Some(to) = to {
        let step = Step {
            change,
            address,
            adds: Some(to),
        };
        steps.push((step, request(socket, devices, address, to, true)?));
    }
    Ok(steps)
}

fn request(
    socket: &mut Socket,
    devices: &mut Devices,
    address: Ipv4Addr,
    spec: &FloatingIpSpec,
    add: bool,
) -> Result<Request, SubsystemError> {
    Ok(match (spec.mode, add) {
        (FloatingAddressMode::Route, true) => message::add_floating_ip_route(address),
        (FloatingAddressMode::Route, false) => message::remove_floating_ip_route(address),
        (FloatingAddressMode::Address, add) => {
            let device = match devices.get(&spec.interface) {
                Some(device) => *device,
                None => device(socket, &spec.interface)?,
            };
            devices.insert(spec.interface.clone(), device);
            let net = Ipv4Net::from(address);
            if add {
                message::add_address(device, net)
            } else {
                message::remove_address(device, net)
            }
        }
    })
}

/// The number of an interface, or of the bridge that it is enslaved to: an address on a bridge's
/// port would not answer.
fn device(socket: &mut Socket, name: &IfName) -> Result<u32, SubsystemError> {
    let link = kernel_state::link(socket, name)?.ok_or_else(|| {
        SubsystemError::Refused(format!(
            "interface {name} is not there: check the flag public_interface \
             (or the floating IP's interface)"
        ))
    })?;
    Ok(link.master.unwrap_or(link.index))
}

fn finish(
    socket: &mut Socket,
    announcer: &mut Announcer,
    step: &Step<'_>,
    result: io::Result<()>,
) -> Result<(), SubsystemError> {
    let what = || step.change.key.to_string();
    let Some(spec) = step.adds else {
        return match result {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ESRCH | libc::EADDRNOTAVAIL)) => Ok(()),
            other => other.map_err(|e| SubsystemError::kernel(what(), e)),
        };
    };
    match result {
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => must_be_ours(socket, step.address)?,
        other => other.map_err(|e| SubsystemError::kernel(what(), e))?,
    }
    if spec.mode == FloatingAddressMode::Route && sysctl::is_quiet(spec.interface.as_str()) {
        return Err(SubsystemError::Refused(format!(
            "floating address {}: nobody gets an answer on {interface}, whose sysctl \
             net.ipv4.conf.{interface}.arp_ignore (or .all.) is not 0: set both to 0, \
             or set the flag floating_address_mode to address",
            step.address,
            interface = spec.interface
        )));
    }
    // The address is in force; that a neighbour learns it late is not worth undoing it.
    if let Err(error) = announcer.announce(socket, &spec.interface, step.address) {
        announcer.forget();
        tracing::warn!(address = %step.address, interface = %spec.interface, %error, "no gratuitous ARP");
    }
    Ok(())
}

/// The kernel has such a route or address: ours of before, or the host's own?
fn must_be_ours(socket: &mut Socket, address: Ipv4Addr) -> Result<(), SubsystemError> {
    let snapshot = kernel_state::Snapshot::take(socket)?;
    let ours = snapshot.floating_ips.contains(&address)
        || snapshot.addresses.iter().any(|a| a.ip == address && a.ours);
    if ours {
        return Ok(());
    }
    Err(SubsystemError::Refused(format!(
        "floating address {address}: the host has this address itself; take it off the host \
         or release the floating IP"
    )))
}

/// A floating IP that only has a route, on an interface that answers for its own addresses only: it
/// is as if it were on the loopback.
pub(crate) fn mark_unanswered((key, value): (&LinkKey, &mut LinkValue)) {
    if let (LinkKey::FloatingIp(_), LinkValue::FloatingIp(spec)) = (key, value)
        && spec.mode == FloatingAddressMode::Route
        && sysctl::is_quiet(spec.interface.as_str())
        && let Ok(loopback) = IfName::new("lo")
    {
        spec.interface = loopback;
    }
}
