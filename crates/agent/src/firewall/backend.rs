//! The contract of a firewall backend: what a program that renders intents in the kernel must do.
//! Depends on the intents and on the subsystem contract; knows no backend.

use super::intent::Intent;
use novanet_model::wire::{Explanation, Packet, RulesView};
use novanet_reconcile::{Change, Desired, SubsystemError};
use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::sync::Notify;

/// Items of a backend by key.
pub type Items<B> = BTreeMap<<B as FirewallBackend>::Key, <B as FirewallBackend>::Value>;

/// Renders the firewall of one host in one packet filter.
///
/// # Flow
///
/// A backend says which of its items each intent makes (`base`, `items`; pure, one intent at a
/// time). The reconciler collects them, compares them with `observe`, and gives the differences to
/// `apply`. It retries what failed, and starts over after `changed_externally`. A backend holds no
/// copy of the desired state.
///
/// # What every backend must do
///
/// 1. **Base first.** `base` is one item (or a few) that sorts before all others: the hooks, the
///    guard of the host and the anti-spoofing of ports that are not registered. A host with the
///    base and nothing else passes no packet of an instance.
/// 2. **One moment.** A packet meets the rules before a change or the rules after it, never a part.
///    A rewrite of everything has no moment without rules, also from another version's layout.
/// 3. **Flows.** Established flows that are still permitted go on through every change; flows that
///    only a removed rule, port or floating IP permitted end with the change
///    (`crate::netlink::conntrack` ends them).
/// 4. **Its own rules only.** `observe` reports what the backend made, changed or not, and
///    never what others made. Something of ours that another program changed is an item with a
///    value that differs from the desired one. `apply` touches nothing of others.
/// 5. **Errors by item.** `apply` does as much as it can and reports each failure under its key.
///    One item that the kernel refuses does not stop the others. It may be killed after any step:
///    the next `observe` and `apply` end in the same state.
/// 6. **Cost.** One more floating IP or port costs its own elements: no listing and no new program
///    for each.
/// 7. **Names.** Sets, chains and rules name the EC2 object that they come from: people debug with
///    the packet filter's own tools. Text from users is reduced to plain characters.
/// 8. **Removal.** An empty desired state leaves nothing of ours, also no files.
///
/// # Meaning of the intents
///
/// See [`Intent`]; the packets that pass are the same for every backend. The tests in
/// `tests/it/firewall*.rs` send them, and are the proof of a new backend.
#[allow(async_fn_in_trait)] // backends are used as concrete types only
pub trait FirewallBackend {
    /// Names an item; items are made in this order, and removed in the reverse order.
    type Key: Ord + Clone + Display + Debug + Send + Sync + 'static;
    /// The state of an item; its text is for plans.
    type Value: Clone + Eq + Display + Debug + Send + Sync + 'static;

    /// Items that every host has, from its settings.
    fn base(&self) -> Vec<(Self::Key, Self::Value)>;

    /// Items that one intent makes. Several intents may make the same item.
    fn items(&self, intent: Intent<'_>) -> Vec<(Self::Key, Self::Value)>;

    /// Takes the address that the host has towards others (`None`: none). Returns the base items
    /// that are others now.
    fn follow(&mut self, source: Option<Ipv4Addr>) -> Vec<(Self::Key, Self::Value)>;

    /// Notified when another program changed our rules.
    fn changed_externally(&self) -> Arc<Notify>;

    /// Lists what is in force.
    ///
    /// # Errors
    ///
    /// The kernel cannot be asked.
    async fn observe(&mut self) -> Result<Items<Self>, SubsystemError>;

    /// Makes these changes true. `desired` is the whole desired state, for renderings that need an
    /// item's neighbours (a chain is all its rules). Returns what failed.
    async fn apply(
        &mut self,
        changes: &[Change<Self::Key, Self::Value>],
        desired: &Desired<Self::Key, Self::Value>,
    ) -> Vec<(Self::Key, SubsystemError)>;

    /// Foreign chains that drop packets that ours accept, by name, with the remedy; as of the last
    /// `observe`. See `diagnose`.
    fn warnings(&self) -> &BTreeMap<String, String>;

    /// The rules as the packet filter's own tool prints them.
    ///
    /// # Errors
    ///
    /// The kernel or the tool cannot be asked.
    async fn show(&self) -> Result<String, SubsystemError>;

    /// What becomes of a packet with these items.
    ///
    /// # Errors
    ///
    /// An instance is not on this host.
    fn explain(
        &self,
        _packet: Packet,
        _desired: &Desired<Self::Key, Self::Value>,
    ) -> Result<Explanation, SubsystemError> {
        Err(SubsystemError::Refused(
            "this backend does not explain its rules".to_owned(),
        ))
    }

    /// What is in force, or a part of it, in the words of a tool that need not be this backend's,
    /// with counters and the objects that each line comes from.
    ///
    /// # Errors
    ///
    /// The kernel or the tool cannot be asked; nothing is there that the view asks for.
    async fn view(
        &mut self,
        _view: RulesView,
        _desired: &Desired<Self::Key, Self::Value>,
    ) -> Result<String, SubsystemError> {
        Err(SubsystemError::Refused(
            "this backend shows its rules as a whole only".to_owned(),
        ))
    }
}
