//! The nftables backend for another backend: it renders the bridge family only, and the other
//! backend the rest. Depends on the same record, flows and watch as the whole backend.

use super::base_ruleset::BaseRuleset;
use super::deferred::Deferred;
use super::errors::again;
use super::item::{Key, Value};
use super::types::{Changes, Errors, Wanted, is_text};
use super::watch::Since;
use super::{Nft, script};
use crate::firewall::backend::FirewallBackend;
use crate::netlink::nf_tables;
use crate::settings::Settings;
use novanet_reconcile::SubsystemError;
use std::collections::BTreeMap;

impl Nft {
    /// A backend of the bridge family. Its `base` is the bridge family's.
    pub(in crate::firewall) fn for_bridges(settings: &Settings) -> Result<Self, SubsystemError> {
        Self::with(settings, BaseRuleset::of_bridges())
    }

    /// The elements of the bridge family, and the recorded items of the other backend; both with
    /// [`Value::Damaged`] for the base if the bridge family is not as recorded.
    pub(in crate::firewall) fn read_bridges(
        &mut self,
    ) -> Result<BTreeMap<Key, Value>, SubsystemError> {
        self.read()
            .map_err(|error| SubsystemError::kernel("list nftables", error))
    }

    /// The other backend's items that were text, as recorded.
    pub(in crate::firewall) fn recorded(&self) -> &BTreeMap<Key, Value> {
        &self.record.text
    }

    /// Records what the other backend has written.
    pub(in crate::firewall) fn record<'a>(
        &mut self,
        items: impl Iterator<Item = (&'a Key, Option<&'a Value>)>,
    ) {
        for (key, value) in items.filter(|(key, _)| is_text(key)) {
            match value {
                Some(value) => self.record.text.insert(key.clone(), value.clone()),
                None => self.record.text.remove(key),
            };
        }
        self.save();
    }

    /// Whether rules of iptables may be ours: recorded before the first one is written.
    pub(in crate::firewall) fn has_iptables(&self) -> bool {
        self.record.iptables
    }

    /// Sets that on disk.
    pub(in crate::firewall) fn set_iptables(&mut self, may_be: bool) {
        if self.record.iptables != may_be {
            self.record.iptables = may_be;
            self.save();
        }
    }

    /// The generation of flows that is valid now.
    pub(in crate::firewall) fn generation(&self) -> u16 {
        self.record.valid.unwrap_or(self.record.generation)
    }

    /// The generation to write next; [`Self::generation_is_valid`] follows when it is in force.
    pub(in crate::firewall) fn next_generation(&mut self) -> u16 {
        self.begin_generation()
    }

    /// The generation that was begun last is in force.
    pub(in crate::firewall) fn generation_is_valid(&mut self) {
        self.record.valid = Some(self.record.generation);
    }

    /// Changes elements of the bridge family.
    pub(in crate::firewall) fn bridge_elements(&mut self, changes: Changes<'_>) -> Errors {
        let on_bridge = |key: &Key| matches!(key, Key::Element(set, _) if set.is_bridge());
        let changes: Vec<_> = changes
            .iter()
            .filter(|c| on_bridge(&c.key))
            .cloned()
            .collect();
        self.elements(&changes)
    }

    /// Ends the flows that these changes make stale. `errors` are the items that failed.
    pub(in crate::firewall) fn cut_flows(
        &mut self,
        changes: Changes<'_>,
        errors: Errors,
    ) -> Errors {
        self.cut(changes, errors)
    }

    /// Changes that cannot be made now.
    pub(in crate::firewall) fn deferred(
        &mut self,
        changes: Changes<'_>,
        desired: &Wanted,
    ) -> Deferred {
        Deferred::of(changes, desired, &mut self.answers)
    }

    /// Replaces the table of bridges, and removes our tables of the other families, at one moment.
    pub(in crate::firewall) async fn rebuild_bridges(
        &mut self,
        changes: Changes<'_>,
        desired: &Wanted,
        deferred: &Deferred,
    ) -> Errors {
        let generation = self.generation();
        let elements = deferred.wanted(desired);
        let script = script::rebuild(&self.base_ruleset, generation, desired, elements);
        if let Err(error) = self.run(&script, Since::Itself).await {
            return super::errors::every(changes, || again(&error));
        }
        self.old_layout = false;
        self.rebuilt(desired);
        Vec::new()
    }

    /// Removes our tables and the record.
    pub(in crate::firewall) async fn remove_bridges(&mut self, changes: Changes<'_>) -> Errors {
        self.remove(changes).await
    }

    /// Looks for foreign policies and stale flows, as the whole backend does in each round.
    pub(in crate::firewall) fn look_around(&mut self, items: &mut BTreeMap<Key, Value>) {
        // Damaged rules lack translations that are desired: their flows are not stale.
        if items.values().all(|value| *value != Value::Damaged) && !items.is_empty() {
            self.flows.check_once(&mut self.socket, items.iter());
            self.foreign.observe(&mut self.socket);
        }
        if self.flows.end(&mut self.socket).is_err() {
            let damaged = |key| (key, Value::Damaged);
            items.extend(self.flows.keys().into_iter().map(damaged));
        }
    }

    /// Instances leave with this address from now on.
    pub(in crate::firewall) fn leave_with(&mut self, source: Option<std::net::Ipv4Addr>) {
        self.flows.leave_with(source);
    }

    /// The digest of the table of bridges.
    pub(in crate::firewall) fn bridges_digest(&self) -> &str {
        &self.digest
    }

    /// A program of the other backend starts, with this process number: the transaction that it
    /// makes is ours.
    pub(in crate::firewall) fn program_starts(&self, process: u32) {
        self.watch.program_starts(process);
    }

    /// That program has ended.
    pub(in crate::firewall) fn program_ended(&mut self) {
        match nf_tables::generation(&mut self.socket) {
            Ok(at) => self.watch.other_program_done(at),
            Err(_) => self.watch.program_failed(),
        }
    }

    /// The rules of the bridge family, for people.
    pub(in crate::firewall) async fn show_bridges(&self) -> Result<String, SubsystemError> {
        FirewallBackend::show(self).await
    }
}
