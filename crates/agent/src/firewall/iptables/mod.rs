//! The iptables backend: rules of the IP families in iptables, under nova's chain names and with
//! the manual's lines, sets of addresses as IP sets, and the bridge family in nftables. The packets
//! that pass are those of the nftables backend, whose items it shares.
//!
//! Rules are written in the words of `iptables-save`, so that what is listed can be compared with
//! what should be. A change is one `ipset restore` before, one `iptables-restore --noflush`, and
//! one `ipset restore` after: what permits less comes first.

mod base;
mod change;
mod ipset;
mod leftovers;
mod listing;
mod names;
mod programs;
pub(super) mod rows;
mod rules;
mod script;
mod show;

pub(super) use leftovers::Leftovers;

use super::backend::FirewallBackend;
use super::intent::Intent;
use super::nft::Nft;
use super::nft::deferred::Deferred;
use super::nft::errors::{again, every};
use super::nft::flow_cut::is_restrictive;
use super::nft::item::{Key, Set, Value, items_of};
use super::nft::types::{Changes, Errors, Wanted, is_text};
use super::policy::HostPolicy;
use crate::settings::Settings;
use change::{is_of_bridge, rules_of, set_names, sets_of, variable_set};
use listing::Listing;
use names::{Chains, Table};
use novanet_model::CombinationId;
use novanet_reconcile::{Change, Desired, SubsystemError};
use programs::Ipset;
use script::Script;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::sync::Notify;

/// The iptables backend of one network namespace.
#[derive(Debug)]
pub struct Iptables {
    policy: HostPolicy,
    digest: String,
    programs: programs::Iptables,
    ipset: Ipset,
    /// The bridge family, the record, flows and the watch.
    bridges: Nft,
    /// Rules in the variant of iptables that is not used.
    leftovers: Leftovers,
}

impl Iptables {
    /// See [`super::Firewall::new`].
    ///
    /// # Errors
    ///
    /// A program is missing (the error names the package), or the kernel refuses a socket.
    pub fn new(settings: &Settings) -> Result<Self, SubsystemError> {
        let programs = programs::Iptables::find()?;
        let ipset = Ipset::find()?;
        let bridges = Nft::for_bridges(settings)?;
        let policy = HostPolicy::new(settings);
        Ok(Self {
            digest: digest(&policy, bridges.bridges_digest()),
            policy,
            leftovers: Leftovers::of_other_variant(programs.variant()),
            programs,
            ipset,
            bridges,
        })
    }

    /// Lists rules and sets. Chains with our names that are not ours are an error.
    async fn listing(&self) -> Result<Listing, SubsystemError> {
        let listing = programs::listing(&self.programs, &self.ipset).await?;
        match listing.v4.foreign() {
            Some(chain) if !self.bridges.has_iptables() => Err(SubsystemError::Refused(format!(
                "iptables has a chain {chain} with rules that are not novanet's (a nova-network on \
                 this host?): stop it and remove its chains, or set firewall_driver=nftables"
            ))),
            _ => Ok(listing),
        }
    }

