//! Floating IPs on the public interface, the hot path: one change is one message and one
//! announcement, without a listing. Depends on rtnetlink and on gratuitous ARP.

use super::announce::Announcer;
use super::kernel_state::{self, Snapshot};
use super::{address, message, procfs};
use crate::netlink::rtnetlink::{Request, Socket};
use crate::settings::{FloatingAddressMode, Settings};
use ipnet::Ipv4Net;
use novanet_model::IfName;
use novanet_model::object::FloatingIp;
use novanet_reconcile::{Change, SubsystemError};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::net::Ipv4Addr;

/// How the host answers for a floating IP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FloatingIpSpec {
    /// Route or address.
    pub mode: FloatingAddressMode,
    /// The interface where it is announced and, in address mode, where it is.
    pub interface: IfName,
}

impl fmt::Display for FloatingIpSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mode {
            FloatingAddressMode::Route => write!(f, "answered on {} by a route", self.interface),
            FloatingAddressMode::Address => write!(f, "an address on {}", self.interface),
        }
    }
}

impl FloatingIpSpec {
    /// A floating IP as a host must answer for it.
    pub(super) fn wanted(settings: &Settings, floating_ip: &FloatingIp) -> Self {
        let interface = floating_ip.interface.as_ref();
        Self {
            mode: settings.floating_address_mode,
            interface: interface.unwrap_or(&settings.public_interface).clone(),
        }
    }
}

type FloatingIps = BTreeMap<Ipv4Addr, FloatingIpSpec>;
type Wanted<'a> = BTreeMap<Ipv4Addr, &'a FloatingIpSpec>;
/// One floating IP to change, with its value before and after.
pub(super) type FloatingIpChange<'a> = Change<Ipv4Addr, &'a FloatingIpSpec>;

/// Novanet's floating IPs. `is_address`: whether an address is wanted as one of a device.
pub(super) fn observe(
    snapshot: &Snapshot,
    wanted: &Wanted<'_>,
    is_address: impl Fn(&IfName, Ipv4Addr) -> bool,
) -> FloatingIps {
    let mut found = FloatingIps::new();
    for address in snapshot.addresses.iter().filter(|address| address.ours) {
        let Some(name) = snapshot.interface(address.device) else {
            continue;
        };
        if !is_address(&name, address.ip) && address::is_host_address(address.prefix, &name) {
            let wanted = wanted.get(&address.ip).copied();
            let spec = observed(snapshot, wanted, FloatingAddressMode::Address, &name);
            found.insert(address.ip, spec);
        }
    }
    for address in &snapshot.floating_ips {
        let wanted = wanted.get(address).copied();
        let name = match wanted {
            Some(spec) => Some(spec.interface.clone()),
            None => loopback(),
        };
        // Both a route and an address of novanet's: report the one to be removed.
        let is_right = wanted.is_some_and(|spec| spec.mode == FloatingAddressMode::Route);
        if let Some(name) = name
            && !(is_right && found.contains_key(address))
        {
            let spec = observed(snapshot, wanted, FloatingAddressMode::Route, &name);
            found.insert(*address, spec);
        }
    }
    found.values_mut().for_each(mark_unanswered);
    found
}

/// A floating IP as it is. An address for an enslaved interface belongs on its bridge.
fn observed(
    snapshot: &Snapshot,
    wanted: Option<&FloatingIpSpec>,
    mode: FloatingAddressMode,
    device: &IfName,
) -> FloatingIpSpec {
    if let Some(spec) = wanted
        && spec.mode == mode
        && (spec.interface == *device
            || snapshot
                .link(&spec.interface)
                .and_then(|link| snapshot.bridge_of(link))
                .as_ref()
                == Some(device))
    {
        return spec.clone();
    }
    FloatingIpSpec {
        mode,
        interface: device.clone(),
    }
}

