//! Bridges of ours by the kernel's own number, on disk: so that one whose mark somebody took is known
//! as the one that we marked.
//!
//! The kernel gives a device's number to no other one of the same namespace until the host boots again;
//! and the MAC that we gave it says the rest. That is enough to mark it again.
//! A bridge whose mark somebody replaced by words of their own is theirs until they say otherwise.

use super::item::{LinkKey, LinkValue, bridge_alias};
use super::kernel_state::{Link, Snapshot};
use super::{observe, state_dir};
use crate::boot::boot_id;
use crate::settings::Settings;
use crate::subsystem::Desired;
use novanet_model::{IfName, MacAddr};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

const PREFIX: &str = "bridge-";

/// The bridges that carried our mark when they were last snapshot.
#[derive(Debug)]
pub(super) struct TaggedBridges {
    state_dir: PathBuf,
    /// This namespace since the host was booted.
    here: String,
    numbers: BTreeMap<IfName, u32>,
    /// Bridges whose note could not be written so far.
    unwritten: BTreeSet<IfName>,
}

impl TaggedBridges {
    /// What the notes say.
    pub(super) fn load(state_dir: &Path) -> Self {
        let namespace = std::fs::read_link("/proc/thread-self/ns/net").unwrap_or_default();
        let here = format!("{} {}", boot_id(), namespace.display());
        let number = |name: &IfName| -> Option<u32> {
            let text = std::fs::read_to_string(file(state_dir, name)).ok()?;
            text.strip_prefix(&here)?.trim().parse().ok()
        };
        let noted = state_dir::interfaces(state_dir, PREFIX, "")
            .into_iter()
            .map(|name| {
                // Of another boot: a number that no device has.
                let number = number(&name).unwrap_or_default();
                (name, number)
            });
        Self {
            numbers: noted.collect(),
            unwritten: BTreeSet::new(),
            state_dir: state_dir.to_owned(),
            here,
        }
    }

    /// Notes the bridges that are ours, and forgets those that are gone and not wanted. A disk that is
    /// full keeps nobody from looking after the links.
    pub(super) fn record(&mut self, snapshot: &Snapshot, desired: &Desired<LinkKey, LinkValue>) {
        for link in snapshot.links() {
            if let Ok(name) = IfName::new(link.name.as_str())
                && observe::is_our_bridge(link, &name)
                && (self.numbers.get(&name) != Some(&link.index) || self.unwritten.contains(&name))
            {
                let path = file(&self.state_dir, &name);
                let text = format!("{} {}\n", self.here, link.index);
                let written = state_dir::write(&path, text.as_bytes());
                if written.is_ok() {
                    self.unwritten.remove(&name);
                } else if self.unwritten.insert(name.clone()) {
                    told(&path, written); // once; each look tries again
                }
                self.numbers.insert(name, link.index);
            }
        }
        let is_gone = |(name, number): &(&IfName, &u32)| {
            let there = snapshot
                .link(name)
                .is_some_and(|link| link.index == **number);
            !there && desired.get(&LinkKey::Bridge((*name).clone())).is_none()
        };
        let gone = self.numbers.iter().filter(is_gone);
        let gone: Vec<IfName> = gone.map(|(name, _)| name.clone()).collect();
        for name in gone {
            self.forget(&name);
        }
    }

    /// It is removed.
    pub(super) fn forget(&mut self, name: &IfName) {
        self.unwritten.remove(name);
        self.numbers.remove(name);
        let path = file(&self.state_dir, name);
        told(&path, state_dir::remove(&path));
    }

    /// A bridge of ours that somebody took the mark of; `mac` is its own, not one that it borrows.
    pub(super) fn has_lost_alias(&self, link: &Link, name: &IfName, mac: Option<MacAddr>) -> bool {
        link.alias.is_empty()
            && self.is_noted(link, name)
            && mac == Some(Settings::bridge_mac(name))
    }

    /// What stands under the name of a bridge and is not ours, in words for an error; if it may have
    /// been, also how it is given back.
    pub(super) fn describe(&self, link: &Link, name: &IfName) -> String {
        let ours_once = self.is_noted(link, name) || link.mac == Some(Settings::bridge_mac(name));
        if !link.is_bridge() || !ours_once {
            return link.describe();
        }
        let lost = match link.alias.as_str() {
            "" => "that has lost novanet's mark".to_owned(),
            other => format!("with alias {other:?} in the place of novanet's mark"),
        };
        let mark = bridge_alias(name);
        format!("a bridge {lost} (give it back: ip link set dev {name} alias {mark})")
    }

    fn is_noted(&self, link: &Link, name: &IfName) -> bool {
        link.is_bridge() && self.numbers.get(name) == Some(&link.index)
    }
}

fn file(state_dir: &Path, bridge: &IfName) -> PathBuf {
    state_dir.join(format!("{PREFIX}{bridge}"))
}

fn told(path: &Path, done: io::Result<()>) {
    if let Err(error) = done {
        tracing::warn!(path = %path.display(), %error, "cannot note which bridges are ours");
    }
}
