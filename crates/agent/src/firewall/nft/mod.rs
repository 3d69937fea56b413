//! The nftables driver. Rules and chains are text through the `nft` program (readable, one
//! transaction, rare); elements are netlink messages in process (the hot path). When text must
//! change, the elements of the same round go with it, so that a round is one transaction.
//!
//! Text in the kernel cannot be compared with ours (it is parsed, optimised and printed anew), so
//! the [`record`] keeps what we wrote and a digest of what the kernel made of it. Same digest: our
//! text is in force. Another one: everything is replaced, elements included, at one moment.

mod apart;
mod batch;
mod consequence;
mod dump;
mod element;
mod ending;
mod errors;
mod flows;
mod foreign;
pub(super) mod item;
mod layout;
mod program;
mod record;
mod script;
mod skeleton;
mod watch;
mod write;

use crate::netlink::answers::Answers;
use crate::netlink::nfnetlink::Socket;
use crate::settings::Settings;
use crate::subsystem::{Change, Desired, SubsystemError};
use apart::Apart;
use batch::Op;
use consequence::{cuts, narrows};
use dump::Layout;
use errors::{copy, refusal};
use flows::Flows;
use foreign::Foreign;
use item::{Key, Slot, Value};
use layout::KernelSet;
use program::Program;
use record::Record;
use skeleton::Skeleton;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Notify;
use watch::Watch;

/// How often a list is begun anew because somebody changed something meanwhile.
const TRIES: u32 = 20;

type Changes<'a> = &'a [Change<Key, Value>];
type Wanted = Desired<Key, Value>;
type Errors = Vec<(Key, SubsystemError)>;

/// See the module.
#[derive(Debug)]
pub(super) struct Nft {
    skeleton: Skeleton,
    digest: String,
    program: Program,
    socket: Socket,
    answers: Answers,
    watch: Watch,
    record: Record,
    flows: Flows,
    foreign: Foreign,
    path: PathBuf,
    /// The tables in the kernel have the names of the first builds, as last observed.
    old_layout: bool,
}

impl Nft {
    /// See [`super::Firewall::new`].
    pub(super) fn new(settings: &Settings) -> Result<Self, SubsystemError> {
        let program = Program::find()?;
        let socket =
            Socket::open(0).map_err(|e| SubsystemError::kernel("open netfilter socket", e))?;
        let answers = Answers::new().map_err(|e| SubsystemError::kernel("open rtnetlink", e))?;
        let watch = Watch::start(socket.port())?;
        let path = Record::path(&settings.state_path);
        let skeleton = Skeleton::new(settings);
        Ok(Self {
            program,
            digest: skeleton.digest(),
            skeleton,
            socket,
            answers,
            watch,
            record: Record::load(&path),
            flows: Flows::new(settings),
            foreign: Foreign::default(),
            path,
            old_layout: false,
        })
    }

    /// The value of the fixed part on this host.
    pub(super) fn skeleton(&self) -> Value {
        Value::Skeleton(self.digest.clone())
    }

    /// The host has another address: instances leave with it, unless somebody gave another. Answers
    /// with the fixed part's value if that is another now.
    pub(super) fn follow(&mut self, source: Option<Ipv4Addr>) -> Option<Value> {
        if !self.skeleton.follow(source) {
            return None;
        }
        self.digest = self.skeleton.digest();
        self.flows.leave_with(source);
        Some(self.skeleton())
    }

    /// See [`crate::subsystem::Subsystem::changed_externally`].
    pub(super) fn changed_externally(&self) -> Arc<Notify> {
        self.watch.changed_externally()
    }