/// A floating IP with a route only, on an interface that answers ARP for its own addresses only, is
/// observed as one on the loopback.
fn mark_unanswered(spec: &mut FloatingIpSpec) {
    if spec.mode == FloatingAddressMode::Route
        && procfs::answers_own_addresses_only(spec.interface.as_str())
        && let Some(loopback) = loopback()
    {
        spec.interface = loopback;
    }
}

fn loopback() -> Option<IfName> {
    IfName::new("lo").ok()
}

/// One message of a change.
struct Step<'a> {
    address: Ipv4Addr,
    adds: Option<&'a FloatingIpSpec>,
}

/// Applies changes together, and returns those that failed.
pub(super) fn apply(
    socket: &mut Socket,
    announcer: &mut Announcer,
    changes: &[FloatingIpChange<'_>],
) -> Vec<(Ipv4Addr, SubsystemError)> {
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
            Err(error) => failed.push((change.key, error)),
        }
    }
    let results = match socket.send_all(&requests) {
        Ok(results) => results,
        Err(error) => {
            let same = |step: &Step<'_>| {
                let error = io::Error::new(error.kind(), error.to_string());
                let what = label(step.address);
                (step.address, SubsystemError::kernel(what, error))
            };
            failed.extend(steps.iter().map(same));
            return failed;
        }
    };
    for (step, result) in steps.iter().zip(results) {
        if let Err(error) = finish(socket, announcer, step, result) {
            failed.push((step.address, error));
        }
    }
    failed
}

type Devices = HashMap<IfName, u32>;

fn messages_of<'a>(
    socket: &mut Socket,
    devices: &mut Devices,
    change: &FloatingIpChange<'a>,
) -> Result<Vec<(Step<'a>, Request)>, SubsystemError> {
    let (address, from, to) = (change.key, change.from, change.to);
    let mut steps = Vec::new();
    // A route stays where it is when only the interface of the announcement changes.
    let stays = from.zip(to).is_some_and(|(from, to)| {
        from.mode == FloatingAddressMode::Route && to.mode == FloatingAddressMode::Route
    });
    if let Some(from) = from
        && !stays
    {
        let step = Step {
            address,
            adds: None,
        };
        // The kernel removed an address with its device.
        match request(socket, devices, address, from, false) {
            Ok(request) => steps.push((step, request)),
            Err(_) if to.is_none() => {}
            Err(error) => return Err(error),
        }
    }
    if let Some(to) = to {
        let step = Step {
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

/// Index of an interface, or of the bridge that it is enslaved to: an address on a bridge's port
/// would not answer.
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
    let what = || label(step.address);
    let Some(spec) = step.adds else {
        announcer.withdraw(step.address);
        return match result {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ESRCH | libc::EADDRNOTAVAIL)) => Ok(()),
            other => other.map_err(|e| SubsystemError::kernel(what(), e)),
        };
    };
    match result {
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => refuse_foreign(socket, step.address)?,
        other => other.map_err(|e| SubsystemError::kernel(what(), e))?,
    }
    if spec.mode == FloatingAddressMode::Route
        && procfs::answers_own_addresses_only(spec.interface.as_str())
    {
        return Err(SubsystemError::Refused(format!(
            "floating address {}: nobody gets an answer on {interface}, whose sysctl \
             net.ipv4.conf.{interface}.arp_ignore (or .all.) is not 0: set both to 0, \
             or set the flag floating_address_mode to address",
            step.address,
            interface = spec.interface
        )));
    }
    // The address works. A neighbour that learns it late is no reason to undo it.
    if let Err(error) = announcer.announce(socket, &spec.interface, step.address) {
        announcer.forget();
        let (address, interface) = (step.address, &spec.interface);
        tracing::warn!(%address, %interface, %error, "no gratuitous ARP");
    }
    Ok(())
}

/// Refuses an address that the host has itself; a route or address of novanet's may exist already.
fn refuse_foreign(socket: &mut Socket, address: Ipv4Addr) -> Result<(), SubsystemError> {
    let snapshot = Snapshot::take(socket)?;
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

/// Name of a floating IP in plans and errors.
pub(super) fn label(address: Ipv4Addr) -> String {
    format!("floating address {address}")
}
