//! Kernel settings: those of the host (forwarding, bridged packets in the firewall), and those of
//! the public interface and of bridges. Depends on `/proc/sys`, and on records of what each was
//! before.
//!
//! `ip_forward` alone is not enough: a write sets every interface's own switch, and no event
//! reports one that is turned off later. Others may want `net.ipv4.conf.all.*` different (LVS,
//! keepalived and kube-proxy set `arp_ignore`), so it is not set: the items that suffer from it
//! report it.

use super::context::Context;
use super::kernel_state::{self, Link, Snapshot};
use super::ownership::is_our_bridge;
use super::procfs;
use crate::settings::Settings;
use novanet_model::IfName;
use novanet_reconcile::SubsystemError;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Settings of every host, by their path below `/proc/sys`; each must be [`ON`].
pub(super) const ALL: [&str; 3] = [
    "net/bridge/bridge-nf-call-ip6tables",
    "net/bridge/bridge-nf-call-iptables",
    "net/ipv4/ip_forward",
];

/// Value of a setting that is on.
pub(super) const ON: &str = "1";

/// An interface forwards what it receives. Each has its own setting; a new one begins with the last
/// value that `ip_forward` was set to.
pub(super) const FORWARDING: (&str, &str) = ("forwarding", ON);

/// Settings of each bridge of novanet's. The values of `all` count too: of `rp_filter` and
/// `arp_ignore` the larger number is in force, the others are on if one of both is.
pub(super) const OF_OUR_BRIDGES: [(&str, &str); 7] = [
    FORWARDING,
    // An instance with several addresses may answer by another port: 1 would drop that, 2 of the
    // bridge is larger than a 1 of `all`.
    ("rp_filter", "2"),
    // The bridge answers ARP for the gateway's address,
    ("arp_ignore", "0"),
    ("arp_filter", "0"),
    // and for no other.
    ("proxy_arp", "0"),
    ("proxy_arp_pvlan", "0"),
    // Packets for 127.0.0.0/8 stay inside the host.
    ("route_localnet", "0"),
];

/// The value of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SysctlValue {
    /// Its text, without white space around it.
    Value(String),
    /// No longer wanted, and to be set to what it was before novanet changed it. Observed only.
    ToRestore {
        /// The value now.
        is: String,
        /// The recorded value.
        was: String,
    },
}

impl fmt::Display for SysctlValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => f.write_str(value),
            Self::ToRestore { is, was } => write!(f, "{is}, goes back to {was}"),
        }
    }
}

impl SysctlValue {
    pub(super) fn new(value: &str) -> Self {
        Self::Value(value.to_owned())
    }
}

/// Settings of the host: the wanted ones, and those to restore.
pub(super) fn observe_host(
    state_dir: &Path,
    wanted: &BTreeMap<&'static str, &SysctlValue>,
) -> Result<BTreeMap<&'static str, SysctlValue>, SubsystemError> {
    let mut found = BTreeMap::new();
    for path in ALL {
        let value = if wanted.contains_key(path) {
            read(path)?.map(SysctlValue::Value)
        } else {
            to_restore(state_dir, path)?
        };
        found.extend(value.map(|value| (path, value)));
    }
    Ok(found)
}

/// Settings of interfaces: the wanted ones, and `forwarding` where it is to be restored.
pub(super) fn observe_interfaces(
    context: &Context,
    snapshot: &Snapshot,
    wanted: &BTreeMap<(&IfName, &'static str), &SysctlValue>,
) -> Result<BTreeMap<(IfName, &'static str), SysctlValue>, SubsystemError> {
    let mut found = BTreeMap::new();
    for ((name, setting), value) in wanted {
        let is = if is_ours_to_set(&context.settings, name, snapshot.link(name)) {
            read(&procfs::conf(name, setting))?
        } else {
            None
        };
        // Without the interface, or with a foreign one in its place, there is nothing to set.
        let is = is.map_or_else(|| (*value).clone(), SysctlValue::Value);
        found.insert(((*name).clone(), *setting), is);
    }
    for name in procfs::recorded_forwarding(&context.state_dir) {
        let (setting, _) = FORWARDING;
        if !wanted.contains_key(&(&name, setting)) {
            let value = to_restore(&context.state_dir, &procfs::conf(&name, setting))?;
            found.extend(value.map(|value| ((name, setting), value)));
        }
    }
    Ok(found)
}

/// A setting that is no longer wanted, if it had another value before novanet changed it.
fn to_restore(state_dir: &Path, path: &str) -> Result<Option<SysctlValue>, SubsystemError> {
    let Some(was) = procfs::recorded(state_dir, path)? else {
        return Ok(None);
    };
    // The kernel removed the setting with its interface; the record is still to be removed.
    let is = read(path)?.unwrap_or_else(|| "gone".to_owned());
    Ok(Some(SysctlValue::ToRestore { is, was }))
}

/// Whether this is the public interface, or a bridge of novanet's.
fn is_ours_to_set(settings: &Settings, name: &IfName, link: Option<&Link>) -> bool {
    link.is_some_and(|link| *name == settings.public_interface || is_our_bridge(link, name))
}

/// Changes a setting of the host; `None`: restores it.
pub(super) fn apply_host(
    state_dir: &Path,
    path: &str,
    to: Option<&SysctlValue>,
) -> Result<(), SubsystemError> {
    match to {
        Some(value) => procfs::change(state_dir, path, text(path, value)?),
        None => procfs::restore(state_dir, path),
    }
}

/// Changes a setting of an interface; `None`: restores it.
pub(super) fn apply_interface(
    context: &mut Context,
    name: &IfName,
    setting: &str,
    to: Option<&SysctlValue>,
) -> Result<(), SubsystemError> {
    let path = procfs::conf(name, setting);
    let Some(value) = to else {
        return procfs::restore(&context.state_dir, &path);
    };
    let value = text(&path, value)?;
    let link = kernel_state::link(&mut context.socket, name)?;
    if !is_ours_to_set(&context.settings, name, link.as_ref()) {
        return Ok(()); // the bridge's own item tells why
    }
    if link.is_some_and(|link| is_our_bridge(&link, name)) {
        procfs::write(&path, value)
    } else {
        procfs::change(&context.state_dir, &path, value)
    }
}

fn text<'a>(path: &str, value: &'a SysctlValue) -> Result<&'a str, SubsystemError> {
    match value {
        SysctlValue::Value(value) => Ok(value),
        SysctlValue::ToRestore { .. } => Err(SubsystemError::Refused(format!(
            "sysctl {path} cannot be made {value:?}"
        ))),
    }
}

/// Whether a setting has another value than the wanted one. An unreadable or missing one: no.
pub(super) fn is_changed(path: &str, wanted: &SysctlValue) -> bool {
    matches!(
        (wanted, procfs::read(path)),
        (SysctlValue::Value(wanted), Ok(Some(is))) if *wanted != is
    )
}

fn read(path: &str) -> Result<Option<String>, SubsystemError> {
    procfs::read(path).map_err(|e| SubsystemError::kernel(format!("read sysctl {path}"), e))
}
