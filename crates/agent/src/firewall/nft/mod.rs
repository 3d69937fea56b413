//! The nftables driver. Rules and chains are text through the `nft` program (readable, one
//! transaction, rare); elements are netlink messages in process (the hot path). When text must
//! change, the elements of the same round go with it, so that a round is one transaction.
//!
//! Text in the kernel cannot be compared with ours (it is parsed, optimised and printed anew), so
//! the [`record`] keeps what we wrote and a digest of what the kernel made of it. Same digest: our
//! text is in force. Another one: everything is replaced, elements included, at one moment.

mod base_bridge;
mod base_ruleset;
mod batch;
mod bridges;
mod counters;
pub(super) mod deferred;
mod dump;
mod element;
mod element_text;
pub(super) mod errors;
mod expression;
mod families;
pub(super) mod flow_cut;
mod flows;
pub(super) mod in_force;
pub(super) mod item;
pub(super) mod layout;
mod overlap;
mod record;
mod script;
pub(super) mod types;
mod watch;
mod write;

use super::backend::FirewallBackend;
use super::diagnose::foreign_policy::{self, ForeignPolicies};
use super::intent::Intent;
use super::policy::HostPolicy;
use super::program::Program;
use crate::netlink::answers::Answers;
use crate::netlink::nf_tables;
use crate::netlink::nfnetlink::Socket;
use crate::settings::Settings;
use base_ruleset::BaseRuleset;
use batch::Op;
use deferred::Deferred;
use dump::Layout;
use errors::{copy, refusal};
use flow_cut::{flows_to_cut, is_restrictive};
use flows::Flows;
use item::{ElementKey, Key, Value};
use layout::KernelSet;
use novanet_reconcile::SubsystemError;
use record::Record;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Notify;
use types::{Changes, Errors, Wanted, is_text};
use watch::Watch;

pub(super) use layout::combination_chain;
pub(super) use script::chains as chains_of;
pub(super) use script::{base_text, lines};

/// How often a listing starts anew because another program made a transaction meanwhile.
const TRIES: u32 = 20;

/// The nftables backend of one network namespace.
#[derive(Debug)]
pub struct Nft {
    base_ruleset: BaseRuleset,
    digest: String,
    program: Program,
    socket: Socket,
    answers: Answers,
    watch: Watch,
    record: Record,
    flows: Flows,
    foreign: ForeignPolicies,
    path: PathBuf,
    /// The tables in the kernel have the names of the first builds, as last observed.
    old_layout: bool,
}

impl Nft {
    /// See [`super::Firewall::new`].
    ///
    /// # Errors
    ///
    /// The `nft` program is missing, or the kernel refuses a socket.
    pub fn new(settings: &Settings) -> Result<Self, SubsystemError> {
        Self::with(settings, BaseRuleset::new(HostPolicy::new(settings)))
    }

    fn with(settings: &Settings, base_ruleset: BaseRuleset) -> Result<Self, SubsystemError> {
        let program = Program::find("nft", "nftables")?;
        let socket =
            Socket::open(0).map_err(|e| SubsystemError::kernel("open netfilter socket", e))?;
        let answers = Answers::new().map_err(|e| SubsystemError::kernel("open rtnetlink", e))?;
        let families = base_ruleset.families();
        let watch = Watch::start(socket.port(), families)?;
        let path = Record::path(&settings.state_path);
        Ok(Self {
            program,
            digest: base_ruleset.digest(),
            base_ruleset,
            socket,
            answers,
            watch,
            record: Record::load(&path),
            flows: Flows::new(settings),
            foreign: ForeignPolicies::new(families.own_tables()),
            path,
            old_layout: false,
        })
    }

    fn read(&mut self) -> io::Result<BTreeMap<Key, Value>> {
        let layout = self.consistent(|socket| {
            let layout = dump::layout(socket)?;
            let elements = dump::elements(socket, &layout.sets)?;
            Ok((layout, elements))
        });
        let ((layout, mut items), _) = layout?;
        self.old_layout = layout.sets.iter().any(KernelSet::is_of_old_layout);
        if layout.tables.is_empty() {
            return Ok(items);
        }
        if self.is_recorded(&layout) {
            items.extend(self.record.text.clone());
        } else {
            items.insert(Key::BaseRuleset, Value::Damaged);
        }
        Ok(items)
    }

    /// Reads between two transactions, and returns the number of the earlier one; `None`: other
    /// programs made a transaction during each try.
    fn consistent<T>(
        &mut self,
        read: impl Fn(&mut Socket) -> io::Result<T>,
    ) -> io::Result<(T, Option<u32>)> {
        let mut tries = 0;
        loop {
            let before = nf_tables::generation(&mut self.socket)?;
            let found = read(&mut self.socket);
            tries += 1;
            let quiet = nf_tables::generation(&mut self.socket)? == before;
            // A set that vanished between two lists is a change like any other.
            if quiet || tries == TRIES {
                return found.map(|found| (found, quiet.then_some(before)));
            }
        }
    }

    fn is_recorded(&self, layout: &Layout) -> bool {
        layout.tables == self.base_ruleset.families().numbers()
            && self.record.fingerprint.as_deref() == Some(&layout.fingerprint)
    }