    /// All rules that should be there: `text` are the items of chains, `elements` the others.
    fn chains<'a>(
        &self,
        generation: u16,
        text: &Wanted,
        elements: impl Iterator<Item = (&'a Key, &'a Value)>,
    ) -> Chains {
        let mut chains = base::chains(&self.policy, generation);
        for (key, _) in text.iter() {
            match key {
                Key::Chain(group) => {
                    let place = (Table::Filter, names::group_chain(*group));
                    chains.insert(place, rules::group_lines(*group, text));
                }
                Key::Combination(instance) => {
                    let place = (Table::Filter, names::instance_chain(*instance));
                    chains.insert(place, rules::instance_lines(*instance, text));
                }
                _ => {}
            }
        }
        let provider = (Table::Filter, names::PROVIDER.to_owned());
        let rules = rules::provider_rules(text).into_iter();
        chains.insert(provider, rules.map(|(_, line)| line).collect());
        for (key, value) in elements {
            for (table, chain, line) in rules::lines(key, value) {
                let place = (table, chain.to_owned());
                chains.entry(place).or_default().push(line);
            }
        }
        chains
    }

    fn is_right(&self, listing: &Listing, found: &BTreeMap<Key, Value>) -> bool {
        let recorded = self.bridges.recorded();
        let text = Desired::new(
            recorded
                .iter()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        );
        let v4 = self.chains(self.bridges.generation(), &text, found.iter());
        listing.is_right(&v4, &base::chains6(), &set_names(recorded.keys()))
    }

    async fn apply_possible(
        &mut self,
        changes: Changes<'_>,
        desired: &Wanted,
        deferred: &Deferred,
    ) -> Errors {
        let base = changes.iter().find(|change| change.key == Key::BaseRuleset);
        let errors = match base {
            Some(change) if change.to.is_none() => self.remove(changes).await,
            Some(_) => match self.rebuild(changes, desired, deferred).await {
                Ok(errors) => errors,
                Err(error) => every(changes, || again(&error)),
            },
            None => self.change(changes, desired).await,
        };
        self.bridges.cut_flows(changes, errors)
    }

    /// Writes everything anew. Sets grow first and shrink last, so that in each moment between, old
    /// and new rules deny at least what they deny with their own sets.
    async fn rebuild(
        &mut self,
        changes: Changes<'_>,
        desired: &Wanted,
        deferred: &Deferred,
    ) -> Result<Errors, SubsystemError> {
        let listing = self.listing().await?;
        let wanted: Vec<_> = deferred.wanted(desired).collect();
        let mut elements: BTreeSet<(String, String)> = BTreeSet::new();
        elements.extend(wanted.iter().filter_map(|(key, _)| ipset::elements(key)));
        let mut grow = ipset::create_floating_fixed();
        let sets = desired.iter().filter_map(|(key, _)| variable_set(key));
        for set in ipset::FIXED.into_iter().chain(sets) {
            grow += &ipset::create(set);
        }
        let there = |set: &String, element: &String| {
            let found = listing.sets.sets.get(set);
            found.is_some_and(|found| found.contains(element))
        };
        for (set, element) in elements.iter().filter(|(set, one)| !there(set, one)) {
            let _ = writeln!(grow, "add {set} {element}");
        }
        self.bridges.set_iptables(true);
        self.ipset.restore(&grow).await?;

        let generation = self.bridges.next_generation();
        let v4 = self.chains(generation, desired, wanted.iter().copied());
        let v4 = script::rebuild(&listing.v4, &v4, &base::JUMPS);
        let v6 = script::rebuild(&listing.v6, &base::chains6(), &base::JUMPS6);
        self.restore6(&v6).await?;
        self.restore(&v4).await?;
        self.bridges.generation_is_valid();
        let errors = self
            .bridges
            .rebuild_bridges(changes, desired, deferred)
            .await;
        if !errors.is_empty() {
            return Ok(errors);
        }
        let names = set_names(desired.iter().map(|(key, _)| key));
        let mut shrink = String::new();
        for (set, found) in &listing.sets.sets {
            if !names.contains(set) {
                let _ = writeln!(shrink, "destroy {set}");
                continue;
            }
            let old = |one: &&String| !elements.contains(&(set.clone(), (*one).clone()));
            for element in found.iter().filter(old) {
                let _ = writeln!(shrink, "del {set} {element}");
            }
        }
        self.ipset.restore(&shrink).await?;
        Ok(Vec::new())
    }

    async fn restore(&mut self, script: &Script) -> Result<(), SubsystemError> {
        if script.is_empty() {
            return Ok(());
        }
        let started = |id| self.bridges.program_starts(id);
        let text = script.text(&Table::ALL);
        let done = self.programs.restore(&text, started).await;
        self.bridges.program_ended();
        done
    }

    async fn restore6(&mut self, script: &Script) -> Result<(), SubsystemError> {
        let started = |id| self.bridges.program_starts(id);
        let text = script.text(&Table::ALL);
        let done = self.programs.restore6(&text, started).await;
        self.bridges.program_ended();
        done
    }

    /// Removes everything of ours.
    async fn remove(&mut self, changes: Changes<'_>) -> Errors {
        let all = Leftovers::of_iptables();
        if let Err(error) = all.remove(self.bridges.has_iptables()).await {
            return every(changes, || again(&error));
        }
        self.bridges.remove_bridges(changes).await
    }

    /// Changes of some items. A port's frames are denied before its rules go, and its rules are in
    /// force before its frames pass.
    async fn change(&mut self, changes: Changes<'_>, desired: &Wanted) -> Errors {
        let (going, staying): (Vec<_>, Vec<_>) = changes
            .iter()
            .cloned()
            .partition(|change| change.to.is_none());
        let mut errors = self.bridges.bridge_elements(&going);
        let of_ip = |change: &&Change<Key, Value>| !is_of_bridge(&change.key);
        let ip: Vec<_> = changes.iter().filter(of_ip).cloned().collect();
        errors.extend(self.change_ip(&ip, desired).await);
        errors.extend(self.bridges.bridge_elements(&staying));
        errors
    }

    /// The IP families: all at once, or one by one where the kernel refuses one of them.
    async fn change_ip(&mut self, changes: Changes<'_>, desired: &Wanted) -> Errors {
        if changes.is_empty() {
            return Vec::new();
        }
        let mut errors = Errors::new();
        match self.write(changes, desired).await {
            Err(_) if changes.len() > 1 => {
                for change in changes {
                    if let Err(error) = self.write(std::slice::from_ref(change), desired).await {
                        errors.push((change.key.clone(), error));
                    }
                }
            }
            Err(error) => errors.push((changes[0].key.clone(), error)),
            Ok(()) => {}
        }
        let failed: BTreeSet<_> = errors.iter().map(|(key, _)| key.clone()).collect();
        let written = changes
            .iter()
            .filter(|change| !failed.contains(&change.key));
        if changes.iter().any(|change| is_text(&change.key)) || is_restrictive(changes) {
            let items = written.map(|change| (&change.key, change.to.as_ref()));
            self.bridges.record(items);
        }
        errors
    }

    async fn write(
        &mut self,
        changes: Changes<'_>,
        desired: &Wanted,
    ) -> Result<(), SubsystemError> {
        let (grow, shrink) = sets_of(changes, desired);
        self.ipset.restore(&grow).await?;
        let mut script = rules_of(changes, desired);
        let restrictive = is_restrictive(changes);
        if restrictive {
            let generation = self.bridges.next_generation();
            for (chain, lines) in base::of_generation(generation) {
                script.fill(Table::Filter, chain, lines);
            }
        }
        self.restore(&script).await?;
        if restrictive {
            self.bridges.generation_is_valid();
        }
        self.ipset.restore(&shrink).await
    }
}

