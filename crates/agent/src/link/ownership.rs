//! Tells which links are novanet's, by alias, device group, MAC and, for bridges, by a record on
//! disk. Depends on the kernel's state and on the state directory.
//!
//! A bridge whose alias others removed is still known: the kernel gives a device's index to no
//! other device of the same network namespace until the host boots again, and novanet gave the
//! bridge its MAC. A bridge whose alias others replaced is foreign until they give it back.

use super::alias::{PORT_ALIAS_PREFIX, PORT_NAME_PREFIX, bridge_alias, host_end_mac};
use super::kernel_state::{Link, Snapshot};
use super::state_dir;
use crate::boot::boot_id;
use crate::netlink::ownership::{PORTS, PORTS_MASK};
use crate::settings::Settings;
use novanet_model::{IfName, MacAddr};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// Whether a link is a bridge with novanet's alias for this name.
pub(super) fn is_our_bridge(link: &Link, name: &IfName) -> bool {
    link.is_bridge() && link.alias == bridge_alias(name)
}

/// Whether a link is the host end of an instance's veth pair. Without an alias its device group or
/// its MAC tells. One with an alias of others is foreign.
pub(super) fn is_our_port(link: &Link) -> bool {
    if link.alias.is_empty() {
        is_like_our_port(link)
    } else {
        link.alias.starts_with(PORT_ALIAS_PREFIX)
    }
}

fn is_like_our_port(link: &Link) -> bool {
    let named = link.kind == "veth" && link.name.starts_with(PORT_NAME_PREFIX);
    named && (link.group & PORTS_MASK == PORTS || !has_other_mac(link))
}

/// Whether a port has another MAC than novanet gives to its host end.
pub(super) fn has_other_mac(link: &Link) -> bool {
    let name = IfName::new(link.name.as_str());
    name.is_ok_and(|name| link.mac != Some(host_end_mac(&name)))
}

/// A foreign device under the name of a port, in words for an error. If it may have been novanet's,
/// with the command that gives it back.
pub(super) fn describe_port(link: &Link) -> String {
    if !is_like_our_port(link) {
        return link.describe();
    }
    format!(
        "a veth with alias {:?} in the place of novanet's mark \
         (give it back: ip link set dev {} alias '')",
        link.alias, link.name
    )
}

/// The bridge's own MAC. While it has the MAC of its uplink, with that one's addresses, its own MAC
/// is the one that novanet gives to bridges.
pub(super) fn own_mac(
    snapshot: &Snapshot,
    link: &Link,
    name: &IfName,
    uplinks: &BTreeSet<IfName>,
) -> Option<MacAddr> {
    let borrowed = uplinks
        .iter()
        .filter_map(|uplink| snapshot.link(uplink))
        .any(|uplink| uplink.master == Some(link.index) && uplink.mac == link.mac);
    if borrowed {
        Some(Settings::bridge_mac(name))
    } else {
        link.mac
    }
}

const PREFIX: &str = "bridge-";

/// The bridges that had novanet's alias when they were last observed, by name and device index,
/// with one file for each.
#[derive(Debug)]
pub(super) struct TaggedBridges {
    state_dir: PathBuf,
    /// Boot id and network namespace.
    here: String,
    indexes: BTreeMap<IfName, u32>,
    /// Bridges whose file could not be written so far.
    unwritten: BTreeSet<IfName>,
}

impl TaggedBridges {
    /// Reads the files.
    pub(super) fn load(state_dir: &Path) -> Self {
        let namespace = std::fs::read_link("/proc/thread-self/ns/net").unwrap_or_default();
        let here = format!("{} {}", boot_id(), namespace.display());
        let index = |name: &IfName| -> Option<u32> {
            let text = std::fs::read_to_string(file(state_dir, name)).ok()?;
            text.strip_prefix(&here)?.trim().parse().ok()
        };
        let recorded = state_dir::interfaces(state_dir, PREFIX, "")
            .into_iter()
            .map(|name| {
                // A record of another boot: 0 is the index of no device.
                let index = index(&name).unwrap_or_default();
                (name, index)
            });
        Self {
            indexes: recorded.collect(),
            unwritten: BTreeSet::new(),
            state_dir: state_dir.to_owned(),
            here,
        }
    }

    /// Records novanet's bridges, and forgets those that do not exist and are not wanted. With a
    /// full disk it logs once and tries again at each call.
    pub(super) fn record(&mut self, snapshot: &Snapshot, is_wanted: impl Fn(&IfName) -> bool) {
        for (name, link) in snapshot.named() {
            if is_our_bridge(link, name)
                && (self.indexes.get(name) != Some(&link.index) || self.unwritten.contains(name))
            {
                let path = file(&self.state_dir, name);
                let text = format!("{} {}\n", self.here, link.index);
                let written = state_dir::write(&path, text.as_bytes());
                if written.is_ok() {
                    self.unwritten.remove(name);
                } else if self.unwritten.insert(name.clone()) {
                    log_failure(&path, written);
                }
                self.indexes.insert(name.clone(), link.index);
            }
        }
        let is_stale = |(name, index): &(&IfName, &u32)| {
            let exists = snapshot
                .link(name)
                .is_some_and(|link| link.index == **index);
            !exists && !is_wanted(name)
        };
        let stale = self.indexes.iter().filter(is_stale);
        let stale: Vec<IfName> = stale.map(|(name, _)| name.clone()).collect();
        for name in stale {
            self.forget(&name);
        }
    }

    /// Removes the record of a removed bridge.
    pub(super) fn forget(&mut self, name: &IfName) {
        self.unwritten.remove(name);
        self.indexes.remove(name);
        let path = file(&self.state_dir, name);
        log_failure(&path, state_dir::remove(&path));
    }

    /// Whether this is a bridge of novanet's whose alias others removed. `mac`: see [`own_mac`].
    pub(super) fn has_lost_alias(&self, link: &Link, name: &IfName, mac: Option<MacAddr>) -> bool {
        link.alias.is_empty()
            && self.is_recorded(link, name)
            && mac == Some(Settings::bridge_mac(name))
    }

    /// A foreign device under the name of a bridge, in words for an error. If it may have been
    /// novanet's, with the command that gives it back.
    pub(super) fn describe(&self, link: &Link, name: &IfName) -> String {
        let ours_once =
            self.is_recorded(link, name) || link.mac == Some(Settings::bridge_mac(name));
        if !link.is_bridge() || !ours_once {
            return link.describe();
        }
        let tag = match link.alias.as_str() {
            "" => "that has lost novanet's mark".to_owned(),
            other => format!("with alias {other:?} in the place of novanet's mark"),
        };
        let alias = bridge_alias(name);
        format!("a bridge {tag} (give it back: ip link set dev {name} alias {alias})")
    }

    fn is_recorded(&self, link: &Link, name: &IfName) -> bool {
        link.is_bridge() && self.indexes.get(name) == Some(&link.index)
    }
}

fn file(state_dir: &Path, bridge: &IfName) -> PathBuf {
    state_dir.join(format!("{PREFIX}{bridge}"))
}

fn log_failure(path: &Path, done: io::Result<()>) {
    if let Err(error) = done {
        tracing::warn!(path = %path.display(), %error, "cannot record which bridges are novanet's");
    }
}