    /// What is in force. An item with flows that should have ended is not right, so that they are
    /// tried again until they have.
    pub(super) fn observe(&mut self) -> Result<BTreeMap<Key, Value>, SubsystemError> {
        let mut items = self
            .read()
            .map_err(|error| SubsystemError::kernel("list nftables", error))?;
        if !items.is_empty() {
            self.flows.check_once(&mut self.socket, items.iter());
            self.foreign.look(&mut self.socket);
        }
        if self.flows.end(&mut self.socket).is_err() {
            let damaged = |key| (key, Value::Damaged);
            items.extend(self.flows.keys().into_iter().map(damaged));
        }
        Ok(items)
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
            items.insert(Key::Skeleton, Value::Damaged);
        }
        Ok(items)
    }

    /// Reads while nobody changes anything, and says after which transaction; `None`: somebody
    /// always did.
    fn consistent<T>(
        &mut self,
        read: impl Fn(&mut Socket) -> io::Result<T>,
    ) -> io::Result<(T, Option<u32>)> {
        let mut tries = 0;
        loop {
            let before = dump::generation(&mut self.socket)?;
            let found = read(&mut self.socket);
            tries += 1;
            let quiet = dump::generation(&mut self.socket)? == before;
            // A set that vanished between two lists is a change like any other.
            if quiet || tries == TRIES {
                return found.map(|found| (found, quiet.then_some(before)));
            }
        }
    }

    fn is_recorded(&self, layout: &Layout) -> bool {
        layout.tables.len() == dump::FAMILIES.len()
            && self.record.fingerprint.as_deref() == Some(&layout.fingerprint)
    }

    /// Makes the changes.
    pub(super) async fn apply(&mut self, changes: Changes<'_>, desired: &Wanted) -> Errors {
        if changes.is_empty() {
            return Vec::new();
        }
        let apart = Apart::of(changes, desired, &mut self.answers);
        let possible: Vec<_> = changes
            .iter()
            .filter(|change| !apart.holds(&change.key))
            .cloned()
            .collect();
        let mut errors = self.apply_possible(&possible, desired, &apart).await;
        errors.extend(apart.errors(changes));
        errors
    }

    async fn apply_possible(
        &mut self,
        changes: Changes<'_>,
        desired: &Wanted,
        apart: &Apart,
    ) -> Errors {
        let fixed = changes.iter().find(|change| change.key == Key::Skeleton);
        let errors = match fixed {
            Some(change) if change.to.is_none() => self.remove(changes).await,
            Some(_) => self.rebuild(changes, desired, apart).await,
            // No name of ours is one there: a message would miss its set.
            None if self.old_layout => self.rebuild(changes, desired, apart).await,
            None if narrows(changes) || changes.iter().any(|change| is_text(&change.key)) => {
                self.change(changes, desired, apart).await
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

    /// Removes what a script has no words for.
    fn foreign_elements(&mut self, changes: Changes<'_>) -> Errors {
        let foreign: Vec<_> = changes
            .iter()
            .filter(|change| matches!(change.key, Key::Element(_, Slot::Foreign(_))))
            .cloned()
            .collect();
        self.elements(&foreign)
    }

    /// Ends the flows that went by what has just changed, and those that could not be ended before.
    fn cut(&mut self, changes: Changes<'_>, mut errors: Errors) -> Errors {
        let failed: BTreeSet<Key> = errors.iter().map(|(key, _)| key.clone()).collect();
        for change in changes.iter().filter(|c| !failed.contains(&c.key)) {
            self.flows.add(&change.key, cuts(change));
        }
        if let Err(error) = self.flows.end(&mut self.socket) {
            errors.extend(self.flows.keys().into_iter().map(|key| {
                let what = format!("end the old flows of {key}");
                (key, SubsystemError::kernel(what, copy(&error)))
            }));
        }
        errors
    }

    /// What of others was in the way when the rules were last observed.
    pub(super) fn warnings(&self) -> &BTreeMap<String, String> {
        self.foreign.troubles()
    }

    /// The rules as text, and what of others is in their way.
    pub(super) async fn show(&self) -> Result<String, SubsystemError> {
        let fail = |error| SubsystemError::kernel("list nftables", error);
        let mut socket = Socket::open(0).map_err(fail)?;
        let layout = dump::layout(&mut socket).map_err(fail)?;
        let mut text = String::new();
        for trouble in foreign::troubles(&mut socket).map_err(fail)?.values() {
            text.extend(["# ", trouble, "\n"]);
        }
        // One by one: nft 1.0.6 finds only the last family's when several are asked for at once.
        for (number, family) in dump::FAMILIES.iter().zip(layout::FAMILIES) {
            if layout.tables.contains(number) {
                text += &self
                    .program
                    .list(&format!("list table {family} {}", layout::TABLE))
                    .await?;
            }
        }
        Ok(text)
    }
}

fn is_text(key: &Key) -> bool {
    !matches!(key, Key::Element(..))
}