fn digest(policy: &HostPolicy, bridges: &str) -> String {
    let text = format!(
        "{bridges} {:?} {:?}",
        base::chains(policy, 0),
        base::chains6()
    );
    hex::encode(Sha256::digest(text.as_bytes()))
}

impl FirewallBackend for Iptables {
    type Key = Key;
    type Value = Value;

    fn base(&self) -> Vec<(Key, Value)> {
        vec![(Key::BaseRuleset, Value::BaseRuleset(self.digest.clone()))]
    }

    /// As nftables' items. Each instance has a chain, as in nova, so its number stands for its
    /// combination of groups; floating IPs and ports are rules, not elements of a map.
    fn items(&self, intent: Intent<'_>) -> Vec<(Key, Value)> {
        let by_instance = match intent {
            Intent::Port(port) => {
                let mut port = port.clone();
                port.combination = CombinationId(port.instance.0);
                items_of(Intent::Port(&port))
            }
            other => items_of(other),
        };
        let is_map = |key: &Key| matches!(key, Key::Element(Set::GroupChains, _));
        by_instance
            .into_iter()
            .filter(|(key, _)| !is_map(key))
            .collect()
    }

    fn follow(&mut self, source: Option<Ipv4Addr>) -> Vec<(Key, Value)> {
        if !self.policy.follow(source) {
            return Vec::new();
        }
        self.digest = digest(&self.policy, self.bridges.bridges_digest());
        self.bridges.leave_with(source);
        self.base()
    }

    fn changed_externally(&self) -> Arc<Notify> {
        self.bridges.changed_externally()
    }

    async fn observe(&mut self) -> Result<BTreeMap<Key, Value>, SubsystemError> {
        let mut items = self.bridges.read_bridges()?;
        let listing = self.listing().await?;
        let found = listing.items();
        let nothing = items.is_empty() && !listing.has_ours();
        let is_right = !items.is_empty() && self.is_right(&listing, &found);
        items.extend(found);
        if !is_right && !nothing {
            items.insert(Key::BaseRuleset, Value::Damaged);
        }
        if is_right && items.get(&Key::BaseRuleset) != Some(&Value::Damaged) {
            let is_ours = self.bridges.has_iptables();
            self.leftovers.remove_once(is_ours).await;
        }
        self.bridges.look_around(&mut items);
        Ok(items)
    }

    async fn apply(&mut self, changes: Changes<'_>, desired: &Wanted) -> Errors {
        if changes.is_empty() {
            return Vec::new();
        }
        let deferred = self.bridges.deferred(changes, desired);
        let possible: Vec<_> = changes
            .iter()
            .filter(|change| !deferred.holds(&change.key))
            .cloned()
            .collect();
        let mut errors = self.apply_possible(&possible, desired, &deferred).await;
        errors.extend(deferred.errors(changes));
        let refused = |change: &Change<Key, Value>| {
            let why = rules::refusal(&change.key, change.to.as_ref())?;
            Some((change.key.clone(), SubsystemError::Refused(why)))
        };
        errors.extend(changes.iter().filter_map(refused));
        errors
    }

    fn warnings(&self) -> &BTreeMap<String, String> {
        FirewallBackend::warnings(&self.bridges)
    }

    async fn show(&self) -> Result<String, SubsystemError> {
        let (v4, v6) = self.programs.text().await?;
        let sets = self.ipset.text().await?;
        let bridges = self.bridges.show_bridges().await?;
        Ok(show::text(&v4, &v6, &sets, &bridges))
    }
}
