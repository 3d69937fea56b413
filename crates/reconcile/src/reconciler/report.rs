//! The objects that are not in force, with the reasons, for the server and for plans. Depends on
//! the holds of their items.

use super::Reconciler;
use crate::desired::Origin;
use crate::report::{host_key, summary};
use crate::subsystem::Subsystem;
use novanet_model::ObjectKey;
use std::collections::{BTreeMap, BTreeSet};

impl<R: Subsystem> Reconciler<R> {
    /// The errors by object. An error that belongs to no object is under `host/<subsystem>`.
    pub fn errors(&self) -> BTreeMap<ObjectKey, String> {
        let mut by_object: BTreeMap<ObjectKey, Vec<String>> = BTreeMap::new();
        for (item, message) in self.failures() {
            for object in self.owners(item) {
                let message = format!("{} {item}: {message}", R::NAME);
                by_object.entry(object).or_default().push(message);
            }
        }
        for (key, why) in self.refusals() {
            by_object.entry(key).or_default().push(why.to_owned());
        }
        for (item, object, why) in self.rejected_claims() {
            let messages = by_object.entry(object.clone()).or_default();
            messages.push(format!("{} {item}: {why}", R::NAME));
        }
        if let Some(failure) = &self.observe_failure {
            let message = format!("{}: cannot be observed: {}", R::NAME, failure.message);
            let messages = by_object.entry(host_key(R::NAME)).or_default();
            messages.push(message);
        }
        by_object
            .into_iter()
            .map(|(object, messages)| (object, summary(&messages)))
            .collect()
    }

    /// Why the base items are not in force; `None`: they are, as far as is known.
    pub fn base_fault(&self) -> Option<String> {
        if let Some(failure) = &self.observe_failure {
            return Some(format!("cannot be observed: {}", failure.message));
        }
        if self.last_observed.is_none() {
            return Some("was not looked at yet".to_owned());
        }
        let is_base = |item| self.desired.origins(item).any(|by| *by == Origin::Base);
        let mut faults = self.failures().filter(|(item, _)| is_base(item));
        let (item, message) = faults.next()?;
        Some(format!("{item}: {message}"))
    }

    /// Why an item is not on the host as this object claims it: the name of its hold (see the
    /// crate's page); `None`: nothing holds it.
    pub fn hold_reason(&self, item: &R::Key, object: &ObjectKey) -> Option<&'static str> {
        self.holds.reason(item, object)
    }

    /// Items whose last attempt failed or that the firewall refuses, with the message.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&R::Key, &str)> {
        let failures = self.holds.failures();
        failures.map(|(item, failure)| (item, failure.message.as_str()))
    }

    /// Claims that lost against another object's: the item, the object that lost, the message.
    pub(crate) fn rejected_claims(&self) -> impl Iterator<Item = (&R::Key, &ObjectKey, &str)> {
        self.holds.conflicts()
    }

    /// The keys under which errors of an item are reported.
    pub(super) fn owners(&self, item: &R::Key) -> BTreeSet<ObjectKey> {
        let owner = |origin: &Origin| match origin {
            Origin::Base => host_key(R::NAME),
            Origin::Object(object) => object.clone(),
        };
        let owners: BTreeSet<_> = self.desired.origins(item).map(owner).collect();
        if owners.is_empty() {
            let previous = self.previous_owner.get(item).cloned();
            return BTreeSet::from([previous.unwrap_or_else(|| host_key(R::NAME))]);
        }
        owners
    }
}