    async fn apply_possible(
        &mut self,
        changes: Changes<'_>,
        desired: &Wanted,
        deferred: &Deferred,
    ) -> Errors {
        let fixed = changes.iter().find(|change| change.key == Key::BaseRuleset);
        let errors = match fixed {
            Some(change) if change.to.is_none() => self.remove(changes).await,
            Some(_) => self.rebuild(changes, desired, deferred).await,
            // No name of ours is one there: a message would miss its set.
            None if self.old_layout => self.rebuild(changes, desired, deferred).await,
            None if is_restrictive(changes)
                || changes.iter().any(|change| is_text(&change.key)) =>
            {
                self.change(changes, desired, deferred).await
            }
            None => self.elements(changes),
        };
        self.cut(changes, errors)
    }

    /// Elements only: one netlink transaction.
    fn elements(&mut self, changes: Changes<'_>) -> Errors {
        let ops = changes
            .iter()
            .flat_map(|change| Op::of(&change.key, change.from.as_ref(), change.to.as_ref()))
            .collect();
        match batch::run(&mut self.socket, ops) {
            Ok(refused) => refused
                .into_iter()
                .map(|(key, error)| (key.clone(), refusal(key, error)))
                .collect(),
            Err(error) => changes
                .iter()
                .map(|change| {
                    let again = io::Error::from(error.kind());
                    let same = error
                        .raw_os_error()
                        .map_or(again, io::Error::from_raw_os_error);
                    (change.key.clone(), refusal(&change.key, same))
                })
                .collect(),
        }
    }

    fn save(&self) {
        if let Err(error) = self.record.save(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the firewall's record cannot be written; a restart will write the rules again");
        }
    }

    /// Removes elements that the language of nft cannot express.
    fn foreign_elements(&mut self, changes: Changes<'_>) -> Errors {
        let foreign: Vec<_> = changes
            .iter()
            .filter(|change| matches!(change.key, Key::Element(_, ElementKey::Foreign(_))))
            .cloned()
            .collect();
        self.elements(&foreign)
    }

    /// Ends the flows that these changes make stale, and those of earlier changes that are pending.
    fn cut(&mut self, changes: Changes<'_>, mut errors: Errors) -> Errors {
        let failed: BTreeSet<Key> = errors.iter().map(|(key, _)| key.clone()).collect();
        for change in changes.iter().filter(|c| !failed.contains(&c.key)) {
            self.flows.add(&change.key, flows_to_cut(change));
        }
        if let Err(error) = self.flows.end(&mut self.socket) {
            errors.extend(self.flows.keys().into_iter().map(|key| {
                let what = format!("end the old flows of {key}");
                (key, SubsystemError::kernel(what, copy(&error)))
            }));
        }
        errors
    }
}

impl FirewallBackend for Nft {
    type Key = Key;
    type Value = Value;

    fn base(&self) -> Vec<(Key, Value)> {
        vec![(Key::BaseRuleset, Value::BaseRuleset(self.digest.clone()))]
    }

    fn items(&self, intent: Intent<'_>) -> Vec<(Key, Value)> {
        item::items_of(intent)
    }

    fn follow(&mut self, source: Option<Ipv4Addr>) -> Vec<(Key, Value)> {
        if !self.base_ruleset.follow(source) {
            return Vec::new();
        }
        self.digest = self.base_ruleset.digest();
        self.flows.leave_with(source);
        self.base()
    }

    fn changed_externally(&self) -> Arc<Notify> {
        self.watch.changed_externally()
    }

    /// An item with flows that should have ended is `Damaged`, so that the reconciler retries until
    /// they have.
    async fn observe(&mut self) -> Result<BTreeMap<Key, Value>, SubsystemError> {
        let mut items = self
            .read()
            .map_err(|error| SubsystemError::kernel("list nftables", error))?;
        if !items.is_empty() {
            self.flows.check_once(&mut self.socket, items.iter());
            self.foreign.observe(&mut self.socket);
        }
        if self.flows.end(&mut self.socket).is_err() {
            let damaged = |key| (key, Value::Damaged);
            items.extend(self.flows.keys().into_iter().map(damaged));
        }
        Ok(items)
    }

    async fn apply(&mut self, changes: Changes<'_>, desired: &Wanted) -> Errors {
        if changes.is_empty() {
            return Vec::new();
        }
        let deferred = Deferred::of(changes, desired, &mut self.answers);
        let possible: Vec<_> = changes
            .iter()
            .filter(|change| !deferred.holds(&change.key))
            .cloned()
            .collect();
        let mut errors = self.apply_possible(&possible, desired, &deferred).await;
        errors.extend(deferred.errors(changes));
        errors
    }

    fn warnings(&self) -> &BTreeMap<String, String> {
        self.foreign.warnings()
    }

    /// Foreign policies come first, as comments.
    async fn show(&self) -> Result<String, SubsystemError> {
        let fail = |error| SubsystemError::kernel("list nftables", error);
        let mut socket = Socket::open(0).map_err(fail)?;
        let layout = dump::layout(&mut socket).map_err(fail)?;
        let mut text = String::new();
        for warning in foreign_policy::list(&mut socket, self.base_ruleset.families().own_tables())
            .map_err(fail)?
            .values()
        {
            text.extend(["# ", warning, "\n"]);
        }
        // One by one: nft 1.0.6 finds only the last family's when several are asked for at once.
        for (number, family) in dump::FAMILIES.iter().zip(layout::FAMILIES) {
            if layout.tables.contains(number) {
                let list = format!("list table {family} {}", layout::TABLE);
                text += &self.program.call(&[&list], "", drop).await?;
            }
        }
        Ok(text)
    }
}
