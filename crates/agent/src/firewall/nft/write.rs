//! Writes text: the changes, or everything anew. The kernel's listing of it is recorded as ours
//! only if no other program touched our tables since they were last known to be ours; otherwise the
//! record would contain a foreign change, and keep it for ever.

use super::deferred::Deferred;
use super::errors::{again, copy, every};
use super::flow_cut::is_restrictive;
use super::item::{Key, Value};
use super::record::Record;
use super::types::{Changes, Errors, Wanted, is_text};
use super::watch::Since;
use super::{Nft, base_ruleset, dump, layout, script};
use novanet_reconcile::{Change, SubsystemError};

impl Nft {
    /// Text, and elements with it. Replaces everything if the text in the kernel is not ours.
    pub(super) async fn change(
        &mut self,
        changes: Changes<'_>,
        desired: &Wanted,
        deferred: &Deferred,
    ) -> Errors {
        // The comment of a chain that is there cannot be changed.
        let renames = |change: &Change<Key, Value>| match change.key {
            Key::GroupName(group) => {
                change.to.is_some() && self.record.text.contains_key(&Key::Chain(group))
            }
            _ => false,
        };
        if changes.iter().any(renames) {
            return self.rebuild(changes, desired, deferred).await;
        }
        let ours_at = match self.consistent(dump::layout) {
            Ok((layout, Some(at))) if self.is_recorded(&layout) => at,
            Ok(_) => return self.rebuild(changes, desired, deferred).await,
            Err(error) => {
                return every(changes, || {
                    SubsystemError::kernel("list nftables", copy(&error))
                });
            }
        };
        let generation = is_restrictive(changes).then(|| self.begin_generation());
        let script = script::change(changes, desired, generation);
        if let Err(error) = self.run(&script, Since::Number(ours_at)).await {
            // The elements of others must not wait for a chain that cannot be made.
            let mut errors = self.elements(changes);
            errors.extend(
                changes
                    .iter()
                    .filter(|change| is_text(&change.key))
                    .map(|change| (change.key.clone(), again(&error))),
            );
            return errors;
        }
        self.record.valid = generation.or(self.record.valid);
        for change in changes.iter().filter(|change| is_text(&change.key)) {
            match &change.to {
                Some(value) => self.record.text.insert(change.key.clone(), value.clone()),
                None => self.record.text.remove(&change.key),
            };
        }
        self.save();
        self.foreign_elements(changes)
    }

    /// Replaces all our tables at one moment.
    pub(super) async fn rebuild(
        &mut self,
        changes: Changes<'_>,
        desired: &Wanted,
        deferred: &Deferred,
    ) -> Errors {
        // First with the valid generation: established flows pass without their rules, while a
        // packet that meets the replacement half-way may find its maps empty. Then with the next
        // generation, so that each flow passes the new rules.
        let current = self.current_generation().await;
        let script = script::rebuild(
            &self.base_ruleset,
            current,
            desired,
            deferred.wanted(desired),
        );
        let ours_at = match self.run(&script, Since::Itself).await {
            Ok(ours_at) => ours_at,
            Err(error) => return every(changes, || again(&error)),
        };
        self.old_layout = false;
        // Killed here, the next agent must not take it for finished.
        self.record.fingerprint = None;
        let generation = self.begin_generation();
        let next = base_ruleset::generation_text(generation);
        let since = ours_at.map_or(Since::Unknown, Since::Number);
        if let Err(error) = self.run(&next, since).await {
            return every(changes, || again(&error));
        }
        self.record.valid = Some(generation);
        self.rebuilt(desired);
        Vec::new()
    }

    /// Everything was written anew: records the text, and ends the flows of former translations.
    pub(super) fn rebuilt(&mut self, desired: &Wanted) {
        self.record.text = desired
            .iter()
            .filter(|(key, _)| is_text(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        self.save();
        self.flows.check(&mut self.socket, desired.iter());
    }

    /// The valid generation: from the record, otherwise from the rules in the kernel; then the
    /// record continues from there.
    async fn current_generation(&mut self) -> u16 {
        if let Some(valid) = self.record.valid {
            return valid;
        }
        let mut found = None;
        for chain in layout::ESTABLISHED {
            let list = format!("list chain ip {} {chain}", layout::TABLE);
            let listed = self.program.call(&[&list], "", drop).await;
            found = found.or(listed
                .ok()
                .and_then(|text| base_ruleset::generation_in(&text)));
        }
        if let (Some(generation), true) = (found, self.record.text.is_empty()) {
            self.record.generation = generation;
        }
        found.unwrap_or(self.record.generation)
    }

    /// The next generation. It is on disk before the kernel has it: no generation may be valid
    /// twice.
    pub(super) fn begin_generation(&mut self) -> u16 {
        self.record.generation = self.record.next_generation();
        self.save();
        self.record.generation
    }

    /// Removes our tables and the record.
    pub(super) async fn remove(&mut self, changes: Changes<'_>) -> Errors {
        if let Err(error) = self.run(&script::remove(), Since::Itself).await {
            return every(changes, || again(&error));
        }
        self.record = Record::default();
        Record::remove(&self.path);
        Vec::new()
    }

    /// Runs a script and records the kernel's listing. Returns the number of a transaction after
    /// which our tables were certainly ours. `None`: another program touched them after `since`;
    /// they are not recorded as ours, and the next round writes them anew.
    pub(super) async fn run(
        &mut self,
        script: &str,
        since: Since,
    ) -> Result<Option<u32>, SubsystemError> {
        let started = |id| self.watch.program_starts(id);
        let ran = self.program.call(&["-f", "-"], script, started);
        if let Err(error) = ran.await {
            self.watch.program_failed();
            return Err(error);
        }
        self.record.fingerprint = None;
        let Ok((layout, Some(at))) = self.consistent(dump::layout) else {
            self.watch.program_failed();
            self.watch.changed_externally().notify_one();
            return Ok(None);
        };
        if !self.watch.program_done(since, at) {
            return Ok(None);
        }
        self.record.fingerprint = Some(layout.fingerprint);
        Ok(Some(at))
    }
}
