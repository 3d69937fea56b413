//! Writes text: what was changed, or everything anew. What the kernel makes of it is recorded as ours
//! only if nobody else touched our tables since they were last known to be ours: what a stranger did
//! meanwhile would be recorded with it, and stay for ever.

use super::apart::Apart;
use super::errors::{again, copy, every};
use super::item::{Key, Value};
use super::record::Record;
use super::watch::Since;
use super::{Changes, Errors, Nft, Wanted, dump, is_text, layout, narrows, script, skeleton};
use crate::subsystem::{Change, SubsystemError};

impl Nft {
    /// Text, and elements with it. If our text is not what is there, all of it is replaced.
    pub(super) async fn change(
        &mut self,
        changes: Changes<'_>,
        desired: &Wanted,
        apart: &Apart,
    ) -> Errors {
        // The comment of a chain that is there cannot be changed.
        let renames = |change: &Change<Key, Value>| match change.key {
            Key::GroupName(group) => {
                change.to.is_some() && self.record.text.contains_key(&Key::Chain(group))
            }
            _ => false,
        };
        if changes.iter().any(renames) {
            return self.rebuild(changes, desired, apart).await;
        }
        let ours_at = match self.consistent(dump::layout) {
            Ok((layout, Some(at))) if self.is_recorded(&layout) => at,
            Ok(_) => return self.rebuild(changes, desired, apart).await,
            Err(error) => {
                return every(changes, || {
                    SubsystemError::kernel("list nftables", copy(&error))
                });
            }
        };
        let generation = narrows(changes).then(|| self.begin_generation());
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

    /// Everything from nothing, at one moment.
    pub(super) async fn rebuild(
        &mut self,
        changes: Changes<'_>,
        desired: &Wanted,
        apart: &Apart,
    ) -> Errors {
        // First with the generation that flows live of: so they go on without another look, while a
        // packet that meets the replacement half-way may find its maps empty. Then with another one,
        // so that each goes through the new rules.
        let current = self.current_generation().await;
        let script = script::rebuild(&self.skeleton, current, desired, apart.wanted(desired));
        let ours_at = match self.run(&script, Since::Itself).await {
            Ok(ours_at) => ours_at,
            Err(error) => return every(changes, || again(&error)),
        };
        self.old_layout = false;
        // Killed here, the next agent must not take it for finished.
        self.record.fingerprint = None;
        let generation = self.begin_generation();
        let next = skeleton::generation_text(generation);
        let since = ours_at.map_or(Since::Unknown, Since::Number);
        if let Err(error) = self.run(&next, since).await {
            return every(changes, || again(&error));
        }
        self.record.valid = Some(generation);
        self.record.text = desired
            .iter()
            .filter(|(key, _)| is_text(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        self.save();
        self.flows.check(&mut self.socket, desired.iter());
        Vec::new()
    }

    /// The generation that flows live of. When the record does not know it, the kernel's own rules
    /// may, and the record goes on from there.
    async fn current_generation(&mut self) -> u16 {
        if let Some(valid) = self.record.valid {
            return valid;
        }
        let mut found = None;
        for chain in layout::ESTABLISHED {
            let list = format!("list chain ip {} {chain}", layout::TABLE);
            let listed = self.program.list(&list).await;
            found = found.or(listed.ok().and_then(|text| skeleton::generation_in(&text)));
        }
        if let (Some(generation), true) = (found, self.record.text.is_empty()) {
            self.record.generation = generation;
        }
        found.unwrap_or(self.record.generation)
    }

    /// The next generation. It is on disk before the kernel has it: one that flows live of must
    /// not be used again.
    fn begin_generation(&mut self) -> u16 {
        self.record.generation = self.record.next_generation();
        self.save();
        self.record.generation
    }

    /// Nothing of ours is left.
    pub(super) async fn remove(&mut self, changes: Changes<'_>) -> Errors {
        if let Err(error) = self.run(&script::remove(), Since::Itself).await {
            return every(changes, || again(&error));
        }
        self.record = Record::default();
        Record::remove(&self.path);
        Vec::new()
    }

    /// Runs a script and learns what the kernel made of it; answers with the number of a transaction
    /// after which our tables were certainly ours. `None`: somebody else touched them after `since`,
    /// so they are not recorded as ours, and the next round writes them anew.
    async fn run(&mut self, script: &str, since: Since) -> Result<Option<u32>, SubsystemError> {
        let ran = self.program.run(script, |id| self.watch.program_starts(id));
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
