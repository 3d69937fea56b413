//! Kernel settings as items of the subsystem: those of the host, and those of the interfaces between which
//! packets of instances go. What others may want otherwise (`net.ipv4.conf.all.*`: LVS, keepalived and
//! kube-proxy set `arp_ignore`) is not set: what suffers from it says so (`floating_ip`).
//!
//! `ip_forward` is not enough: it sets every interface's own switch when it is written and says
//! nothing about one that is turned off later.

use super::item::{LinkKey, LinkValue};
use super::kernel_state::{self, Snapshot};
use super::{Links, observe, sysctl};
use crate::subsystem::{Desired, SubsystemError};
use novanet_model::IfName;
use std::collections::BTreeMap;

impl Links {
    /// Adds the settings as they are: those that are wanted, and those to be given back.
    pub(super) fn observe_settings(
        &self,
        desired: &Desired<LinkKey, LinkValue>,
        snapshot: &Snapshot,
        items: &mut BTreeMap<LinkKey, LinkValue>,
    ) -> Result<(), SubsystemError> {
        for path in sysctl::ALL {
            let key = LinkKey::Sysctl(path);
            if desired.get(&key).is_none() {
                items.extend(self.goes_back(path)?.map(|value| (key, value)));
            } else if let Some(value) = read(path)? {
                items.insert(key, LinkValue::Setting(value));
            }
        }
        for (key, wanted) in desired.iter() {
            let LinkKey::Conf(name, setting) = key else {
                continue;
            };
            let is = if self.is_ours_to_set(name, snapshot.link(name)) {
                read(&sysctl::conf(name, setting))?
            } else {
                None
            };
            // Without the interface (or with another's in its place) nothing is to be set.
            let is = is.map_or_else(|| wanted.clone(), LinkValue::Setting);
            items.insert(key.clone(), is);
        }
        for name in sysctl::recorded_forwarding(&self.state_dir) {
            let (setting, _) = sysctl::FORWARDING;
            let path = sysctl::conf(&name, setting);
            let key = LinkKey::Conf(name, setting);
            if desired.get(&key).is_none() {
                items.extend(self.goes_back(&path)?.map(|value| (key, value)));
            }
        }
        Ok(())
    }

    /// Gateways that are there and get no instance an answer.
    pub(super) fn mark_unanswered(items: &mut BTreeMap<LinkKey, LinkValue>) {
        if !sysctl::nobody_answers() {
            return;
        }
        for (key, value) in items {
            if matches!(key, LinkKey::Address(device, _) if device.as_str() != "lo") {
                let what = "there, but nobody gets an answer to ARP for it";
                *value = LinkValue::Foreign(what.to_owned());
            }
        }
    }

    /// A setting that is not wanted any more, if it was another before us.
    fn goes_back(&self, path: &str) -> Result<Option<LinkValue>, SubsystemError> {
        let Some(was) = sysctl::recorded(&self.state_dir, path)? else {
            return Ok(None);
        };
        // The setting of an interface that is gone went with it; the note is still to go.
        let is = read(path)?.unwrap_or_else(|| "gone".to_owned());
        Ok(Some(LinkValue::GoesBack { is, was }))
    }

    /// The public interface, or a bridge of ours.
    fn is_ours_to_set(&self, name: &IfName, link: Option<&kernel_state::Link>) -> bool {
        link.is_some_and(|link| {
            *name == self.settings.public_interface || observe::is_our_bridge(link, name)
        })
    }

    pub(super) fn set_conf(
        &mut self,
        name: &IfName,
        setting: &str,
        value: &str,
    ) -> Result<(), SubsystemError> {
        let link = kernel_state::link(&mut self.socket, name)?;
        if !self.is_ours_to_set(name, link.as_ref()) {
            return Ok(()); // The bridge's own item says why.
        }
        let path = sysctl::conf(name, setting);
        if link.is_some_and(|link| observe::is_our_bridge(&link, name)) {
            sysctl::write(&path, value)
        } else {
            sysctl::set(&self.state_dir, &path, value)
        }
    }
}

fn read(path: &str) -> Result<Option<String>, SubsystemError> {
    sysctl::read(path).map_err(|e| SubsystemError::kernel(format!("read sysctl {path}"), e))
}
